import ChainModel
import Testing

@testable import ChainPlanning

@Suite("Advice on the dispatch rule")
struct DispatchAdviceTests {
    /// The example of the specification: mean response 3.340 under JFFC and 2.016 under thresholds, `P(wait)` 0.098 and
    /// 0.645.
    @Test func slowChainsAreWorthWaitingToAvoid() throws {
        let chains = ParallelChains(rates: [1, 0.1], capacities: [3, 10])
        let advice = try #require(DispatchAdvice(chains, arrivalRate: 2.5))
        #expect(advice.rule == .jffcWait)
        #expect(abs(advice.meanResponseTimes.jffc - 3.33957) < 1e-5)
        #expect(abs(advice.meanResponseTimes.thresholds - 2.01637) < 1e-5)
        #expect(abs(advice.waitProbabilities.jffc - 0.0977) < 1e-4)
        #expect(abs(advice.waitProbabilities.thresholds - 0.645) < 1e-3)
    }

    /// Thresholds gain 1.2 % here (9.4709 to 9.3558), too little for the jobs that they keep waiting.
    @Test func chainsOfLikeSpeedAreUsedAtOnce() throws {
        let chains = ParallelChains(rates: [0.13, 0.068], capacities: [7, 7])
        let advice = try #require(DispatchAdvice(chains, arrivalRate: 0.9))
        #expect(advice.rule == .jffc)
        #expect(advice.gain > 0.01 && advice.gain < DispatchAdvice.leastGain)
    }

    @Test func nothingIsSaidWithoutAChoice() throws {
        let one = ParallelChains(rates: [1], capacities: [3])
        #expect(DispatchAdvice(one, arrivalRate: 2) == nil)
        let two = ParallelChains(rates: [1, 0.5], capacities: [1, 1])
        #expect(DispatchAdvice(two, arrivalRate: 1.5) == nil, "no steady state")
    }
}
