import ChainModel

/// A queue per chain: a policy gives each arrival a chain, and there it stays.
///
/// For comparison with `Dispatcher`; takes the same events and gives the same actions. Queues are first come,
/// first served. When a chain loses a server, its jobs, running or waiting, are given another chain by the policy,
/// in order of arrival; while no chain is available jobs wait, in order, for the first that is.
public struct DedicatedQueueDispatcher: JobDispatching {
    public typealias Event = Dispatcher.Event
    public typealias Action = Dispatcher.Action

    public let policy: DedicatedPolicy
    public let chains: [DispatchChain]
    let queueLimit: Int
    let maximumAttempts: Int

    var loads: ChainLoads
    var jobs = JobTable()
    /// Jobs that wait, by chain; the last list is of those without a chain.
    var queues: [JobList]
    /// The queue a waiting job is on; by slot.
    var queueOf: [Int32] = []
    /// Jobs that run, by chain.
    var runningOn: [Int]
    public private(set) var queueLength = 0
    public private(set) var runningCount = 0

    var servers: [Dispatcher.ServerState]
    let chainsByServer: [[Int]]
    /// Servers of each chain that are not ready, and that are gone for good.
    var missing: [Int]
    var gone: [Int]
    var lastArrival: JobID?
    var phase = Dispatcher.Phase.serving

    /// A dispatcher with no jobs, all of whose servers are being made ready.
    /// - Parameters:
    ///   - seed: of the stream for ties and random choices.
    ///   - configuration: its rule plays no part. The queue limit bounds the jobs that wait on all queues together.
    /// - Precondition: chains come fastest first, with positive capacities and service times.
    public init(
        policy: DedicatedPolicy, seed: UInt64, configuration: DispatcherConfiguration,
        chains: [DispatchChain], serverCount: Int
    ) {
        precondition(configuration.queueLimit >= 0 && configuration.maximumAttempts >= 1)
        precondition(zip(chains, chains.dropFirst()).allSatisfy { $0.serviceTime <= $1.serviceTime })
        precondition(chains.allSatisfy { $0.capacity >= 1 && $0.serviceTime > .zero && !$0.servers.isEmpty })
        self.policy = policy
        self.chains = chains
        queueLimit = configuration.queueLimit
        maximumAttempts = configuration.maximumAttempts
        loads = ChainLoads(
            capacities: chains.map(\.capacity), rates: chains.map(\.serviceRate), seed: seed)
        queues = Array(repeating: JobList(), count: chains.count + 1)
        runningOn = Array(repeating: 0, count: chains.count)
        servers = Array(repeating: .lost(returning: true), count: serverCount)
        missing = chains.map(\.servers.count)
        gone = Array(repeating: 0, count: chains.count)
        var chainsByServer: [[Int]] = Array(repeating: [], count: serverCount)
        for (chain, value) in chains.enumerated() {
            for server in value.servers { chainsByServer[server.rawValue].append(chain) }
        }
        self.chainsByServer = chainsByServer
    }

    public var jobCount: Int { jobs.count }

    public func running(on chain: ChainIndex) -> Int { runningOn[chain.rawValue] }

    /// Takes one event. O(K) for an arrival, O(1) amortised for other events of jobs; events of servers
    /// O(K + n log n) for `n` jobs.
    public mutating func handle(_ event: Event, at now: Instant, into actions: inout [Action]) {
        switch event {
        case .jobArrived(let job): admit(job, at: now, into: &actions)
        case .jobCompleted(let job, let attempt):
            let slot = current(job, attempt: attempt)
            if slot == .none { return }
            let chain = leaveChain(slot)
            jobs.remove(slot)
            startHead(of: chain, at: now, into: &actions)
        case .jobFailed(let job, let attempt, let retryable):
            endFailed(job, attempt: attempt, retryable: retryable, at: now, into: &actions)
        case .jobCancelled(let job): cancel(job, at: now, into: &actions)
        case .serverReady(let server): makeReady(server, at: now, into: &actions)
        case .serverLost(let server, let returning):
            lose(server, returning: returning, at: now, into: &actions)
        case .drainStarted: if phase == .serving { phase = .draining }
        }
        if phase == .draining && jobs.count == 0 {
            phase = .drained
            actions.append(.drained)
        }
    }

    // MARK: Jobs

    private mutating func admit(_ job: JobID, at now: Instant, into actions: inout [Action]) {
        if let lastArrival, job <= lastArrival {
            actions.append(.refuse(job, .duplicate))
            return
        }
        lastArrival = job
        if let refusal = refusalOfArrival {
            actions.append(.refuse(job, refusal))
            return
        }
        let chain = loads.isAvailable.contains(true) ? loads.choose(policy) : chains.count
        if queueLength >= queueLimit, chain == chains.count || !loads.hasFreeSlot(chain) {
            actions.append(.refuse(job, .queueFull))
            return
        }
        let slot = jobs.insert(job, at: now)
        if queueOf.count < jobs.records.count { queueOf.append(-1) }
        place(slot, on: chain, at: now, into: &actions)
    }

    /// Why an arrival would be refused whatever its chain.
    private var refusalOfArrival: Dispatcher.Refusal? {
        if phase != .serving { return .draining }
        return gone.allSatisfy { $0 > 0 } ? .noChain : nil
    }

    /// Starts a job on its chain, or lets it wait there.
    mutating func place(_ slot: JobSlot, on chain: Int, at now: Instant, into actions: inout [Action]) {
        if chain < chains.count {
            let isFree = loads.hasFreeSlot(chain)
            loads.assigned[chain] += 1
            if isFree {
                start(slot, on: chain, at: now, into: &actions)
                return
            }
        }
        let ahead = queues[chain].count
        jobs.append(slot, to: &queues[chain])
        queueOf[slot.index] = Int32(truncatingIfNeeded: chain)
        queueLength += 1
        actions.append(.queue(jobs[slot].id, ahead: ahead))
    }

    private mutating func start(
        _ slot: JobSlot, on chain: Int, at now: Instant, into actions: inout [Action]
    ) {
        runningOn[chain] += 1
        runningCount += 1
        let (job, attempt) = jobs.start(slot, on: chain, at: now)
        actions.append(.start(job, attempt: attempt, ChainIndex(chain)))
    }

    /// The head of a chain's queue takes a slot that came free.
    private mutating func startHead(of chain: Int, at now: Instant, into actions: inout [Action]) {
        guard loads.isAvailable[chain], runningOn[chain] < loads.capacities[chain], !queues[chain].isEmpty
        else { return }
        let slot = queues[chain].first
        leaveQueue(slot)
        loads.assigned[chain] += 1
        start(slot, on: chain, at: now, into: &actions)
    }

    private mutating func endFailed(
        _ job: JobID, attempt: Int, retryable: Bool, at now: Instant, into actions: inout [Action]
    ) {
        let slot = current(job, attempt: attempt)
        if slot == .none { return }
        let chain = leaveChain(slot)
        guard retryable && attempt < maximumAttempts else {
            actions.append(.fail(job, retryable ? .attemptsExhausted : .notRetryable))
            jobs.remove(slot)
            startHead(of: chain, at: now, into: &actions)
            return
        }
        // It waits at the head of its chain's queue, which is then the slot it left.
        loads.assigned[chain] += 1
        start(slot, on: chain, at: now, into: &actions)
    }

    private mutating func cancel(_ job: JobID, at now: Instant, into actions: inout [Action]) {
        let slot = jobs.find(job)
        if slot == .none { return }
        let record = jobs[slot]
        guard record.chain >= 0 else {
            leaveQueue(slot)
            jobs.remove(slot)
            return
        }
        actions.append(.abandon(job, attempt: Int(record.attempts), ChainIndex(Int(record.chain))))
        let chain = leaveChain(slot)
        jobs.remove(slot)
        startHead(of: chain, at: now, into: &actions)
    }

    /// The job's slot if it runs its attempt of that number; none for anything stale.
    private func current(_ job: JobID, attempt: Int) -> JobSlot {
        let slot = jobs.find(job)
        if slot == .none { return .none }
        let record = jobs[slot]
        return record.chain >= 0 && Int(record.attempts) == attempt ? slot : .none
    }

    /// Takes a waiting job off its queue.
    mutating func leaveQueue(_ slot: JobSlot) {
        let queue = Int(queueOf[slot.index])
        jobs.remove(slot, from: &queues[queue])
        queueLength -= 1
        if queue < chains.count { loads.assigned[queue] -= 1 }
    }

    /// Takes a running job off its chain.
    @discardableResult
    mutating func leaveChain(_ slot: JobSlot) -> Int {
        let chain = Int(jobs[slot].chain)
        jobs.records[slot.index].chain = JobRecord.waits
        runningOn[chain] -= 1
        runningCount -= 1
        loads.assigned[chain] -= 1
        return chain
    }
}
