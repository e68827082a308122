import ChainModel

/// Questions; none changes anything.
extension Dispatcher {
    /// Where an accepted, unfinished job is.
    public enum JobState: Hashable, Sendable {
        /// It waits, after `attempts` starts that came to nothing.
        case waiting(attempts: Int, since: Instant)
        case running(attempt: Int, ChainIndex, since: Instant)
    }

    /// Jobs that wait, for their first or a further attempt.
    public var queueLength: Int { queue.count }

    /// Arrivals that the queue has room for, should none start at once.
    public var queueRoom: Int { configuration.queueLimit - newcomerCount }

    /// Jobs that wait or run.
    public var jobCount: Int { jobs.count }

    /// Jobs that run: `Σ Z_k`.
    public var runningCount: Int { jobs.count - queue.count }

    /// Jobs that run on the chain: `Z_k`.
    public func running(on chain: ChainIndex) -> Int { occupancy[chain.rawValue].running }

    /// Whether all the chain's servers are ready.
    public func isAvailable(_ chain: ChainIndex) -> Bool { occupancy[chain.rawValue].isAvailable }

    /// Chains all of whose servers are ready.
    public var availableChainCount: Int { availableCount }

    /// Whether some chain has all its servers ready or returning; if not, arrivals are refused.
    public var mayRecover: Bool { recoverableCount > 0 }

    /// Whether a drain has begun.
    public var isDraining: Bool { phase != .serving }

    public func state(of server: ServerIndex) -> ServerState { servers[server.rawValue] }

    /// Where the job is; `nil` once it is finished, failed, cancelled or refused. O(1) expected.
    public func state(of job: JobID) -> JobState? {
        let slot = jobs.find(job)
        if slot == .none { return nil }
        let record = jobs[slot]
        let attempts = Int(record.attempts)
        if record.chain < 0 { return .waiting(attempts: attempts, since: record.since) }
        return .running(attempt: attempts, ChainIndex(Int(record.chain)), since: record.since)
    }

    /// The jobs that run on the chain, in order of arrival. O(n log n) for `n` jobs in all.
    public func jobs(on chain: ChainIndex) -> [JobID] {
        jobs.runningSlots { $0 == chain.rawValue }.map { jobs[$0].id }
    }

    /// The jobs that wait, head first. O(n).
    public var waitingJobs: [JobID] { jobs.slots(of: queue).map { jobs[$0].id } }

    /// Expected time until an arrival would be accepted, for `Retry-After`: zero if it would be now, `nil`
    /// if no chain is available. O(K).
    ///
    /// Jobs that wait for a further attempt go first; then as many newcomers leave as are over the limit.
    public func expectedWaitForRoom() -> Duration? {
        let excess = newcomerCount + 1 - configuration.queueLimit
        if availableCount == 0 { return nil }
        if excess <= 0 || chainForHead(waiting: queue.count + 1) != nil { return .zero }
        // With a limit of zero one departure more than jobs wait is needed: the slot for the arrival itself.
        let departures = queue.count - newcomerCount + excess
        return departureTime(of: departures, from: max(queue.count, departures))
    }

    /// Expected wait of a job that arrived now and was accepted: zero if it would start at once, `nil` if
    /// no chain is available. O(K).
    public func expectedWait() -> Duration? {
        if availableCount == 0 { return nil }
        // With thresholds, the arrival may be the one that makes the head start, and itself wait behind the
        // others.
        let length = chainForHead(waiting: queue.count + 1) == nil ? queue.count + 1 : queue.count
        return departureTime(of: length, from: length)
    }

    /// Expected time for `count` jobs to leave a queue of `length`: the sum of `1/ν_n` over the lengths `n`
    /// passed through, `ν_n` being the total rate of the available chains that take the head of a queue of
    /// `n`.
    ///
    /// Under `jffc`, `count/ν`. Every slot of those chains is taken to be busy, and no further job to
    /// arrive.
    private func departureTime(of count: Int, from length: Int) -> Duration {
        var seconds = 0.0
        var rate = 0.0
        // Lengths up to here are done with: those that are not passed through, then those of faster chains'
        // turns.
        var done = length - count
        for chain in occupancy.indices where occupancy[chain].isAvailable {
            let threshold = chain == fastestAvailable ? 1 : thresholds[chain]
            let lengthBelow = min(threshold - 1, length)
            if lengthBelow > done {
                seconds += Double(lengthBelow - done) / rate
                done = lengthBelow
            }
            rate += slotRate(of: chain)
        }
        if length > done { seconds += Double(length - done) / rate }
        return Duration(seconds: min(seconds, Self.longestWaitSeconds))
    }

    /// Bound of expected waits, 100 years: `Duration` cannot hold 300.
    private static let longestWaitSeconds = 3.15e9

    /// Service rate of all the chain's slots: `c_k μ_k`, jobs per second.
    func slotRate(of chain: Int) -> Double { Double(chains[chain].capacity) * chains[chain].serviceRate }
}
