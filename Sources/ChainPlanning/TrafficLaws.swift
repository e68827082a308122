import RealModule

/// How jobs arrive, as far as `BurstyPrediction` goes beyond Poisson.
public enum ArrivalLaw: Hashable, Sendable {
    case poisson
    /// Renewal with Gamma gaps of this squared coefficient of variation: `ca²`.
    case gamma(variation: Double)
    /// Renewal with gaps of two exponential phases with balanced means; `ca² ≥ 1`.
    case hyperexponential(variation: Double)
    /// Poisson whose rate changes between two values at exponential times: `MMPP(2)`. Rates of arrival
    /// relative to each other
    /// (the mean rate is given beside the law), and mean stays in seconds. A rate may be zero: on and off.
    case modulated(firstRate: Double, secondRate: Double, firstStay: Double, secondStay: Double)

    /// What the wait grows with when the pool is busy: `ca²`, for a modulated process the limit of the
    /// variance of
    /// the number of arrivals over its mean (the index of dispersion for counts).
    /// - Parameter rate: mean rate `λ`, 1/s.
    public func dispersion(rate: Double) -> Double {
        switch self {
        case .poisson: return 1
        case .gamma(let variation), .hyperexponential(let variation): return variation
        case .modulated(let first, let second, let firstStay, let secondStay):
            let share = firstStay / (firstStay + secondStay)
            let mean = share * first + (1 - share) * second
            let contrast = (first - second) / mean * rate
            let stays = firstStay * secondStay / (firstStay + secondStay)
            return 1 + 2 * share * (1 - share) * contrast * contrast * stays / rate
        }
    }
}

/// How the sizes of jobs are spread around their mean, as far as the prediction needs it.
public struct SizeLaw: Hashable, Sendable {
    /// Squared coefficient of variation: `cs²`.
    public var variation: Double
    /// `E min(X, X')/E X` of two independent sizes, which is 1 less Gini's coefficient: 1 when all are equal,
    /// ½ for
    /// exponential ones. It is `∫(1 − G)²/E X`, by which sizes enter the peakedness of busy slots (Whitt
    /// 2004).
    public var evenness: Double

    public init(variation: Double, evenness: Double) {
        self.variation = variation
        self.evenness = evenness
    }

    public static let exponential = SizeLaw(variation: 1, evenness: 0.5)
    public static let deterministic = SizeLaw(variation: 0, evenness: 1)

    public static func gamma(variation: Double) -> SizeLaw {
        let shape = 1 / variation
        let logGini = Double.logGamma(shape + 0.5) - Double.logGamma(shape + 1)
        return SizeLaw(variation: variation, evenness: 1 - Double.exp(logGini) / Double.pi.squareRoot())
    }

    public static func lognormal(variation: Double) -> SizeLaw {
        let sigma = Double.log(onePlus: variation).squareRoot()
        return SizeLaw(variation: variation, evenness: Double.erfc(sigma / 2))
    }

    /// Of measured sizes. `nil` without positive ones.
    /// - Complexity: O(n log n).
    public init?(of sizes: [Double]) {
        let mean = sizes.reduce(0, +) / Double(max(1, sizes.count))
        guard !sizes.isEmpty, mean > 0 else { return nil }
        let count = Double(sizes.count)
        variation = sizes.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count / (mean * mean)
        // E min of two: the sorted sizes weighted by the chance that the other one is larger.
        var least = 0.0
        for (position, size) in sizes.sorted().enumerated() {
            least += size * (2 * (count - Double(position)) - 1)
        }
        evenness = least / (count * count) / mean
    }
}

/// A law of gaps between arrivals, for the exact analysis of renewal input.
enum GapLaw: Hashable, Sendable {
    case gamma(rate: Double, variation: Double)
    /// Exponential of rate `first` with probability `share`, else of rate `second`.
    case phases(share: Double, first: Double, second: Double)

    /// `nil` for an arrival process that is not a renewal one.
    init?(_ law: ArrivalLaw, rate: Double) {
        switch law {
        case .poisson: self = .phases(share: 1, first: rate, second: rate)
        case .gamma(let variation): self = .gamma(rate: rate, variation: variation)
        case .hyperexponential(let variation):
            let share = (1 + ((variation - 1) / (variation + 1)).squareRoot()) / 2
            self = .phases(share: share, first: 2 * share * rate, second: 2 * (1 - share) * rate)
        case .modulated(let first, let second, let firstStay, let secondStay):
            // On and off is a renewal process whose gaps have two phases (Kuczura 1973).
            guard first == 0 || second == 0 else { return nil }
            let (on, off) = first > 0 ? (firstStay, secondStay) : (secondStay, firstStay)
            let burst = rate * (on + off) / on
            let sum = burst + 1 / on + 1 / off
            let root = (sum * sum - 4 * burst / off).squareRoot()
            let (fast, slow) = ((sum + root) / 2, (sum - root) / 2)
            self = .phases(share: (burst - slow) / (fast - slow), first: fast, second: slow)
        }
    }

    /// `ψ_0(s) = 1/φ_0(s) − 1`, without cancellation.
    func psi(_ s: Double) -> Double {
        switch self {
        case .gamma(let rate, let variation):
            return Double.expMinusOne(Double.log(onePlus: s * variation / rate) / variation)
        case .phases(let share, let first, let second):
            let rest = share * s / (first + s) + (1 - share) * s / (second + s)
            return rest / (1 - rest)
        }
    }

    /// `−φ_0'(s)`, seconds.
    func slope(_ s: Double) -> Double {
        switch self {
        case .gamma(let rate, let variation):
            return Double.exp(-Double.log(onePlus: s * variation / rate) * (1 / variation + 1)) / rate
        case .phases(let share, let first, let second):
            return share * first / ((first + s) * (first + s)) + (1 - share) * second
                / ((second + s) * (second + s))
        }
    }
}
