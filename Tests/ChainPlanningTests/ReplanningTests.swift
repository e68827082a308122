import ChainModel
import Testing

@testable import ChainPlanning

/// Plans for another demand, and whether the move to them pays.
@Suite struct ReplanningTests {
    @Test func theSameDemandKeepsThePlan() throws {
        try forEachSeed(20) { seed, generator in
            let cluster = Cluster.random(servers: 3...8, blocks: 3...10, using: &generator)
            let options = PlanningOptions(dispatch: .jffcWait)
            let plan = try Planner.plan(cluster, options: options)
            let again = Replanning(
                cluster, present: plan, arrivalRate: cluster.demand.arrivalRate, options: options)
            #expect(again.candidate == nil && !again.isWorthwhile, "seed \(seed)")
            #expect(again.refreshed == plan, "seed \(seed)")
        }
    }

    /// The thresholds in force follow the rate: they are those of the same chains planned for that rate.
    @Test func thresholdsFollowTheRate() throws {
        var changed = 0
        try forEachSeed(40) { seed, generator in
            var cluster = Cluster.random(servers: 3...8, blocks: 3...10, using: &generator)
            let options = PlanningOptions(dispatch: .jffcWait)
            let present = try Planner.plan(cluster, options: options)
            let rate = present.totalServiceRate * Double.random(in: 0.1...0.9, using: &generator)
            let refreshed = Replanning(cluster, present: present, arrivalRate: rate, options: options)
                .refreshed
            #expect(refreshed.chains == present.chains && refreshed.placement == present.placement)
            cluster.demand.arrivalRate = rate
            let chains = ParallelChains(present.chains)
            let jffc = try #require(ExactAnalysis(chains, arrivalRate: rate))
            let best = WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc)
            #expect(refreshed.dispatch.thresholds == best.thresholds, "seed \(seed)")
            #expect(refreshed.dispatch.meanResponseTime == best.analysis.meanResponseTime, "seed \(seed)")
            #expect(refreshed.demand.arrivalRate == rate)
            if refreshed.dispatch.thresholds != present.dispatch.thresholds { changed += 1 }
        }
        #expect(changed > 0)
    }

    @Test func aMoveMustPay() throws {
        var moves = 0
        try forEachSeed(60) { seed, generator in
            let cluster = Cluster.random(servers: 4...8, blocks: 3...10, using: &generator)
            let options = PlanningOptions()
            let present = try Planner.plan(cluster, options: options)
            let rate = cluster.demand.arrivalRate * [0.1, 5, 20].randomElement(using: &generator)!
            var bounds = MoveBounds()
            bounds.loadRate = 1e6
            let fast = Replanning(
                cluster, present: present, arrivalRate: rate, options: options, bounds: bounds)
            // So slow that loading takes longer than the gain lasts.
            bounds.loadRate = 1e-6
            let slow = Replanning(
                cluster, present: present, arrivalRate: rate, options: options, bounds: bounds)
            #expect(slow.loadingServers.isEmpty || !slow.isWorthwhile, "seed \(seed)")
            guard let candidate = fast.candidate else { return }
            var bytes = 0
            for (position, range) in candidate.placement.ranges.enumerated() {
                if let range, range != present.placement.ranges[position] {
                    bytes += range.count * cluster.model.blockSize.rawValue
                }
            }
            #expect(fast.bytesToLoad == ByteCount(bytes), "seed \(seed)")
            #expect((fast.moveSeconds - Double(bytes) / 1e6).magnitude < 1e-12, "seed \(seed)")
            guard fast.isWorthwhile else { return }
            moves += 1
            #expect(fast.gain > fast.cost, "seed \(seed)")
            if let before = fast.refreshed.meanResponseTime.exact {
                let after = try #require(candidate.meanResponseTime.exact)
                #expect(after <= 0.95 * before * (1 + 1e-9), "seed \(seed): \(before) to \(after)")
                let saved = (before - after) * rate * (bounds.horizonSeconds - fast.moveSeconds)
                #expect((fast.gain - saved).magnitude < 1e-9 * saved, "seed \(seed)")
            } else {
                #expect(candidate.totalServiceRate > present.totalServiceRate, "seed \(seed)")
            }
        }
        #expect(moves > 0)
    }
}
