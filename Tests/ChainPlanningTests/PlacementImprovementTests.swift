import ChainModel
import Testing

@testable import ChainPlanning

@Suite struct PlacementImprovementTests {
    /// Sound plans, never worse than the plain one, and the gain that is reported is the difference.
    @Test func neverWorseAndCertified() throws {
        try forEachSeed(40) { seed, generator in
            var cluster = Cluster.random(servers: 2...6, blocks: 2...8, using: &generator)
            if Bool.random(using: &generator) {
                cluster.manualPlacement.ranges[0] = BlockRange(first: 1, count: 1)
                guard cluster.servers[0].memory.wholeUnits(of: cluster.model.blockSize) > 0 else { return }
            }
            guard let plain = try? Planner.plan(cluster) else { return }
            for (uses, improves) in [(true, false), (false, true), (true, true)] {
                let options = PlanningOptions(useAllServers: uses, improve: improves)
                let plan = try Planner.plan(cluster, options: options)
                let label = Comment(rawValue: "seed \(seed) \(uses) \(improves)")
                #expect(Certificate.violations(of: plan, for: cluster).isEmpty, label)
                #expect(plan.placement.ranges[0] == plain.placement.ranges[0] || cluster.isFree(0), label)
                let gain = try #require(plan.improvement, label)
                if let before = plain.meanResponseTime.exact {
                    #expect(difference(gain.meanResponseTimeBefore, before) < 1e-12, label)
                    let mean = try #require(plan.meanResponseTime.exact, label)
                    #expect(mean <= before * (1 + 1e-9) || !plain.loadTargetMet, label)
                }
                if plain.loadTargetMet { #expect(plan.loadTargetMet, label) }
                if gain.changes == 0 { #expect(plan.placement == plain.placement, label) }
                if !uses { #expect(plan.spareServers == plain.spareServers, label) }
            }
        }
    }

    /// Two equal chains would be better than one under load, but the target is met by one: the spares help.
    @Test func sparesAreUsed() throws {
        let model = ModelShape(name: "m", blockCount: 2, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let servers = (0..<4).map {
            Server(
                name: "s\($0)", memory: ByteCount(11), communicationTimeSeconds: 1, blockTimeSeconds: 0)
        }
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 0.3), servers: servers)
        let plain = try Planner.plan(cluster)
        let plan = try Planner.plan(cluster, options: PlanningOptions(useAllServers: true))
        #expect(plain.spareServers.count == 2)
        #expect(plan.spareServers.isEmpty)
        // M/M/1 at load 0.6, then M/M/2 at load 0.3: 2/(1 − 0.6) and 2/(1 − 0.3²).
        #expect(difference(plain.meanResponseTime.exact, 5) < 1e-9)
        #expect(difference(plan.meanResponseTime.exact, 2 / 0.91) < 1e-9)
    }

    @Test func onlyOnGreedyPlacements() {
        #expect(throws: PlanningError.self) {
            try Planner.plan(.paperExample, options: PlanningOptions(placement: .wholeModel, improve: true))
        }
    }
}

extension Cluster {
    fileprivate func isFree(_ server: Int) -> Bool { manualPlacement.ranges[server] == nil }
}
