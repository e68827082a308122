import ChainDispatch
import ChainModel

/// A system that routes every request for itself, set up on a pool.
package enum RoutedSystem: Sendable {
    case petals(PetalsSystem)
    case bprr(BPRRSystem)

    package var pool: RoutedPool {
        switch self {
        case .petals(let system): system.pool
        case .bprr(let system): system.pool
        }
    }

    /// Cache slots by server.
    package var slots: [Int] {
        switch self {
        case .petals(let system): system.slots
        case .bprr(let system): system.slots
        }
    }

    /// A block that no server hosts: then nothing can be served.
    package var firstMissingBlock: Int? {
        switch self {
        case .petals(let system): system.firstMissingBlock
        case .bprr(let system): system.firstMissingBlock
        }
    }

    func run(_ requests: [RoutedRequest]) -> RoutedRun {
        switch self {
        case .petals(let system): system.run(requests)
        case .bprr(let system): system.run(requests)
        }
    }
}

/// A run of such a system with the simulator's own arrivals, sizes and statistics.
package struct RoutedSimulation: Sendable {
    package let simulation: Simulation
    package let system: RoutedSystem
    /// As on the command line.
    package let name: String

    /// - Precondition: every block is hosted; arrivals do not wait for ends, no server fails, and the run ends after
    ///   a number of jobs.
    package init(_ simulation: Simulation, _ system: RoutedSystem, name: String) {
        precondition(simulation.faults == .none && simulation.length.precision == nil)
        if case .closedLoop = simulation.arrivals { preconditionFailure("Requests are routed as they come.") }
        self.simulation = simulation
        self.system = system
        self.name = name
    }

    /// Runs once. The paths that requests took, the fastest first, stand for chains in the result.
    package func run(replication: Int = 0) -> (result: SimulationResult, paths: SimulatedSystem) {
        let requests = requests(replication: replication)
        let outcomes = system.run(requests).outcomes
        let (paths, pathOf) = paths(outcomes)
        var own = simulation
        own.system = paths
        let records = zip(requests, outcomes).enumerated().map { number, pair in
            record(pair.0, pair.1, path: pathOf[number])
        }
        let replay = RoutedReplay(records: records, firstTokens: firstTokens(requests, outcomes))
        var result = replay.result(own, replication: replication)
        result.policy = name
        if result.unstable == nil, isUnstable(records) {
            result.unstable = "the waits grew throughout the run, or much still waited at its end"
            result.hasMeans = simulation.arrivals.isTrace
        }
        return (result, paths)
    }

    /// Several independent runs as one, on all cores. Paths differ from run to run: of more than one run the result
    /// has none, and those returned are of the first, as its timeline is.
    package func replicated(_ count: Int) async -> (result: SimulationResult, paths: SimulatedSystem) {
        precondition(count >= 1)
        guard count > 1 else { return run() }
        typealias Run = (result: SimulationResult, paths: SimulatedSystem)
        let runs = await withTaskGroup(of: (Int, Run).self) { group in
            for replication in 0..<count { group.addTask { (replication, run(replication: replication)) } }
            var runs: [Run?] = Array(repeating: nil, count: count)
            for await (replication, run) in group { runs[replication] = run }
            return runs.compactMap { $0 }
        }
        let results = runs.map { run in
            var result = run.result
            result.chains = []
            return result
        }
        return (SimulationResult(replications: results), runs[0].paths)
    }

    /// The counted requests, those before them, and as many after them: where requests ask again, later ones
    /// can come before them.
    private func requests(replication: Int) -> [RoutedRequest] {
        var arrivals = ArrivalSource(simulation.arrivals, seed: simulation.seed, replication: replication)
        var sizes = SizeSource(simulation.sizes, seed: simulation.seed, replication: replication)
        let length = simulation.length
        var requests: [RoutedRequest] = []
        while requests.count < 2 * length.warmUp + length.jobs, arrivals.next != .max {
            let arrival = Double(arrivals.next) / 1e9
            arrivals.advance()
            if simulation.sizes.areTokens {
                let tokens = sizes.tokens()
                requests.append(
                    RoutedRequest(
                        arrival: arrival, size: .tokens(input: tokens.input, output: tokens.output)))
            } else {
                requests.append(RoutedRequest(arrival: arrival, size: .multiple(sizes.size())))
            }
        }
        return requests
    }

    /// Distinct paths, fastest first, and the path of each request; none for one that was given up.
    private func paths(_ outcomes: [RoutedOutcome]) -> (SimulatedSystem, [Int?]) {
        var numbers: [[ChainHop]: Int] = [:]
        var found: [(hops: [ChainHop], service: Double)] = []
        for outcome in outcomes where !outcome.hops.isEmpty && numbers[outcome.hops] == nil {
            numbers[outcome.hops] = found.count
            found.append((outcome.hops, outcome.meanService))
        }
        let order = found.indices.sorted { (found[$0].service, $0) < (found[$1].service, $1) }
        var rank = Array(repeating: 0, count: found.count)
        for (position, number) in order.enumerated() { rank[number] = position }
        let chains = order.map { number in
            let hops = found[number].hops
            return SimulatedSystem.Chain(
                servers: hops.map(\.server), blocks: hops.map(\.blockCount),
                // What the path could hold if nothing else shared its servers.
                capacity: max(1, hops.map { system.slots[$0.server.rawValue] / $0.blockCount }.min() ?? 1),
                serviceTime: found[number].service)
        }
        let paths = SimulatedSystem(
            chains: chains, serverCount: system.pool.cluster.servers.count, cacheSlots: system.slots)
        return (paths, outcomes.map { numbers[$0.hops].map { rank[$0] } })
    }

    private func record(
        _ request: RoutedRequest, _ outcome: RoutedOutcome, path: Int?
    ) -> RoutedReplay.Record {
        var job = SimulatedJob()
        job.arrival = Int64(request.arrival * 1e9 + 0.5)
        guard let path else { return RoutedReplay.Record(job: job, end: job.arrival, isServed: false) }
        job.chain = Int32(truncatingIfNeeded: path)
        job.attempts = 1
        job.firstStart = job.arrival + Int64(outcome.wait * 1e9 + 0.5)
        job.start = job.firstStart
        if case .tokens(let input, let output) = request.size {
            job.inputTokens = Int32(clamping: input)
            job.outputTokens = Int32(clamping: output)
        }
        return RoutedReplay.Record(
            job: job, end: job.arrival + Int64(outcome.response * 1e9 + 0.5), isServed: true)
    }

    /// When each request's first token is there after its start, nanoseconds; empty where requests have no tokens.
    private func firstTokens(_ requests: [RoutedRequest], _ outcomes: [RoutedOutcome]) -> [Int64] {
        guard simulation.sizes.areTokens else { return [] }
        return zip(requests, outcomes).map { request, outcome in
            guard case .tokens(let input, _) = request.size else { return 0 }
            let prefill = system.pool.service(of: .tokens(input: input, output: 1), on: outcome.hops)
            return Int64(prefill * 1e9 + 0.5)
        }
    }

    private func isUnstable(_ records: [RoutedReplay.Record]) -> Bool {
        var times = RequestTimes()
        for record in records where record.isServed {
            let (arrival, start, end) = (record.job.arrival, record.job.start, record.end)
            times.append(
                arrival: Double(arrival) / 1e9, wait: Double(start - arrival) / 1e9,
                service: Double(end - start) / 1e9, response: Double(end - arrival) / 1e9)
        }
        return times.isUnstable()
    }
}

/// Passes what became of requests through the simulator's statistics, in order of time.
private struct RoutedReplay {
    struct Record {
        var job: SimulatedJob
        /// Nanoseconds.
        var end: Int64
        var isServed: Bool
    }

    /// In order of arrival.
    let records: [Record]
    /// After the start, nanoseconds; empty where requests have no tokens.
    let firstTokens: [Int64]

    /// At equal times ends come first, then arrivals, then starts.
    private enum Step: Int { case end, arrival, start }

    func result(_ simulation: Simulation, replication: Int) -> SimulationResult {
        var statistics = RunStatistics(simulation)
        var (now, inSystem): (Int64, Int) = (0, 0)
        let steps = steps()
        for (time, step, number) in steps {
            statistics.hold(inSystem: inSystem, since: now, until: time)
            now = time
            let record = records[number]
            let chain = Int(record.job.chain)
            switch step {
            case .arrival:
                inSystem += 1
                statistics.arrived(UInt64(number), at: now)
                if !record.isServed {
                    statistics.failed(UInt64(number))
                    statistics.left(since: now, at: now)
                    inSystem -= 1
                }
            case .start: statistics.start(chain: chain, at: now, isRetry: false)
            case .end:
                statistics.leave(chain: chain, at: now)
                let token = firstTokens.isEmpty ? record.job.start : record.job.start + firstTokens[number]
                statistics.completed(record.job, UInt64(number), at: now, firstToken: token)
                statistics.left(since: record.job.arrival, at: now)
                inSystem -= 1
            }
        }
        statistics.noMoreArrivals()
        statistics.close(SimulatedJobs(), at: now)
        return statistics.result(
            simulation, replication: replication, events: steps.count, trouble: nil, overload: nil)
    }

    private func steps() -> [(Int64, Step, Int)] {
        var steps: [(Int64, Step, Int)] = []
        for (number, record) in records.enumerated() {
            steps.append((record.job.arrival, .arrival, number))
            guard record.isServed else { continue }
            steps.append((record.job.start, .start, number))
            steps.append((record.end, .end, number))
        }
        return steps.sorted { ($0.0, $0.1.rawValue, $0.2) < ($1.0, $1.1.rawValue, $1.2) }
    }
}
