import ChainDispatch
import ChainModel
import Testing

@testable import ChainSimulation

/// The simulator does the same as a recursion over jobs, to the nanosecond.
@Suite struct PathTests {
    struct Setting: Sendable, CustomTestStringConvertible {
        var rates: [Double]
        var capacities: [Int]
        var arrivals: ArrivalProcess
        var sizes = JobSizes.exponential
        var testDescription: String { "\(rates) \(capacities) \(arrivals) \(sizes)" }
    }

    static let settings = [
        Setting(rates: [1], capacities: [1], arrivals: .poisson(rate: 0.8)),
        Setting(rates: [1], capacities: [1], arrivals: .poisson(rate: 0.6), sizes: .deterministic),
        Setting(rates: [1], capacities: [5], arrivals: .poisson(rate: 4), sizes: .lognormal(cv: 1.5)),
        Setting(rates: [2, 1], capacities: [2, 3], arrivals: .poisson(rate: 6)),
        Setting(
            rates: [1, 0.4, 0.1], capacities: [3, 4, 6], arrivals: .gamma(rate: 4, burstiness: 0.2),
            sizes: .gamma(cv: 2)),
        Setting(
            rates: [0.13, 0.068], capacities: [7, 7],
            arrivals: .onOff(rate: 1.1, meanOn: 20, meanOff: 30), sizes: .hyperexponential(cv: 1.5)),
    ]

    private static func expected(_ setting: Setting, jobs: Int, seed: UInt64) -> [SlotQueue.Job] {
        var expected: [SlotQueue.Job] = []
        SlotQueue(rates: setting.rates, capacities: setting.capacities)
            .run(jobs: jobs, arrivals: setting.arrivals, sizes: setting.sizes, seed: seed) {
                expected.append($0)
            }
        return expected
    }

    private static func simulation(_ setting: Setting, jobs: Int, seed: UInt64) -> Simulation {
        Simulation(
            SimulatedSystem(rates: setting.rates, capacities: setting.capacities), arrivals: setting.arrivals,
            sizes: setting.sizes, length: RunLength(jobs: jobs, warmUp: 0), seed: seed, savesRequests: true)
    }

    /// Requests in order of arrival.
    private static func jobs(_ result: SimulationResult) -> [SlotQueue.Job] {
        func whole(_ seconds: Double) -> Int64 { Int64((seconds * 1e9).rounded()) }
        return result.requests.sorted { $0.number < $1.number }.map {
            let arrival = whole($0.arrival)
            let start = arrival + whole($0.wait)
            return SlotQueue.Job(
                arrival: arrival, start: start, end: start + whole($0.service), chain: $0.chain.rawValue)
        }
    }

    @Test(arguments: settings)
    func sameJobs(_ setting: Setting) {
        let result = Self.simulation(setting, jobs: 1500, seed: 7).run()
        #expect(Self.jobs(result) == Self.expected(setting, jobs: 1500, seed: 7))
        #expect(result.littleHolds && result.completed == 1500)
    }

    /// A dispatcher that takes the slowest free chain gives other jobs.
    @Test func aWrongDispatcherIsNoticed() {
        struct Backwards: JobDispatching {
            var inner: Dispatcher
            let last: Int
            mutating func handle(
                _ event: Dispatcher.Event, at now: Instant, into actions: inout [Dispatcher.Action]
            ) {
                var own: [Dispatcher.Action] = []
                inner.handle(event, at: now, into: &own)
                for action in own {
                    if case .start(let job, let attempt, let chain) = action {
                        actions.append(
                            .start(job, attempt: attempt, ChainIndex(last - chain.rawValue)))
                    } else {
                        actions.append(action)
                    }
                }
            }
            var jobCount: Int { inner.jobCount }
            var queueLength: Int { inner.queueLength }
            var runningCount: Int { inner.runningCount }
            func running(on chain: ChainIndex) -> Int { inner.running(on: ChainIndex(last - chain.rawValue)) }
            func checkInvariants() { inner.checkInvariants() }
        }
        let setting = Setting(rates: [1, 0.5], capacities: [2, 2], arrivals: .poisson(rate: 1.5))
        let simulation = Self.simulation(setting, jobs: 200, seed: 3)
        let dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(queueLimit: Simulation.unlimitedQueue),
            chains: simulation.system.dispatchChains, serverCount: 2)
        let right = simulation.run(dispatcher)
        let wrong = simulation.run(Backwards(inner: dispatcher, last: 1))
        #expect(Self.jobs(right) == Self.expected(setting, jobs: 200, seed: 3))
        #expect(Self.jobs(wrong) != Self.jobs(right))
    }

    /// Shortest queue with speed in ties is JFFC as long as a slot is free at every arrival.
    @Test func speedAwareShortestQueueIsJFFCWithoutQueues() {
        let setting = Setting(rates: [1, 0.5, 0.25], capacities: [4, 6, 30], arrivals: .poisson(rate: 5))
        var simulation = Self.simulation(setting, jobs: 1500, seed: 5)
        let jffc = simulation.run()
        simulation.policy = .dedicated(.saJSQ)
        let aware = simulation.run()
        #expect(jffc.wait.largest == 0)
        #expect(jffc.chains.filter { $0.jobs > 0 }.count == 3, "all chains are used")
        #expect(Self.jobs(jffc) == Self.jobs(aware))
    }

    /// Policies with a queue per chain, against a recursion that knows each chain's unfinished jobs.
    @Test(arguments: [DedicatedPolicy.sed, .saJSQ])
    func dedicatedQueues(_ policy: DedicatedPolicy) {
        let setting = Setting(rates: [1, 0.5, 0.2], capacities: [2, 3, 2], arrivals: .poisson(rate: 3.3))
        var simulation = Self.simulation(setting, jobs: 1500, seed: 11)
        simulation.policy = .dedicated(policy)
        let result = simulation.run()
        var unfinished: [[Int64]] = [[], [], []]
        var arrivals = ArrivalSource(setting.arrivals, seed: 11, replication: 0)
        var sizes = SizeSource(.exponential, seed: 11, replication: 0)
        var expected: [SlotQueue.Job] = []
        for _ in 0..<1500 {
            let now = arrivals.next
            var (best, least) = (0, Double.infinity)
            for chain in 0..<3 {
                unfinished[chain].removeAll { $0 <= now }
                let slots = Double(setting.capacities[chain])
                let excess = max(0, Double(unfinished[chain].count + 1) - slots) / slots
                let value = policy == .sed ? (1 + excess) / setting.rates[chain] : excess
                if value < least - 1e-12 { (best, least) = (chain, value) }
            }
            // First come, first served on `c` slots: the job starts when all but c − 1 of those before have ended.
            let ends = unfinished[best].sorted()
            let slots = setting.capacities[best]
            let start = ends.count < slots ? now : ends[ends.count - slots]
            let end = start + Int64(1 / setting.rates[best] * 1e9 * sizes.size() + 0.5)
            unfinished[best].append(end)
            expected.append(SlotQueue.Job(arrival: now, start: start, end: end, chain: best))
            arrivals.advance()
        }
        #expect(Self.jobs(result) == expected)
        #expect(expected.contains { $0.start > $0.arrival })
    }
}
