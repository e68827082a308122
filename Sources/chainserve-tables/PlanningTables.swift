import ChainModel
import ChainPlanning
import Foundation

/// What exact means, thresholds and local search bring, over the paper's grid and over unequal pools.
enum PlanningTables {
    private static let counts = [10, 20, 30, 40]
    private static let shares = [0.1, 0.2, 0.3, 0.4]

    /// The pools of one row: `J` of the paper's grid at a rate, every share and `draws` networks each.
    private static func grid(_ network: RoundTrips, count: Int, rate: Double, draws: Int) -> [Cluster] {
        var pools: [Cluster] = []
        for (number, share) in shares.enumerated() {
            for draw in 0..<draws {
                var generator = Generator(state: UInt64(count * 1000 + number * 100 + draw))
                pools.append(
                    Pools.paper(network, count: count, share: share, rate: rate, using: &generator))
            }
        }
        return pools
    }

    /// Unequal pools at a share of what all servers together could carry with one job a chain.
    private static func unequal(load: Double, draws: Int) -> [Cluster] {
        (0..<draws).compactMap { draw in
            var generator = Generator(state: UInt64(7_000_000 + draw))
            var cluster = Pools.unequal(using: &generator)
            cluster.demand.arrivalRate = 1e6
            guard let most = try? Planner.plan(cluster) else { return nil }
            cluster.demand.arrivalRate = load * most.totalServiceRate
            return cluster
        }
    }

    private static func rows(
        _ network: RoundTrips, rates: [Double], draws: Int, unequalDraws: Int,
        _ body: (_ name: String, _ pools: [Cluster]) throws -> Void
    ) rethrows {
        for count in counts {
            for rate in rates {
                try body(
                    "paper, J = \(count), λ = \(rate)/s",
                    grid(network, count: count, rate: rate, draws: draws))
            }
        }
        guard unequalDraws > 0 else { return }
        for load in [0.1, 0.3, 0.5, 0.7] {
            try body("unequal, λ = \(load) of the most", unequal(load: load, draws: unequalDraws))
        }
    }

    /// Exact mean of the plan tuned by the lower bound over that of the plan tuned by the exact mean.
    static func criterion(_ network: RoundTrips) throws {
        print("| pools of | \(Summary.header) |")
        print("| --- | --- | --- | --- | --- | --- |")
        rows(network, rates: [0.2, 0.4, 0.6, 0.8], draws: 10, unequalDraws: 200) { name, pools in
            var summary = Summary()
            for cluster in pools {
                let lower = PlanningOptions(capacity: .tuned(by: .lowerBound))
                guard let exact = (try? Planner.plan(cluster))?.meanResponseTime.exact,
                    let bound = (try? Planner.plan(cluster, options: lower))?.meanResponseTime.exact
                else { continue }
                summary.add(bound / exact - 1)
            }
            print("| \(name) | \(summary.cells) |")
        }
    }

    /// How much waiting for faster chains lowers the exact mean, and what it does to `P(wait)`.
    static func thresholds(_ network: RoundTrips) throws {
        print("| pools of | \(Summary.header) | mean P(wait), JFFC | with thresholds |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        rows(network, rates: [0.2, 0.8], draws: 10, unequalDraws: 200) { name, pools in
            var summary = Summary()
            var waits = (jffc: 0.0, thresholds: 0.0)
            for cluster in pools {
                let plan = try? Planner.plan(cluster, options: PlanningOptions(dispatch: .jffcWait))
                guard let plan, let jffc = plan.meanResponseTime.exact,
                    let mean = plan.dispatch.meanResponseTime
                else { continue }
                summary.add(1 - mean / jffc)
                waits.jffc += plan.waitProbability ?? 0
                waits.thresholds += plan.dispatch.waitProbability ?? 0
            }
            let count = Double(max(1, summary.count))
            let (jffc, after) = (waits.jffc / count, waits.thresholds / count)
            print("| \(name) | \(summary.cells) | \(Summary.percent(jffc)) | \(Summary.percent(after)) |")
        }
    }

    /// What spare servers and local search take off the mean of the plain plan.
    static func improvement(_ network: RoundTrips) throws {
        print("| pools of | option | \(Summary.header) |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        rows(network, rates: [0.2, 0.4, 0.6, 0.8], draws: 5, unequalDraws: 0) { name, pools in
            for (option, uses, improves) in [
                ("--use-all-servers", true, false), ("--improve", false, true), ("both", true, true),
            ] {
                var summary = Summary()
                for cluster in pools {
                    let options = PlanningOptions(useAllServers: uses, improve: improves)
                    let plan = try? Planner.plan(cluster, options: options)
                    guard let before = plan?.improvement?.meanResponseTimeBefore,
                        let after = plan?.meanResponseTime.exact
                    else { continue }
                    summary.add(1 - after / before)
                }
                print("| \(name) | \(option) | \(summary.cells) |")
            }
        }
    }
}
