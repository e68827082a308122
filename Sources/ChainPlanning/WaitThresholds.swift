import ChainModel
import RealModule

/// Thresholds for waiting for a faster chain: `jffc-wait`.
public enum WaitThresholds {
    /// Thresholds and what they achieve.
    public struct Choice: Hashable, Sendable {
        /// `1 = n_1 ≤ n_2 ≤ … ≤ n_K`.
        public var thresholds: [Int]
        public var analysis: ExactAnalysis
    }

    /// JFFC itself; replaced by the search below.
    static func choose(_ chains: ParallelChains, arrivalRate: Double, jffc: ExactAnalysis) -> Choice {
        Choice(thresholds: [Int](repeating: 1, count: chains.count), analysis: jffc)
    }
}
