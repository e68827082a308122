import ChainModel
import ChainPlanning
import Foundation

/// The exact recursion beside the sparse solver, and what both cost.
enum SolverTables {
    static func agreement() throws {
        print("| rule | systems | most states | mean jobs | variance | mean queue | P(wait) | residual |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for (size, count) in [(3e4, 300), (1e6, 60)] {
            for waits in [false, true] { agreement(size: size, count: count, waits: waits) }
        }
    }

    /// A row: the largest differences over random systems of up to `size` states.
    private static func agreement(size: Double, count: Int, waits: Bool) {
        var generator = Generator(state: 1)
        var worst = [Double](repeating: 0, count: 5)
        var states = 0
        var systems = 0
        while systems < count {
            let (chains, rate) =
                size > 1e5 ? large(size, using: &generator) : system(using: &generator)
            var thresholds = [1]
            while thresholds.count < chains.count {
                let step = waits ? Int.random(in: 0...6, using: &generator) : 0
                thresholds.append(thresholds[thresholds.count - 1] + step)
            }
            guard
                let exact = ExactAnalysis(
                    chains, arrivalRate: rate, thresholds: thresholds, withVariances: true),
                let sparse = SparseChain(
                    chains, arrivalRate: rate, thresholds: thresholds, stateLimit: Int(size))?.solve()
            else { continue }
            systems += 1
            states = max(states, sparse.stateCount)
            let differences = [
                abs(exact.meanJobs / sparse.meanJobs - 1),
                exact.variances.map { abs($0.jobs / sparse.jobsVariance - 1) } ?? 0,
                abs(exact.meanWaitingTime * rate - sparse.meanWaiting),
                abs(exact.waitProbability - sparse.waitProbability), sparse.residual,
            ]
            // Not by `max`, which loses what is not a number.
            for (number, value) in differences.enumerated() where !(value <= worst[number]) {
                worst[number] = value
            }
        }
        var cells = worst.map { String(format: "%.1e", $0) }
        if waits { cells[1] = "–" }
        print(
            "| \(waits ? "thresholds" : "JFFC") | \(systems) | \(states) | \(cells.joined(separator: " | ")) |"
        )
    }

    /// Two to five chains with `size/10` to `size` states.
    private static func large(
        _ size: Double, using generator: inout Generator
    ) -> (ParallelChains, Double) {
        while true {
            let count = Int.random(in: 2...5, using: &generator)
            let capacities = (0..<count).map { _ in
                Int(exp(Double.random(in: 0...log(2000), using: &generator)))
            }
            let states = capacities.reduce(1.0) { $0 * Double($1 + 1) }
            guard states > size / 10, states < size else { continue }
            let rates = capacities.map { _ in exp(Double.random(in: -4...0, using: &generator)) }
            let chains = ParallelChains(rates: rates.sorted(by: >), capacities: capacities)
            return (chains, chains.totalRate * Double.random(in: 0.1...0.97, using: &generator))
        }
    }

    private static func system(using generator: inout Generator) -> (ParallelChains, Double) {
        let count = Int.random(in: 1...6, using: &generator)
        let rates = (0..<count).map { _ in exp(Double.random(in: -4...0, using: &generator)) }.sorted(by: >)
        let capacities = (0..<count).map { _ in Int.random(in: 1...8, using: &generator) }
        let chains = ParallelChains(rates: rates, capacities: capacities)
        return (chains, chains.totalRate * Double.random(in: 0.1...0.97, using: &generator))
    }

    static func speed() throws {
        print("| what | size | seconds | note |")
        print("| --- | --- | --- | --- |")
        let rates = (0..<1000).map { 1 - 0.0009 * Double($0) }
        let large = ParallelChains(rates: rates, capacities: rates.map { _ in 1000 })
        let rate = 0.9 * large.totalRate
        let (exact, time) = seconds { ExactAnalysis(large, arrivalRate: rate) }
        print(
            "| exact mean | 10⁶ slots, 1000 chains | \(format(time)) | \(exact?.meanResponseTime ?? .nan) s |"
        )
        let (_, spread) = seconds { ExactAnalysis(large, arrivalRate: rate, withVariances: true) }
        print("| with variances | the same | \(format(spread)) | |")
        let (_, lower) = seconds { ResponseBounds.lower(large, arrivalRate: rate) }
        print("| lower bound of Theorem 4 | the same | \(format(lower)) | |")
        let shapes = [
            [999, 999], [1999, 499], [99, 9999], [99, 99, 99], [30, 30, 30, 30], [9, 9, 9, 9, 9, 9],
        ]
        for capacities in shapes {
            let rates = capacities.indices.map { pow(0.6, Double($0)) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            guard let sparse = SparseChain(chains, arrivalRate: 0.8 * chains.totalRate) else { continue }
            let (solution, time) = seconds { sparse.solve() }
            let exact = ExactAnalysis(chains, arrivalRate: 0.8 * chains.totalRate)?.meanJobs ?? .nan
            let off = String(format: "%.1e", abs(solution.meanJobs / exact - 1))
            let residual = String(format: "%.1e", solution.residual)
            print(
                "| sparse solver, \(capacities.count) chains | \(sparse.stateCount) states | \(format(time)) "
                    + "| residual \(residual), \(off) from the recursion |")
        }
    }

    private static func format(_ time: Double) -> String { String(format: "%.3f", time) }
}
