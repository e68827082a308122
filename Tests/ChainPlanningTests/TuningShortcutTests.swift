import ChainModel
import Foundation
import Testing

@testable import ChainPlanning

/// What tuning leaves out and in which order it goes changes nothing.
@Suite struct TuningShortcutTests {
    /// The bound from slots alone is below the bounds of everything composed from the same block counts.
    @Test func slotBoundHolds() throws {
        var compared = 0
        forEachSeed(150) { seed, generator in
            var cluster = Cluster.random(servers: 2...9, blocks: 1...8, using: &generator)
            let composer = Composer(cluster)
            let total = composer.compose(capacity: 1).allocation.totalServiceRate
            cluster.demand.arrivalRate = max(total, 1e-3) * Double.random(in: 0.1...0.95, using: &generator)
            if seed % 3 == 0 {
                let plan = try? Planner.plan(cluster)
                cluster.manualPlacement.ranges[0] = plan?.placement.ranges[0]
            }
            let tuned = Composer(cluster)
            tuned.forEachRun { greedy, stops in
                let bound = SlotBound(greedy, cluster)
                tuned.forEachComposition(of: greedy, at: stops) { composition in
                    let allocation = composition.allocation
                    guard let fastest = allocation.chains.first, fastest.serviceTimeSeconds > 0 else {
                        return
                    }
                    let chains = ParallelChains(allocation.chains)
                    #expect(chains.totalRate <= bound.totalRate * (1 + 1e-12), "seed \(seed)")
                    let lower = ResponseBounds.lower(chains, arrivalRate: cluster.demand.arrivalRate)
                    guard let lower else { return }
                    compared += 1
                    #expect(bound.meanResponseTime <= lower * (1 + 1e-12), "seed \(seed)")
                }
            }
        }
        #expect(compared > 300)
    }

    /// Servers alike that each hold every block: each job is a chain of its own, and the bound is what comes out.
    @Test func slotBoundIsSharp() {
        let servers = (0..<3).map {
            Server(
                name: "s\($0)", memory: ByteCount(100), communicationTimeSeconds: 1, blockTimeSeconds: 0.5)
        }
        let model = ModelShape(name: "m", blockCount: 4, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 2), servers: servers)
        let greedy = Composer(cluster).greedy(capacity: 1)
        let bound = SlotBound(greedy, cluster)
        // 60 slots each, 15 jobs of 3 s: 45 jobs, of which 6 carry the load.
        #expect(difference(bound.totalRate, 15) < 1e-12)
        #expect(difference(bound.meanResponseTime, 3) < 1e-12)
    }

    @Test func sameForAnyLoop() throws {
        let backwards: IndependentLoop = { count, body in
            for position in (0..<count).reversed() { body(position) }
        }
        let concurrent: IndependentLoop = { DispatchQueue.concurrentPerform(iterations: $0, execute: $1) }
        try forEachSeed(25) { seed, generator in
            let cluster = Cluster.random(servers: 4...30, blocks: 4...12, using: &generator)
            for criterion in [TuningCriterion.exact, .lowerBound, .upperBound, .surrogate] {
                let options = PlanningOptions(capacity: .tuned(by: criterion))
                let plan = try Planner.plan(cluster, options: options)
                #expect(try Planner.plan(cluster, options: options, loop: backwards) == plan, "seed \(seed)")
                #expect(try Planner.plan(cluster, options: options, loop: concurrent) == plan, "seed \(seed)")
            }
        }
    }

    /// Candidates are every distinct composition of the best grade, the tuned one first.
    @Test func candidates() throws {
        try forEachSeed(40) { seed, generator in
            let cluster = Cluster.random(servers: 2...8, blocks: 1...8, using: &generator)
            let plan = try Planner.plan(cluster)
            let candidates = try Planner.candidates(cluster)
            guard plan.unstable == nil else { return #expect(candidates.isEmpty, "seed \(seed)") }
            let first = try #require(candidates.first)
            let exact = try #require(plan.meanResponseTime.exact)
            #expect(difference(first.meanResponseTime, exact) < 2e-9, "seed \(seed)")
            #expect(candidates.contains { $0.capacity == plan.capacityParameter }, "seed \(seed)")
            #expect(
                Set(candidates.map { [$0.placement.hashValue, $0.chains.hashValue] }).count
                    == candidates.count)
            let near = try Planner.candidates(cluster, within: 1.05)
            #expect(near == candidates.filter { $0.meanResponseTime <= 1.05 * first.meanResponseTime })
            let last = try #require(candidates.last)
            let chosen = try Planner.plan(cluster, choosing: last, tunedBy: .simulated)
            #expect(chosen.chains == last.chains && chosen.tunedBy == .simulated, "seed \(seed)")
            #expect(Certificate.violations(of: chosen, for: cluster).isEmpty, "seed \(seed)")
        }
    }
}
