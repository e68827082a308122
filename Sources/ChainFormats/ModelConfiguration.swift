import ChainModel

/// The `config.json` of a Hugging Face model: the shape of its blocks, without its parameters.
public enum ModelConfiguration {
    /// The shape that a configuration describes.
    ///
    /// A block has attention (`q`, `k`, `v`, `o`), a feed-forward part of two matrices, or three where it is gated, norms and
    /// the family's biases. `F` is two operations for each of its parameters; the cache holds 16-bit numbers.
    /// - Parameters:
    ///   - text: the file.
    ///   - reference: its name for messages, and what the cluster file says of it.
    ///   - defaultLength: tokens reserved for a job when that does not say, at most the model's own length.
    /// - Throws: `FormatError` that names what is missing, and for mixtures of experts.
    public static func shape(
        _ text: String, reference: GGUFReference, defaultLength: Int = 2048
    ) throws -> ModelShape {
        let file = reference.path
        let values = try values(text, file: file)
        func fail(_ problem: String, _ mend: String) -> FormatError {
            FormatError(file: file, problems: [FormatProblem(.missingKey, line: nil, problem, mend: mend)])
        }
        func integer(_ keys: [String]) -> Int? {
            keys.lazy.compactMap { values[$0].flatMap { Int($0) } }.first
        }
        func required(_ keys: [String]) throws -> Int {
            guard let value = integer(keys), value > 0, value < 1 << 24 else {
                throw fail(
                    "the configuration has no usable `\(keys[0])`",
                    "check that it is a transformer's config.json, or give block_count, block_size and cache_size"
                )
            }
            return value
        }
        for key in ["num_local_experts", "num_experts", "n_routed_experts"] where (integer([key]) ?? 0) > 1 {
            throw fail(
                "the model is a mixture of experts (`\(key)`), which the time model does not know",
                "give block_count, block_size, cache_size and block_operations in numbers")
        }
        let layers = try required(["num_hidden_layers", "n_layer", "num_layers", "n_layers"])
        let hidden = try required(["hidden_size", "n_embd", "d_model", "n_embed"])
        let heads = try required(["num_attention_heads", "n_head", "n_heads"])
        let keyHeads =
            integer(["num_key_value_heads", "num_kv_heads", "n_head_kv"])
            ?? (values["multi_query"] == "true" ? 1 : heads)
        let headSize = integer(["head_dim"]) ?? hidden / heads
        let inner = integer(["intermediate_size", "ffn_dim", "n_inner", "ffn_hidden_size"]) ?? 4 * hidden
        guard keyHeads > 0, headSize > 0, inner > 0, max(layers, keyHeads, headSize, inner) < 1 << 24 else {
            throw fail("the configuration's numbers make no block", "check the file")
        }
        let family = values["model_type"] ?? ""
        let activation =
            values["hidden_act"] ?? values["hidden_activation"] ?? values["activation_function"] ?? ""
        let isGated = activation.hasPrefix("silu") || activation.contains("swi") || family.hasPrefix("gemma")
        let attention = Double(headSize) * Double(2 * heads + 2 * keyHeads) * Double(hidden)
        let feedForward = Double(isGated ? 3 : 2) * Double(hidden) * Double(inner)
        let keyWidth = Double(headSize) * Double(heads + 2 * keyHeads)
        let small =
            isGated
            ? 2 * Double(hidden)
                + (family.hasPrefix("qwen2") || values["attention_bias"] == "true" ? keyWidth : 0)
            : keyWidth + 6 * Double(hidden) + Double(inner)
        let parameters = attention + feedForward + small
        let longest = integer(["max_position_embeddings", "n_positions", "seq_length", "max_seq_len"])
        let length = reference.maxSequenceLength ?? min(longest ?? defaultLength, defaultLength)
        if let longest, length > longest {
            throw fail(
                "model.max_sequence_length is \(length), but the model was trained for \(longest) tokens",
                "give at most that")
        }
        let bits = reference.weightBits ?? typeBits(values["torch_dtype"] ?? values["dtype"])
        let size = (parameters * bits / 8).rounded(.up)
        let cache = 2 * Double(keyHeads) * Double(headSize) * Double(length) * 2
        guard size < Double(Quantity.largestSize), cache < Double(Quantity.largestSize) else {
            throw fail("the configuration's numbers are too large", "check the file")
        }
        return ModelShape(
            name: reference.name ?? values["_name_or_path"] ?? (family.isEmpty ? "model" : family),
            blockCount: layers, blockSize: ByteCount(Int(size)), cacheSize: ByteCount(Int(cache)),
            computeSize: reference.computeSize ?? .zero, blockOperations: 2 * parameters, hiddenSize: hidden)
    }

    /// Single values by key; those of `text_config` where a model of several modes keeps its transformer there.
    private static func values(_ text: String, file: String) throws -> [String: String] {
        let document = try JSONReader.read(text, file: file)
        guard case .mapping(let top) = document.content else {
            throw FormatError(
                file: file,
                problems: [
                    FormatProblem(
                        .wrongType, line: document.line, "a configuration is a JSON object",
                        mend: "name the model's config.json")
                ])
        }
        var values: [String: String] = [:]
        func add(_ entries: [DocumentNode.Entry]) {
            for entry in entries {
                if case .scalar(let text) = entry.value.content { values[entry.key] = text }
            }
        }
        add(top)
        for entry in top where entry.key == "text_config" {
            if case .mapping(let inner) = entry.value.content { add(inner) }
        }
        return values
    }

    /// Bits of a parameter of PyTorch's number types; 16 when it does not say.
    private static func typeBits(_ type: String?) -> Double {
        switch type {
        case "float32": 32
        case "int8", "float8_e4m3fn", "float8_e5m2": 8
        default: 16
        }
    }
}
