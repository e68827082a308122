import Foundation
import Testing

@testable import ChainEngine

@Suite
struct TextAssemblerTests {
    private static let texts: [[UInt8]] =
        ["", "plain", "naïve café", "東京タワー", "👩‍👩‍👧 flags 🇸🇪", "a\u{0}b\r\n"].map { Array($0.utf8) } + [
            [0xFF, 0x41, 0xFE], [0xC3], [0xE6, 0x9D], [0xF0, 0x9F, 0x91], [0x80, 0x80, 0x80, 0x80, 0x80],
            [0x61, 0xC3, 0x28, 0x62], [0xE6, 0x9D, 0x41], [0xF0, 0x9F, 0x91, 0x41], [0xC0, 0x80],
            [0xED, 0xA0, 0x80],
            [0xF8, 0x88, 0x80, 0x80, 0x80], [0xF4, 0x90, 0x80, 0x80], [0xC3, 0xC3, 0xA4],
        ]

    private static func assembled(_ pieces: [ArraySlice<UInt8>]) -> String {
        var assembler = TextAssembler()
        var text = ""
        for piece in pieces { text += assembler.append(Array(piece)) }
        return text + assembler.finish()
    }

    @Test("Text cut at any two places is the text")
    func everySplit() {
        for bytes in Self.texts {
            let whole = String(decoding: bytes, as: UTF8.self)
            for first in 0...bytes.count {
                for second in first...bytes.count {
                    let pieces = [bytes[..<first], bytes[first..<second], bytes[second...]]
                    #expect(
                        Array(Self.assembled(pieces).unicodeScalars) == Array(whole.unicodeScalars),
                        "\(bytes) cut at \(first) and \(second)")
                }
            }
        }
    }

    @Test("Random bytes, one at a time, are what they are together")
    func byteByByte() {
        var generator = SeededGenerator(seed: 11)
        let likely: [UInt8] = [
            0x41, 0x80, 0xBF, 0xC3, 0xA4, 0xE6, 0x9D, 0xED, 0xA0, 0xF0, 0x9F, 0xF4, 0x90, 0xFF,
        ]
        for _ in 0..<2000 {
            let bytes = (0..<12).map { _ in likely.randomElement(using: &generator) ?? 0 }
            let pieces = bytes.indices.map { bytes[$0...$0] }
            let whole = String(decoding: bytes, as: UTF8.self)
            #expect(Array(Self.assembled(pieces).unicodeScalars) == Array(whole.unicodeScalars), "\(bytes)")
        }
    }

    @Test("A character is held back until it is complete, and nothing longer than three bytes is")
    func holdsBack() {
        var assembler = TextAssembler()
        #expect(assembler.append([0x61, 0xF0, 0x9F]) == "a")
        #expect(assembler.append([0x91]) == "")
        #expect(assembler.append([0xA9]) == "👩")
        #expect(assembler.append([0x80, 0x80, 0x80, 0x80]) == "\u{FFFD}\u{FFFD}\u{FFFD}\u{FFFD}")
        #expect(assembler.append([0xE6]) == "")
        #expect(assembler.finish() == "\u{FFFD}")
        #expect(assembler.finish() == "")
    }
}

@Suite(
    .enabled(if: defaultModelPath != nil, "the default model is not in the cache: run `make test`"))
struct VocabularyTests {
    private let vocabulary: Vocabulary

    init() throws { vocabulary = try Vocabulary(path: #require(defaultModelPath)) }

    @Test(
        "Text comes back from its tokens",
        arguments: [
            "", " ", "Hello, world!", "  two  spaces\n\n\ttab", "Überraschend naïve 東京 и текст", "👩‍👩‍👧🇸🇪",
            "def f(x):\n    return x ** 2\n", "<|im_start|> as text", String(repeating: "long ", count: 3000),
        ])
    func roundTrip(text: String) {
        let tokens = vocabulary.tokenize(text, addSpecial: false, parseSpecial: false)
        #expect(tokens.allSatisfy { $0 >= 0 && Int($0) < vocabulary.size })
        #expect(vocabulary.text(of: tokens) == text)
    }

    @Test("Text that is not valid UTF-8 on either side of a token still comes back byte for byte")
    func bytes() {
        var assembler = TextAssembler()
        let tokens = vocabulary.tokenize("a👩b", addSpecial: false, parseSpecial: false)
        var text = ""
        for token in tokens { text += assembler.append(vocabulary.bytes(of: token)) }
        #expect(text + assembler.finish() == "a👩b")
    }

    @Test("Control tokens are read as such only when asked to, and stand for no text")
    func controlTokens() {
        let text = "<|im_end|>"
        let asText = vocabulary.tokenize(text, addSpecial: false, parseSpecial: false)
        let asToken = vocabulary.tokenize(text, addSpecial: false, parseSpecial: true)
        #expect(asText.count > 1 && asToken.count == 1)
        #expect(vocabulary.endsGeneration(asToken[0]))
        #expect(!asText.contains { vocabulary.endsGeneration($0) })
        #expect(vocabulary.bytes(of: asToken[0]).isEmpty)
        #expect(vocabulary.bytes(of: asToken[0], special: true) == Array(text.utf8))
        for token in [-1, Int32(vocabulary.size), .max, .min] { #expect(vocabulary.bytes(of: token).isEmpty) }
    }

    @Test("The chat template ends with the assistant's turn, however long the conversation")
    func chatTemplate() throws {
        let long = String(repeating: "日本語 ", count: 5000)
        let prompt = try #require(
            vocabulary.applyChatTemplate([
                (role: "system", content: "Be brief."), (role: "user", content: long),
                (role: "assistant", content: "Yes."), (role: "user", content: "Why?"),
            ]))
        #expect(prompt.hasPrefix("<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n"))
        #expect(prompt.hasSuffix("<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"))
        #expect(prompt.contains(long.trimmingCharacters(in: .whitespaces)))
    }
}

@Suite
struct TokenSamplerTests {
    private static let size = 50

    private static func logits(seed: UInt64, scale: Float = 4) -> [Float] {
        var generator = SeededGenerator(seed: seed)
        return generator.floats(size, scale: scale)
    }

    private static func draw(_ settings: SamplerSettings, _ count: Int, logits: [Float]) -> [Int32] {
        let sampler = TokenSampler(settings, vocabularySize: size)
        return (0..<count).map { _ in sampler.next(logits[...]) }
    }

    @Test("Temperature 0, one candidate, and a tiny share of probability all take the likeliest token")
    func likeliest() {
        for seed in 0..<20 {
            let logits = Self.logits(seed: UInt64(seed))
            let best = [Int32](repeating: argmax(logits), count: 4)
            #expect(Self.draw(SamplerSettings(), 4, logits: logits) == best)
            #expect(Self.draw(SamplerSettings(temperature: 2, topK: 1, seed: 3), 4, logits: logits) == best)
            #expect(
                Self.draw(SamplerSettings(temperature: 2, topP: 1e-6, seed: 3), 4, logits: logits) == best)
        }
    }

    @Test("A slice is read from its own beginning")
    func slices() {
        let logits = Self.logits(seed: 1)
        let sampler = TokenSampler(SamplerSettings(), vocabularySize: Self.size)
        #expect(sampler.next(([9, 9, 9] + logits)[3...]) == argmax(logits))
    }

    @Test("The same seed draws the same tokens, another seed others, and all candidates get drawn")
    func seeds() {
        let logits = Self.logits(seed: 2, scale: 1)
        let settings = SamplerSettings(temperature: 1, seed: 42)
        let first = Self.draw(settings, 400, logits: logits)
        #expect(Self.draw(settings, 400, logits: logits) == first)
        var other = settings
        other.seed = 43
        #expect(Self.draw(other, 400, logits: logits) != first)
        #expect(Set(first).count > Self.size / 2)
        let few = Self.draw(SamplerSettings(temperature: 1, topK: 3, seed: 1), 400, logits: logits)
        let best = logits.indices.sorted { logits[$0] > logits[$1] }.prefix(3).map(Int32.init)
        #expect(Set(few) == Set(best))
    }

    @Test("Draws at temperature 1 come as often as the softmax says")
    func frequencies() {
        let logits: [Float] = [0, Float(log(2.0)), Float(log(5.0))] + [Float](repeating: -60, count: 47)
        let draws = Self.draw(SamplerSettings(temperature: 1, seed: 9), 8000, logits: logits)
        for (token, share) in [(0, 1.0 / 8), (1, 2.0 / 8), (2, 5.0 / 8)] {
            let count = Double(draws.count { $0 == token })
            // Four standard deviations of the binomial.
            #expect(abs(count - 8000 * share) < 4 * (8000 * share * (1 - share)).squareRoot())
        }
    }

    @Test("Penalties push a token below the next one once it has come, frequency for each time")
    func penalties() {
        var logits = [Float](repeating: -20, count: Self.size)
        logits[7] = 10
        logits[3] = 9.5
        logits[5] = 8.8
        #expect(Self.draw(SamplerSettings(presencePenalty: 1), 4, logits: logits) == [7, 3, 7, 7])
        #expect(Self.draw(SamplerSettings(frequencyPenalty: 1), 5, logits: logits) == [7, 3, 7, 5, 3])
        #expect(Self.draw(SamplerSettings(frequencyPenalty: -1), 3, logits: logits) == [7, 7, 7])
    }

    @Test("Log-probabilities are the softmax's, in order, and ties go to the smaller token")
    func scores() {
        let logits = Self.logits(seed: 5)
        let all = TokenSampler.score(logits[...], chosen: 4, count: Self.size)
        let total = all.top.reduce(0.0) { $0 + exp(Double($1.logProbability)) }
        #expect(abs(total - 1) < 1e-6)
        #expect(all.top.map(\.token) == logits.indices.sorted { logits[$0] > logits[$1] }.map(Int32.init))
        #expect(all.top.first { $0.token == 4 } == all.chosen)
        let some = TokenSampler.score(logits[...], chosen: 4, count: 5)
        #expect(some.top == Array(all.top.prefix(5)) && some.chosen == all.chosen)
        #expect(TokenSampler.score(logits[...], chosen: 4, count: 0).top.isEmpty)
        let tied = TokenSampler.score([1, 3, 2, 3, 3, 2], chosen: 0, count: 4)
        #expect(tied.top.map(\.token) == [1, 3, 4, 2])
        let extreme = TokenSampler.score([1e30, -1e30, 1e30], chosen: 2, count: 1)
        #expect(abs(extreme.chosen.logProbability - Float(log(0.5))) < 1e-6)
    }
}
