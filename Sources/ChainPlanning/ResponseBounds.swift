import ChainModel

/// The bounds of Theorem 4 on the mean response time of JFFC (section 3.2.2, eqs. 14–18).
public enum ResponseBounds {
    /// Lower bound, seconds: `n` jobs always sit on the `n` fastest slots (death rates `ν̄_n`, eq. 14).
    ///
    /// Holds for every rule without preemption. `nil` when `λ ≥ ν`.
    /// - Complexity: O(C + K).
    public static func lower(_ chains: ParallelChains, arrivalRate: Double) -> Double? {
        meanResponse(chains, order: Array(0..<chains.count), arrivalRate: arrivalRate)
    }

    /// Upper bound, seconds: `n` jobs always sit on the `n` slowest slots (death rates `ν̲_n`, eq. 15).
    ///
    /// Proved for JFFC. `nil` when `λ ≥ ν`.
    /// - Complexity: O(C + K).
    public static func upper(_ chains: ParallelChains, arrivalRate: Double) -> Double? {
        meanResponse(chains, order: Array((0..<chains.count).reversed()), arrivalRate: arrivalRate)
    }

    /// Mean response of the birth–death process whose slots fill in the given order of chains, seconds.
    ///
    /// Weights `w_n = w_{n−1}·λ/d_n` may pass any power of ten for large `C`. Only their ratios matter, so all sums are
    /// kept relative to a scale that follows the largest weight: as good as logarithms, without a logarithm per slot.
    /// The death rates `d_n` do not decrease for eq. 15 and the weights are unimodal for eq. 14 too, so a weight that has
    /// become negligible stays so.
    private static func meanResponse(
        _ chains: ParallelChains, order: [Int], arrivalRate: Double
    ) -> Double? {
        let load = arrivalRate / chains.totalRate
        guard load < 1, arrivalRate > 0 else { return nil }
        var weight = 1.0
        var jobs = 0.0
        var weightSum = 0.0
        var jobSum = 0.0
        var deathRateBelow = 0.0
        for chain in order {
            let rate = chains.rates[chain]
            for busy in 1...chains.capacities[chain] {
                weightSum += weight
                jobSum += jobs * weight
                jobs += 1
                weight *= arrivalRate / (deathRateBelow + rate * Double(busy))
                if weight > largestWeight {
                    weight /= largestWeight
                    weightSum /= largestWeight
                    jobSum /= largestWeight
                }
            }
            deathRateBelow += rate * Double(chains.capacities[chain])
        }
        // The geometric tail n ≥ C of ratio ρ.
        let tail = weight / (1 - load)
        let occupancy = (jobSum + tail * (jobs + load / (1 - load))) / (weightSum + tail)
        return occupancy / arrivalRate
    }

    /// Weights are divided by this power of two when they exceed it; 2^600, so that nothing is lost to rounding.
    private static let largestWeight = 0x1p600
}
