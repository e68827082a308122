import ChainDispatch
import ChainModel
import ChainPlanning
import Testing

@testable import ChainSimulation

@Suite struct RunTests {
    private static func simulation(
        _ policy: SimulatedPolicy = .jffc, rate: Double = 2.4, jobs: Int = 1500, seed: UInt64 = 1
    ) -> Simulation {
        Simulation(
            SimulatedSystem(rates: [1, 0.5, 0.2], capacities: [2, 2, 2]), policy: policy,
            arrivals: .poisson(rate: rate), length: RunLength(jobs: jobs, warmUp: 100), seed: seed)
    }

    private static let policies: [SimulatedPolicy] =
        [.jffc, .jffcWait(thresholds: [1, 2, 5])] + DedicatedPolicy.allCases.map { .dedicated($0) }

    /// The same bits again, alone or among others; other bits with another seed.
    @Test(arguments: policies)
    func reproducible(_ policy: SimulatedPolicy) async {
        var simulation = Self.simulation(policy, jobs: 400)
        let first = simulation.run()
        let again = simulation.run()
        #expect(first.response.estimate == again.response.estimate)
        #expect(first.response.histogram == again.response.histogram && first.chains == again.chains)
        #expect(first.timeline == again.timeline && first.events == again.events)
        let several = await simulation.replicated(3)
        let once = [0, 1, 2].map { simulation.run(replication: $0).response.mean }
        #expect(several.response.mean == Estimate(once).mean && several.completed == 1200)
        #expect(once[0] == first.response.mean && Set(once).count == 3)
        simulation.seed = 2
        #expect(simulation.run().response.mean != first.response.mean)
    }

    /// All policies meet the same arrivals and sizes: with the same chains for all jobs, the same services.
    @Test func commonRandomNumbers() {
        let services = Self.policies.map { policy in
            var simulation = Self.simulation(policy, jobs: 300)
            simulation.system = SimulatedSystem(rates: [1, 1, 1], capacities: [2, 2, 2])
            simulation.savesRequests = true
            return simulation.run().requests.sorted { $0.number < $1.number }.map {
                [$0.arrival, $0.service]
            }
        }
        for other in services.dropFirst() {
            for (left, right) in zip(services[0], other) {
                #expect(left[0] == right[0] && (left[1] - right[1]).magnitude < 1e-8)
            }
        }
    }

    /// Every policy serves every job, in its order of means: no policy is below JFFC's family here by far.
    @Test(arguments: policies)
    func servesAll(_ policy: SimulatedPolicy) {
        let result = Self.simulation(policy).run()
        #expect(result.completed == 1500 && result.failed + result.refused == 0 && result.littleHolds)
        #expect(result.chains.reduce(0) { $0 + $1.jobs } == 1500)
        #expect(result.chains.allSatisfy { $0.utilisation > 0 && $0.utilisation <= 1 })
        // Work brought is work done: Σ c_k·u_k·T_k⁻¹ is the rate of completions in units of size.
        #expect((result.wait.mean + result.service.mean - result.response.mean).magnitude < 1e-9)
    }

    /// Shares of random routing are those of the chains' rates.
    @Test func randomRouting() {
        let result = Self.simulation(.dedicated(.random), rate: 1.5, jobs: 4000).run()
        let total = 3.4
        for (chain, rate) in zip(result.chains, [2.0, 1, 0.4]) {
            #expect((Double(chain.jobs) / 4000 - rate / total).magnitude < 0.03)
        }
        let turns = Self.simulation(.dedicated(.roundRobin), rate: 1.5, jobs: 3400).run()
        for (chain, rate) in zip(turns.chains, [2000, 1000, 400]) {
            #expect((chain.jobs - rate).magnitude <= 2)
        }
    }

    /// One slot, deterministic sizes, a server lost at 0.5 s and back at 2 s, by hand.
    @Test(arguments: [SimulatedPolicy.jffc, .dedicated(.jsq)])
    func faultsByHand(_ policy: SimulatedPolicy) {
        let faults = [
            ScheduledFault(time: 0.5, server: ServerIndex(0), isLost: true),
            ScheduledFault(time: 2, server: ServerIndex(0), isLost: false),
        ]
        let result = Simulation(
            SimulatedSystem(rates: [1], capacities: [1]), policy: policy,
            arrivals: .times([0, 1_000_000_000]), sizes: .deterministic,
            length: RunLength(jobs: 2, warmUp: 0), seed: 1, faults: .schedule(faults), savesRequests: true
        ).run()
        let requests = result.requests.sorted { $0.number < $1.number }
        #expect(requests.map { $0.wait + $0.service } == [3, 3])
        #expect(requests.map(\.attempts) == [2, 1] && result.retries == 1)
        #expect(result.littleHolds && result.completed == 2)
    }

    /// Under random faults every counted job is completed, failed or refused.
    @Test(arguments: policies)
    func randomFaults(_ policy: SimulatedPolicy) {
        var simulation = Self.simulation(policy, rate: 1.5, jobs: 800)
        simulation.faults = .random(meanUpTime: 20, meanDownTime: 3)
        simulation.queueLimit = 10
        simulation.maximumAttempts = 2
        let result = simulation.run()
        #expect(result.completed + result.failed + result.refused == 800)
        #expect(result.retries > 0 && result.failed > 0 && result.littleHolds)
    }

    /// A trace shorter than the run asked for ends it, though servers come and go for ever.
    @Test func traceEndsUnderFaults() {
        var simulation = Self.simulation(jobs: 500)
        simulation.arrivals = .times((0..<150).map { Int64($0) * 400_000_000 })
        simulation.faults = .random(meanUpTime: 30, meanDownTime: 1)
        let result = simulation.run()
        #expect(result.completed + result.failed == 50 && result.littleHolds && result.unstable == nil)
    }

    /// Never returning servers leave jobs waiting: the run says so.
    @Test func stalled() {
        var simulation = Self.simulation(jobs: 50)
        simulation.arrivals = .times((0..<150).map { Int64($0) * 100_000_000 })
        simulation.faults = .schedule(
            (0..<3).map { ScheduledFault(time: 3, server: ServerIndex($0), isLost: true) })
        let result = simulation.run()
        #expect(result.unstable?.contains("servers that do not return") == true && result.littleHolds)
    }

    @Test func precision() throws {
        var simulation = Self.simulation(rate: 1.5, jobs: 400)
        simulation.length.precision = 0.05
        let result = simulation.run()
        #expect(result.precisionMet == true && result.completed >= 400)
        #expect(try #require(result.response.estimate.relativeHalfWidth) <= 0.05)
        simulation.length = RunLength(jobs: 400, warmUp: 100, precision: 0.0001, mostJobs: 900)
        let ended = simulation.run()
        #expect(ended.precisionMet == false && ended.completed == 800)
        // Stopping by precision counts the same jobs as asking for as many.
        let plain = Self.simulation(rate: 1.5, jobs: ended.completed).run()
        #expect((plain.response.mean - ended.response.mean).magnitude < 1e-12)
        #expect(plain.response.histogram.count == ended.response.histogram.count)
    }

    /// Overload is said, whether it follows from the rates or shows in the run.
    @Test func unstable() {
        #expect(Self.simulation(rate: 4).run().unstable?.contains("the load is") == true)
        var hidden = Self.simulation(rate: 4)
        hidden.arrivals = .times((0..<4000).map { Int64($0) * 250_000_000 })
        hidden.length = RunLength(jobs: 3000, warmUp: 100)
        #expect(hidden.run().unstable?.contains("the wait grew") == true)
        #expect(Self.simulation(rate: 2).run().unstable == nil)
        var bounded = Self.simulation(rate: 40)
        bounded.length.mostJobsInSystem = 200
        #expect(bounded.run().unstable?.contains("given up") == true)
    }

    @Test func refusals() {
        var simulation = Self.simulation(rate: 5, jobs: 600)
        simulation.queueLimit = 3
        let result = simulation.run()
        #expect(result.refused > 100 && result.completed + result.refused == 600 && result.littleHolds)
    }

    /// The tuned plan has the least mean of all that were simulated.
    @Test func tuning() async throws {
        let servers = (0..<6).map {
            Server(
                name: "s\($0)", memory: ByteCount(60 + 10 * $0), communicationTimeSeconds: 0.2,
                blockTimeSeconds: 0.1 + 0.02 * Double($0))
        }
        let model = ModelShape(name: "m", blockCount: 6, blockSize: ByteCount(10), cacheSize: ByteCount(3))
        let cluster = Cluster(
            model: model, demand: Demand(arrivalRate: 1.5, loadTarget: 0.8), servers: servers)
        let choice = try await SimulatedTuning.choose(cluster, options: PlanningOptions()) { plan in
            Simulation(
                SimulatedSystem(plan, cluster: cluster), arrivals: .poisson(rate: 1.5),
                length: RunLength(jobs: 300), seed: 1)
        }
        let means = choice.candidates.compactMap(\.mean)
        #expect(choice.candidates.count > 1 && !means.isEmpty)
        let chosen = try #require(choice.candidates.first { $0.plan.chains == choice.plan.chains }?.mean)
        #expect(means.allSatisfy { $0 >= chosen } && choice.plan.tunedBy == .simulated)
    }
}
