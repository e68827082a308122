import ChainModel
import RealModule

/// Thresholds for waiting for a faster chain (`jffc-wait`): chain `k` starts a job only when `n_k` jobs wait.
///
/// Chosen by the price rule (Naor 1969), improved by coordinate descent on exact means; JFFC is always among the
/// candidates, so the mean is never above that of JFFC.
public struct WaitThresholds {
    /// Thresholds and what they achieve.
    public struct Choice: Hashable, Sendable {
        /// `1 = n_1 ≤ n_2 ≤ … ≤ n_K`.
        public var thresholds: [Int]
        public var analysis: ExactAnalysis
    }

    /// Waiting places tried between one chain and the next: `w`.
    static let mostPlaces = 400
    /// Work spent on the descent: exact means evaluated times slots.
    private static let descentWork = 200_000

    private let chains: ParallelChains
    private let arrivalRate: Double
    /// Waiting places after each chain but the last, `w_k = n_{k+1} − n_k`.
    private var places: [Int] = []
    /// The recursion after each chain, before the waiting places behind it.
    private var states: [OverflowRecursion] = []
    private var work: Int

    /// The best thresholds found.
    /// - Parameter jffc: the analysis of the same chains under JFFC.
    /// - Complexity: O(K·w) for the price rule, and O(C·S²) for each of a bounded number of exact means.
    public static func choose(_ chains: ParallelChains, arrivalRate: Double, jffc: ExactAnalysis) -> Choice {
        let ones = Choice(thresholds: [Int](repeating: 1, count: chains.count), analysis: jffc)
        guard chains.count > 1 else { return ones }
        var search = WaitThresholds(chains, arrivalRate: arrivalRate)
        var best = search.analysis(from: 0, places: search.places)
        if jffc.meanJobs < best.meanJobs {
            search.restart(with: [Int](repeating: 0, count: chains.count - 1))
            best = jffc
        }
        best = search.descend(from: best)
        // The descent sees JFFC through the same recursion; a tie goes to the simpler rule.
        guard best.meanJobs < jffc.meanJobs else { return ones }
        return Choice(thresholds: Self.thresholds(search.places), analysis: best)
    }

    private static func thresholds(_ places: [Int]) -> [Int] {
        places.reduce(into: [1]) { $0.append($0[$0.count - 1] + $1) }
    }

    /// The price rule: one pass, and behind each chain the number of places that minimises `E[N] + o/μ_{l+1}`.
    private init(_ chains: ParallelChains, arrivalRate: Double) {
        self.chains = chains
        self.arrivalRate = arrivalRate
        work = Self.descentWork
        var recursion = OverflowRecursion(
            chains, arrivalRate: arrivalRate,
            basis: ChebyshevBasis(nodeCount: ExactAnalysis.defaultNodeCount))
        var threshold = 1
        for chain in 0..<chains.count {
            recursion.append(chain)
            states.append(recursion)
            guard chain + 1 < chains.count else { break }
            let count = recursion.cheapestPlaces(
                after: threshold, nextRate: chains.rates[chain + 1], atMost: Self.mostPlaces)
            recursion.wait(places: count, after: threshold)
            places.append(count)
            threshold += count
        }
    }

    /// The exact means with waiting places that differ from the current ones only behind chain `first` and later.
    private func analysis(from first: Int, places: [Int]) -> ExactAnalysis {
        var recursion = states[first]
        var threshold = 1 + places[..<first].reduce(0, +)
        for chain in first..<chains.count {
            if chain > first { recursion.append(chain) }
            guard chain + 1 < chains.count else { break }
            recursion.wait(places: places[chain], after: threshold)
            threshold += places[chain]
        }
        return recursion.finish(threshold: threshold)
    }

    /// Recomputes the states for other waiting places.
    private mutating func restart(with places: [Int], from first: Int = 0) {
        self.places = places
        var recursion = states[first]
        var threshold = 1 + places[..<first].reduce(0, +)
        states.removeSubrange((first + 1)...)
        for chain in first..<(chains.count - 1) {
            recursion.wait(places: places[chain], after: threshold)
            threshold += places[chain]
            recursion.append(chain + 1)
            states.append(recursion)
        }
    }

    /// Coordinate descent on the exact mean: steps of one threshold, and of a whole suffix of thresholds, in powers of
    /// two. Each turn either lowers the mean or ends, and the work is bounded.
    private mutating func descend(from start: ExactAnalysis) -> ExactAnalysis {
        var best = start
        var improved = true
        while improved {
            improved = false
            for chain in places.indices {
                for step in [1, -1, 2, -2, 4, -4, 8, -8, 16, -16, 32, -32] {
                    for keepsLater in [false, true] {
                        guard let candidate = moved(chain, by: step, keepsLater: keepsLater) else { continue }
                        work -= chains.totalCapacity
                        if work < 0 { return best }
                        let analysis = analysis(from: chain, places: candidate)
                        guard analysis.meanJobs < best.meanJobs * (1 - Self.leastGain) else { continue }
                        best = analysis
                        restart(with: candidate, from: chain)
                        improved = true
                    }
                }
            }
        }
        return best
    }

    /// Smaller gains are rounding.
    private static let leastGain = 1e-9

    /// Waiting places after a step of the threshold behind `chain`: later thresholds kept, or shifted with it.
    private func moved(_ chain: Int, by step: Int, keepsLater: Bool) -> [Int]? {
        var result = places
        result[chain] += step
        if keepsLater {
            guard chain + 1 < result.count else { return nil }
            result[chain + 1] -= step
            guard result[chain + 1] >= 0, result[chain + 1] <= Self.mostPlaces else { return nil }
        }
        return result[chain] >= 0 && result[chain] <= Self.mostPlaces ? result : nil
    }
}
