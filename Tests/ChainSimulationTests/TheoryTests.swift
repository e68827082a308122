import ChainPlanning
import Testing

@testable import ChainSimulation

/// Means against queueing theory. The simulator does what `SlotQueue` does (`PathTests`); that is quick enough in a
/// debug build for 99.9 % intervals within which a wrong value by 1 % does not lie. `simulate --validate` does
/// the same with the simulator itself, longer.
@Suite struct TheoryTests {
    struct Known: Sendable, CustomTestStringConvertible {
        var name: String
        var rates: [Double]
        var capacities: [Int]
        var arrivalRate: Double
        var sizes = JobSizes.exponential
        var expected: Double
        var jobs = 1_200_000
        var testDescription: String { name }
    }

    /// Pollaczek and Khinchine.
    private static func single(_ load: Double, cv: Double) -> Double {
        1 + load * (1 + cv * cv) / (2 * (1 - load))
    }

    static let known = [
        Known(
            name: "M/M/1", rates: [1], capacities: [1], arrivalRate: 0.3, expected: 1 / 0.7),
        Known(
            name: "M/M/4", rates: [1], capacities: [4], arrivalRate: 2.4,
            expected: ValidationTable.erlangResponse(4, load: 0.6), jobs: 2_000_000),
        Known(
            name: "M/D/1", rates: [1], capacities: [1], arrivalRate: 0.5, sizes: .deterministic,
            expected: single(0.5, cv: 0)),
        Known(
            name: "M/G/1 Gamma", rates: [1], capacities: [1], arrivalRate: 0.4, sizes: .gamma(cv: 0.5),
            expected: single(0.4, cv: 0.5)),
        Known(
            name: "M/G/1 lognormal", rates: [1], capacities: [1], arrivalRate: 0.25,
            sizes: .lognormal(cv: 0.8), expected: single(0.25, cv: 0.8), jobs: 2_000_000),
        // Section G of the specification; solved by hand as fractions where given so.
        Known(
            name: "JFFC 1", rates: [1, 0.5], capacities: [1, 1], arrivalRate: 0.6, expected: 55.0 / 36),
        Known(
            name: "JFFC 2", rates: [2, 1], capacities: [2, 3], arrivalRate: 4, expected: 0.7408491744),
        Known(
            name: "JFFC 3", rates: [0.13, 0.068], capacities: [7, 7], arrivalRate: 0.9,
            expected: 9.4708724421, jobs: 800_000),
    ]

    @Test(arguments: known)
    func means(_ known: Known) {
        let estimate = SlotQueue(rates: known.rates, capacities: known.capacities)
            .meanResponse(jobs: known.jobs, arrivalRate: known.arrivalRate, sizes: known.sizes, seed: 20)
        let label = Comment(rawValue: "\(estimate) for \(known.expected)")
        #expect(estimate.covers(known.expected), label)
        #expect(!estimate.covers(known.expected * 1.01) && !estimate.covers(known.expected * 0.99), label)
    }

    /// The simulator itself, with its own statistics, on fewer jobs.
    @Test func simulatorCoversExactValues() throws {
        let chains = ParallelChains(rates: [1, 0.1], capacities: [3, 10])
        let jffc = try #require(ExactAnalysis(chains, arrivalRate: 2.5))
        // 3.33957 against 2.01637: section G, and the price rule of the exact analysis.
        for (policy, mean) in [
            (SimulatedPolicy.jffc, jffc.meanResponseTime),
            (.jffcWait(thresholds: [1, 8]), 2.01637),
        ] {
            let result = Simulation(
                SimulatedSystem(rates: [1, 0.1], capacities: [3, 10]), policy: policy,
                arrivals: .poisson(rate: 2.5), length: RunLength(jobs: 12_000), seed: 4
            ).run()
            let response = result.response.estimate.widened(to: 0.999, degrees: result.degrees)
            #expect(response.covers(mean), "\(response) for \(mean)")
            #expect((response.halfWidth ?? 1) < 0.2 * mean)
            #expect(result.littleHolds && result.littleDifference < 0.02 && result.unstable == nil)
        }
    }

    /// Jobs that always hold the fastest slots: Theorem 4's lower bound.
    @Test func migratingIdealIsTheLowerBound() throws {
        let (rates, capacities) = ([2.0, 1], [2, 3])
        let lower = try #require(
            ResponseBounds.lower(ParallelChains(rates: rates, capacities: capacities), arrivalRate: 4))
        let ideal = MigratingIdeal(SimulatedSystem(rates: rates, capacities: capacities), arrivalRate: 4)
        let estimate = ideal.run(jobs: 60_000, warmUp: 5000, seed: 2, confidence: 0.999)
        #expect(estimate.covers(lower), "\(estimate) for \(lower)")
        #expect((estimate.relativeHalfWidth ?? 1) < 0.04)
    }
}
