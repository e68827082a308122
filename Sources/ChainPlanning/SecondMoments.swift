import ChainModel
import RealModule

/// Second moments of the loss system, gathered while the overflow recursion runs.
///
/// `z_l` counts the busy slots of chain `l`. From the balance of `z_l²` and of `z_l·z_k` (`k < l`), with
/// `a_l` the flow that chain `l` accepts and `o_l` what it passes on:
///
///     μ_l·E z_l² = a_l/ψ_{l−1}(μ_l) − o_l c_l + a_l
///     (μ_l + μ_k)·E z_l z_k = a_l·[1/ψ_{k−1}(μ_l) − 1/ψ_k(μ_l) + c_k]
struct SecondMoments {
    private typealias Lanes = LogInterpolant.Lanes

    /// More chains than this have `K²/2` pairs too many: their variance is left out.
    static let mostChains = 4000

    private let chains: ParallelChains
    /// `E (Σ_l z_l)²` over the chains so far.
    private(set) var squaredJobs = 0.0
    /// `Σ_l a_l/μ_l²`: half the second moment of the service times started without a wait, times `λ`.
    private(set) var acceptedSquares = 0.0
    /// `1/ψ_k(μ_l)` for every chain `l` after the last one appended, `k`.
    private var inverses: [Double]
    /// `Σ_{k<l} [1/ψ_{k−1}(μ_l) − 1/ψ_k(μ_l) + c_k]/(μ_l + μ_k)`, by `l`.
    private var pairSums: [Double]
    private let logRates: [Double]

    init(_ chains: ParallelChains, arrivalRate: Double) {
        self.chains = chains
        inverses = chains.rates.map { arrivalRate / $0 }
        pairSums = [Double](repeating: 0, count: chains.count)
        logRates = chains.rates.map { Double.log($0) }
    }

    /// Adds chain `l`, which accepts `a_l` and passes `o_l` on.
    mutating func append(_ chain: Int, accepted: Double, overflow: Double) {
        let rate = chains.rates[chain]
        let square = accepted * inverses[chain] - overflow * Double(chains.capacities[chain]) + accepted
        squaredJobs += square / rate + 2 * accepted * pairSums[chain]
        acceptedSquares += accepted / (rate * rate)
    }

    /// Moves on from `ψ_{k−1}` to `ψ_k`, for `k` the chain just appended.
    /// - Complexity: O((K − k)·S).
    mutating func advance(past chain: Int, to transform: LogInterpolant) {
        let (rate, slots) = (chains.rates[chain], Double(chains.capacities[chain]))
        for group in stride(from: chain + 1, to: chains.count, by: Lanes.scalarCount) {
            let width = min(Lanes.scalarCount, chains.count - group)
            var logs = Lanes(repeating: logRates[group])
            for lane in 0..<width { logs[lane] = logRates[group + lane] }
            let values = transform.values(at: logs)
            for lane in 0..<width {
                let later = group + lane
                let inverse = Double.exp(-values[lane]) / chains.rates[later]
                pairSums[later] += (inverses[later] - inverse + slots) / (chains.rates[later] + rate)
                inverses[later] = inverse
            }
        }
    }
}
