import ChainModel
import RealModule

/// One pass over the chains, fastest first: the state after chain `l` is all that the later chains depend on.
///
/// `φ_l(s)` is the transform of the time between overflows past chains `1 … l`, `ψ_l = 1/φ_l − 1`, `ψ_0(s) = s/λ`. With
/// `P_r(s) = ∏_{i<r} ψ_{l−1}(s + iμ)`:
///
///     ψ_l(s) = Σ_r binom(c, r) P_{r+1}(s) / Σ_r binom(c, r) P_r(s),   r = 0 … c
///     o_l = o_{l−1}/D,   D = Σ_r binom(c, r) ∏_{i=1}^{r} ψ_{l−1}(iμ)
///
/// All terms are positive and span hundreds of decades, so sums carry a scale. `ln ψ_l(s) − ln s` is kept as a Chebyshev
/// interpolant in `ln s` on `[μ_K, Σ_{l'>l} c_l' μ_l']`, where all later arguments lie.
struct OverflowRecursion {
    private typealias Lanes = LogInterpolant.Lanes

    private let chains: ParallelChains
    private let arrivalRate: Double
    private let basis: ChebyshevBasis
    /// `ψ_l` of the chains appended so far.
    private var transform: LogInterpolant
    /// `o_l/λ` as its logarithm: the probability that an arrival finds chains `1 … l` (and their waiting places) full.
    private(set) var logOverflow = 0.0
    /// `E[N]` of the loss system of the chains so far.
    private(set) var meanJobs = 0.0
    /// Mean number waiting in it.
    private(set) var meanWaiting = 0.0
    /// Probability that all chains with threshold 1 are busy; `nil` until the last of them is known.
    private var waitProbability: Double?
    /// `C_l` and `ν_l` of the chains so far.
    private var capacity = 0
    private var rate = 0.0
    /// `Σ_{l'>l} c_l' μ_l'`, from the tail so that nothing cancels.
    private let rateAfter: [Double]
    /// The interval of `ln s` that the current interpolant covers; empty until a chain has been appended.
    private var lowerLog = -Double.infinity
    private var upperLog = -Double.infinity

    /// Second moments, when they are asked for; they hold without waiting places only.
    private var moments: SecondMoments?

    init(_ chains: ParallelChains, arrivalRate: Double, basis: ChebyshevBasis, withMoments: Bool = false) {
        self.chains = chains
        moments = withMoments ? SecondMoments(chains, arrivalRate: arrivalRate) : nil
        self.arrivalRate = arrivalRate
        self.basis = basis
        transform = LogInterpolant(constant: -Double.log(arrivalRate))
        var after = [Double](repeating: 0, count: chains.count + 1)
        for chain in (0..<chains.count).reversed() {
            after[chain] = after[chain + 1] + Double(chains.capacities[chain]) * chains.rates[chain]
        }
        rateAfter = after
    }

    /// `o_l`: rate at which jobs are passed on beyond what has been appended, 1/s.
    var overflowRate: Double { arrivalRate * Double.exp(logOverflow) }

    /// Nothing measurable passes the chains so far: not even the chance to wait is above the smallest number.
    var isNegligible: Bool { logOverflow < -700 }

    /// Appends chain `l`: what it accepts of the overflow, and the overflow past it.
    /// - Complexity: O(c·S²).
    mutating func append(_ chain: Int) {
        let rate = chains.rates[chain]
        let slots = chains.capacities[chain]
        let logLoss = logLossDivisor(rate: rate, slots: slots)
        // a_l = o_{l−1} − o_l = −o_{l−1}·expm1(−ln D), without cancellation.
        let accepted = -overflowRate * Double.expMinusOne(-logLoss)
        logOverflow -= logLoss
        let overflow = overflowRate
        moments?.append(chain, accepted: accepted, overflow: overflow)
        if chain + 1 < chains.count {
            advanceTransform(chain)
            moments?.advance(past: chain, to: transform)
        }
        meanJobs += accepted / rate
        capacity += slots
        self.rate += Double(slots) * rate
    }

    /// `P(full)` of the chains and waiting places so far.
    private var fullProbability: Double { Double.exp(logOverflow) }

    /// Waiting places between chain `l` and the next, `w = n_{l+1} − n_l`, the `n_l − 1` before them being taken.
    ///
    /// With `r = λ/ν_l` state `j` of the places has weight `P(full)·r^j`. Where `r > 1` these grow past any number, so
    /// all are kept relative to the largest.
    /// - Complexity: O(w·S).
    mutating func wait(places: Int, after threshold: Int) {
        guard places > 0 else { return }
        moments = nil
        if waitProbability == nil { waitProbability = fullProbability }
        let logRatio = Double.log(arrivalRate / rate)
        let scale = max(0, logOverflow + Double(places) * max(0, logRatio))
        let before = Double.exp(-scale)
        var weights = 0.0
        var positions = 0.0
        for place in 1...places {
            let weight = Double.exp(logOverflow + Double(place) * logRatio - scale)
            weights += weight
            positions += weight * Double(threshold - 1 + place)
        }
        let normaliser = before + weights
        meanWaiting = (meanWaiting * before + positions) / normaliser
        meanJobs = (meanJobs * before + Double(capacity) * weights + positions) / normaliser
        waitProbability = waitProbability.map { ($0 * before + weights) / normaliser }
        logOverflow += Double(places) * logRatio - scale - Double.log(normaliser)
        advanceTransform(places: places)
    }

    /// The number of waiting places behind the chains so far that minimises `E[N] + o/μ_{l+1}`: what is passed on costs as
    /// if it always found the next chain free. Ties: the smallest number.
    /// - Complexity: O(w).
    func cheapestPlaces(after threshold: Int, nextRate: Double, atMost largest: Int) -> Int {
        let ratio = arrivalRate / rate
        let full = fullProbability
        var before = 1.0
        var weight = full
        var jobs = meanJobs
        var best = 0
        var bestCost = meanJobs + arrivalRate * full / nextRate
        guard full > 0, bestCost.isFinite else { return 0 }
        for places in 1...largest {
            weight *= ratio
            jobs += weight * Double(capacity + threshold - 1 + places)
            before += weight
            if before > 0x1p600 {
                weight /= 0x1p600
                jobs /= 0x1p600
                before /= 0x1p600
            }
            let cost = (jobs + arrivalRate * weight / nextRate) / before
            if cost < bestCost {
                bestCost = cost
                best = places
            }
        }
        return best
    }

    /// The endless queue behind the last chain.
    func finish(threshold: Int) -> ExactAnalysis {
        let load = arrivalRate / chains.totalRate
        let full = isNegligible ? 0 : fullProbability
        let weights = load / (1 - load)
        let positions = load / ((1 - load) * (1 - load)) + Double(threshold - 1) * weights
        let normaliser = 1 + full * weights
        let jobs = (meanJobs + full * (Double(chains.totalCapacity) * weights + positions)) / normaliser
        let waiting = (meanWaiting + full * positions) / normaliser
        let probability = ((waitProbability ?? full) + full * weights) / normaliser
        return ExactAnalysis(
            meanJobs: jobs, meanWaiting: waiting, waitProbability: probability, arrivalRate: arrivalRate,
            totalRate: chains.totalRate,
            variances: moments.map { variances($0, full: full, meanJobs: jobs, waitProbability: probability) }
        )
    }

    /// Variances under JFFC, from the second moments of the loss system and the geometric tail.
    ///
    ///     E N² = (E|z|² + π_F Σ_{n≥1} (C + n)²·ρ^n)/Z
    ///     E T² = Σ_l a_l/(λZ)·2/μ_l² + P(wait)·[2/(ν−λ)² + 2·(C/ν)/(ν−λ) + Σ_l (c_l μ_l/ν)·2/μ_l²]
    ///
    /// A job that waits finds all slots busy: its wait is exponential of rate `ν − λ`, and the chain that frees a slot for it
    /// is `l` with probability `c_l μ_l/ν`, whatever the wait.
    private func variances(
        _ moments: SecondMoments, full: Double, meanJobs: Double, waitProbability: Double
    ) -> ExactAnalysis.Variances {
        let load = arrivalRate / chains.totalRate
        let rest = 1 - load
        let slots = Double(chains.totalCapacity)
        let (none, one) = (load / rest, load / (rest * rest))
        let two = load * (1 + load) / (rest * rest * rest)
        let normaliser = 1 + full * none
        let tail = slots * slots * none + 2 * slots * one + two
        let squaredJobs = (moments.squaredJobs + full * tail) / normaliser
        let decay = chains.totalRate - arrivalRate
        var serviceSquare = 0.0
        for (rate, capacity) in zip(chains.rates, chains.capacities) {
            serviceSquare += Double(capacity) / rate
        }
        let waits =
            2 / (decay * decay) + 2 * slots / chains.totalRate / decay + 2 * serviceSquare / chains.totalRate
        let starts = 2 * moments.acceptedSquares / (arrivalRate * normaliser)
        let mean = meanJobs / arrivalRate
        return ExactAnalysis.Variances(
            jobs: max(0, squaredJobs - meanJobs * meanJobs),
            response: max(0, starts + waitProbability * waits - mean * mean))
    }

    // MARK: The transform

    /// `ln D` of the next chain.
    private func logLossDivisor(rate: Double, slots: Int) -> Double {
        var sum = RatioSum()
        var busy = 1
        while busy <= slots {
            // Eight factors ψ(iμ) at a time; what is past the end is not used.
            var arguments = Lanes.zero
            for lane in 0..<Lanes.scalarCount { arguments[lane] = rate * Double(min(busy + lane, slots)) }
            let values = arguments * Self.exponential(transform.values(at: Self.logarithm(arguments)))
            for lane in 0..<min(Lanes.scalarCount, slots - busy + 1) {
                let number = busy + lane
                sum.add(ratio: values[lane] * Double(slots - number + 1) / Double(number))
            }
            busy += Lanes.scalarCount
        }
        return sum.logarithm
    }

    /// `ψ_l` from `ψ_{l−1}` at the nodes of the next interval.
    private mutating func advanceTransform(_ chain: Int) {
        lowerLog = Double.log(chains.rates[chains.count - 1])
        upperLog = max(lowerLog, Double.log(rateAfter[chain + 1]))
        let rate = chains.rates[chain]
        let slots = chains.capacities[chain]
        transform = interpolant { logs in
            let arguments = Self.exponential(logs)
            var sums = NodeSums()
            sums.add(arguments * Self.exponential(transform.values(at: logs)), slots: slots, busy: 0)
            for busy in 1...slots {
                let shifted = arguments + rate * Double(busy)
                let ratio = Self.exponential(transform.values(at: Self.logarithm(shifted)))
                sums.add(shifted * ratio, slots: slots, busy: busy)
            }
            return Self.logarithm(sums.quotient) - logs
        }
    }

    /// `ψ(s) ← [s + ν_l ψ(s)/(1 + ψ(s))]/λ`, once for each waiting place, at the nodes of the same interval.
    private mutating func advanceTransform(places: Int) {
        guard upperLog > -.infinity else { return }
        let (rate, arrivalRate) = (self.rate, self.arrivalRate)
        transform = interpolant { logs in
            let arguments = Self.exponential(logs)
            var psi = arguments * Self.exponential(transform.values(at: logs))
            for _ in 0..<places { psi = (arguments + rate * psi / (1 + psi)) / arrivalRate }
            return Self.logarithm(psi) - logs
        }
    }

    /// The interpolant through `value(ln s)` at the nodes of the current interval.
    private func interpolant(through value: (Lanes) -> Lanes) -> LogInterpolant {
        let center = (lowerLog + upperLog) / 2
        let halfWidth = (upperLog - lowerLog) / 2
        var values: [Double] = []
        values.reserveCapacity(basis.nodeCount)
        for group in stride(from: 0, to: basis.nodeCount, by: Lanes.scalarCount) {
            var logs = Lanes.zero
            for lane in 0..<Lanes.scalarCount { logs[lane] = center + halfWidth * basis.nodes[group + lane] }
            let result = value(logs)
            for lane in 0..<Lanes.scalarCount { values.append(result[lane]) }
        }
        return LogInterpolant(values: values, basis: basis, lowerLog: lowerLog, upperLog: upperLog)
    }

    private static func logarithm(_ arguments: Lanes) -> Lanes {
        var result = arguments
        for lane in 0..<Lanes.scalarCount { result[lane] = Double.log(arguments[lane]) }
        return result
    }

    private static func exponential(_ arguments: Lanes) -> Lanes {
        var result = arguments
        for lane in 0..<Lanes.scalarCount { result[lane] = Double.exp(arguments[lane]) }
        return result
    }
}

/// Sums are divided by this power of two when a term exceeds it; a power of two, so that nothing is lost to rounding.
private let largestTerm = 0x1p600
private let logLargestTerm = 600 * Double.log(2)

/// A sum of positive terms, each given by its ratio to the one before, from a first term of 1.
private struct RatioSum {
    private var term = 1.0
    private var sum = 1.0
    private var scale = 0.0

    mutating func add(ratio: Double) {
        term *= ratio
        sum += term
        if sum > largestTerm {
            term /= largestTerm
            sum /= largestTerm
            scale += logLargestTerm
        }
    }

    /// Logarithm of the sum.
    var logarithm: Double { scale + Double.log(sum) }
}

/// The two sums of `ψ_l(s)` at eight points: `Σ binom(c, r) P_{r+1}(s)` over `Σ binom(c, r) P_r(s)`.
///
/// `ψ_{l−1}(s) ≤ ψ_l(s) ≤ ψ_{l−1}(s + cμ)`, since the first sum is an average of `ψ_{l−1}(s + rμ)` with the weights of the
/// second: so `ψ` itself never leaves `[s/λ, (s + ν)/λ]` and only the weights need a scale.
private struct NodeSums {
    typealias Lanes = SIMD8<Double>

    /// `binom(c, r) P_r(s)`, with both sums relative to a scale that cancels in their quotient.
    private var weight = Lanes(repeating: 1)
    private var numerator = Lanes.zero
    private var denominator = Lanes.zero

    /// Adds the terms of `r = busy`, given `ψ_{l−1}(s + rμ)`.
    mutating func add(_ input: Lanes, slots: Int, busy: Int) {
        denominator += weight
        let next = weight * input
        numerator += next
        weight = next * (Double(slots - busy) / Double(busy + 1))
        let large = numerator .> largestTerm
        if any(large) {
            weight.replace(with: weight / largestTerm, where: large)
            numerator.replace(with: numerator / largestTerm, where: large)
            denominator.replace(with: denominator / largestTerm, where: large)
        }
    }

    var quotient: Lanes { numerator / denominator }
}
