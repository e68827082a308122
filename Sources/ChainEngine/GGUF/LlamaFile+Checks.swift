import CGGML

/// What a file must satisfy before a graph is built over it: ggml ends the process on wrong shapes, so every
/// shape is compared with the parameters here.
extension LlamaFile {
    static func readParameters(_ file: GGUFFile) throws(EngineError) -> LlamaParameters {
        func refuse(_ what: String) -> EngineError { .unsupportedModel("\(file.path): \(what)") }
        guard case .string(let architecture)? = file.metadata["general.architecture"] else {
            throw refuse("has no general.architecture; it is not a language model in GGUF")
        }
        guard architecture == "llama" else {
            throw refuse(
                "architecture '\(architecture)' is not supported; use a Llama-architecture model"
                    + " (Llama 2 or 3, SmolLM2, Mistral 7B)")
        }
        func integer(_ key: String, default fallback: Int? = nil) throws(EngineError) -> Int {
            switch file.metadata["llama.\(key)"] {
            case .integer(let value)? where value > 0 && value <= 1 << 24: return value
            case nil:
                if let fallback { return fallback }
                throw refuse("lacks llama.\(key)")
            default: throw refuse("llama.\(key) is not a positive whole number")
            }
        }
        func real(_ key: String, default fallback: Double? = nil) throws(EngineError) -> Double {
            switch file.metadata["llama.\(key)"] {
            case .real(let value)? where Float(value).isFinite && Float(value) > 0: return value
            case nil:
                if let fallback { return fallback }
                throw refuse("lacks llama.\(key)")
            default: throw refuse("llama.\(key) is not a positive number")
            }
        }
        let width = try integer("embedding_length")
        let heads = try integer("attention.head_count")
        let headSize = try integer("attention.key_length", default: width / heads)
        let valueSize = try integer("attention.value_length", default: width / heads)
        let rotated = try integer("rope.dimension_count", default: headSize)
        let vocabulary = file.tensor(named: "token_embd.weight")?.dimensions.last ?? 0
        guard vocabulary > 0 else { throw refuse("lacks token_embd.weight") }
        guard headSize > 0, headSize == valueSize, headSize == rotated, headSize % 2 == 0 else {
            throw refuse(
                "head sizes \(headSize)/\(valueSize) with \(rotated) rotated values are not supported")
        }
        if case .integer(let experts)? = file.metadata["llama.expert_count"], experts > 0 {
            throw refuse("mixtures of experts (\(experts) experts) are not supported; use a dense model")
        }
        let parameters = LlamaParameters(
            architecture: architecture, blockCount: try integer("block_count"), embeddingWidth: width,
            headCount: heads, keyValueHeadCount: try integer("attention.head_count_kv", default: heads),
            headSize: headSize, feedForwardWidth: try integer("feed_forward_length"),
            normEpsilon: Float(try real("attention.layer_norm_rms_epsilon")), ropeDimensionCount: rotated,
            ropeFrequencyBase: Float(try real("rope.freq_base", default: 10_000)),
            ropeFrequencyScale: Float(try ropeScale(file)),
            contextLength: try integer("context_length"), vocabularySize: vocabulary)
        guard parameters.blockCount <= 4096 else { throw refuse("claims \(parameters.blockCount) blocks") }
        guard heads % parameters.keyValueHeadCount == 0 else {
            throw refuse("\(heads) heads cannot share \(parameters.keyValueHeadCount) key-value heads")
        }
        try refuseUncomputed(file)
        return parameters
    }

    /// Settings that libllama heeds and our graph does not, unless they say what it does anyway.
    private static func refuseUncomputed(_ file: GGUFFile) throws(EngineError) {
        let harmless: [String: [GGUFValue]] = [
            "attention.scale": [.real(0)], "attention.causal": [.bool(true)],
            "rope.scaling.attn_factor": [.real(1)],
            "rope.scaling.yarn_ext_factor": [.real(0)],
        ]
        for (key, values) in harmless.sorted(by: { $0.key < $1.key }) {
            guard let value = file.metadata["llama.\(key)"], !values.contains(value) else { continue }
            throw .unsupportedModel(
                "\(file.path): llama.\(key) is not supported; use a plain Llama-architecture model")
        }
    }

    /// 1, or the inverse of a linear scaling factor, which is what libllama takes a factor without a type
    /// for. Other scalings would be computed wrongly, so they are refused.
    private static func ropeScale(_ file: GGUFFile) throws(EngineError) -> Double {
        var kind = "linear"
        if case .string(let given)? = file.metadata["llama.rope.scaling.type"] { kind = given }
        var factor = 1.0
        let keys = ["llama.rope.scaling.factor", "llama.rope.scale_linear"]
        if let key = keys.first(where: { file.metadata[$0] != nil }) {
            guard case .real(let given)? = file.metadata[key], given >= 0, Float(1 / max(given, 1)) > 0 else {
                throw .unsupportedModel("\(file.path): \(key) is not a positive number")
            }
            factor = given == 0 ? 1 : given
        }
        switch kind {
        case "none": return 1
        case "linear": return 1 / factor
        default:
            throw .unsupportedModel(
                "\(file.path): rotary scaling '\(kind)' is not supported (none and linear are)")
        }
    }

    /// The extents a block tensor must have: fastest-varying first.
    static func expectedDimensions(_ suffix: String, _ parameters: LlamaParameters) -> [Int]? {
        let width = parameters.embeddingWidth
        let queries = parameters.headCount * parameters.headSize
        let keys = parameters.keyValueHeadCount * parameters.headSize
        let inner = parameters.feedForwardWidth
        return switch suffix {
        case "attn_norm.weight", "ffn_norm.weight", "attn_output.bias", "ffn_down.bias": [width]
        case "attn_q.weight": [width, queries]
        case "attn_k.weight", "attn_v.weight": [width, keys]
        case "attn_output.weight": [queries, width]
        case "ffn_gate.weight", "ffn_up.weight": [width, inner]
        case "ffn_down.weight": [inner, width]
        case "attn_q.bias": [queries]
        case "attn_k.bias", "attn_v.bias": [keys]
        case "ffn_gate.bias", "ffn_up.bias": [inner]
        default: nil
        }
    }

    /// `nil` when a tensor of this name, type and shape is what block graphs expect, else what is wrong with
    /// it.
    static func problem(
        name: String, type: UInt32, dimensions: [Int], byteCount: Int, _ parameters: LlamaParameters
    ) -> String? {
        guard let traits = GGMLTypeTraits(type) else {
            return "\(name) has type \(type), unknown to this ggml"
        }
        let vector = type == GGML_TYPE_F32.rawValue
        if name == ropeFactors {
            let fits = vector && dimensions == [parameters.ropeDimensionCount / 2]
            return fits && byteCount == 4 * dimensions[0] ? nil : "\(name) has the wrong shape or type"
        }
        let parts = name.split(separator: ".", maxSplits: 2)
        guard parts.count == 3, parts[0] == "blk",
            let expected = expectedDimensions(String(parts[2]), parameters)
        else { return "\(name) is not a tensor of a Llama block; this model would be computed wrongly" }
        guard dimensions == expected else { return "\(name) is \(dimensions), \(expected) expected" }
        if dimensions.count == 1 && !vector { return "\(name) must be 32-bit floats" }
        let elements = dimensions.reduce(1, *)
        guard dimensions[0] % traits.blockElements == 0,
            byteCount == elements / traits.blockElements * traits.blockBytes
        else { return "\(name) has \(byteCount) bytes, which do not fit its type" }
        if dimensions.count == 2, let text = unusableMatrixType(type) { return "\(name): \(text)" }
        return nil
    }

    /// Types that ggml stores but does not multiply by.
    static func unusableMatrixType(_ type: UInt32) -> String? {
        let unusable = [
            GGML_TYPE_I8, GGML_TYPE_I16, GGML_TYPE_I32, GGML_TYPE_I64, GGML_TYPE_F64, GGML_TYPE_Q8_1,
            GGML_TYPE_Q8_K,
        ]
        guard unusable.contains(where: { $0.rawValue == type }) else { return nil }
        return
            "matrices of type \(String(cString: ggml_type_name(ggml_type(rawValue: type))))"
            + " cannot be multiplied"
    }

    static func check(block: Int, of file: GGUFFile, _ parameters: LlamaParameters) throws(EngineError) {
        let prefix = "blk.\(block - 1)."
        for suffix in requiredTensors where file.tensor(named: prefix + suffix) == nil {
            throw .unsupportedModel("\(file.path): block \(block) lacks \(prefix)\(suffix)")
        }
    }

    /// Every block tensor is known and well shaped; embedding, norm and head are there.
    static func checkEnds(of file: GGUFFile, _ parameters: LlamaParameters) throws(EngineError) {
        func refuse(_ what: String) -> EngineError { .unsupportedModel("\(file.path): \(what)") }
        let ends = ["token_embd.weight", "output_norm.weight", "output.weight"]
        for tensor in file.tensors where !ends.contains(tensor.name) {
            let problem = problem(
                name: tensor.name, type: tensor.type, dimensions: tensor.dimensions,
                byteCount: tensor.byteCount,
                parameters)
            if let problem { throw refuse(problem) }
        }
        let table = [parameters.embeddingWidth, parameters.vocabularySize]
        guard let embedding = file.tensor(named: "token_embd.weight"), embedding.dimensions == table,
            unusableMatrixType(embedding.type) == nil
        else { throw refuse("token_embd.weight has the wrong shape or type") }
        if let head = file.tensor(named: "output.weight") {
            guard head.dimensions == table, unusableMatrixType(head.type) == nil else {
                throw refuse("output.weight has the wrong shape or type")
            }
        }
        guard let norm = file.tensor(named: "output_norm.weight"), norm.type == GGML_TYPE_F32.rawValue,
            norm.dimensions == [parameters.embeddingWidth]
        else { throw refuse("output_norm.weight is missing or has the wrong shape or type") }
    }
}
