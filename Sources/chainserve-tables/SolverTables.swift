import ChainModel
import ChainPlanning
import Foundation

/// The exact recursion beside the sparse solver, and what both cost.
enum SolverTables {
    static func agreement() throws {
        print("| rule | systems | most states | mean jobs | variance | mean queue | P(wait) | residual |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for waits in [false, true] {
            var generator = Generator(state: 1)
            var worst = [Double](repeating: 0, count: 5)
            var states = 0
            var systems = 0
            while systems < 300 {
                let (chains, rate) = system(using: &generator)
                var thresholds = [1]
                while thresholds.count < chains.count {
                    let step = waits ? Int.random(in: 0...6, using: &generator) : 0
                    thresholds.append(thresholds[thresholds.count - 1] + step)
                }
                guard
                    let exact = ExactAnalysis(
                        chains, arrivalRate: rate, thresholds: thresholds, withVariances: true),
                    let sparse = SparseChain(
                        chains, arrivalRate: rate, thresholds: thresholds, stateLimit: 30_000)?.solve()
                else { continue }
                systems += 1
                states = max(states, sparse.stateCount)
                let differences = [
                    abs(exact.meanJobs / sparse.meanJobs - 1),
                    exact.variances.map { abs($0.jobs / sparse.jobsVariance - 1) } ?? 0,
                    abs(exact.meanWaitingTime * rate - sparse.meanWaiting),
                    abs(exact.waitProbability - sparse.waitProbability), sparse.residual,
                ]
                for (number, value) in differences.enumerated() { worst[number] = max(worst[number], value) }
            }
            let cells = worst.map { String(format: "%.1e", $0) }.joined(separator: " | ")
            print("| \(waits ? "thresholds" : "JFFC") | \(systems) | \(states) | \(cells) |")
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
        let shapes = [[99, 99], [21, 21, 21], [315, 315], [45, 45, 45], [9, 9, 9, 9, 9]]
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
                    + "| \(solution.sweeps) sweeps, residual \(residual), \(off) from the recursion |")
        }
    }

    private static func format(_ time: Double) -> String { String(format: "%.3f", time) }
}
