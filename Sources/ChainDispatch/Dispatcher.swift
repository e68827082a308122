import ChainModel

/// Decides which job runs on which chain, when: Algorithm 3 (JFFC) with a bounded queue, thresholds,
/// servers that come and go, retries, cancels and draining.
///
/// A deterministic value: it reads no clock and starts nothing. A driver (the simulator, the orchestrator)
/// passes each event in with its time, carries out the actions in order, and feeds what comes of them back
/// as events. The same events give the same actions, in every process.
///
/// Promises, each an invariant (`checkInvariants()`) or a test:
/// - An accepted job is run to completion, cancelled, or failed with a reason; never lost, never run twice
///   at once.
/// - Jobs first start in order of arrival. A job that lost its chain waits at the head, in order of
///   arrival; so the queue is always in order of arrival.
/// - No chain runs more jobs than its capacity, nor any while a server of it is not ready.
/// - Under `jffc` no slot of an available chain is free while a job waits.
public struct Dispatcher: Sendable {
    /// Changed only by `install`.
    public internal(set) var configuration: DispatcherConfiguration
    /// Fastest first; indexed by `ChainIndex`. Changed only by `install`.
    public internal(set) var chains: [DispatchChain]

    /// Indexed by `ServerIndex`.
    var servers: [ServerState]
    /// Servers at rest: their chains finish what runs and start nothing. Indexed by `ServerIndex`.
    var isResting: [Bool]
    /// Indexed by `ChainIndex`.
    var occupancy: [ChainOccupancy]
    /// Chains through each server, in order: `chainsByServer[firstChain[j] ..< firstChain[j + 1]]`.
    var chainsByServer: [Int]
    var firstChain: [Int]
    /// Waiting jobs at which each chain takes the head: `n_l`, clamped to the queue limit plus one.
    var thresholds: [Int]

    /// Jobs that wait or run.
    var jobs = JobTable()
    /// Jobs that wait, in order of arrival.
    var queue = JobList()
    /// Members of the queue that never ran: those the queue limit counts.
    var newcomerCount = 0
    /// Available chains with a free slot.
    var open: ChainSet
    /// Chains all of whose servers are ready and none at rest.
    var availableCount = 0
    /// Chains all of whose servers are ready or returning.
    var recoverableCount: Int
    /// The fastest available chain, or the number of chains.
    var fastestAvailable: Int
    /// Total service rate of the available chains: `ν = Σ c_k μ_k`, jobs per second (eq. 4).
    public internal(set) var availableRate = 0.0
    /// The highest number of any job offered.
    var lastArrival: JobID?
    var phase = Phase.serving
    /// Events handled, for sampling the debug checks.
    private var eventCount: UInt = 0

    /// How far a drain is.
    enum Phase: Hashable, Sendable { case serving, draining, drained }

    /// What is known of a server.
    public enum ServerState: Hashable, Sendable {
        case ready
        /// Not usable. `returning`: it, or a replacement, is being made ready.
        case lost(returning: Bool)
    }

    /// The changing part of a chain.
    struct ChainOccupancy: Sendable {
        let capacity: Int
        /// Jobs that run: `Z_k`.
        var running = 0
        /// Servers not ready.
        var missing: Int
        /// Servers lost and not returning.
        var gone = 0
        /// Servers at rest.
        var resting = 0
        /// Jobs may run.
        var isIntact: Bool { missing == 0 }
        /// Jobs may start.
        var isAvailable: Bool { missing == 0 && resting == 0 }
        var isRecoverable: Bool { gone == 0 }
        var hasFreeSlot: Bool { running < capacity }
    }

    /// A dispatcher with no jobs, all of whose servers are being made ready (`lost(returning: true)`).
    ///
    /// O(total servers of the chains).
    /// - Precondition: chains come in non-decreasing service time, with positive capacities and service
    ///   times and distinct servers below `serverCount`; thresholds, if any, are one per chain, from 1,
    ///   non-decreasing.
    public init(configuration: DispatcherConfiguration, chains: [DispatchChain], serverCount: Int) {
        precondition(configuration.queueLimit >= 0, "The queue limit is negative.")
        precondition(configuration.maximumAttempts >= 1, "A job needs at least one attempt.")
        self.configuration = configuration
        self.chains = chains
        servers = Array(repeating: .lost(returning: true), count: serverCount)
        isResting = Array(repeating: false, count: serverCount)
        occupancy = chains.map { ChainOccupancy(capacity: $0.capacity, missing: $0.servers.count) }
        thresholds = Self.effectiveThresholds(configuration, chainCount: chains.count)
        (chainsByServer, firstChain) = Self.index(chains, serverCount: serverCount)
        open = ChainSet(count: chains.count)
        recoverableCount = chains.count
        fastestAvailable = chains.count
    }

    /// Takes one event, and appends what is to be done to `actions`, in order.
    ///
    /// O(1) amortised for events of jobs, but a retry passes the jobs already waiting for one. For events
    /// of servers O(K + n log n) with `K` chains and `n` jobs. Only growth to the most jobs held at once and
    /// losses of servers allocate.
    /// - Parameter now: Never before that of an earlier event; kept as the time a job began to wait or to
    ///   run.
    public mutating func handle(_ event: Event, at now: Instant, into actions: inout [Action]) {
        switch event {
        case .jobArrived(let job): admit(job, at: now, into: &actions)
        case .jobCompleted(let job, let attempt): complete(job, attempt: attempt, at: now, into: &actions)
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
        eventCount &+= 1
        assert(passesSampledCheck())
    }

    /// Checks every state of a small system, every 64th of a large one; traps on a broken invariant.
    func passesSampledCheck() -> Bool {
        if eventCount.isMultiple(of: 64) || jobs.count + chains.count <= 32 { checkInvariants() }
        return true
    }
}

extension Dispatcher {
    /// The rule's thresholds, one per chain, at most the queue limit plus one.
    private static func effectiveThresholds(_ configuration: DispatcherConfiguration, chainCount: Int)
        -> [Int]
    {
        switch configuration.rule {
        case .jffc: return Array(repeating: 1, count: chainCount)
        case .jffcWait(let thresholds):
            precondition(thresholds.count == chainCount, "There must be one threshold per chain.")
            precondition(thresholds.first ?? 1 == 1, "The fastest chain's threshold must be 1.")
            precondition(
                zip(thresholds, thresholds.dropFirst()).allSatisfy { $0 <= $1 },
                "Thresholds must not decrease from faster to slower chains.")
            return thresholds.map { $0 - 1 > configuration.queueLimit ? configuration.queueLimit + 1 : $0 }
        }
    }

    /// Chains through each server, as one array and where each server's part begins; checks the chains.
    private static func index(_ chains: [DispatchChain], serverCount: Int) -> ([Int], [Int]) {
        var firstChain = Array(repeating: 0, count: serverCount + 1)
        var lastSeen = Array(repeating: -1, count: serverCount)
        for (position, chain) in chains.enumerated() {
            precondition(chain.capacity >= 1, "A chain has no capacity.")
            precondition(chain.serviceTime > .zero, "A chain's service time is not positive.")
            precondition(!chain.servers.isEmpty, "A chain has no servers.")
            precondition(
                position == 0 || chains[position - 1].serviceTime <= chain.serviceTime,
                "Chains must come fastest first.")
            for server in chain.servers {
                precondition(lastSeen[server.rawValue] != position, "A chain names a server twice.")
                lastSeen[server.rawValue] = position
                firstChain[server.rawValue + 1] += 1
            }
        }
        for server in 0..<serverCount { firstChain[server + 1] += firstChain[server] }
        var next = firstChain
        var chainsByServer = Array(repeating: 0, count: firstChain[serverCount])
        for (position, chain) in chains.enumerated() {
            for server in chain.servers {
                chainsByServer[next[server.rawValue]] = position
                next[server.rawValue] += 1
            }
        }
        return (chainsByServer, firstChain)
    }
}
