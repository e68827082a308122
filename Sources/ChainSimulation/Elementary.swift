/// Logarithm and exponential made of additions, multiplications and divisions alone.
///
/// Those are rounded the same way on every machine (IEEE 754), library functions are not: their last bit
/// depends on the vendor. With these a seed gives the same sample path everywhere.
enum Elementary {
    /// `ln 2`, and its leading bits, few enough for a product with an exponent to be exact.
    private static let ln2 = 0.693147180559945309417232121458
    private static let ln2High = 0x1.62e42feep-1
    private static let ln2Low = 0x1.a39ef35793c76p-33

    /// Natural logarithm of a positive normal number; within 2 units in the last place, or 1e-16 near 1.
    ///
    /// With `x = 2^e·m`, `m` in [√½, √2): `ln m = 2·artanh(s)`, `s = (m − 1)/(m + 1)`, as a power series.
    @inline(__always)
    static func log(_ value: Double) -> Double {
        let bits = value.bitPattern
        // Moves the boundary between exponents from 1 to √½.
        let shifted = bits &- 0x3FE6_A09E_667F_3BCD
        let exponent = Int64(bitPattern: shifted) >> 52
        let mantissa = Double(bitPattern: bits &- UInt64(bitPattern: exponent << 52))
        let s = (mantissa - 1) / (mantissa + 1)
        let square = s * s
        let fourth = square * square
        // Σ 2 s^(2k+1)/(2k+1), split into two sums so that they are computed side by side.
        let even =
            2.0 / 5 + fourth * (2.0 / 9 + fourth * (2.0 / 13 + fourth * (2.0 / 17 + fourth * (2.0 / 21))))
        let odd =
            2.0 / 3 + fourth * (2.0 / 7 + fourth * (2.0 / 11 + fourth * (2.0 / 15 + fourth * (2.0 / 19))))
        let series = s * square * (odd + square * even)
        let scale = Double(exponent)
        return scale * ln2High + (2 * s + (series + scale * ln2Low))
    }

    /// `e^x` for `|x| ≤ 700`; within 2 units in the last place.
    static func exp(_ value: Double) -> Double {
        precondition(value.magnitude <= 700, "The exponential is out of range.")
        let exponent = (value / ln2).rounded()
        let rest = (value - exponent * ln2High) - exponent * ln2Low
        var sum = 1.0
        for divisor in stride(from: 14.0, through: 1, by: -1) { sum = 1 + rest / divisor * sum }
        return sum * Double(sign: .plus, exponent: Int(exponent), significand: 1)
    }
}
