import ChainModel

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    private var state: UInt64
    init(seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x632B_E59B_D9B4_E019 }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return mix(state)
    }

    /// Uniform in `[0, 1)`.
    mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    mutating func happens(_ probability: Double) -> Bool { uniform() < probability }

    mutating func integer(_ range: ClosedRange<Int>) -> Int {
        range.lowerBound + Int(next() % UInt64(range.count))
    }

    /// Uniform between two spans.
    mutating func span(_ least: Duration, _ most: Duration) -> Duration {
        Duration(
            nanoseconds: least.nanoseconds
                + Int64(Double(most.nanoseconds - least.nanoseconds) * uniform()))
    }

    mutating func span(milliseconds range: ClosedRange<Double>) -> Duration {
        span(.milliseconds(range.lowerBound), .milliseconds(range.upperBound))
    }

    /// Exponential of that mean, from a table-free logarithm of the bits, so that every machine gets the same.
    mutating func exponential(mean: Duration) -> Duration {
        Duration(nanoseconds: Int64(Double(mean.nanoseconds) * StableLogarithm.negativeLog(next())))
    }
}

/// The finaliser of SplitMix64: a bijection that spreads every bit.
func mix(_ value: UInt64) -> UInt64 {
    var mixed = value
    mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
    return mixed ^ (mixed >> 31)
}

/// A logarithm made of operations that IEEE 754 rounds exactly; libraries differ in the last bit of theirs.
enum StableLogarithm {
    private static let logarithmOfTwo = 0.693_147_180_559_945_3

    /// `−ln u` for `u` uniform in `(0, 1]`, from 64 random bits.
    static func negativeLog(_ bits: UInt64) -> Double {
        let uniform = (Double(bits >> 11) + 1) * 0x1p-53
        // u = m·2^e, m in [1, 2); ln m = 2 artanh((m−1)/(m+1)).
        let exponent = Double(uniform.exponent)
        let ratio = (uniform.significand - 1) / (uniform.significand + 1)
        let square = ratio * ratio
        var sum = 0.0
        for odd in stride(from: 25, through: 1, by: -2) { sum = sum * square + 1 / Double(odd) }
        return -(exponent * logarithmOfTwo + 2 * ratio * sum)
    }
}
