import ChainModel
import RealModule

/// Exact figures of JFFC, or of waiting for faster chains by thresholds, at any size.
///
/// Without a queue the chains are an ordered hunting group: chain 1 is offered the arrivals, chain 2 what
/// overflows from chain 1, and so on (Palm 1943). The overflow of each is a renewal process whose Laplace
/// transform follows from that of its input by recursion; the queue adds a geometric tail. Poisson arrivals
/// `λ`, exponential sizes, no preemption, one FIFO queue.
public struct ExactAnalysis: Hashable, Sendable {
    /// Variances, known under JFFC.
    public struct Variances: Hashable, Sendable {
        /// Variance of the number of jobs in the system: `Var N`.
        public var jobs: Double
        /// Variance of the response time: `Var T`, seconds squared.
        public var response: Double
    }

    /// Mean response time `E[T]`, seconds.
    public var meanResponseTime: Double
    /// Mean number of jobs in the system, waiting or running: `E[N]`.
    public var meanJobs: Double
    /// Mean wait `E[W]`, over all jobs, seconds.
    public var meanWaitingTime: Double
    /// Probability that an arriving job waits.
    public var waitProbability: Double
    /// Rate at which the wait of those who wait falls off under JFFC: `P(W > t) = P(wait)·e^{−(ν−λ)t}`, 1/s.
    public var waitDecayRate: Double
    /// `nil` unless asked for, under thresholds above one, and for more than 4000 chains.
    public var variances: Variances?

    /// Nodes of the interpolation unless told otherwise; doubling them changes the mean by less than 1e-9.
    public static let defaultNodeCount = 32

    /// - Parameters:
    ///   - thresholds: `n_k`, queue length at which chain `k` starts a job; `nil` is JFFC (all ones). Not decreasing,
    ///     the first is 1.
    ///   - nodeCount: Chebyshev nodes `S` of the interpolation, a multiple of 8.
    ///   - withVariances: Whether to compute the variances, O(K²·S) more.
    /// - Returns: `nil` when `λ ≥ ν`: there is no steady state.
    /// - Complexity: O(C·S²), and O(w·S) more for `w` places waited at.
    public init?(
        _ chains: ParallelChains, arrivalRate: Double, thresholds: [Int]? = nil,
        nodeCount: Int = Self.defaultNodeCount, withVariances: Bool = false
    ) {
        guard arrivalRate > 0, arrivalRate < chains.totalRate else { return nil }
        var recursion = OverflowRecursion(
            chains, arrivalRate: arrivalRate, basis: ChebyshevBasis(nodeCount: nodeCount),
            withMoments: withVariances && chains.count <= SecondMoments.mostChains
                && thresholds?.last ?? 1 == 1)
        for chain in 0..<chains.count {
            let waitingPlaces =
                thresholds.map { chain + 1 < $0.count ? $0[chain + 1] - $0[chain] : 0 } ?? 0
            let threshold = thresholds?[chain] ?? 1
            recursion.append(chain)
            recursion.wait(places: waitingPlaces, after: threshold)
            if recursion.isNegligible { break }
        }
        self = recursion.finish(threshold: thresholds?.last ?? 1)
    }

    init(
        meanJobs: Double, meanWaiting: Double, waitProbability: Double, arrivalRate: Double,
        totalRate: Double,
        variances: Variances?
    ) {
        self.meanJobs = meanJobs
        meanResponseTime = meanJobs / arrivalRate
        meanWaitingTime = meanWaiting / arrivalRate
        self.waitProbability = waitProbability
        waitDecayRate = totalRate - arrivalRate
        self.variances = variances
    }

    /// Tail of the wait under JFFC: `P(W > t) = P(wait)·e^{−(ν−λ)t}`.
    public func waitTail(beyond seconds: Double) -> Double {
        waitProbability * Double.exp(-waitDecayRate * max(0, seconds))
    }

    /// Time that the wait stays below with the given probability under JFFC, seconds; 0 when fewer jobs wait
    /// at all.
    public func waitQuantile(_ probability: Double) -> Double {
        let beyond = 1 - probability
        guard beyond > 0 else { return .infinity }
        return waitProbability > beyond ? Double.log(waitProbability / beyond) / waitDecayRate : 0
    }

    /// Error of a mean response time, estimated by computing it again with twice the nodes, seconds.
    /// - Complexity: O(C·S²) with `S` twice as large: four times the work of the mean itself.
    public static func error(
        of analysis: ExactAnalysis, _ chains: ParallelChains, arrivalRate: Double, thresholds: [Int]? = nil,
        nodeCount: Int = Self.defaultNodeCount
    ) -> Double? {
        let finer = ExactAnalysis(
            chains, arrivalRate: arrivalRate, thresholds: thresholds, nodeCount: 2 * nodeCount)
        return finer.map { ($0.meanResponseTime - analysis.meanResponseTime).magnitude }
    }
}
