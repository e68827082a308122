import ChainModel
import Testing

@testable import ChainPlanning

@Suite struct BaselinePlacementTests {
    /// Three equal servers of two blocks each over four blocks: the third doubles what is served least.
    @Test func serversJoinWhereLeastIsServed() {
        let model = ModelShape(name: "m", blockCount: 4, blockSize: ByteCount(100), cacheSize: ByteCount(1))
        let servers = [(1, 10.0), (2, 10.0), (3, 4.0)].map { number, rate in
            Server(
                name: "s\(number)", memory: ByteCount(230), communicationTimeSeconds: 0,
                blockTimeSeconds: 1 / rate)
        }
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
        let placement = PetalsPlacement.placement(cluster, PetalsParameters(reserve: .zero))
        #expect(placement.ranges.map { $0?.first } == [1, 3, 1])
        #expect(placement.ranges.map { $0?.count } == [2, 2, 2])
        // The slow one first: then both fast ones avoid it until nothing else is left.
        let order = [2, 0, 1].map { ServerIndex($0) }
        let other = PetalsPlacement.placement(
            cluster, PetalsParameters(reserve: .zero, joinOrder: order))
        #expect(other.ranges.map { $0?.first } == [3, 1, 1])
    }

    /// The least block decides first, then the next: the sum would choose otherwise.
    @Test func lexicographicOrSum() {
        let model = ModelShape(name: "m", blockCount: 4, blockSize: ByteCount(100), cacheSize: ByteCount(1))
        var servers = (0..<3).map {
            Server(name: "s\($0)", memory: ByteCount(230), communicationTimeSeconds: 0, blockTimeSeconds: 1)
        }
        servers[0].advertisedRates = .init(forward: 1, network: 9)
        servers[1].advertisedRates = .init(forward: 1, network: 0.4)
        servers[2].advertisedRates = .init(forward: 1, network: 1)
        var cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
        cluster.manualPlacement.ranges[0] = BlockRange(first: 1, count: 1)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 3, count: 2)
        // Throughputs of the blocks: 1, 0, 0.4, 0.4.
        let lexicographic = PetalsPlacement.placement(cluster, PetalsParameters(reserve: .zero))
        let sum = PetalsPlacement.placement(cluster, PetalsParameters(selection: .sum, reserve: .zero))
        #expect(lexicographic.ranges[2]?.first == 2)
        #expect(sum.ranges[2]?.first == 2)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 3, count: 1)
        // 1, 0, 0.4, 0: both windows at the end have the same least block; the sum ties, the first wins.
        #expect(
            PetalsPlacement.placement(cluster, PetalsParameters(reserve: .zero)).ranges[2]?.first == 2)
        cluster.servers[0].advertisedRates = .init(forward: 0.1, network: 9)
        cluster.servers[1].advertisedRates = .init(forward: 9, network: 0.4)
        cluster.manualPlacement.ranges[0] = BlockRange(first: 1, count: 2)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 3, count: 1)
        // 0.067, 0.067, 0.4, 0: the least block is in the last window, the least sum in the first.
        let last = PetalsPlacement.placement(cluster, PetalsParameters(reserve: .zero))
        let first = PetalsPlacement.placement(cluster, PetalsParameters(selection: .sum, reserve: .zero))
        #expect(last.ranges[2]?.first == 3)
        #expect(first.ranges[2]?.first == 1)
    }

    @Test func joinOrderIsSeeded() {
        let plan = { (seed: UInt64?) in
            PetalsPlacement.placement(
                .paperExample, PetalsParameters(reserve: .zero, joinSeed: seed))
        }
        #expect(plan(3) == plan(3))
        #expect((0..<20).contains { plan($0) != plan(nil) })
    }

    /// Every block is held for the design load when the pool has room for it.
    @Test func bprrHoldsTheDesignLoad() {
        forEachSeed(40) { seed, generator in
            let cluster = Cluster.random(servers: 6...9, blocks: 2...5, using: &generator)
            let baseline = BPRRPlacement(cluster)
            #expect(baseline.designLoad >= 1, "seed \(seed)")
            for (number, range) in baseline.placement.ranges.enumerated() {
                guard let range else { continue }
                let slots = cluster.cacheSlots(of: ServerIndex(number), hosting: range.count)
                #expect(slots >= range.count * baseline.designLoad, "seed \(seed)")
            }
            let options = PlanningOptions(placement: .cgBP, capacity: .fixed(baseline.designLoad))
            if let plan = try? Planner.plan(cluster, options: options) {
                #expect(plan.placement == baseline.placement)
                #expect(plan.capacityParameter == baseline.designLoad)
            }
        }
    }

    @Test func designLoadMustBePositive() {
        #expect(throws: PlanningError.self) {
            try Planner.plan(
                .paperExample, options: PlanningOptions(placement: .cgBP, capacity: .fixed(0)))
        }
    }
}

/// Placements of the published programs, run as they are.
@Suite(.enabled(if: GoldenData.isPresent("baselines.json"), Comment(rawValue: GoldenData.missing)))
struct GoldenBaselineTests {
    private static func cluster(_ run: GoldenData.Baselines.Run, _ meta: GoldenData.Baselines.Meta) -> Cluster
    {
        func bytes(_ gigabytes: Double) -> ByteCount { ByteCount(Int((gigabytes * 1e9).rounded())) }
        let model = ModelShape(
            name: "bloom", blockCount: meta.L, blockSize: bytes(meta.s_m), cacheSize: bytes(meta.s_c))
        let servers = run.in.M.indices.map { number in
            let rates = run.in.high[number] == 1 ? meta.petals.throughput_high : meta.petals.throughput_low
            // The program's time of a token leaves the constant part of the delay out.
            return Server(
                name: "s\(number)", memory: bytes(run.in.M[number]),
                communicationTimeSeconds: run.in.RTT[number] * meta.lc / 1000,
                blockTimeSeconds: run.in.tau_p[number] / 1000,
                advertisedRates: .init(forward: rates[0], network: rates[1]))
        }
        return Cluster(model: model, demand: Demand(arrivalRate: 0.2), servers: servers)
    }

    @Test func petals() throws {
        let golden = try GoldenData.load(GoldenData.Baselines.self, from: "baselines.json")
        for (number, run) in golden.cases.enumerated() {
            let cluster = Self.cluster(run, golden.meta)
            let parameters = PetalsParameters(
                selection: .sum, blockSize: ByteCount(Int(golden.meta.petals.block_bytes)),
                cacheSize: ByteCount(golden.meta.petals.cache_bytes_per_block),
                reserve: ByteCount(golden.meta.petals.reserve_bytes),
                blockLimits: run.in.high.map { $0 == 1 ? golden.meta.L : golden.meta.petals.cap_low_type },
                joinOrder: run.in.petals_join_order.map { ServerIndex($0) })
            let placement = PetalsPlacement.placement(cluster, parameters)
            #expect(placement.ranges.map { $0?.first } == run.petals.a, "case \(number)")
            #expect(placement.ranges.map { $0?.count } == run.petals.m, "case \(number)")
        }
    }

    @Test func bprr() throws {
        let golden = try GoldenData.load(GoldenData.Baselines.self, from: "baselines.json")
        for (number, run) in golden.cases.enumerated() {
            let cluster = Self.cluster(run, golden.meta)
            let placement = BPRRPlacement(cluster, designLoad: run.bprr.R, outputTokens: golden.meta.lc)
                .placement
            #expect(placement.ranges.map { $0?.first } == run.bprr.a, "case \(number)")
            #expect(placement.ranges.map { $0?.count } == run.bprr.m, "case \(number)")
            for (server, range) in placement.ranges.enumerated() {
                let slots = range.map { cluster.cacheSlots(of: ServerIndex(server), hosting: $0.count) } ?? 0
                #expect(slots == run.bprr.slots[server], "case \(number)")
            }
        }
    }
}
