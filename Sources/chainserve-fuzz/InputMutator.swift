/// SplitMix64 (Steele, Lea, Flood 2014): the same numbers everywhere from one seed.
struct InputGenerator: RandomNumberGenerator {
    private var state: UInt64

    /// The generator of input number `input` of a run: inputs can be made one by one.
    init(seed: UInt64, input: Int) {
        state = seed &* 0xD6E8_FEB8_6659_FD93 ^ UInt64(truncatingIfNeeded: input) &* 0xA076_1D64_78BD_642F
        _ = next()
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }

    /// Uniform enough for fuzzing; `bound` at least 1.
    mutating func below(_ bound: Int) -> Int { Int(next() >> 33) % bound }
}

/// Damages inputs the way files and wires are damaged, and the way attackers think: extreme numbers, cut and repeated
/// parts, words of the format in the wrong place, parts of other inputs.
struct InputMutator {
    /// Byte strings that mean something in the format.
    var dictionary: [[UInt8]] = []
    /// Inputs grow no larger than this.
    var largestInput = 1 << 16

    private static let bytes: [UInt8] = [
        0, 1, 0x0A, 0x20, 0x22, 0x2D, 0x3A, 0x5B, 0x7B, 0x7F, 0x80, 0xC0, 0xFF,
    ]
    private static let words: [UInt64] = [
        0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 40, 1 << 60,
        0x7FFF_FFFF_FFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF,
    ]

    func mutate(_ input: [UInt8], corpus: [[UInt8]], using generator: inout InputGenerator) -> [UInt8] {
        var bytes = input
        for _ in 0...generator.below(4) { change(&bytes, corpus: corpus, using: &generator) }
        if bytes.count > largestInput { bytes.removeLast(bytes.count - largestInput) }
        return bytes
    }

    private func change(_ bytes: inout [UInt8], corpus: [[UInt8]], using generator: inout InputGenerator) {
        let place = generator.below(bytes.count + 1)
        switch generator.below(10) {
        case 0, 1:
            if place < bytes.count { bytes[place] ^= 1 << UInt8(generator.below(8)) }
        case 2:
            if place < bytes.count { bytes[place] = Self.bytes[generator.below(Self.bytes.count)] }
        case 3: overwrite(&bytes, at: place, using: &generator)
        case 4:
            let count = min(bytes.count - place, 1 + generator.below(16))
            bytes.removeSubrange(place..<(place + count))
        case 5:
            let count = 1 + generator.below(8)
            bytes.insert(contentsOf: (0..<count).map { _ in UInt8(generator.below(256)) }, at: place)
        case 6:
            // A part again, in another place.
            let count = min(bytes.count - place, 1 + generator.below(64))
            let part = Array(bytes[place..<(place + count)])
            bytes.insert(contentsOf: part, at: generator.below(bytes.count + 1))
        case 7:
            if !dictionary.isEmpty {
                bytes.insert(contentsOf: dictionary[generator.below(dictionary.count)], at: place)
            }
        case 8:
            // The rest from another input.
            let other = corpus[generator.below(corpus.count)]
            if !other.isEmpty { bytes = Array(bytes[..<place] + other[generator.below(other.count)...]) }
        default: bytes.removeLast(bytes.count - place)
        }
    }

    private func overwrite(_ bytes: inout [UInt8], at place: Int, using generator: inout InputGenerator) {
        let word = Self.words[generator.below(Self.words.count)]
        let size = [1, 2, 4, 8][generator.below(4)]
        for offset in 0..<size where place + offset < bytes.count {
            bytes[place + offset] = UInt8(truncatingIfNeeded: word >> UInt64(8 * offset))
        }
    }
}
