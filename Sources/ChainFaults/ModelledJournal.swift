import ChainDispatch
import ChainModel

/// What survives the orchestrator. A write either happens at once and for good, or fails.
struct ModelledJournal: Sendable {
    enum Outcome: Hashable, Sendable {
        case finished
        case failed(ControlPlane.Failure)
        case cancelled
        /// Its client did not come back after a restart.
        case interrupted
    }

    struct Entry: Sendable {
        var job: JobID
        var request: Int
        var client: ClientID
        var deadline: Instant
        var tokens: [UInt64] = []
        var outcome: Outcome?
    }

    var isFull = false
    /// Accepted jobs, by number.
    private(set) var entries: [Entry] = []
    /// Highest job number ever given out.
    private(set) var lastJob: UInt64 = 0
    private var index: [JobID: Int] = [:]

    subscript(job: JobID) -> Entry? { index[job].map { entries[$0] } }

    mutating func note(job: JobID) { lastJob = max(lastJob, job.rawValue) }

    /// - Returns: whether it could be written.
    mutating func accept(_ entry: Entry) -> Bool {
        if isFull { return false }
        index[entry.job] = entries.count
        entries.append(entry)
        return true
    }

    mutating func append(_ token: UInt64, to job: JobID) {
        if let position = index[job], !isFull { entries[position].tokens.append(token) }
    }

    /// Writes the outcome and the whole answer.
    /// - Returns: what was there before if anything was (a second outcome), and whether this one was written.
    mutating func conclude(_ job: JobID, _ outcome: Outcome, tokens: [UInt64]) -> (
        before: Outcome?, written: Bool
    ) {
        guard let position = index[job] else { return (nil, false) }
        let before = entries[position].outcome
        if isFull || before != nil { return (before, false) }
        entries[position].outcome = outcome
        entries[position].tokens = tokens
        return (nil, true)
    }
}
