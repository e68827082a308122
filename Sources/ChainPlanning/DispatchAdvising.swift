import ChainModel

extension DispatchAdvice {
    /// Slots up to which thresholds are sought for advice: their descent takes seconds beyond.
    public static let mostSlots = 20_000

    /// Compares the two rules on a plan's chains; `nil` without a steady state, with one chain, or beyond `mostSlots`.
    ///
    /// Complexity: that of `WaitThresholds.choose`.
    public init?(_ plan: Plan) {
        guard plan.unstable == nil, plan.totalCapacity <= Self.mostSlots else { return nil }
        self.init(ParallelChains(plan.chains), arrivalRate: plan.demand.arrivalRate)
    }

    /// As for a plan with these chains.
    init?(_ chains: ParallelChains, arrivalRate: Double) {
        guard chains.count > 1, let jffc = ExactAnalysis(chains, arrivalRate: arrivalRate) else { return nil }
        let chosen = WaitThresholds.choose(chains, arrivalRate: arrivalRate, jffc: jffc).analysis
        self.init(
            meanResponseTimes: (jffc.meanResponseTime, chosen.meanResponseTime),
            waitProbabilities: (jffc.waitProbability, chosen.waitProbability))
    }
}
