import CGGML
import CLlama
import ChainModel
import Testing

@testable import ChainEngine

/// Calls that an engine refuses: each before any state is changed, and without effect on other jobs.
@Suite
struct EngineMisuseTests {
    private static let width = 256
    private let file: LlamaFile
    private let temporary: TemporaryFile

    init() throws {
        temporary = try SyntheticModel(type: GGML_TYPE_Q8_0).file()
        file = try LlamaFile(path: temporary.path)
    }

    /// Blocks 2–4 with seven cache units, sequences of 40 tokens, steps of 16.
    private func engine() throws -> GGMLEngine {
        let range = BlockRange(first: 2, count: 3)
        return try GGMLEngine(
            manifest: file.manifest(modelName: "m", range: range), source: file,
            limits: EngineLimits(
                range: range, width: Self.width, unitCount: 7, sequenceLength: 40, stepTokens: 16),
            options: EngineOptions(device: "cpu"))
    }

    private func step(_ job: UInt64, at position: Int, tokens: Int, seed: UInt64 = 1) -> EngineStep {
        var generator = SeededGenerator(seed: seed)
        return EngineStep(
            job: EngineJobID(job), position: position, tokenCount: tokens,
            hidden: generator.floats(tokens * Self.width, scale: 1))
    }

    private func refusal(_ engine: GGMLEngine, _ steps: [EngineStep]) -> EngineError? {
        do throws(EngineError) {
            _ = try engine.run(steps)
            return nil
        } catch { return error }
    }

    @Test("Every refused call leaves the engine as it was, and a bystander's results as they would have been")
    func refusedCalls() throws {
        let undisturbed = try engine()
        let disturbed = try engine()
        var results: [[[Float]]] = []
        for (engine, troubled) in [(undisturbed, false), (disturbed, true)] {
            try engine.open(EngineJobID(1), firstBlock: 2, blockCount: 3)
            try engine.open(EngineJobID(2), firstBlock: 3, blockCount: 2)
            var outputs: [[Float]] = []
            for round in 0..<4 {
                if troubled { try trouble(engine, position: round * 9) }
                outputs += try engine.run([
                    step(1, at: round * 9, tokens: 9, seed: UInt64(round)),
                    step(2, at: round, tokens: 1, seed: UInt64(round)),
                ])
            }
            results.append(outputs)
        }
        #expect(identical(results[0], results[1]))
    }

    /// Everything that must be refused while job 1 is at `position` of its blocks 2–4 and job 2 at a ninth
    /// of it.
    private func trouble(_ engine: GGMLEngine, position: Int) throws {
        let one = EngineJobID(1)
        let units = engine.unitsUsed
        var nan = step(1, at: position, tokens: 2)
        nan.hidden[300] = .nan
        var infinite = step(1, at: position, tokens: 2)
        infinite.hidden[511] = -.infinity
        var short = step(1, at: position, tokens: 2)
        short.hidden.removeLast()
        let other = step(2, at: position / 9, tokens: 1)
        #expect(refusal(engine, [step(9, at: 0, tokens: 1)]) == .jobUnknown(EngineJobID(9)))
        #expect(
            refusal(engine, [step(1, at: position + 1, tokens: 1)])
                == .wrongPosition(one, expected: position, got: position + 1))
        #expect(
            refusal(engine, [step(1, at: -1, tokens: 1)]) == .wrongPosition(one, expected: position, got: -1))
        #expect(refusal(engine, [other, short]) == .wrongShape(one, expected: 512, got: 511))
        #expect(
            refusal(engine, [step(1, at: position, tokens: 0)]) == .wrongShape(one, expected: 256, got: 0))
        #expect(refusal(engine, [other, nan]) == .notFinite(one))
        #expect(refusal(engine, [other, infinite]) == .notFinite(one))
        #expect(
            refusal(engine, [step(1, at: position, tokens: 16), other])
                == .stepTooLarge(tokens: 17, limit: 16))
        #expect(refusal(engine, [other, other]) == .jobAlreadyOpen(EngineJobID(2)))
        if position + 16 > 40 {
            #expect(
                refusal(engine, [other, step(1, at: position, tokens: 14)])
                    == .sequenceTooLong(one, limit: 40))
        }
        #expect(throws: EngineError.jobAlreadyOpen(one)) {
            try engine.open(one, firstBlock: 4, blockCount: 1)
        }
        #expect(throws: EngineError.cacheFull(needed: 3, free: 2)) {
            try engine.open(EngineJobID(3), firstBlock: 2, blockCount: 3)
        }
        for (first, count) in [(1, 4), (2, 2), (5, 0), (4, 2), (4, -1), (.max, 1), (3, .max)] {
            #expect(
                throws: EngineError.blocksNotHosted(
                    firstBlock: first, blockCount: count, range: BlockRange(first: 2, count: 3))
            ) { try engine.open(EngineJobID(3), firstBlock: first, blockCount: count) }
        }
        engine.close(EngineJobID(77))
        #expect(engine.unitsUsed == units && engine.openJobs == 2)
        #expect(try engine.run([]).isEmpty)
    }

    @Test("A token count whose size overflows is refused")
    func overflow() throws {
        let engine = try engine()
        try engine.open(EngineJobID(1), firstBlock: 2, blockCount: 3)
        for tokens in [-1, Int.min, Int.max, Int.max / 2] {
            let steps = [
                EngineStep(job: EngineJobID(1), position: 0, tokenCount: tokens, hidden: []),
                EngineStep(job: EngineJobID(1), position: 0, tokenCount: tokens, hidden: []),
            ]
            #expect(refusal(engine, steps) != nil)
        }
        #expect(engine.unitsUsed == 3)
    }

    @Test("A unit that a job gave back carries nothing over to the next")
    func reusedUnits() throws {
        let engine = try engine()
        try engine.open(EngineJobID(1), firstBlock: 2, blockCount: 3)
        let fresh = try engine.run([step(1, at: 0, tokens: 9)])
        _ = try engine.run([step(1, at: 9, tokens: 16, seed: 3)])
        engine.close(EngineJobID(1))
        try engine.open(EngineJobID(2), firstBlock: 2, blockCount: 3)
        #expect(identical(try engine.run([step(2, at: 0, tokens: 9)]), fresh))
    }

    @Test("A manifest that does not fit its model is refused before ggml sees it")
    func badManifests() throws {
        let range = BlockRange(first: 2, count: 2)
        let good = try file.manifest(modelName: "m", range: range)
        func refusal(_ change: (inout BlockManifest) -> Void) -> EngineError? {
            var manifest = good
            change(&manifest)
            let limits = EngineLimits(
                range: manifest.range, width: manifest.parameters.embeddingWidth, unitCount: 2,
                sequenceLength: 64)
            do throws(EngineError) {
                _ = try GGMLEngine(
                    manifest: manifest, source: file, limits: limits, options: EngineOptions(device: "cpu"))
                return nil
            } catch { return error }
        }
        #expect(refusal { _ in } == nil)
        let changes: [(inout BlockManifest) -> Void] = [
            { $0.firstBlock = 0 }, { $0.firstBlock = 4 }, { $0.blockCount = 0 }, { $0.blockCount = -3 },
            { $0.firstBlock = .max }, { $0.blockCount = .max }, { $0.parameters.blockCount = .min },
            { $0.parameters.headSize = 1 << 62 }, { $0.parameters.headCount = .max },
            { $0.parameters.headCount = 0 }, { $0.parameters.keyValueHeadCount = 0 },
            { $0.parameters.keyValueHeadCount = -4 }, { $0.parameters.feedForwardWidth = 511 },
            { $0.parameters.embeddingWidth = 128 }, { $0.parameters.contextLength = .max },
            { $0.parameters.normEpsilon = .nan }, { $0.parameters.ropeFrequencyBase = 0 },
            { $0.parameters.ropeFrequencyScale = -.infinity }, { $0.tensors.removeLast() },
            { $0.tensors.append($0.tensors[0]) }, { $0.tensors[1].type = 99 },
            { $0.tensors[1].byteCount += 34 },
            { $0.tensors[1].byteCount = .min }, { $0.tensors[1].dimensions = [] },
            { $0.tensors[1].dimensions = [.max, .max] }, { $0.tensors[1].name = "blk.3.attn_q.weight" },
            { $0.tensors[1].name = "output.weight" }, { $0.tensors[1].name = "" },
        ]
        for (index, change) in changes.enumerated() {
            #expect(refusal(change) != nil, "change \(index)")
        }
    }
}
