import RealModule

/// The random numbers of one purpose in one run: SplitMix64 (Steele, Lea and Flood 2014), from a seed and the
/// number of the purpose, so that a draw more for one purpose moves no other.
package struct PaperStream: RandomNumberGenerator, Sendable {
    /// What the numbers are for.
    package enum Purpose: UInt64, Sendable {
        case servers = 1
        case arrivals, sizes, joining, places
    }

    private var state: UInt64

    package init(seed: UInt64, _ purpose: Purpose) {
        state = seed
        // Neighbouring seeds and purposes are to share nothing: both go through the mixing.
        state = next() &+ purpose.rawValue &* 0xD1B5_4A32_D192_ED03
        state = next()
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

// The library's own draws may change with its version; these do not.
extension RandomNumberGenerator {
    /// Uniform in [0, 1), 53 bits.
    mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }

    /// Uniform in `0 ..< bound`; off by less than `bound`/2⁶⁴.
    mutating func below(_ bound: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(bound)).high) }

    /// Exponential of mean 1.
    mutating func exponential() -> Double { -Double.log(onePlus: -uniform()) }

    /// Normal of mean 0 and variance 1 (Box and Muller 1958).
    mutating func normal() -> Double {
        let radius = (2 * exponential()).squareRoot()
        return radius * Double.cos(2 * Double.pi * uniform())
    }

    /// `count` of the numbers `0 ..< bound` in random order, none twice.
    mutating func sample(_ count: Int, below bound: Int) -> [Int] {
        precondition(count <= bound)
        var numbers = Array(0..<bound)
        for position in 0..<count { numbers.swapAt(position, position + below(bound - position)) }
        return Array(numbers.prefix(count))
    }
}
