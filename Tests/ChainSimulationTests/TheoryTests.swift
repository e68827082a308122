import ChainPlanning
import Testing

@testable import ChainSimulation

@Suite struct TheoryTests {
    /// The mean response of JFFC lies in its 99.9 % interval about the exact value.
    @Test(arguments: [([1.0], [1], 0.5), ([1.0, 0.5], [1, 1], 0.6), ([0.13, 0.068], [7, 7], 0.9)])
    func exactMeans(rates: [Double], capacities: [Int], arrivalRate: Double) throws {
        let exact = try #require(
            ExactAnalysis(
                ParallelChains(rates: rates, capacities: capacities), arrivalRate: arrivalRate))
        let result = Simulation(
            SimulatedSystem(rates: rates, capacities: capacities), arrivals: .poisson(rate: arrivalRate),
            length: RunLength(jobs: 4000), seed: 1
        ).run()
        let response = result.response.estimate.widened(to: 0.999, degrees: result.degrees)
        #expect(response.covers(exact.meanResponseTime))
        #expect(result.littleHolds && result.unstable == nil && result.completed == 4000)
    }
}
