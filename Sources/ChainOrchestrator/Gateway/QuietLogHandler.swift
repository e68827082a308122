import Logging

/// Passes on what is critical and drops the rest. The HTTP server gives a logger of its own to every request: copying this
/// one costs little, where others make texts of their metadata at every change.
struct QuietLogHandler: LogHandler {
    let base: Logger
    var metadata = Logger.Metadata()
    var logLevel = Logger.Level.critical

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        base.log(
            level: event.level, event.message, metadata: metadata.merging(event.metadata ?? [:]) { $1 })
    }
}
