/// Finds stop sequences in text that arrives in pieces, cuts the text where the first one begins, and holds
/// back no more than what may still turn out to be the beginning of one.
///
/// The sequence that is complete first wins; of two complete at the same character, the longer. So the
/// outcome depends on the text alone and not on how tokens divide it.
///
/// Each stop sequence is matched by Knuth, Morris and Pratt's automaton over UTF-8 bytes, whose state is the
/// length of the longest beginning of the sequence that ends the text: exactly what must be held back. Linear
/// in the text for each sequence. Since both texts are valid UTF-8, matches begin and end at whole
/// characters.
package struct StopSequenceFilter: Sendable {
    private struct Pattern {
        let bytes: [UInt8]
        /// `fallback[n]`: length of the longest proper beginning of the first `n` bytes that also ends them.
        let fallback: [Int]
        var matched = 0

        init(_ text: String) {
            let bytes = Array(text.utf8)
            var fallback = [Int](repeating: 0, count: bytes.count + 1)
            var length = 0
            for index in bytes.indices.dropFirst() {
                while length > 0, bytes[index] != bytes[length] { length = fallback[length] }
                if bytes[index] == bytes[length] { length += 1 }
                fallback[index + 1] = length
            }
            self.bytes = bytes
            self.fallback = fallback
        }

        /// - Returns: whether the whole sequence now ends the text.
        mutating func advance(_ byte: UInt8) -> Bool {
            while matched > 0, bytes[matched] != byte { matched = fallback[matched] }
            if bytes[matched] == byte { matched += 1 }
            return matched == bytes.count
        }
    }

    private var patterns: [Pattern]
    private var heldBack: [UInt8] = []
    /// A stop sequence was found; everything after it is dropped.
    package private(set) var isStopped = false

    /// - Parameter stops: empty ones are left out.
    package init(_ stops: [String]) {
        patterns = stops.filter { !$0.isEmpty }.map(Pattern.init)
    }

    /// Takes the next piece of text and returns what may be shown now. `isStopped` says whether that was the
    /// last.
    package mutating func feed(_ text: String) -> String {
        guard !isStopped else { return "" }
        guard !patterns.isEmpty else { return text }
        for byte in text.utf8 {
            heldBack.append(byte)
            var cut = 0
            for index in patterns.indices where patterns[index].advance(byte) {
                cut = max(cut, patterns[index].bytes.count)
            }
            if cut > 0 {
                isStopped = true
                return release(heldBack.count - cut)
            }
        }
        let pending = patterns.reduce(0) { max($0, $1.matched) }
        return release(heldBack.count - pending)
    }

    /// The text has ended without a stop sequence: returns what was still held back.
    package mutating func finish() -> String {
        isStopped ? "" : release(heldBack.count)
    }

    private mutating func release(_ count: Int) -> String {
        let text = String(decoding: heldBack[..<count], as: UTF8.self)
        heldBack.removeFirst(count)
        return text
    }
}
