import ChainModel
import Foundation
import Testing

@testable import ChainPlanning

/// Waiting by thresholds against the best of all rules that do not preempt.
@Suite struct OptimalDispatchTests {
    /// Optima found elsewhere, as in the description of the thresholds.
    @Test(arguments: [(2.5, 2.01633), (3.5, 4.0976)])
    func knownOptima(rate: Double, mean: Double) throws {
        let process = DecisionProcess(rates: [1, 0.1], capacities: [3, 10], arrivalRate: rate)
        let optimum = try #require(process.solve(accuracy: 3e-5))
        #expect(difference(optimum.lower / rate, mean) < 5e-5)
    }

    /// 40 systems of two to four chains: within 0.2 % of the optimum, and never worse than JFFC.
    @Test(arguments: [2, 3, 4])
    func nearlyOptimal(count: Int) throws {
        try forEachSeed(count == 2 ? 16 : 12) { seed, generator in
            let rates = (0..<count).map { _ in exp(Double.random(in: -2.3...0, using: &generator)) }.sorted(
                by: >)
            let most = [2: 5, 3: 3, 4: 2][count] ?? 1
            let capacities = (0..<count).map { _ in Int.random(in: 1...most, using: &generator) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = chains.totalRate * Double.random(in: 0.2...0.8, using: &generator)
            let process = DecisionProcess(rates: rates, capacities: capacities, arrivalRate: rate)
            let optimum = try #require(process.solve(accuracy: 2e-4), "seed \(seed)")
            let jffc = try #require(ExactAnalysis(chains, arrivalRate: rate))
            let choice = WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc)
            #expect(choice.analysis.meanJobs <= optimum.lower * 1.002, "seed \(seed) \(choice.thresholds)")
            #expect(choice.analysis.meanJobs <= jffc.meanJobs, "seed \(seed)")
            // No rule is better than the optimum.
            #expect(choice.analysis.meanJobs >= optimum.lower * (1 - 1e-6), "seed \(seed)")
        }
    }
}
