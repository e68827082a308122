import ChainDispatch

/// What many runs came to.
public struct SoakSummary: Sendable {
    public private(set) var runs = 0
    public private(set) var broken = 0
    public private(set) var total = FaultReport()
    public private(set) var longestDrainSeconds = 0.0
    /// Digest of all digests, in order.
    private var digest = StableDigest()

    public init() {}

    public mutating func add(_ report: FaultReport) {
        runs += 1
        broken += report.violations.isEmpty ? 0 : 1
        digest.append(report.digest)
        longestDrainSeconds = max(longestDrainSeconds, report.drainSeconds)
        total.happenings += report.happenings
        total.virtualSeconds += report.virtualSeconds
        total.accepted += report.accepted
        total.finished += report.finished
        total.failed += report.failed
        total.cancelled += report.cancelled
        total.interrupted += report.interrupted
        total.refused += report.refused
        total.tokens += report.tokens
        total.furtherAttempts += report.furtherAttempts
        total.restarts += report.restarts
        total.plans += report.plans
        total.reconsiderations += report.reconsiderations
        total.rollouts += report.rollouts
        total.skipped += report.skipped
        for index in total.troubles.indices { total.troubles[index] += report.troubles[index] }
        for index in total.failures.indices { total.failures[index] += report.failures[index] }
    }

    /// For a person.
    public var text: String {
        let troubles = zip(FaultKind.allCases, total.troubles).filter { $0.1 > 0 }
            .map { "\($0.0.rawValue) \($0.1)" }.joined(separator: ", ")
        let failures = zip(ControlPlane.Failure.allCases, total.failures).filter { $0.1 > 0 }
            .map { "\($0.0.rawValue) \($0.1)" }.joined(separator: ", ")
        return """
            \(runs) seeds, \(broken) broken; digest \(String(digest.value, radix: 16))
            \(Int(total.virtualSeconds)) s of virtual time, \(total.happenings) happenings
            accepted \(total.accepted): finished \(total.finished), failed \(total.failed) (\(failures)), \
            cancelled \(total.cancelled), interrupted \(total.interrupted); refused \(total.refused)
            \(total.tokens) tokens, \(total.furtherAttempts) further attempts, \(total.restarts) restarts of the \
            orchestrator, \(total.plans) new plans (\(total.reconsiderations) times demand was \
            seen to change), \(total.rollouts) rollouts (\(total.skipped) servers skipped)
            troubles: \(troubles)
            longest time from healing to the last job's end: \(longestDrainSeconds) s
            """
    }
}
