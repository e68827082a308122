import Testing

@testable import ChainOrchestrator

@Suite("Gateway: stop sequences")
struct GatewayStopSequenceTests {
    /// Feeds the pieces; what each one let through, then what the end did.
    private func run(_ stops: [String], _ pieces: [String]) -> (shown: [String], isStopped: Bool) {
        var filter = StopSequenceFilter(stops)
        var shown: [String] = []
        for piece in pieces { shown.append(filter.feed(piece)) }
        shown.append(filter.finish())
        return (shown, filter.isStopped)
    }

    @Test(
        "cases",
        arguments: [
            // No stop sequences: everything passes at once.
            ([], ["a", "b"], ["a", "b", ""], false),
            (["x"], ["abc"], ["abc", ""], false),
            (["b"], ["abc", "d"], ["a", "", ""], true),
            // Spanning tokens: held back, then cut or let go.
            (["END"], ["go E", "N", "D more"], ["go ", "", "", ""], true),
            (["END"], ["go E", "N", "T"], ["go ", "", "ENT", ""], false),
            (["END"], ["go EN"], ["go ", "EN"], false),
            // A beginning that begins again.
            (["aab"], ["a", "a", "a", "b", "c"], ["", "", "a", "", "", ""], true),
            (["abab!"], ["ababab", "!"], ["ab", "", ""], true),
            (["aabaaac"], ["aabaaab", "aaac"], ["aaba", "", ""], true),
            // The one that is complete first wins, whatever began first; at one place, the longer.
            (["abc", "b"], ["abc"], ["a", ""], true),
            (["b", "ab"], ["xab"], ["x", ""], true),
            // Several bytes a character, one character over several tokens' text.
            (["é"], ["caf", "é!"], ["caf", "", ""], true),
            (["€uro"], ["10 €", "ur", "a"], ["10 ", "", "€ura", ""], false),
            (["👩‍💻"], ["a👩", "\u{200D}", "💻 b"], ["a", "", "", ""], true),
            // é and è share their first byte: nothing is cut within a character.
            (["é"], ["è"], ["è", ""], false),
            (["\n\n"], ["a\n", "b\n", "\nc"], ["a", "\nb", "", ""], true),
            // The whole text.
            (["stop"], ["stop"], ["", ""], true),
            (["", "b"], ["ab"], ["a", ""], true),
        ] as [([String], [String], [String], Bool)])
    func cases(stops: [String], pieces: [String], shown: [String], isStopped: Bool) {
        let result = run(stops, pieces)
        #expect(result.shown == shown)
        #expect(result.isStopped == isStopped)
    }

    @Test("against a search in the whole text, for random texts, stops and divisions; seed 20240607")
    func random() {
        var generator = SplitMix(state: 20_240_607)
        let alphabet = ["a", "a", "b", "é"]
        for _ in 0..<5000 {
            let text = (0..<Int.random(in: 0...24, using: &generator)).map { _ in
                alphabet.randomElement(using: &generator) ?? ""
            }
            let stops = (0..<Int.random(in: 1...3, using: &generator)).map { _ in
                // A piece of the text itself, or anything.
                guard text.isEmpty || Bool.random(using: &generator) else {
                    let start = Int.random(in: text.indices, using: &generator)
                    let damage = Bool.random(using: &generator) ? "a" : ""
                    return text[start...].prefix(Int.random(in: 1...9, using: &generator)).joined() + damage
                }
                return (0..<Int.random(in: 1...4, using: &generator)).map { _ in
                    alphabet.randomElement(using: &generator) ?? ""
                }.joined()
            }
            var pieces: [String] = []
            for character in text {
                if pieces.isEmpty || Bool.random(using: &generator) { pieces.append("") }
                pieces[pieces.count - 1] += character
            }
            let result = run(stops, pieces)
            let expected = reference(text.joined(), stops)
            #expect(result.shown.joined() == expected.shown, "\(pieces) \(stops)")
            #expect(result.isStopped == expected.isStopped, "\(pieces) \(stops)")
        }
    }

    /// Looks at every beginning of the text in turn.
    private func reference(_ text: String, _ stops: [String]) -> (shown: String, isStopped: Bool) {
        for end in text.indices.map({ text.index(after: $0) }) {
            let beginning = text[..<end]
            let found = stops.filter { beginning.hasSuffix($0) }.map(\.count).max()
            if let found { return (String(beginning.dropLast(found)), true) }
        }
        return (text, false)
    }
}

/// Steele, Lea and Flood's SplitMix64.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
