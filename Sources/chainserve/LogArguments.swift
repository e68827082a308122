import ArgumentParser
import ChainOrchestrator
import Foundation
import Logging

/// What is logged, and how.
struct LogArguments: ParsableArguments {
    @Option(help: "How much to log: trace, debug, info, notice, warning, error.")
    var logLevel: LogLevel?

    @Option(help: "Log lines as text or json.")
    var logFormat = LogFormat.text

    @Flag(help: "Log prompts and request identifiers too (they are left out otherwise).")
    var logPrompts = false

    /// The level's name, for a process that is started.
    func level(default level: LogLevel) -> String { (logLevel ?? level).rawValue }

    func logger(_ label: String, default level: Logger.Level) -> Logger {
        var logger = Logger(label: label) { label in
            switch logFormat {
            case .text: StreamLogHandler.standardError(label: label)
            case .json: JSONLogHandler(label: label)
            }
        }
        logger.logLevel = logLevel?.level ?? (logPrompts ? min(level, .notice) : level)
        return logger
    }
}

/// How much is logged.
enum LogLevel: String, CaseIterable, ExpressibleByArgument {
    case trace, debug, info, notice, warning, error

    var level: Logger.Level { Logger.Level(rawValue: rawValue) ?? .info }
}

enum LogFormat: String, CaseIterable, ExpressibleByArgument {
    case text, json
}

/// One JSON object a line: `time` (RFC 3339, UTC), `level`, `logger`, `message`, and the metadata under `data`.
struct JSONLogHandler: LogHandler {
    private struct Line: Encodable {
        var time: String
        var level: String
        var logger: String
        var message: String
        var data: [String: String]
    }

    let label: String
    var logLevel = Logger.Level.info
    var metadata = Logger.Metadata()
    private let write: @Sendable (Data) -> Void

    init(label: String, write: @escaping @Sendable (Data) -> Void = { FileHandle.standardError.write($0) }) {
        self.label = label
        self.write = write
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let all = metadata.merging(event.metadata ?? [:]) { $1 }
        let line = Line(
            time: Date.now.formatted(.iso8601.time(includingFractionalSeconds: true)),
            level: event.level.rawValue, logger: label, message: event.message.description,
            data: all.mapValues { "\($0)" })
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        guard let data = try? encoder.encode(line) else { return }
        write(data + [0x0A])
    }
}
