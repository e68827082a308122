import ChainDispatch
import ChainModel

/// Which chain a job runs on.
package enum SimulatedPolicy: Hashable, Sendable {
    /// Algorithm 3: the fastest free chain, one central queue.
    case jffc
    /// The same, but a slow chain starts a job only when enough jobs wait (`DispatchPolicy.jffcWait`).
    case jffcWait(thresholds: [Int])
    /// A queue per chain; the chain is chosen at arrival, once.
    case dedicated(DedicatedPolicy)

    /// As on the command line.
    package var name: String {
        switch self {
        case .jffc: "jffc"
        case .jffcWait: "jffc-wait"
        case .dedicated(let policy): policy.rawValue
        }
    }

    /// Whether a load below 1 is enough for a steady state: no slot is idle for ever beside a growing queue.
    var isThroughputOptimal: Bool {
        switch self {
        case .jffc, .jffcWait, .dedicated(.jsq), .dedicated(.sed), .dedicated(.saJSQ): true
        case .dedicated: false
        }
    }
}

/// When a simulation ends. Jobs are counted by arrival; those before the first counted one warm the system up,
/// and arrivals go on until all counted jobs have ended.
package struct RunLength: Hashable, Sendable {
    /// Counted jobs; at least, if a precision is asked for.
    package var jobs: Int
    /// Jobs that arrive before and are not counted.
    package var warmUp: Int
    /// Half-width of the 95 % interval of the mean response over the mean, at which to stop; `nil`: after `jobs`.
    package var precision: Double?
    /// Counted jobs at which to stop without the precision.
    package var mostJobs: Int
    /// Jobs in the system at which a run is given up as unstable.
    package var mostJobsInSystem: Int

    package init(
        jobs: Int, warmUp: Int? = nil, precision: Double? = nil, mostJobs: Int = 100_000_000,
        mostJobsInSystem: Int = 4_000_000
    ) {
        self.jobs = jobs
        self.warmUp = warmUp ?? jobs / 10
        self.precision = precision
        self.mostJobs = max(jobs, mostJobs)
        self.mostJobsInSystem = mostJobsInSystem
    }
}

/// When servers are lost and return.
package enum ServerFaults: Hashable, Sendable {
    case none
    /// Every server is up for an exponential time, then down for one; means in seconds.
    case random(meanUpTime: Double, meanDownTime: Double)
    /// At given times, in order.
    case schedule([ScheduledFault])
}

/// A change of a server's state at a time.
package struct ScheduledFault: Hashable, Sendable {
    /// Since the start, seconds.
    package var time: Double
    package var server: ServerIndex
    package var isLost: Bool

    package init(time: Double, server: ServerIndex, isLost: Bool) {
        self.time = time
        self.server = server
        self.isLost = isLost
    }
}

/// A system, a policy and a workload: everything that determines a run.
package struct Simulation: Sendable {
    package var system: SimulatedSystem
    package var policy: SimulatedPolicy
    package var arrivals: ArrivalProcess
    package var sizes: JobSizes
    package var length: RunLength
    package var seed: UInt64
    package var faults: ServerFaults
    /// Jobs that may wait; more are refused.
    package var queueLimit: Int
    /// Starts a job gets before it is given up.
    package var maximumAttempts: Int
    /// Keep every counted request (`SimulationResult.requests`).
    package var savesRequests: Bool

    /// No bound that a run could meet.
    package static let unlimitedQueue = 1 << 40

    package init(
        _ system: SimulatedSystem, policy: SimulatedPolicy = .jffc, arrivals: ArrivalProcess,
        sizes: JobSizes = .exponential, length: RunLength, seed: UInt64, faults: ServerFaults = .none,
        queueLimit: Int = Simulation.unlimitedQueue, maximumAttempts: Int = 3, savesRequests: Bool = false
    ) {
        self.system = system
        self.policy = policy
        self.arrivals = arrivals
        self.sizes = sizes
        self.length = length
        self.seed = seed
        self.faults = faults
        self.queueLimit = queueLimit
        self.maximumAttempts = maximumAttempts
        self.savesRequests = savesRequests
    }

    /// Simulates once; the interval is from batch means. The same simulation gives the same result, bit for bit.
    /// - Parameter replication: selects an independent set of random numbers.
    package func run(replication: Int = 0) -> SimulationResult {
        switch policy {
        case .jffc: run(central(.jffc), replication: replication)
        case .jffcWait(let thresholds):
            run(central(.jffcWait(thresholds: thresholds)), replication: replication)
        case .dedicated(let policy):
            run(
                DedicatedQueueDispatcher(
                    policy: policy,
                    seed: RandomStream.substream(seed: seed, purpose: .tieBreaks, replication: replication),
                    configuration: configuration(.jffc), chains: system.dispatchChains,
                    serverCount: system.serverCount),
                replication: replication)
        }
    }

    /// Simulates with any dispatcher over the system's chains.
    package func run(_ dispatcher: some JobDispatching, replication: Int = 0) -> SimulationResult {
        var run = SimulationRun(self, dispatcher: dispatcher, replication: replication)
        return run.result()
    }

    private func configuration(_ rule: DispatchPolicy) -> DispatcherConfiguration {
        DispatcherConfiguration(queueLimit: queueLimit, maximumAttempts: maximumAttempts, rule: rule)
    }

    private func central(_ rule: DispatchPolicy) -> Dispatcher {
        Dispatcher(
            configuration: configuration(rule), chains: system.dispatchChains, serverCount: system.serverCount
        )
    }

    /// Simulates several times with independent random numbers, on all cores; the interval is from the means of
    /// the replications. The result does not depend on the number of cores.
    package func replicated(_ count: Int) async -> SimulationResult {
        precondition(count >= 1)
        guard count > 1 else { return run() }
        let results = await withTaskGroup(of: (Int, SimulationResult).self) { group in
            for replication in 0..<count { group.addTask { (replication, run(replication: replication)) } }
            var results: [SimulationResult?] = Array(repeating: nil, count: count)
            for await (replication, result) in group { results[replication] = result }
            return results.compactMap { $0 }
        }
        return SimulationResult(replications: results)
    }
}
