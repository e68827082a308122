import ChainModel
import ChainPlanning
import Testing

@testable import ChainSimulation

/// PETALS and BPRR with the simulator's workloads and statistics.
@Suite struct RoutedSimulationTests {
    /// The case that `PetalsSystemTests` solves by hand, as a trace.
    @Test func statisticsByHand() throws {
        let times = [0, 0, 0, 0, 0, 3.5, 4, 4.2].map { Int64($0 * 1e9) }
        let simulation = Simulation(
            SimulatedSystem(rates: [1], capacities: [1]), arrivals: .times(times),
            sizes: .listed([1, 2, 1, 0.5, 1, 2, 1, 1]), length: RunLength(jobs: 8, warmUp: 0), seed: 1,
            savesRequests: true)
        let petals = PetalsSystem(HandPool.pool, .init(placement: PetalsParameters(reserve: .zero)))
        let (result, paths) = RoutedSimulation(simulation, .petals(petals), name: "petals").run()
        let requests = result.requests.sorted { $0.number < $1.number }
        #expect(close(requests.map(\.wait), [0, 0, 0, 0, 3.5, 3, 3, 6.3]))
        #expect(close(requests.map { $0.wait + $0.service }, [3.5, 6.5, 4.5, 2.5, 7, 9.5, 6.5, 9.8]))
        #expect(result.policy == "petals" && result.completed == 8 && result.littleHolds)
        #expect(paths.chains.map { $0.servers.map(\.rawValue) } == [[0], [1, 2]])
        #expect(paths.chains.map(\.capacity) == [2, 2] && result.chains.map(\.jobs) == [6, 2])
        // Until the last arrival, at 4.2 s, server 1 holds one block of two requests, one of which ends at 2.5 s.
        #expect((result.servers[1].cacheUse - (4.2 + 2.5) / 2 / 4.2).magnitude < 1e-12)
        #expect(result.servers[3].cacheUse == 0)
    }

    /// One server, and waits that end when slots are free: first come, first served on three slots.
    @Test func oneServerIsOneChain() throws {
        let model = ModelShape(name: "m", blockCount: 2, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let server = Server(
            name: "s", memory: ByteCount(26), communicationTimeSeconds: 1, blockTimeSeconds: 0.5)
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: [server])
        let pool = RoutedPool(
            cluster, roundTrips: [0, 0, 0, 0], outputTokens: 1, initialDelay: 0)
        let bprr = BPRRSystem(pool, .init(startsAsSoonAsPossible: true))
        try #require(bprr.slots == [6] && bprr.firstMissingBlock == nil)
        let simulation = Simulation(
            SimulatedSystem(rates: [0.5], capacities: [3]), arrivals: .poisson(rate: 0.9),
            length: RunLength(jobs: 2000), seed: 6)
        let chain = simulation.run()
        let routed = RoutedSimulation(simulation, .bprr(bprr), name: "bprr").run().result
        #expect(chain.wait.mean > 0.3)
        #expect((routed.response.mean / chain.response.mean - 1).magnitude < 1e-6)
        #expect((routed.wait.quantile(0.99) / chain.wait.quantile(0.99) - 1).magnitude < 1e-2)
        #expect((routed.chains[0].utilisation / chain.chains[0].utilisation - 1).magnitude < 1e-6)
        #expect(routed.littleHolds && routed.unstable == nil)
    }

    /// More than the server can do is said, and has no mean.
    @Test func overload() async throws {
        let petals = PetalsSystem(HandPool.pool, .init(placement: PetalsParameters(reserve: .zero)))
        let simulation = Simulation(
            SimulatedSystem(rates: [1], capacities: [1]), arrivals: .poisson(rate: 5),
            length: RunLength(jobs: 600), seed: 1)
        let result = await RoutedSimulation(simulation, .petals(petals), name: "petals").replicated(2).result
        #expect(result.unstable != nil && !result.hasMeans && result.replications == 2)
        #expect(result.completed == 1200 && result.littleHolds)
    }
}
