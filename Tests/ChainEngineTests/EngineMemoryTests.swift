import CGGML
import CLlama
import ChainModel
import Testing

@testable import ChainEngine

/// Plans steps of a model that has shapes but no weights: what they would take, without allocating it.
private final class StepPlanner {
    private let parameters: LlamaParameters
    private let device: GGMLDevice
    private let context: GGMLContext
    private let arena: CacheArena
    private let blocks: [BlockWeights]

    init(_ parameters: LlamaParameters, blockCount: Int, sequenceLength: Int) throws {
        self.parameters = parameters
        device = try GGMLDevice(wanted: "cpu", threads: 1)
        let context = GGMLContext(tensors: 16)
        self.context = context
        arena = try CacheArena(
            unitCount: 1, rows: EngineMemory.rows(sequenceLength: sequenceLength),
            width: parameters.keyValueHeadCount * parameters.headSize, device: device)
        func weight(_ suffix: String) -> Tensor {
            let dimensions = LlamaFile.expectedDimensions(suffix + ".weight", parameters) ?? []
            let tensor = context.tensor(type: GGML_TYPE_F32.rawValue, dimensions: dimensions)
            // Never read: a plan only wants to know that the tensor has a place of its own.
            tensor.pointee.data = UnsafeMutableRawPointer(bitPattern: 64)
            return tensor
        }
        let block = BlockWeights(
            attentionNorm: weight("attn_norm"), query: weight("attn_q"), key: weight("attn_k"),
            value: weight("attn_v"), attentionOutput: weight("attn_output"),
            feedForwardNorm: weight("ffn_norm"), gate: weight("ffn_gate"), up: weight("ffn_up"),
            down: weight("ffn_down"))
        blocks = Array(repeating: block, count: blockCount)
    }

    /// Bytes of the largest layout: buffers and the row indices of the blocks that are not planned.
    func bufferSize(_ jobs: [GraphJob]) -> Int {
        let step = BlockGraph(
            jobs: jobs, runs: AttentionRun.single(jobs), blocks: blocks, ropeFactors: nil, arena: arena,
            parameters: parameters)
        var needed = 0
        guard let type = device.bufferType, let planner = ggml_gallocr_new(type) else { return 0 }
        defer { ggml_gallocr_free(planner) }
        ggml_gallocr_reserve_n_size(planner, step.graph, nil, nil, &needed)
        return needed
    }
}

@Suite(.serialized)
struct EngineMemoryTests {
    /// Width, heads, key-value heads, head size, feed-forward width of models in use, and of some that
    /// nobody makes.
    static let shapes: [(width: Int, heads: Int, shared: Int, head: Int, inner: Int)] = [
        (576, 9, 3, 64, 1536), (960, 15, 5, 64, 2560), (2048, 32, 32, 64, 8192), (2048, 32, 4, 64, 5632),
        (4096, 32, 32, 128, 11008), (4096, 32, 8, 128, 14336), (256, 8, 8, 128, 64), (256, 8, 1, 32, 512),
        (1024, 16, 16, 64, 256), (512, 8, 4, 64, 512), (512, 8, 8, 64, 1024), (768, 12, 12, 64, 2048),
    ]

    private static func parameters(_ shape: (width: Int, heads: Int, shared: Int, head: Int, inner: Int))
        -> LlamaParameters
    {
        LlamaParameters(
            architecture: "llama", blockCount: 8, embeddingWidth: shape.width, headCount: shape.heads,
            keyValueHeadCount: shape.shared, headSize: shape.head, feedForwardWidth: shape.inner,
            normEpsilon: 1e-5, ropeDimensionCount: shape.head, ropeFrequencyBase: 10_000,
            ropeFrequencyScale: 1,
            contextLength: 4096, vocabularySize: 1000)
    }

    /// A random batch that uses up to `tokens` tokens: one long job, many of one token, or anything between.
    private static func batch(
        _ generator: inout SeededGenerator, tokens: Int, blocks: Int, sequenceLength: Int
    ) -> [GraphJob] {
        let style = Int.random(in: 0..<4, using: &generator)
        let lastRowOnly = Bool.random(using: &generator)
        var left = min(tokens, sequenceLength)
        var jobs: [GraphJob] = []
        while left > 0, jobs.count < 48 {
            let count =
                switch style {
                case 0: left
                case 1: 1
                default: Int.random(in: 1...left, using: &generator)
                }
            let entry = style == 2 ? 0 : Int.random(in: 0..<blocks, using: &generator)
            jobs.append(
                GraphJob(
                    entry: entry, tokens: count, position: sequenceLength - count,
                    units: Array(repeating: 0, count: blocks - entry), lastRowOnly: lastRowOnly))
            left -= count
        }
        return jobs.sorted { $0.entry < $1.entry }
    }

    @Test("No batch of any shape takes more compute buffers than the formula says")
    func formulaBounds() throws {
        var generator = SeededGenerator(seed: 2026)
        for shape in Self.shapes {
            let parameters = Self.parameters(shape)
            var tightest = 0.0
            for (sequenceLength, tokens) in [(2048, 512), (700, 512), (256, 64), (300, 1)] {
                let bound = EngineMemory.bufferSize(
                    parameters, tokens: tokens,
                    maskedRows: tokens * EngineMemory.rows(sequenceLength: sequenceLength), blockCount: 8)
                for blocks in [1, 2, 3, 8] {
                    let planner = try StepPlanner(
                        parameters, blockCount: blocks, sequenceLength: sequenceLength)
                    for _ in 0..<40 {
                        let jobs = Self.batch(
                            &generator, tokens: tokens, blocks: blocks, sequenceLength: sequenceLength)
                        let needed = planner.bufferSize(jobs)
                        #expect(
                            needed <= bound,
                            "\(shape), \(blocks) blocks: \(jobs.map { ($0.entry, $0.tokens) })")
                        if tokens == 512 { tightest = max(tightest, Double(needed) / Double(bound)) }
                    }
                }
            }
            #expect(tightest > 1 / 1.5, "\(shape): the bound is \(1 / tightest) times the need")
        }
    }

    @Test("Engines keep within blocks, units and compute size of the model's shape, whatever they run")
    func enginesKeepWithin() throws {
        var generator = SeededGenerator(seed: 7)
        let models = [
            SyntheticModel(type: GGML_TYPE_Q4_0), SyntheticModel(biases: true, type: GGML_TYPE_Q4_K),
            SyntheticModel(headCount: 8, keyValueHeadCount: 8, ropeFactors: true),
            SyntheticModel(type: GGML_TYPE_Q4_0, blockTypes: [1: GGML_TYPE_Q6_K]),
        ]
        for model in models {
            let temporary = try model.file()
            let file = try LlamaFile(path: temporary.path)
            for (first, count, units, sequenceLength, stepTokens) in [
                (1, 4, 4, 256, 512), (2, 3, 30, 700, 512), (3, 1, 9, 300, 64), (1, 2, 64, 40, 16),
                (1, 4, 2, 256, 32),
            ] {
                let shape = file.shape(
                    name: "m", sequenceLength: sequenceLength, stepTokens: stepTokens, threads: 1)
                let range = BlockRange(first: first, count: count)
                let limits = EngineLimits(
                    range: range, width: 256, unitCount: units, sequenceLength: sequenceLength,
                    stepTokens: stepTokens)
                let engine = try GGMLEngine(
                    manifest: file.manifest(modelName: "m", range: range), source: file, limits: limits,
                    options: EngineOptions(computeSize: shape.computeSize, device: "cpu"))
                let bound = shape.blockSize * count + shape.cacheSize * units + shape.computeSize
                #expect(engine.memoryUsed <= bound)
                try Self.load(engine, &generator)
                #expect(engine.memoryUsed <= bound, "\(limits)")
                #expect(engine.unitsUsed == 0)
            }
        }
    }

    /// Fills the engine with jobs from different entries and runs full steps until sequences end.
    private static func load(_ engine: GGMLEngine, _ generator: inout SeededGenerator) throws {
        let limits = engine.limits
        var lengths: [(job: EngineJobID, length: Int)] = []
        while true {
            let depth = Int.random(in: 1...limits.range.count, using: &generator)
            guard limits.unitCount - engine.unitsUsed >= depth else { break }
            let job = EngineJobID(UInt64(lengths.count + 1))
            try engine.open(job, firstBlock: limits.range.end - depth, blockCount: depth)
            lengths.append((job, 0))
        }
        for _ in 0..<12 {
            var left = limits.stepTokens
            var steps: [EngineStep] = []
            for index in lengths.indices.shuffled(using: &generator) {
                let room = min(left, limits.sequenceLength - lengths[index].length)
                guard room > 0 else { continue }
                let count = Int.random(in: 1...room, using: &generator)
                steps.append(
                    EngineStep(
                        job: lengths[index].job, position: lengths[index].length, tokenCount: count,
                        hidden: [Float](repeating: 0.5, count: count * limits.width),
                        lastRowOnly: Bool.random(using: &generator)))
                lengths[index].length += count
                left -= count
            }
            let results = try engine.run(steps)
            for (step, result) in zip(steps, results) {
                #expect(result.count == (step.lastRowOnly ? 1 : step.tokenCount) * limits.width)
            }
        }
        for (job, _) in lengths { engine.close(job) }
    }

    @Test("A compute size that is too small is refused when the engine is made, with what to change")
    func tooSmall() throws {
        let temporary = try SyntheticModel(type: GGML_TYPE_Q4_0).file()
        let file = try LlamaFile(path: temporary.path)
        let range = BlockRange(first: 1, count: 2)
        let manifest = try file.manifest(modelName: "m", range: range)
        let limits = EngineLimits(range: range, width: 256, unitCount: 4, sequenceLength: 256)
        #expect(throws: EngineError.self) {
            try GGMLEngine(
                manifest: manifest, source: file, limits: limits,
                options: EngineOptions(computeSize: ByteCount(100_000), device: "cpu"))
        }
    }

    @Test("A batch whose layout passes the compute buffers is computed in parts, with the same results")
    func batchInParts() throws {
        let temporary = try SyntheticModel(type: GGML_TYPE_Q4_0).file()
        let file = try LlamaFile(path: temporary.path)
        let range = BlockRange(first: 1, count: 4)
        let manifest = try file.manifest(modelName: "m", range: range)
        let limits = EngineLimits(
            range: range, width: 256, unitCount: 24, sequenceLength: 64, stepTokens: 256)
        func engine(computeSize: Int) throws -> GGMLEngine {
            try GGMLEngine(
                manifest: manifest, source: file, limits: limits,
                options: EngineOptions(computeSize: ByteCount(computeSize), device: "cpu"))
        }
        let roomy = try engine(computeSize: 1 << 30)
        let buffers = roomy.memoryUsed
        // As much as the longest step of one job takes, and not a byte more.
        let weights = manifest.tensors.reduce(0) { $0 + $1.byteCount }
        let cache = EngineMemory.unitSize(file.parameters, sequenceLength: 256) * 24
        let tight = try engine(computeSize: buffers.rawValue - weights - cache.rawValue)
        var generator = SeededGenerator(seed: 5)
        let steps = (0..<6).map { index in
            EngineStep(
                job: EngineJobID(UInt64(index)), position: 0, tokenCount: 42,
                hidden: generator.floats(42 * 256, scale: 1))
        }
        var results: [[[Float]]] = []
        for engine in [roomy, tight] {
            for step in steps {
                let depth = 1 + Int(step.job.rawValue) % 4
                try engine.open(step.job, firstBlock: 5 - depth, blockCount: depth)
            }
            results.append(try engine.run(steps))
        }
        #expect(identical(results[0], results[1]))
        #expect(tight.memoryUsed <= buffers)
        #expect(roomy.memoryUsed > tight.memoryUsed)
    }
}
