import ChainModel
import Testing

@testable import ChainEngine

/// Eight prompts from a word to over a compute step of 512 tokens.
private let prompts: [String] = [
    "Hello",
    "The capital of France is",
    "Write a short story about a lighthouse keeper who finds a message in a bottle.",
    "List the planets of the solar system in order of their distance from the sun, with one fact about each.",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Überraschend schön: naïve café, 東京, и ещё немного текста. Translate this into English:",
    String(repeating: "The quick brown fox jumps over the lazy dog. ", count: 12) + "And then the dog",
    String(repeating: "Servers of unequal size hold contiguous blocks of a model. ", count: 44) + "In short,",
]

@Suite(
    .enabled(if: defaultModelPath != nil, "the default model is not in the cache: run `make test`"),
    .serialized)
struct RightAnswersTests {
    /// Ranges of engines and the path through them: six compositions, three of them entering ranges in the
    /// middle.
    static let compositions: [(ranges: [(first: Int, count: Int)], order: [Int])] = [
        ([(1, 30)], [0]),
        ([(1, 10), (11, 10), (21, 10)], [0, 1, 2]),
        ([(1, 14), (9, 22)], [0, 1]),
        ([(1, 7), (5, 12), (10, 21)], [0, 1, 2]),
        ([(1, 1), (2, 28), (30, 1)], [0, 1, 2]),
        ([(1, 12), (7, 12), (13, 12), (19, 12)], [0, 1, 2, 3]),
    ]

    /// What libllama gives for the prompts, computed once for all tests.
    private static let expected: (prompts: [[Int32]], answers: [(tokens: [Int32], logits: [[Float]])])? = {
        guard let path = defaultModelPath, let reference = ReferenceModel(path: path),
            let vocabulary = try? Vocabulary(path: path)
        else { return nil }
        let tokenized = prompts.map { vocabulary.tokenize($0, addSpecial: true, parseSpecial: true) }
        return (tokenized, tokenized.map { reference.greedy(prompt: $0, count: 64) })
    }()

    @Test("Greedy text over every composition is libllama's, token for token, and the logits bit for bit")
    func equalsLibllama() throws {
        let path = try #require(defaultModelPath)
        let (tokenized, expected) = try #require(Self.expected)
        #expect(tokenized.contains { $0.count > 512 })
        for (number, composition) in Self.compositions.enumerated() {
            let pool = try InProcessPool(path: path, ranges: composition.ranges, units: 30)
            let route = pool.path(composition.order)
            for (index, prompt) in tokenized.enumerated() {
                let got = try pool.greedy(route, prompt: prompt, count: 64)
                #expect(got.tokens == expected[index].tokens, "composition \(number), prompt \(index)")
                #expect(
                    identical(got.logits, expected[index].logits), "composition \(number), prompt \(index)")
            }
            for engine in pool.engines { #expect(engine.unitsUsed == 0 && engine.openJobs == 0) }
        }
    }

    @Test("Eight jobs in one step, entering at different blocks, give what libllama gives for each alone")
    func batchedEqualsAlone() throws {
        let path = try #require(defaultModelPath)
        let (tokenized, expected) = try #require(Self.expected)
        // Blocks 1–12 on one engine; 9–30 on another, entered at 13 by the jobs that used all of the first
        // and at 9 by those that come from a third which ends at 8.
        let pool = try InProcessPool(path: path, ranges: [(1, 12), (9, 22), (1, 8)], units: 8 * 22)
        let routes = (0..<8).map { pool.path($0 % 2 == 0 ? [0, 1] : [2, 1]) }
        let jobs = try routes.map { try pool.open($0) }
        var last: [[Float]] = []
        var positions = tokenized.map(\.count)
        for (index, job) in jobs.enumerated() {
            var position = 0
            var state: [Float] = []
            while position < tokenized[index].count {
                let chunk = Array(tokenized[index][position..<min(tokenized[index].count, position + 512)])
                state = try pool.step(job, routes[index], tokens: chunk, position: position)
                position += chunk.count
            }
            last.append(state)
        }
        var texts = [[Int32]](repeating: [], count: 8)
        for round in 0..<32 {
            let logits = try pool.ends.logits(last.flatMap { $0 })
            let size = pool.ends.vocabularySize
            for index in 0..<8 {
                texts[index].append(argmax(Array(logits[index * size..<(index + 1) * size])))
            }
            if round == 31 { break }
            var hidden = try texts.map { try pool.ends.embed([$0[round]]) }
            for engine in [0, 2, 1] {
                let members = (0..<8).filter { index in routes[index].hops.contains { $0.engine == engine } }
                let results = try pool.engines[engine].run(
                    members.map {
                        EngineStep(job: jobs[$0], position: positions[$0], tokenCount: 1, hidden: hidden[$0])
                    })
                for (member, result) in zip(members, results) { hidden[member] = result }
            }
            last = hidden
            for index in 0..<8 { positions[index] += 1 }
        }
        #expect(texts == expected.map { Array($0.tokens.prefix(32)) })
        for job in jobs { pool.close(job) }
        for engine in pool.engines { #expect(engine.unitsUsed == 0) }
    }

    @Test(
        "A job replayed, prompt in the same steps and answer in pieces of at most 32, goes on the same",
        arguments: [32, 7, 1])
    func recovery(piece: Int) throws {
        let path = try #require(defaultModelPath)
        let (tokenized, expected) = try #require(Self.expected)
        let pool = try InProcessPool(path: path, ranges: [(1, 14), (9, 22)], units: 30)
        let route = pool.path([0, 1])
        // Prompts of one token, of a sentence, and of more than a compute step.
        for index in [0, 2, 7] {
            let job = try pool.open(route)
            var position = 0
            var last: [Float] = []
            func replay(_ tokens: [Int32], in pieces: Int) throws {
                for start in stride(from: 0, to: tokens.count, by: pieces) {
                    let some = Array(tokens[start..<min(tokens.count, start + pieces)])
                    last = try pool.step(job, route, tokens: some, position: position)
                    position += some.count
                }
            }
            try replay(tokenized[index], in: EngineMemory.stepTokens)
            try replay(Array(expected[index].tokens.prefix(50)), in: piece)
            for place in 50..<64 {
                let logits = try pool.ends.logits(last)
                #expect(
                    identical([logits], [expected[index].logits[place]]), "prompt \(index), token \(place)")
                try replay([argmax(logits)], in: 1)
            }
            pool.close(job)
        }
    }
}
