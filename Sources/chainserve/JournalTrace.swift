import ChainFormats
import ChainOrchestrator
import Foundation

/// A journal of the service, read as a trace of requests.
enum JournalTrace {
    /// How every SQLite file begins.
    private static let signature = Data("SQLite format 3\0".utf8)

    /// Whether the file is a database; a trace is text.
    static func isDatabase(_ path: String) -> Bool {
        guard let handle = FileHandle(forReadingAtPath: path) else { return false }
        defer { try? handle.close() }
        return (try? handle.read(upToCount: signature.count)) == signature
    }

    /// The requests whose length is known, in order of arrival. What is left out is said on standard error.
    static func read(_ path: String) throws -> RequestTrace {
        let arrivals = try JournalReader(path: path).arrivals()
        let ended = arrivals.filter { $0.completionTokens != nil }
        guard let first = ended.first else {
            throw InvalidWorkload(
                "\(path): the journal has no request that ended; see `chainserve journal list \(path)`")
        }
        if ended.count < arrivals.count {
            CommandFailure.warn(
                "\(path): \(arrivals.count - ended.count) requests whose end the journal does not know are left out"
            )
        }
        return RequestTrace(
            requests: ended.map {
                RequestTrace.Request(
                    time: $0.time - first.time, inputTokens: $0.promptTokens,
                    outputTokens: max(1, $0.completionTokens ?? 1))
            })
    }
}
