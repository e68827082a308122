import ChainModel
import RealModule

/// Mean response of JFFC with bursty arrivals and sizes of any law: beyond the paper's assumptions.
///
/// **Arrivals are exact.** For renewal and two-state modulated arrivals with exponential sizes the means are
/// those of
/// `RenewalAnalysis` and `ModulatedAnalysis`: mean service `S_1`, mean wait `W_1`, chance to wait `p`.
///
/// **Sizes are corrected** with no fitted constant:
///
///     S = S_0 + √(2η)·(S_1 − S_0)        W = W_1·[(ca² + cs²)/(ca² + 1)]^p
///
/// `S_0` is the mean service with Poisson arrivals, which hardly depends on the law of sizes (for one chain
/// not at all:
/// Erlang's loss formula is insensitive). Burstiness moves jobs to slower chains through the variance of the
/// number of busy slots, its excess over Poisson's being `η(ca² − 1)` of the mean in heavy traffic, with
/// `η = E min(X, X')/E X`, ½ for exponential sizes (Whitt 2004): the square root says that the effect on
/// means grows
/// with the standard deviation. In a saturated pool the wait grows by `(ca² + cs²)/2`, so by the bracket over
/// what exponential sizes give; in an almost empty one the few jobs that wait do so for what is left of
/// others,
/// and sizes count for less: the chance to wait goes between the two.
public struct BurstyPrediction: Hashable, Sendable {
    /// Mean response time, seconds.
    public var meanResponseTime: Double
    /// Mean wait over all jobs, seconds.
    public var meanWaitingTime: Double
    /// Mean service time over all jobs, seconds.
    public var meanServiceTime: Double
    /// Probability that an arriving job waits; that of exponential sizes.
    public var waitProbability: Double

    /// - Parameter arrivalRate: mean rate `λ`, 1/s.
    /// - Returns: `nil` when `λ ≥ ν`, and for modulated arrivals where rounding leaves nothing of the result.
    /// - Complexity: O(C·S²).
    public init?(
        _ chains: ParallelChains, arrivalRate: Double, arrivals: ArrivalLaw = .poisson,
        sizes: SizeLaw = .exponential
    ) {
        guard let bursty = Self.exponential(chains, arrivalRate: arrivalRate, arrivals: arrivals),
            let smooth = Self.exponential(chains, arrivalRate: arrivalRate, arrivals: .poisson)
        else { return nil }
        let dispersion = arrivals.dispersion(rate: arrivalRate)
        let ratio = (dispersion + sizes.variation) / (dispersion + 1)
        let weight = (2 * sizes.evenness).squareRoot()
        meanServiceTime = smooth.service + weight * (bursty.service - smooth.service)
        meanWaitingTime = bursty.wait * Double.pow(ratio, bursty.waitProbability)
        waitProbability = bursty.waitProbability
        meanResponseTime = meanServiceTime + meanWaitingTime
    }

    /// Exact means with exponential sizes.
    private static func exponential(
        _ chains: ParallelChains, arrivalRate: Double, arrivals: ArrivalLaw
    ) -> TrafficMeans? {
        if let gaps = GapLaw(arrivals, rate: arrivalRate) {
            return RenewalAnalysis(chains, gaps: gaps, arrivalRate: arrivalRate)?.traffic
        }
        guard case .modulated(let first, let second, let firstStay, let secondStay) = arrivals else {
            return nil
        }
        let stays = SIMD2(firstStay, secondStay)
        let ratio = min(first, second) / max(first, second)
        guard ratio < leastRatio else {
            return modulated(chains, arrivalRate: arrivalRate, rates: SIMD2(first, second), stays: stays)
        }
        // The matrices lose their digits where a state has hardly any arrivals: between none and few.
        let (few, none) =
            first < second ? (SIMD2(leastRatio, 1), SIMD2(0.0, 1)) : (SIMD2(1, leastRatio), SIMD2(1, 0.0))
        let off = ArrivalLaw.modulated(
            firstRate: none.x, secondRate: none.y, firstStay: firstStay, secondStay: secondStay)
        guard let one = exponential(chains, arrivalRate: arrivalRate, arrivals: off),
            let other = modulated(chains, arrivalRate: arrivalRate, rates: few, stays: stays)
        else { return nil }
        let weight = ratio / leastRatio
        return TrafficMeans(
            wait: one.wait + weight * (other.wait - one.wait),
            service: one.service + weight * (other.service - one.service),
            waitProbability: one.waitProbability + weight * (other.waitProbability - one.waitProbability))
    }

    /// Smaller ratios of the two rates are interpolated.
    private static let leastRatio = 0.02

    private static func modulated(
        _ chains: ParallelChains, arrivalRate: Double, rates: SIMD2<Double>, stays: SIMD2<Double>
    ) -> TrafficMeans? {
        let mean = (rates * stays).sum() / stays.sum()
        return ModulatedAnalysis(chains, rates: rates * (arrivalRate / mean), stays: stays)?.traffic
    }

    /// Allen and Cunneen's correction of the wait alone, which leaves out that bursts push jobs to slow
    /// chains:
    /// mean response, seconds; for comparison.
    public static func allenCunneen(
        _ chains: ParallelChains, arrivalRate: Double, arrivals: ArrivalLaw, sizes: SizeLaw
    ) -> Double? {
        guard let exact = ExactAnalysis(chains, arrivalRate: arrivalRate) else { return nil }
        let factor = (arrivals.dispersion(rate: arrivalRate) + sizes.variation) / 2
        return exact.meanResponseTime + exact.meanWaitingTime * (factor - 1)
    }
}
