/// xoshiro256++ (Blackman and Vigna 2019): a small fast generator with period 2²⁵⁶ − 1.
///
/// Uses integer operations alone, so it gives the same numbers on every machine.
package struct RandomStream: RandomNumberGenerator, Sendable {
    /// What a stream is drawn for. Each purpose has its own, so that policies meet identical arrivals and
    /// sizes whatever else they draw.
    package enum Purpose: UInt64, Sendable, CaseIterable {
        case arrivals = 1
        case sizes
        case faults
        case tieBreaks
        case thinkTimes
    }

    private var first: UInt64
    private var second: UInt64
    private var third: UInt64
    private var fourth: UInt64

    /// The stream of a seed for a purpose, in one of several independent replications.
    package init(seed: UInt64, purpose: Purpose, replication: Int = 0) {
        self.init(state: Self.substream(seed: seed, purpose: purpose, replication: replication))
    }

    /// - Parameter state: any number; SplitMix64 spreads it over the generator's state, as its authors advise.
    package init(state: UInt64) {
        var mixer = SplitMix64(state: state)
        first = mixer.next()
        second = mixer.next()
        third = mixer.next()
        fourth = mixer.next()
    }

    /// A generator in a given state, to compare with others' implementations.
    init(words: (UInt64, UInt64, UInt64, UInt64)) { (first, second, third, fourth) = words }

    /// A number that seeds the stream of a purpose and replication: each part is mixed before the next is
    /// added, since SplitMix64 started from neighbouring numbers of its own sequence would repeat itself.
    package static func substream(seed: UInt64, purpose: Purpose, replication: Int) -> UInt64 {
        var value = SplitMix64.mix(seed &+ 0x9E37_79B9_7F4A_7C15)
        value = SplitMix64.mix(value ^ (purpose.rawValue &* 0xD1B5_4A32_D192_ED03))
        return SplitMix64.mix(value ^ (UInt64(truncatingIfNeeded: replication) &* 0xA24B_AED4_963E_E407))
    }

    @inline(__always)
    package mutating func next() -> UInt64 {
        let sum = first &+ fourth
        let result = ((sum << 23) | (sum >> 41)) &+ first
        let shifted = second << 17
        third ^= first
        fourth ^= second
        second ^= third
        first ^= fourth
        third ^= shifted
        fourth = (fourth << 45) | (fourth >> 19)
        return result
    }

    /// Uniform in the open interval (0, 1): the middles of 2⁵² equal parts, so that no logarithm is infinite.
    @inline(__always)
    package mutating func uniform() -> Double { (Double(next() >> 12) + 0.5) * 0x1p-52 }

    /// Uniform among `0 ..< count`; the bias is below `count`/2⁶⁴.
    package mutating func index(below count: Int) -> Int {
        Int(next().multipliedFullWidth(by: UInt64(count)).high)
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014): turns any number into well spread ones.
struct SplitMix64 {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    static func mix(_ value: UInt64) -> UInt64 {
        var mixed = value
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
