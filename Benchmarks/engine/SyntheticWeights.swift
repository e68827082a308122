import CGGML
import CLlama
import Foundation

/// A Llama model of a well-known shape with random weights, as a GGUF file that libllama loads too: how fast a
/// product is does not depend on the numbers in it.
struct SyntheticWeights {
    var name: String
    var blocks: Int
    var headCount: Int
    var keyValueHeadCount: Int
    var embeddingWidth: Int
    var feedForwardWidth: Int
    var vocabulary: Int

    static let shapes = [
        SyntheticWeights(
            name: "smollm2-135m", blocks: 30, headCount: 9, keyValueHeadCount: 3, embeddingWidth: 576,
            feedForwardWidth: 1536, vocabulary: 49152),
        SyntheticWeights(
            name: "llama-3.2-1b", blocks: 16, headCount: 32, keyValueHeadCount: 8, embeddingWidth: 2048,
            feedForwardWidth: 8192, vocabulary: 128_256),
        SyntheticWeights(
            name: "llama-2-7b", blocks: 32, headCount: 32, keyValueHeadCount: 32, embeddingWidth: 4096,
            feedForwardWidth: 11008, vocabulary: 32000),
        SyntheticWeights(
            name: "llama-3-8b", blocks: 32, headCount: 32, keyValueHeadCount: 8, embeddingWidth: 4096,
            feedForwardWidth: 14336, vocabulary: 128_256),
    ]

    /// Types whose random weights are made here: 16-bit floats, and blocks of 32 values with one scale.
    static let types: [String: ggml_type] = [
        "f16": GGML_TYPE_F16, "q8_0": GGML_TYPE_Q8_0, "q4_0": GGML_TYPE_Q4_0,
    ]

    private struct Entry {
        var name: String
        var type: ggml_type
        var dimensions: [Int]

        var byteCount: Int {
            ggml_row_size(type, Int64(dimensions[0])) * (dimensions.count > 1 ? dimensions[1] : 1)
        }
    }

    private func entries(_ type: ggml_type) -> [Entry] {
        let head = embeddingWidth / headCount
        func vector(_ name: String) -> Entry {
            Entry(name: name, type: GGML_TYPE_F32, dimensions: [embeddingWidth])
        }
        func matrix(_ name: String, _ columns: Int, _ rows: Int) -> Entry {
            Entry(name: name, type: type, dimensions: [columns, rows])
        }
        var all = [
            matrix("token_embd.weight", embeddingWidth, vocabulary), vector("output_norm.weight"),
            matrix("output.weight", embeddingWidth, vocabulary),
        ]
        for block in 0..<blocks {
            let prefix = "blk.\(block)."
            all += [
                vector(prefix + "attn_norm.weight"),
                matrix(prefix + "attn_q.weight", embeddingWidth, headCount * head),
                matrix(prefix + "attn_k.weight", embeddingWidth, keyValueHeadCount * head),
                matrix(prefix + "attn_v.weight", embeddingWidth, keyValueHeadCount * head),
                matrix(prefix + "attn_output.weight", headCount * head, embeddingWidth),
                vector(prefix + "ffn_norm.weight"),
                matrix(prefix + "ffn_gate.weight", embeddingWidth, feedForwardWidth),
                matrix(prefix + "ffn_up.weight", embeddingWidth, feedForwardWidth),
                matrix(prefix + "ffn_down.weight", feedForwardWidth, embeddingWidth),
            ]
        }
        return all
    }

    /// Writes the file, tensor by tensor.
    func write(to path: String, type: ggml_type, seed: UInt64) throws {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw CocoaError(.fileWriteUnknown) }
        defer { try? handle.close() }
        let entries = entries(type)
        var bytes = header(entries)
        bytes += [UInt8](repeating: 0, count: Self.padding(bytes.count))
        try handle.write(contentsOf: bytes)
        var words = RandomWords(state: seed)
        for entry in entries {
            var data =
                entry.type == GGML_TYPE_F32
                ? Self.ones(embeddingWidth)
                : words.matrix(
                    entry.type, byteCount: entry.byteCount, scale: 2 / Float(entry.dimensions[0]).squareRoot()
                )
            data += [UInt8](repeating: 0, count: Self.padding(data.count))
            try handle.write(contentsOf: data)
        }
    }

    private static func padding(_ count: Int) -> Int { (32 - count % 32) % 32 }

    private static func ones(_ count: Int) -> [UInt8] {
        [Float](repeating: 1, count: count).withUnsafeBytes { Array($0) }
    }

    private func header(_ entries: [Entry]) -> [UInt8] {
        var bytes = Array("GGUF".utf8)
        func number(_ value: some FixedWidthInteger) {
            withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
        }
        func text(_ value: String) {
            number(UInt64(value.utf8.count))
            bytes += Array(value.utf8)
        }
        func key(_ name: String, type: UInt32) {
            text(name)
            number(type)
        }
        let counts: [(String, Int)] = [
            ("llama.vocab_size", vocabulary), ("llama.context_length", 8192),
            ("llama.embedding_length", embeddingWidth), ("llama.block_count", blocks),
            ("llama.feed_forward_length", feedForwardWidth), ("llama.attention.head_count", headCount),
            ("llama.attention.head_count_kv", keyValueHeadCount),
        ]
        let texts = [
            ("general.architecture", "llama"), ("general.name", "synthetic \(name)"),
            ("tokenizer.ggml.model", "no_vocab"),
        ]
        let reals: [(String, Float)] = [
            ("llama.attention.layer_norm_rms_epsilon", 1e-5), ("llama.rope.freq_base", 10_000),
        ]
        number(UInt32(3))
        number(UInt64(entries.count))
        number(UInt64(counts.count + texts.count + reals.count))
        for (name, value) in texts {
            key(name, type: 8)
            text(value)
        }
        for (name, value) in counts {
            key(name, type: 4)
            number(UInt32(value))
        }
        for (name, value) in reals {
            key(name, type: 6)
            number(value.bitPattern)
        }
        var offset = 0
        for entry in entries {
            text(entry.name)
            number(UInt32(entry.dimensions.count))
            for extent in entry.dimensions { number(UInt64(extent)) }
            number(entry.type.rawValue)
            number(UInt64(offset))
            offset += entry.byteCount + Self.padding(entry.byteCount)
        }
        return bytes
    }
}

/// SplitMix64.
struct RandomWords {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// `count` tokens below `vocabulary`.
    mutating func tokens(_ count: Int, vocabulary: Int) -> [Int32] {
        (0..<count).map { _ in Int32(next() % UInt64(vocabulary)) }
    }

    /// Weights of about ±`scale` as `type` stores them.
    mutating func matrix(_ type: ggml_type, byteCount: Int, scale: Float) -> [UInt8] {
        var bytes = [UInt8](unsafeUninitializedCapacity: byteCount + 8) { buffer, filled in
            guard let base = buffer.baseAddress else { return }
            for offset in stride(from: 0, to: byteCount, by: 8) {
                UnsafeMutableRawPointer(base + offset).storeBytes(of: next(), as: UInt64.self)
            }
            filled = byteCount + 8
        }
        bytes.removeLast(8)
        bytes.withUnsafeMutableBytes { buffer in
            func put(_ value: Float, at offset: Int) {
                buffer.storeBytes(of: Self.half(value), toByteOffset: offset, as: UInt16.self)
            }
            switch type {
            case GGML_TYPE_F16:
                for offset in stride(from: 0, to: byteCount, by: 2) {
                    let bits = buffer.loadUnaligned(fromByteOffset: offset, as: Int16.self)
                    put(Float(bits) * scale * 0x1p-15, at: offset)
                }
            // A 16-bit scale, then 32 values of 8 or 4 bits.
            case GGML_TYPE_Q8_0:
                for offset in stride(from: 0, to: byteCount, by: 34) { put(scale / 128, at: offset) }
            default:
                for offset in stride(from: 0, to: byteCount, by: 18) { put(scale / 8, at: offset) }
            }
        }
        return bytes
    }

    private static func half(_ value: Float) -> UInt16 { ggml_fp32_to_fp16(value) }
}
