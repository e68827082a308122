import ChainModel
import RealModule

/// A 2×2 matrix, for processes of two states.
struct Matrix2: Hashable, Sendable {
    /// By row.
    var (a, b, c, d): (Double, Double, Double, Double)

    static let identity = Matrix2(a: 1, b: 0, c: 0, d: 1)
    static let zero = Matrix2(a: 0, b: 0, c: 0, d: 0)

    static func + (left: Self, right: Self) -> Self {
        Self(a: left.a + right.a, b: left.b + right.b, c: left.c + right.c, d: left.d + right.d)
    }
    static func - (left: Self, right: Self) -> Self { left + right * -1 }
    static func * (left: Self, right: Self) -> Self {
        Self(
            a: left.a * right.a + left.b * right.c, b: left.a * right.b + left.b * right.d,
            c: left.c * right.a + left.d * right.c, d: left.c * right.b + left.d * right.d)
    }
    static func * (left: Self, right: Double) -> Self {
        Self(a: left.a * right, b: left.b * right, c: left.c * right, d: left.d * right)
    }
    static func * (left: Self, right: SIMD2<Double>) -> SIMD2<Double> {
        SIMD2(left.a * right.x + left.b * right.y, left.c * right.x + left.d * right.y)
    }
    /// A row vector times the matrix.
    static func * (left: SIMD2<Double>, right: Self) -> SIMD2<Double> {
        SIMD2(left.x * right.a + left.y * right.c, left.x * right.b + left.y * right.d)
    }

    var trace: Double { a + d }
    var inverse: Self {
        let determinant = a * d - b * c
        return Self(a: d / determinant, b: -b / determinant, c: -c / determinant, d: a / determinant)
    }
    /// The row vector `π = π·M` with sum 1, of a stochastic matrix.
    var stationary: SIMD2<Double> { SIMD2(c, b) / (b + c) }
}

/// Exact means of JFFC with arrivals modulated by two states (`MMPP(2)`) and exponential sizes, at any size.
///
/// As `RenewalAnalysis`, with 2×2 matrices over the state at the overflows: `Φ_0(s) = (sI − Q + Λ)^{−1}Λ` and
/// `Ψ_l = Φ_l^{−1} − I`, so `Ψ_0(s) = Λ^{−1}(sI − Q)`. Takács' recursion holds with the products in this
/// order,
/// `P_r(s) = Ψ(s + (r−1)μ) ⋯ Ψ(s + μ)Ψ(s)`:
///
///     Ψ_l(s) = [Σ_r binom(c, r) P_{r+1}(s)] [Σ_r binom(c, r) P_r(s)]^{−1}
///
/// since `g_i = Σ_r binom(i, r) P_r` solves `g_i = E[thinned Φ-transition to g_{k+1}]` exactly when
/// `Φ(s + rμ)(P_r + P_{r+1}) = P_r`. What is left of a gap is that of a fresh one in the same state, so loss
/// parts only differ in
/// the state they start in: after a busy period of the `MMPP/M/1` queue of rate `ν`, whose matrix `G` and `R`
/// follow from
/// the quasi-birth–death equations. Wald's identity becomes that of Markov renewal processes.
struct ModulatedAnalysis: Hashable, Sendable {
    var traffic: TrafficMeans

    /// - Parameters:
    ///   - rates: arrivals per second in each state, both positive.
    ///   - stays: mean stays in each state, seconds.
    /// - Returns: `nil` when `λ ≥ ν`.
    /// - Complexity: O(C·S²), and the iterations for `G`.
    init?(
        _ chains: ParallelChains, rates: SIMD2<Double>, stays: SIMD2<Double>,
        nodeCount: Int = ExactAnalysis.defaultNodeCount
    ) {
        let share = stays.x / (stays.x + stays.y)
        let arrivalRate = share * rates.x + (1 - share) * rates.y
        guard rates.x > 0, rates.y > 0, arrivalRate < chains.totalRate else { return nil }
        let switching = Matrix2(a: -1 / stays.x, b: 1 / stays.x, c: 1 / stays.y, d: -1 / stays.y)
        let arriving = Matrix2(a: rates.x, b: 0, c: 0, d: rates.y)
        var recursion = ModulatedRecursion(
            chains, switching: switching, rates: rates, basis: ChebyshevBasis(nodeCount: nodeCount))
        for chain in 0..<chains.count where !recursion.isNegligible { recursion.append(chain) }

        if recursion.isNegligible {
            // Jobs never wait, as far as can be measured: every chain but the last one reached passes on what it overflows.
            let service = recursion.meanServiceWithoutWaiting
            guard service.isFinite, service > 0 else { return nil }
            traffic = TrafficMeans(wait: 0, service: service, waitProbability: 0)
            return
        }
        let serving = chains.totalRate
        let staying = switching - arriving - Matrix2.identity * serving
        let down = Self.descent(staying, arriving, serving)
        let times = (staying + arriving * down).inverse * -1
        let climb = arriving * times
        let cycle = down * recursion.returns
        let start = cycle.stationary
        let counts = recursion.overflows(from: start * down)
        let tail = (Matrix2.identity - climb).inverse
        let spent = (start * times) * tail
        let waiting = serving * (spent.x + spent.y)
        let queue = (spent * tail).sum()
        let arrivals = counts[0] - 1 + waiting
        var service = 0.0
        for chain in 0..<(counts.count - 1) {
            service += (counts[chain] - counts[chain + 1]) / chains.rates[chain]
        }
        let probability = waiting / arrivals
        traffic = TrafficMeans(
            wait: queue / arrivals,
            service: service / arrivals + probability * Double(chains.totalCapacity) / chains.totalRate,
            waitProbability: probability)
        // Entries of both signs are added up: where nothing is left of them there is no answer.
        guard traffic.response.isFinite, probability > -1e-9, probability < 1, queue > -1e-9 else {
            return nil
        }
    }

    /// `G`: the state in which a queue of one more has become empty; the least solution of `ν + B·G + Λ·G² =
    /// 0`, by
    /// `G ← −(B + Λ·G)^{−1}ν`.
    private static func descent(_ staying: Matrix2, _ arriving: Matrix2, _ serving: Double) -> Matrix2 {
        var down = Matrix2.zero
        for _ in 0..<mostIterations {
            let next = (staying + arriving * down).inverse * -serving
            let change = next - down
            down = next
            let largest = max(change.a.magnitude, change.b.magnitude, change.c.magnitude, change.d.magnitude)
            if largest < 1e-15 { break }
        }
        // Recurrent: rows sum to one; what rounding and stopping leave over goes into them.
        let (first, second) = (down.a + down.b, down.c + down.d)
        return Matrix2(a: down.a / first, b: down.b / first, c: down.c / second, d: down.d / second)
    }

    /// Enough for loads up to 0.9999.
    private static let mostIterations = 1_000_000
}

extension SIMD2<Double> {
    fileprivate static let ones = SIMD2(repeating: 1.0)
}

/// One pass over the chains with modulated input.
private struct ModulatedRecursion {
    /// The figures of the overflows past chain `l`: `p = Φ(0)`, and the mean time to the next from each
    /// state.
    private struct Overflow {
        var transition: Matrix2
        var times: SIMD2<Double>
    }

    private let chains: ParallelChains
    private let basis: ChebyshevBasis
    private let switching: Matrix2
    private let inverseRates: Matrix2
    /// `ln tr Ψ_l(s)` and the entries of `Ψ_l(s)/tr Ψ_l(s)`; empty before the first chain.
    private var interpolants: [LogInterpolant] = []
    /// `Ψ_l(0)` and `Ψ_l'(0)·1`.
    private var atZero: Matrix2
    private var slope: SIMD2<Double>
    private var levels: [Overflow] = []
    private let rateAfter: [Double]
    private(set) var isNegligible = false
    private static let largest = 1e200
    /// Once in so many arrivals an overflow is negligible.
    private static let negligible = 1e10

    init(_ chains: ParallelChains, switching: Matrix2, rates: SIMD2<Double>, basis: ChebyshevBasis) {
        self.chains = chains
        self.basis = basis
        self.switching = switching
        inverseRates = Matrix2(a: 1 / rates.x, b: 0, c: 0, d: 1 / rates.y)
        atZero = inverseRates * switching * -1
        slope = SIMD2(1 / rates.x, 1 / rates.y)
        var after = [Double](repeating: 0, count: chains.count + 1)
        for chain in (0..<chains.count).reversed() {
            after[chain] = after[chain + 1] + Double(chains.capacities[chain]) * chains.rates[chain]
        }
        rateAfter = after
        keepLevel()
    }

    private mutating func keepLevel() {
        let transition = (Matrix2.identity + atZero).inverse
        levels.append(Overflow(transition: transition, times: transition * slope))
    }

    /// `Φ_K(0)`: the state at the end of a loss part, by the state at its start.
    var returns: Matrix2 { levels[levels.count - 1].transition }

    /// `n_l` of a loss part that starts in the given states, from `l = 0`.
    func overflows(from start: SIMD2<Double>) -> [Double] {
        let last = levels[levels.count - 1]
        return levels.map { level in
            let stationary = level.transition.stationary
            let mean = (stationary * level.times).sum()
            // Poisson's equation (I − p)d = t − τ, with π·d = 0: d = (−π_2, π_1)·z.
            let z = (level.times.y - level.times.x) / (level.transition.b + level.transition.c)
            let bias = SIMD2(-stationary.y, stationary.x) * z
            let counts = (last.times - bias + last.transition * bias) / mean
            return (start * counts).sum()
        }
    }

    private func psi(_ s: Double) -> Matrix2 {
        guard !interpolants.isEmpty else { return inverseRates * (Matrix2.identity * s - switching) }
        let logs = LogInterpolant.Lanes(repeating: Double.log(s))
        let values = interpolants.map { $0.values(at: logs)[0] }
        let trace = Double.exp(values[0])
        return Matrix2(a: values[1], b: values[2], c: values[3], d: values[4]) * trace
    }

    mutating func append(_ chain: Int) {
        let (rate, slots) = (chains.rates[chain], chains.capacities[chain])
        // Σ binom P_r, Σ binom P_{r+1} at zero, and their slopes times (1, 1).
        var below = Matrix2.identity
        var above = atZero
        var product = atZero
        var slopeBelow = SIMD2<Double>.zero
        var slopeAbove = slope
        var productSlope = slope
        for busy in 1...slots {
            let choose = Double(slots - busy + 1) / Double(busy)
            product = product * choose
            productSlope *= choose
            below = below + product
            slopeBelow += productSlope
            let next = psi(rate * Double(busy))
            product = next * product
            productSlope = next * productSlope
            above = above + product
            slopeAbove += productSlope
            if productSlope.max() > Self.largest { break }
        }
        if chain + 1 < chains.count { advance(chain) }
        let inverse = below.inverse
        let slope = slopeAbove - above * (inverse * slopeBelow)
        // With entries this large the differences above are lost; their size is not.
        let isLarge = slopeAbove.max() / below.trace.magnitude > Self.negligible * self.slope.max()
        if isLarge || !(slope.max() < Self.negligible * levels[0].times.max()) {
            isNegligible = true
            return
        }
        self.slope = slope
        atZero = above * inverse
        keepLevel()
    }

    /// Mean service time where nothing passes the chain after the last level kept, seconds.
    var meanServiceWithoutWaiting: Double {
        let flows = levels.map { 1 / ($0.transition.stationary * $0.times).sum() }
        var service = 0.0
        for (chain, flow) in flows.enumerated() {
            let next = chain + 1 < flows.count ? flows[chain + 1] : 0
            service += (flow - next) / flows[0] / chains.rates[chain]
        }
        return service
    }

    private mutating func advance(_ chain: Int) {
        let lower = Double.log(chains.rates[chains.count - 1])
        let upper = max(lower, Double.log(rateAfter[chain + 1]))
        let (center, halfWidth) = ((lower + upper) / 2, (upper - lower) / 2)
        let (rate, slots) = (chains.rates[chain], chains.capacities[chain])
        var values = [[Double]](repeating: [], count: 5)
        for node in basis.nodes {
            let s = Double.exp(center + halfWidth * node)
            var below = Matrix2.identity
            var product = psi(s)
            var above = product
            for busy in 1...slots {
                product = product * (Double(slots - busy + 1) / Double(busy))
                below = below + product
                product = psi(s + rate * Double(busy)) * product
                above = above + product
                if above.trace > Self.largest {
                    // Only the quotient counts.
                    product = product * (1 / Self.largest)
                    below = below * (1 / Self.largest)
                    above = above * (1 / Self.largest)
                }
            }
            let quotient = above * below.inverse
            let trace = quotient.trace
            values[0].append(Double.log(trace))
            let entries = [quotient.a, quotient.b, quotient.c, quotient.d]
            for (number, entry) in entries.enumerated() { values[number + 1].append(entry / trace) }
        }
        interpolants = values.map {
            LogInterpolant(values: $0, basis: basis, lowerLog: lower, upperLog: upper)
        }
    }
}
