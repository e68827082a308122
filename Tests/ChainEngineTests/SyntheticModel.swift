import CGGML
import CLlama
import Foundation

/// SplitMix64: small, seeded, the same everywhere.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// `count` values, uniform in ±`scale`.
    mutating func floats(_ count: Int, scale: Float) -> [Float] {
        [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            let step = scale * 0x1p-31
            for index in 0..<count {
                base[index] = Float(Int32(truncatingIfNeeded: next() &>> 32)) * step
            }
            filled = count
        }
    }
}

/// A tiny random Llama model as a GGUF file that libllama loads too: no tokenizer, weights from a seed.
struct SyntheticModel {
    var seed: UInt64 = 1
    var blocks = 4
    var headCount = 8
    var keyValueHeadCount = 4
    var headSize = 32
    var embeddingWidth = 256
    var feedForwardWidth = 512
    var vocabulary = 256
    var contextLength = 2048
    var tied = false
    var ropeFactors = false
    var linearScale: Float?
    var biases = false
    /// Type of all matrices, of blocks and ends.
    var type = GGML_TYPE_F16
    /// Types of single blocks, from 0, that differ.
    var blockTypes: [Int: ggml_type] = [:]

    private var metadata: [(key: String, value: GGUFBytes.Value)] {
        var values: [(key: String, value: GGUFBytes.Value)] = [
            ("general.architecture", .string("llama")),
            ("general.name", .string("synthetic")),
            ("tokenizer.ggml.model", .string("no_vocab")),
            ("llama.vocab_size", .uint32(UInt32(vocabulary))),
            ("llama.context_length", .uint32(UInt32(contextLength))),
            ("llama.embedding_length", .uint32(UInt32(embeddingWidth))),
            ("llama.block_count", .uint32(UInt32(blocks))),
            ("llama.feed_forward_length", .uint32(UInt32(feedForwardWidth))),
            ("llama.attention.head_count", .uint32(UInt32(headCount))),
            ("llama.attention.head_count_kv", .uint32(UInt32(keyValueHeadCount))),
            ("llama.attention.layer_norm_rms_epsilon", .float32(1e-5)),
            ("llama.rope.freq_base", .float32(10_000)),
        ]
        if headSize * headCount != embeddingWidth {
            values.append(("llama.attention.key_length", .uint32(UInt32(headSize))))
            values.append(("llama.attention.value_length", .uint32(UInt32(headSize))))
            values.append(("llama.rope.dimension_count", .uint32(UInt32(headSize))))
        }
        if let linearScale {
            values.append(("llama.rope.scaling.type", .string("linear")))
            values.append(("llama.rope.scaling.factor", .float32(linearScale)))
        }
        return values
    }

    /// The file's parts.
    func parts() -> GGUFBytes {
        var file = GGUFBytes()
        file.metadata = metadata
        var generator = SeededGenerator(seed: seed)
        func vector(_ name: String, _ count: Int, around center: Float, scale: Float) {
            let values = generator.floats(count, scale: scale).map { $0 + center }
            file.tensors.append(
                .init(
                    name: name, type: GGML_TYPE_F32.rawValue, dimensions: [UInt64(count)],
                    data: values.withUnsafeBytes { Array($0) }))
        }
        func matrix(_ name: String, _ columns: Int, _ rows: Int, _ type: ggml_type) {
            let values = generator.floats(columns * rows, scale: 2 / Float(columns).squareRoot())
            file.tensors.append(
                .init(
                    name: name, type: type.rawValue, dimensions: [UInt64(columns), UInt64(rows)],
                    data: Self.quantized(values, columns: columns, type)))
        }
        let queries = headCount * headSize
        let keys = keyValueHeadCount * headSize
        matrix("token_embd.weight", embeddingWidth, vocabulary, type)
        vector("output_norm.weight", embeddingWidth, around: 1, scale: 0.2)
        if !tied { matrix("output.weight", embeddingWidth, vocabulary, type) }
        if ropeFactors { vector("rope_freqs.weight", headSize / 2, around: 3, scale: 2) }
        for block in 0..<blocks {
            let prefix = "blk.\(block)."
            let type = blockTypes[block] ?? type
            vector(prefix + "attn_norm.weight", embeddingWidth, around: 1, scale: 0.2)
            matrix(prefix + "attn_q.weight", embeddingWidth, queries, type)
            matrix(prefix + "attn_k.weight", embeddingWidth, keys, type)
            matrix(prefix + "attn_v.weight", embeddingWidth, keys, type)
            matrix(prefix + "attn_output.weight", queries, embeddingWidth, type)
            vector(prefix + "ffn_norm.weight", embeddingWidth, around: 1, scale: 0.2)
            matrix(prefix + "ffn_gate.weight", embeddingWidth, feedForwardWidth, type)
            matrix(prefix + "ffn_up.weight", embeddingWidth, feedForwardWidth, type)
            matrix(prefix + "ffn_down.weight", feedForwardWidth, embeddingWidth, type)
            guard biases else { continue }
            for (name, count) in [
                ("attn_q", queries), ("attn_k", keys), ("attn_v", keys), ("attn_output", embeddingWidth),
                ("ffn_gate", feedForwardWidth), ("ffn_up", feedForwardWidth), ("ffn_down", embeddingWidth),
            ] { vector(prefix + name + ".bias", count, around: 0, scale: 0.3) }
        }
        return file
    }

    func file() throws -> TemporaryFile { try TemporaryFile(parts().bytes) }

    /// `values` as ggml stores them in `type`; equal importance where a type wants to know it.
    private static func quantized(_ values: [Float], columns: Int, _ type: ggml_type) -> [UInt8] {
        let rows = values.count / columns
        let count = ggml_row_size(type, Int64(columns)) * rows
        let importance = [Float](repeating: 1, count: columns)
        return [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            filled = ggml_quantize_chunk(
                type, values, buffer.baseAddress, 0, Int64(rows), Int64(columns),
                ggml_quantize_requires_imatrix(type) ? importance : nil)
        }
    }
}
