import CGGML
import CLlama
import ChainModel
import Testing

@testable import ChainEngine

/// Tiny random models of every shape and type, against libllama running the same file in this process: the
/// logits must be equal to the last bit, whatever the composition.
@Suite(.serialized)
struct SyntheticModelTests {
    struct Variant: CustomTestStringConvertible {
        var testDescription: String
        var model: SyntheticModel

        init(_ name: String, _ model: SyntheticModel) {
            testDescription = name
            self.model = model
        }
    }

    static let shapes: [Variant] = [
        Variant("multi-head", SyntheticModel(headCount: 8, keyValueHeadCount: 8)),
        Variant("grouped-query", SyntheticModel(headCount: 8, keyValueHeadCount: 2)),
        Variant("multi-query", SyntheticModel(headCount: 8, keyValueHeadCount: 1)),
        Variant("three query heads share one", SyntheticModel(headCount: 9, keyValueHeadCount: 3)),
        Variant("heads of 64", SyntheticModel(headCount: 4, keyValueHeadCount: 2, headSize: 64)),
        Variant("heads of 128", SyntheticModel(headCount: 2, keyValueHeadCount: 1, headSize: 128)),
        Variant("heads wider than the model", SyntheticModel(headCount: 4, headSize: 128)),
        Variant("tied head", SyntheticModel(tied: true, type: GGML_TYPE_Q4_0)),
        Variant("rotary factors", SyntheticModel(ropeFactors: true)),
        Variant("linear rotary scaling", SyntheticModel(linearScale: 4)),
        Variant("biases", SyntheticModel(biases: true)),
        Variant("odd feed-forward width", SyntheticModel(feedForwardWidth: 416, type: GGML_TYPE_Q8_0)),
        Variant(
            "mixed quantisation",
            SyntheticModel(
                type: GGML_TYPE_Q4_0,
                blockTypes: [0: GGML_TYPE_Q6_K, 2: GGML_TYPE_Q8_0, 3: GGML_TYPE_F16])),
    ]

    /// Ranges of engines over four blocks and the path through them; the last two enter a range in the
    /// middle.
    static let compositions: [(ranges: [(first: Int, count: Int)], order: [Int])] = [
        ([(1, 4)], [0]),
        ([(1, 2), (2, 3)], [0, 1]),
        ([(1, 1), (1, 3), (2, 3)], [0, 1, 2]),
    ]

    /// Every type that ggml multiplies matrices of.
    static let types: [ggml_type] = (0..<GGML_TYPE_COUNT.rawValue).filter {
        GGMLTypeTraits($0) != nil && LlamaFile.unusableMatrixType($0) == nil
    }.map { ggml_type(rawValue: $0) }

    static func prompt(_ length: Int, seed: UInt64, vocabulary: Int = 256) -> [Int32] {
        var generator = SeededGenerator(seed: seed)
        return (0..<length).map { _ in Int32.random(in: 0..<Int32(vocabulary), using: &generator) }
    }

    /// Expects that every composition gives libllama's logits for prompts of these lengths.
    private func compare(
        _ model: SyntheticModel, lengths: [Int], compositions: Range<Int>, threads: Int
    ) throws {
        let file = try model.file()
        let reference = try #require(ReferenceModel(path: file.path, threads: Int32(threads)))
        let prompts = lengths.map { Self.prompt($0, seed: UInt64($0)) }
        let expected = prompts.map { reference.greedy(prompt: $0, count: 4).logits }
        for number in compositions {
            let composition = Self.compositions[number]
            let pool = try InProcessPool(
                path: file.path, ranges: composition.ranges, units: 4, threads: threads)
            for (index, prompt) in prompts.enumerated() {
                let got = try pool.greedy(pool.path(composition.order), prompt: prompt, count: 4).logits
                #expect(
                    identical(got, expected[index]),
                    "composition \(number), \(prompt.count) tokens: off by \(distance(got, expected[index]))")
            }
        }
    }

    @Test("Every shape of model gives libllama's logits bit for bit", arguments: shapes, [1, 2])
    func everyShape(variant: Variant, threads: Int) throws {
        try compare(variant.model, lengths: [1, 70, 530], compositions: 0..<3, threads: threads)
    }

    @Test("Every type of weights gives libllama's logits bit for bit", arguments: types.map(\.rawValue))
    func everyType(number: UInt32) throws {
        let model = SyntheticModel(feedForwardWidth: 256, type: ggml_type(rawValue: number))
        try compare(model, lengths: [5, 70], compositions: 1..<2, threads: 1)
        try compare(model, lengths: [70], compositions: 1..<2, threads: 2)
    }

    @Test("The list of types holds what models are made of")
    func typesAreComplete() {
        let names = Self.types.map { String(cString: ggml_type_name($0)) }
        for name in [
            "f32", "f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_K", "q3_K", "q4_K", "q5_K",
            "q6_K",
            "iq4_nl", "iq4_xs",
        ] { #expect(names.contains(name)) }
    }

    /// Kernels of ggml may sum several columns in another order than one (F32, F16 and BF16 from two columns
    /// on, Q4_K from four, other types of 256-value blocks from eight): then a batch differs from its jobs
    /// alone, in libllama as here. What must hold for all types is that our batch is libllama's batch.
    @Test(
        "Jobs in one step give what libllama gives for sequences in one batch, bit for bit",
        arguments: types.map(\.rawValue))
    func everyBatch(number: UInt32) throws {
        let file = try SyntheticModel(
            blocks: 2, feedForwardWidth: 256, type: ggml_type(rawValue: number)
        ).file()
        let prompts = (0..<8).map { Self.prompt(10 + $0, seed: UInt64($0)) }
        let single = try #require(ReferenceModel(path: file.path))
        let alone = prompts.map { single.greedy(prompt: $0, count: 2) }
        let tokens = alone.map { $0.tokens[0] }
        for count in [2, 4, 8] {
            let reference = try #require(ReferenceModel(path: file.path, sequences: UInt32(count)))
            let pool = try InProcessPool(path: file.path, ranges: [(1, 2)], units: 16)
            let some = Array(prompts.prefix(count))
            let expected = reference.batched(prompts: some, tokens: tokens)
            let got = try pool.batched(pool.path([0]), prompts: some, tokens: tokens)
            #expect(identical(got, expected), "\(count) jobs: off by \(distance(got, expected))")
            guard Self.batchSafeTypes.contains(number) else { continue }
            #expect(identical(got, alone.prefix(count).map { $0.logits[1] }), "\(count) jobs against one")
        }
    }

    /// Types whose kernels give a column the same sum in any batch: the default model's, and its kind.
    static let batchSafeTypes: Set<UInt32> = [
        GGML_TYPE_Q4_0.rawValue, GGML_TYPE_Q4_1.rawValue, GGML_TYPE_Q5_0.rawValue, GGML_TYPE_Q5_1.rawValue,
        GGML_TYPE_Q8_0.rawValue, GGML_TYPE_IQ4_NL.rawValue,
    ]

    @Test("With mixed quantisation the block size is the largest block's")
    func mixedBlockSize() throws {
        let mixed = SyntheticModel(
            type: GGML_TYPE_Q4_0, blockTypes: [0: GGML_TYPE_Q6_K, 2: GGML_TYPE_Q8_0, 3: GGML_TYPE_F16])
        let file = try mixed.file()
        let shape = try LlamaFile(path: file.path).shape(name: "mixed", sequenceLength: 256)
        let largest = try SyntheticModel(type: GGML_TYPE_F16).file()
        let reference = try LlamaFile(path: largest.path).shape(name: "f16", sequenceLength: 256)
        #expect(shape.blockSize == reference.blockSize)
        #expect(shape.blockCount == 4)
    }
}
