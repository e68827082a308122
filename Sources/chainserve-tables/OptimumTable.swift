import ChainModel
import ChainOptimum
import ChainPlanning

/// How far GBP-CR and GCA are from the optimum of small pools.
enum OptimumTable {
    static func print() throws {
        let solver = try? HighsSolver()
        if solver == nil { Swift.print("(HiGHS is not installed: without the rows on eq. 5)") }
        Swift.print("| gap of | \(Summary.header) |")
        Swift.print("| --- | --- | --- | --- | --- | --- |")
        for load in [0.2, 0.5] {
            var gaps = Gaps()
            var draw = 0
            while gaps.mean.count < 240 {
                draw += 1
                var generator = Generator(state: UInt64(9_000_000 + draw))
                var cluster = Pools.small(using: &generator)
                cluster.demand.arrivalRate = 1e6
                guard let most = try? Planner.plan(cluster) else { continue }
                cluster.demand.arrivalRate = load * most.totalServiceRate
                try gaps.add(cluster, solver)
            }
            Swift.print("| plain mean response, λ = \(load) of the most | \(gaps.mean.cells) |")
            Swift.print("| the same with --use-all-servers | \(gaps.spares.cells) |")
            Swift.print("| the same with --use-all-servers --improve | \(gaps.improved.cells) |")
            guard solver != nil else { continue }
            Swift.print("| GCA's jobs over the optimum on its chains | \(gaps.allocation.cells) |")
            Swift.print("| that optimum over its linear relaxation, rounded up | \(gaps.relaxation.cells) |")
            Swift.print("| GCA's jobs over the joint optimum | \(gaps.joint.cells) |")
        }
    }

    private struct Gaps {
        var mean = Summary()
        var spares = Summary()
        var improved = Summary()
        var allocation = Summary()
        var relaxation = Summary()
        var joint = Summary()

        mutating func add(_ cluster: Cluster, _ solver: HighsSolver?) throws {
            let plan = try Planner.plan(cluster)
            let optimum = try JointOptimum(cluster, solver: solver)
            guard let least = optimum.leastMean, let plain = plan.meanResponseTime.exact else { return }
            mean.add(plain / least - 1)
            for improves in [false, true] {
                let options = PlanningOptions(useAllServers: true, improve: improves)
                guard let found = try Planner.plan(cluster, options: options).meanResponseTime.exact else {
                    continue
                }
                if improves { improved.add(found / least - 1) } else { spares.add(found / least - 1) }
            }
            guard let solver else { return }
            let program = SlotProgram(cluster, placement: plan.placement, chains: plan.chains)
            guard let greedy = program.greedyJobs, let best = try program.optimum(solver),
                let relaxed = try program.relaxation(solver), let joint = optimum.fewestJobs
            else { return }
            allocation.add(Double(greedy) / Double(best) - 1)
            relaxation.add(Double(best) / max(1, (relaxed - 1e-6).rounded(.up)) - 1)
            self.joint.add(Double(greedy) / Double(joint) - 1)
        }
    }
}
