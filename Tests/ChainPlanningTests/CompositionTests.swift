import ChainModel
import Testing

@testable import ChainPlanning

/// Placement and allocation against the naive algorithms, on every tiny case and on random pools.
@Suite struct CompositionTests {
    @Test func placementOfRandomPools() throws {
        try forEachSeed(150) { seed, generator in
            let cluster = Cluster.random(servers: 1...7, blocks: 1...8, using: &generator)
            let composer = Composer(cluster)
            for capacity in 1...composer.largestFeasibleCapacity {
                let expected = try #require(NaiveComposition.placement(cluster, capacity: capacity))
                let composition = composer.compose(capacity: capacity)
                #expect(composition.placement == expected.0, "seed \(seed) c=\(capacity)")
                #expect(composition.disjointChains == expected.chainCount, "seed \(seed) c=\(capacity)")
                #expect(composition.reservedRateMet == expected.rateMet, "seed \(seed) c=\(capacity)")
            }
            let beyond = composer.largestFeasibleCapacity + 1
            #expect(NaiveComposition.placement(cluster, capacity: beyond) == nil, "seed \(seed)")
        }
    }

    @Test func allocationOfRandomPools() throws {
        try forEachSeed(150) { seed, generator in
            let cluster = Cluster.random(servers: 1...7, blocks: 1...6, using: &generator)
            let capacity = Int.random(in: 1...Composer(cluster).largestFeasibleCapacity, using: &generator)
            let placement = try #require(NaiveComposition.placement(cluster, capacity: capacity)).0
            let expected = NaiveComposition.allocation(cluster, placement)
            #expect(CacheAllocation(cluster, placement: placement).chains == expected, "seed \(seed)")
        }
    }

    /// Three servers, three blocks: every placement and every number of slots from 0 to 3.
    @Test func allocationOfEveryTinyPool() {
        let model = ModelShape(name: "m", blockCount: 3, blockSize: ByteCount(100), cacheSize: ByteCount(1))
        let times = [(0.31, 0.17), (0.73, 0.05), (0.11, 0.41)]
        var choices: [(BlockRange?, Int)] = [(nil, 0)]
        for first in 1...3 {
            for count in 1...(4 - first) {
                for slots in 0...3 { choices.append((BlockRange(first: first, count: count), slots)) }
            }
        }
        var compared = 0
        var differing = 0
        for one in choices {
            for two in choices {
                for three in choices {
                    let entries = [one, two, three]
                    let servers = zip(entries, times).enumerated().map { number, pair in
                        Server(
                            name: "s\(number)", memory: ByteCount((pair.0.0?.count ?? 0) * 100 + pair.0.1),
                            communicationTimeSeconds: pair.1.0, blockTimeSeconds: pair.1.1)
                    }
                    let cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
                    let placement = Placement(ranges: entries.map(\.0))
                    let chains = CacheAllocation(cluster, placement: placement).chains
                    if chains != NaiveComposition.allocation(cluster, placement) { differing += 1 }
                    compared += chains.isEmpty ? 0 : 1
                }
            }
        }
        #expect(differing == 0)
        #expect(compared > 1000)
    }

    /// Tuning meets every distinct placement once, with the smallest `c` that leads to it.
    @Test func distinctPlacements() throws {
        try forEachSeed(150) { seed, generator in
            let cluster = Cluster.random(servers: 1...7, blocks: 1...8, using: &generator)
            let composer = Composer(cluster)
            var expected: [(Int, Placement)] = []
            for capacity in 1...composer.largestFeasibleCapacity {
                let placement = try #require(NaiveComposition.placement(cluster, capacity: capacity)).0
                if expected.last?.1 != placement { expected.append((capacity, placement)) }
            }
            var visited: [(Int, Placement)] = []
            composer.forEachPlacement { composition in
                if visited.last?.1 != composition.placement {
                    visited.append((composition.capacityParameter, composition.placement))
                }
            }
            #expect(visited.map(\.0) == expected.map(\.0), "seed \(seed)")
            #expect(visited.map(\.1) == expected.map(\.1), "seed \(seed)")
        }
    }

    @Test func boundsAgainstBalanceEquations() {
        forEachSeed(100) { seed, generator in
            let count = Int.random(in: 1...5, using: &generator)
            let rates = (0..<count).map { _ in Double.random(in: 0.05...2, using: &generator) }.sorted(by: >)
            let capacities = (0..<count).map { _ in Int.random(in: 1...6, using: &generator) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = chains.totalRate * Double.random(in: 0.05...0.9, using: &generator)
            let lower = NaiveComposition.meanResponse(
                rates: rates, capacities: capacities, arrivalRate: rate, fastestFirst: true)
            let upper = NaiveComposition.meanResponse(
                rates: rates, capacities: capacities, arrivalRate: rate, fastestFirst: false)
            #expect(difference(ResponseBounds.lower(chains, arrivalRate: rate), lower) < 1e-11, "\(seed)")
            #expect(difference(ResponseBounds.upper(chains, arrivalRate: rate), upper) < 1e-11, "\(seed)")
        }
    }

    /// Floors that binary floating point gets wrong: 2.2/1.1 and 3.3/1.1 with sizes in tenths.
    @Test(arguments: [(22, 2), (33, 3), (21, 1), (32, 2), (34, 3)])
    func floorsAreExact(memory: Int, blocks: Int) {
        let model = ModelShape(
            name: "m", blockCount: 9, blockSize: ByteCount(1_000_000_000), cacheSize: ByteCount(100_000_000))
        let server = Server(
            name: "s", memory: ByteCount(memory * 100_000_000), communicationTimeSeconds: 1,
            blockTimeSeconds: 1)
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: [server])
        #expect(BlockCapacity(cluster).blockCounts(capacity: 1) == [blocks])
    }

    @Test func computeBuffersAreSetAside() throws {
        var cluster = Cluster.paperExample
        for position in cluster.servers.indices { cluster.servers[position].memory += ByteCount(7) }
        cluster.model.computeSize = ByteCount(7)
        let plan = try Planner.plan(cluster, options: PlanningOptions(capacity: .fixed(1)))
        let original = try Planner.plan(.paperExample, options: PlanningOptions(capacity: .fixed(1)))
        #expect(plan.chains == original.chains)
        #expect(Certificate.violations(of: plan, for: cluster).isEmpty)
    }

    /// Identical servers: the first of the cluster wins every tie.
    @Test func tiesGoToTheFirst() throws {
        let model = ModelShape(name: "m", blockCount: 2, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let servers = (0..<4).map {
            Server(name: "s\($0)", memory: ByteCount(14), communicationTimeSeconds: 1, blockTimeSeconds: 1)
        }
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 3), servers: servers)
        let plan = try Planner.plan(cluster, options: PlanningOptions(capacity: .fixed(4)))
        #expect(plan.placement.ranges.map { $0?.first } == [1, 2, 1, 2])
        #expect(plan.chains.map { $0.hops.map(\.server.rawValue) } == [[0, 1], [2, 3]])
    }

    /// The example of section 3.1.4, worked by hand.
    @Test func paperExample() throws {
        let plan = try Planner.plan(.paperExample, options: PlanningOptions(capacity: .fixed(1)))
        #expect(plan.placement.ranges.map { $0?.first } == [1, 2, 1, 2, 3])
        #expect(plan.placement.ranges.map { $0?.count } == [1, 2, 1, 1, 1])
        #expect(plan.chains.map { $0.hops.map(\.server.rawValue) } == [[0, 1], [0, 3, 4], [2, 3, 4]])
        #expect(plan.chains.map(\.capacity) == [5, 5, 5])
        #expect(plan.disjointChains == 2)
        for (chain, time) in zip(plan.chains, [3.05, 3.10, 3.12]) {
            #expect(difference(chain.serviceTimeSeconds, time) < 1e-12)
        }
    }
}
