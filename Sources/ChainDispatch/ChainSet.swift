/// A set of chains that yields its fastest member (the lowest index): a bit each, and a summary bit per 64.
///
/// All operations are O(1) but `first`, O(1 + K/4096) for `K` chains.
struct ChainSet: Hashable, Sendable {
    private var words: [UInt64]
    /// Bit `w`: whether `words[w]` has a member.
    private var summary: [UInt64]

    /// The empty set of chains `0 ..< count`.
    init(count: Int) {
        let wordCount = (count + 63) / 64
        words = Array(repeating: 0, count: wordCount)
        summary = Array(repeating: 0, count: (wordCount + 63) / 64)
    }

    /// The fastest member.
    var first: Int? {
        for position in summary.indices where summary[position] != 0 {
            let word = position * 64 + summary[position].trailingZeroBitCount
            return word * 64 + words[word].trailingZeroBitCount
        }
        return nil
    }

    func contains(_ chain: Int) -> Bool { words[chain >> 6] & (1 << UInt64(chain & 63)) != 0 }

    mutating func insert(_ chain: Int) {
        let word = chain >> 6
        words[word] |= 1 << UInt64(chain & 63)
        summary[word >> 6] |= 1 << UInt64(word & 63)
    }

    mutating func remove(_ chain: Int) {
        let word = chain >> 6
        words[word] &= ~(1 << UInt64(chain & 63))
        if words[word] == 0 { summary[word >> 6] &= ~(1 << UInt64(word & 63)) }
    }
}
