/// A set of chains that yields its fastest member (the lowest index): a bit each, and a summary bit per 64.
///
/// The first 64 chains, which are all chains of most pools, lie in the value itself: to change an array's element
/// is to ask first whether somebody shares it.
///
/// All operations are O(1) but `first`, O(1 + K/4096) for `K` chains.
struct ChainSet: Hashable, Sendable {
    /// Chains 0 to 63.
    private var head: UInt64 = 0
    /// Chains from 64 on.
    private var words: [UInt64]
    /// Bit `w`: whether `words[w]` has a member.
    private var summary: [UInt64]

    /// The empty set of chains `0 ..< count`.
    init(count: Int) {
        let wordCount = max(0, count - 1) / 64
        words = Array(repeating: 0, count: wordCount)
        summary = Array(repeating: 0, count: (wordCount + 63) / 64)
    }

    /// The fastest member.
    var first: Int? {
        if head != 0 { return head.trailingZeroBitCount }
        for position in summary.indices where summary[position] != 0 {
            let word = position * 64 + summary[position].trailingZeroBitCount
            return (word + 1) * 64 + words[word].trailingZeroBitCount
        }
        return nil
    }

    func contains(_ chain: Int) -> Bool {
        let word = chain < 64 ? head : words[(chain >> 6) - 1]
        return word & (1 << UInt64(chain & 63)) != 0
    }

    mutating func insert(_ chain: Int) {
        let bit: UInt64 = 1 << UInt64(chain & 63)
        if chain < 64 {
            head |= bit
            return
        }
        let word = (chain >> 6) - 1
        words[word] |= bit
        summary[word >> 6] |= 1 << UInt64(word & 63)
    }

    mutating func remove(_ chain: Int) {
        let bit: UInt64 = 1 << UInt64(chain & 63)
        if chain < 64 {
            head &= ~bit
            return
        }
        let word = (chain >> 6) - 1
        words[word] &= ~bit
        if words[word] == 0 { summary[word >> 6] &= ~(1 << UInt64(word & 63)) }
    }
}
