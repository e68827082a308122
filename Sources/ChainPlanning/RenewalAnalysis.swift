import ChainModel
import RealModule

/// Exact means of JFFC with renewal arrivals and exponential sizes: `GI/M` on chains of different speeds, at
/// any size.
///
/// Between two arrivals that find every slot busy and nobody waiting, time falls into two parts.
///
/// 1. *Busy.* All slots are busy and jobs wait: a `GI/M/1` queue of rate `ν`. With `σ` the root in (0, 1) of
///    `σ = φ(ν(1 − σ))` it holds `1/(1 − σ)` arrivals on average; each waits, exponentially at rate `ν(1 −
/// σ)`. It ends
///    when the last waiting job starts; what is left of the gap then is the idle period of that queue, of
/// transform
///    (Wiener–Hopf) `I(s) = ν[φ(s) − σ]/[ν(1 − σ) − s]`.
/// 2. *Loss.* From all slots busy, with a first gap of transform `I`, the chains behave as those of the loss
/// system until
///    an arrival finds all of them busy again.
///
/// The second part needs overflows that start from a gap of another law than the others. Let `χ_l` be the
/// ratio of the
/// transform of the first overflow time past chain `l` to that of all others, `χ_0 = I/φ`. With `P_r` as in
/// `OverflowRecursion`, and since thinning turns `binom(k, r)` into `binom(c, r)·e^{−rμt}`:
///
///     χ_l(s) = Σ_r binom(c, r) χ_{l−1}(s + rμ) P_r(s) / Σ_r binom(c, r) P_r(s)
///
/// With `τ_l` the mean time between overflows past chain `l` and `χ_l(s) = 1 − s·x_l + …`, the first one
/// takes `τ_l + x_l` on
/// average, and
///
///     τ_l = τ_{l−1}·D_l      x_l = x_{l−1} + τ_{l−1} Σ_{r≥1} binom(c, r) [1 − χ_{l−1}(rμ)] ∏_{i<r}
/// ψ_{l−1}(iμ)
///
/// By Wald's identity a loss part sees `n_l = (τ_K + x_K − x_l)/τ_l` overflows past chain `l`, its last one
/// included. So chain
/// `l` starts `n_{l−1} − n_l` jobs in it, and the `1/(1 − σ)` jobs of the busy part start on a chain in
/// proportion to `c_l μ_l`. For Poisson arrivals `χ = 1` and this is `ExactAnalysis`.
struct RenewalAnalysis: Hashable, Sendable {
    var traffic: TrafficMeans

    /// - Returns: `nil` when `λ ≥ ν`.
    /// - Complexity: O(C·S²), `S` nodes.
    init?(
        _ chains: ParallelChains, gaps: GapLaw, arrivalRate: Double,
        nodeCount: Int = ExactAnalysis.defaultNodeCount
    ) {
        guard arrivalRate > 0, arrivalRate < chains.totalRate else { return nil }
        let rest = Self.decay(gaps, totalRate: chains.totalRate)
        var recursion = RenewalRecursion(
            chains, gaps: gaps, arrivalRate: arrivalRate, rest: rest,
            basis: ChebyshevBasis(nodeCount: nodeCount))
        for chain in 0..<chains.count where !recursion.isNegligible { recursion.append(chain) }
        let waiting = 1 / rest
        let counts = recursion.overflows
        let arrivals = counts[0] - 1 + waiting
        var service = 0.0
        for chain in 0..<(counts.count - 1) {
            service += (counts[chain] - counts[chain + 1]) / chains.rates[chain]
        }
        let decay = chains.totalRate * rest
        let probability = waiting / arrivals
        traffic = TrafficMeans(
            wait: probability / decay,
            service: service / arrivals + probability * Double(chains.totalCapacity) / chains.totalRate,
            waitProbability: probability)
    }

    /// `1 − σ`: the root `y` of `1 − φ(νy) = y` in (0, 1); bisection of its logarithm.
    private static func decay(_ gaps: GapLaw, totalRate: Double) -> Double {
        var (low, high) = (-40.0, 0.0)
        for _ in 0..<100 {
            let middle = (low + high) / 2
            let y = Double.exp(middle)
            let psi = gaps.psi(totalRate * y)
            if psi / (1 + psi) > y { low = middle } else { high = middle }
        }
        return Double.exp((low + high) / 2)
    }
}

/// What a prediction consists of.
struct TrafficMeans: Hashable, Sendable {
    /// Mean wait over all jobs, seconds.
    var wait: Double
    /// Mean service time over all jobs, seconds.
    var service: Double
    var waitProbability: Double
    var response: Double { wait + service }
}

/// One pass over the chains with renewal input.
private struct RenewalRecursion {
    private typealias Lanes = LogInterpolant.Lanes

    private let chains: ParallelChains
    private let basis: ChebyshevBasis
    private let gaps: GapLaw
    /// `η = ν(1 − σ)` and `σ`.
    private let decay: Double
    private let sigma: Double
    /// `ln ψ_l(s) − ln s` and `ln χ_l(s)`; before the first chain from the law itself.
    private var transform: LogInterpolant?
    private var ratio: LogInterpolant?
    /// `τ_l` and `x_l`, from `l = 0`, seconds.
    private var means: [Double]
    private var shifts: [Double]
    private let rateAfter: [Double]
    private(set) var isNegligible = false

    init(
        _ chains: ParallelChains, gaps: GapLaw, arrivalRate: Double, rest: Double, basis: ChebyshevBasis
    ) {
        self.chains = chains
        self.gaps = gaps
        self.basis = basis
        decay = chains.totalRate * rest
        sigma = 1 - rest
        means = [1 / arrivalRate]
        // The mean idle period of the GI/M/1 queue, less a gap.
        shifts = [(1 / arrivalRate - 1 / chains.totalRate) / rest - 1 / arrivalRate]
        var after = [Double](repeating: 0, count: chains.count + 1)
        for chain in (0..<chains.count).reversed() {
            after[chain] = after[chain + 1] + Double(chains.capacities[chain]) * chains.rates[chain]
        }
        rateAfter = after
    }

    /// `n_l`, from `l = 0`.
    var overflows: [Double] {
        let (mean, shift) = (means[means.count - 1], shifts[shifts.count - 1])
        return zip(means, shifts).map { (mean + shift - $1) / $0 }
    }

    /// `ψ_l` at eight points.
    private func psi(_ arguments: Lanes) -> Lanes {
        var result = Lanes.zero
        guard let transform else {
            for lane in 0..<Lanes.scalarCount { result[lane] = gaps.psi(arguments[lane]) }
            return result
        }
        let logs = transform.values(at: Self.logarithm(arguments))
        for lane in 0..<Lanes.scalarCount { result[lane] = arguments[lane] * Double.exp(logs[lane]) }
        return result
    }

    /// `χ_l` at eight points.
    private func chi(_ arguments: Lanes) -> Lanes {
        var result = Lanes.zero
        guard let ratio else {
            for lane in 0..<Lanes.scalarCount { result[lane] = firstRatio(arguments[lane]) }
            return result
        }
        let logs = ratio.values(at: Self.logarithm(arguments))
        for lane in 0..<Lanes.scalarCount { result[lane] = Double.exp(logs[lane]) }
        return result
    }

    /// `χ_0(s) = ν[φ(s) − φ(η)]/[(η − s)·φ(s)]`; near `s = η` by the slope in the middle.
    private func firstRatio(_ s: Double) -> Double {
        let psi = gaps.psi(s)
        let difference = decay - s
        let quotient =
            difference.magnitude > 1e-4 * decay
            ? (1 / (1 + psi) - sigma) / difference : gaps.slope((s + decay) / 2)
        return chains.totalRate * quotient * (1 + psi)
    }

    private static func logarithm(_ arguments: Lanes) -> Lanes {
        var result = arguments
        for lane in 0..<Lanes.scalarCount { result[lane] = Double.log(arguments[lane]) }
        return result
    }

    /// Larger sums mean that nothing measurable passes.
    private static let largest = 1e250

    mutating func append(_ chain: Int) {
        let (rate, slots) = (chains.rates[chain], chains.capacities[chain])
        let mean = means[means.count - 1]
        var term = 1.0
        var sum = 1.0
        var shift = 0.0
        var busy = 1
        while busy <= slots, sum < Self.largest {
            var arguments = Lanes.zero
            for lane in 0..<Lanes.scalarCount { arguments[lane] = rate * Double(min(busy + lane, slots)) }
            let (psi, chi) = (psi(arguments), chi(arguments))
            for lane in 0..<min(Lanes.scalarCount, slots - busy + 1) where sum < Self.largest {
                let number = Double(busy + lane)
                let choose = term * (Double(slots + 1) - number) / number
                shift += choose * (1 - chi[lane])
                term = choose * psi[lane]
                sum += term
            }
            busy += Lanes.scalarCount
        }
        means.append(mean * sum)
        shifts.append(shifts[shifts.count - 1] + mean * shift)
        isNegligible = mean * sum > Self.largest / 1e50
        if chain + 1 < chains.count, !isNegligible { advance(chain) }
    }

    /// `ψ_l` and `χ_l` from those before, at the nodes of the interval where later arguments lie.
    private mutating func advance(_ chain: Int) {
        let lower = Double.log(chains.rates[chains.count - 1])
        let upper = max(lower, Double.log(rateAfter[chain + 1]))
        let (center, halfWidth) = ((lower + upper) / 2, (upper - lower) / 2)
        let (rate, slots) = (chains.rates[chain], chains.capacities[chain])
        var transforms: [Double] = []
        var ratios: [Double] = []
        for group in stride(from: 0, to: basis.nodeCount, by: Lanes.scalarCount) {
            var arguments = Lanes.zero
            for lane in 0..<Lanes.scalarCount {
                arguments[lane] = Double.exp(center + halfWidth * basis.nodes[group + lane])
            }
            var sums = RatioSums()
            for busy in 0...slots {
                let shifted = arguments + rate * Double(busy)
                sums.add(psi(shifted), chi(shifted), slots: slots, busy: busy)
            }
            for lane in 0..<Lanes.scalarCount {
                transforms.append(
                    Double.log(sums.numerator[lane] / sums.denominator[lane] / arguments[lane]))
                ratios.append(Double.log(sums.ratio[lane] / sums.denominator[lane]))
            }
        }
        transform = LogInterpolant(values: transforms, basis: basis, lowerLog: lower, upperLog: upper)
        ratio = LogInterpolant(values: ratios, basis: basis, lowerLog: lower, upperLog: upper)
    }
}

/// `Σ binom(c, r) P_r`, the same with `P_{r+1}`, and with `χ(s + rμ)·P_r`, relative to a scale that cancels.
private struct RatioSums {
    typealias Lanes = SIMD8<Double>

    private var weight = Lanes(repeating: 1)
    private(set) var numerator = Lanes.zero
    private(set) var denominator = Lanes.zero
    private(set) var ratio = Lanes.zero
    private static let largest = 0x1p600

    mutating func add(_ psi: Lanes, _ chi: Lanes, slots: Int, busy: Int) {
        denominator += weight
        ratio += weight * chi
        let next = weight * psi
        numerator += next
        weight = next * (Double(slots - busy) / Double(busy + 1))
        let large = numerator .> Self.largest
        guard any(large) else { return }
        weight.replace(with: weight / Self.largest, where: large)
        numerator.replace(with: numerator / Self.largest, where: large)
        denominator.replace(with: denominator / Self.largest, where: large)
        ratio.replace(with: ratio / Self.largest, where: large)
    }
}
