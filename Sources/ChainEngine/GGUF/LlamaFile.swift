import CGGML
import ChainModel
import Synchronization

/// A Llama-architecture model in a GGUF file: what its graph needs, which tensors each block has, and what
/// memory a block, a cache unit and a step take.
public final class LlamaFile: LocalModel {
    public let file: GGUFFile
    public let parameters: LlamaParameters
    /// `general.name`, or the file's name.
    public let name: String
    private let checksums = Mutex<[String: UInt32]>([:])

    /// Cache rows of a unit are rounded up to this many, the granularity of ggml's attention.
    public static let rowGranularity = 256

    /// The tensors a block may have, by GGUF suffix. Anything else in a block is a model we would compute
    /// wrongly.
    static let requiredTensors = [
        "attn_norm.weight", "attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_output.weight",
        "ffn_norm.weight", "ffn_gate.weight", "ffn_up.weight", "ffn_down.weight",
    ]
    static let optionalTensors = [
        "attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias",
        "ffn_gate.bias", "ffn_up.bias", "ffn_down.bias",
    ]
    /// Per-dimension rotary factors (Llama 3), shared by all blocks.
    static let ropeFactors = "rope_freqs.weight"

    /// - Throws: `EngineError.modelFile` for a file that cannot be read, `.unsupportedModel` for one that
    ///   our graph would compute wrongly.
    public init(path: String) throws(EngineError) {
        file = try GGUFFile(path: path)
        parameters = try Self.readParameters(file)
        if case .string(let given)? = file.metadata["general.name"], !given.isEmpty {
            name = given
        } else {
            name = path.split(separator: "/").last.map(String.init) ?? path
        }
        for block in 1...parameters.blockCount { try Self.check(block: block, of: file, parameters) }
        try Self.checkEnds(of: file, parameters)
    }

    // MARK: - Memory

    /// What the planner needs: `L`, `s_m` (the largest block's), `s_c` for `sequenceLength` reserved tokens,
    /// and the compute buffers of a server that runs `threads` threads.
    public func shape(
        name: String, sequenceLength: Int, stepTokens: Int = EngineMemory.stepTokens,
        threads: Int = EngineMemory.threads
    ) -> ModelShape {
        var largeBlocks = false
        var largest = 0
        for block in 1...parameters.blockCount {
            let bytes = tensors(ofBlock: block).reduce(0) { $0 + EngineMemory.allocated($1.byteCount) }
            largest = max(largest, bytes)
            largeBlocks = largeBlocks || tensors(ofBlock: block).contains { Self.hasLargeBlocks($0.type) }
        }
        return ModelShape(
            name: name, blockCount: parameters.blockCount, blockSize: ByteCount(largest),
            cacheSize: EngineMemory.unitSize(parameters, sequenceLength: sequenceLength),
            computeSize: EngineMemory.computeSize(
                parameters, sequenceLength: sequenceLength, stepTokens: stepTokens, threads: threads,
                largeBlocks: largeBlocks))
    }

    /// Whether ggml computes several rows at once to the very bits it computes each of them to alone. True of matrices
    /// of the older quantised types; for the others its kernels round differently from a few rows on, libllama's own
    /// batches too.
    public var computesRowsAlike: Bool {
        let alike = [
            GGML_TYPE_Q4_0, GGML_TYPE_Q4_1, GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, GGML_TYPE_IQ4_NL,
        ].map(\.rawValue)
        return (1...parameters.blockCount).allSatisfy { block in
            tensors(ofBlock: block).allSatisfy { $0.dimensions.count == 1 || alike.contains($0.type) }
        }
    }

    /// Whether ggml's values of this type come in blocks of 256.
    static func hasLargeBlocks(_ type: UInt32) -> Bool { (GGMLTypeTraits(type)?.blockElements ?? 0) >= 256 }

    func tensors(ofBlock block: Int) -> [GGUFTensor] {
        (Self.requiredTensors + Self.optionalTensors).compactMap {
            file.tensor(named: "blk.\(block - 1).\($0)")
        }
    }

    // MARK: - Manifests

    /// The manifest of a range, with the checksum of every tensor.
    /// - Complexity: reads each tensor of the range once; a checksum is kept once known.
    public func manifest(modelName: String, range: BlockRange) throws(EngineError) -> BlockManifest {
        guard range.first >= 1, range.count >= 1, range.end <= parameters.blockCount + 1 else {
            throw .modelFile(
                "\(file.path): has blocks 1–\(parameters.blockCount), not \(range.first)–\(range.end - 1)")
        }
        var names: [String] = []
        for block in range.first..<range.end { names += tensors(ofBlock: block).map(\.name) }
        if file.tensor(named: Self.ropeFactors) != nil { names.append(Self.ropeFactors) }
        var entries: [TensorEntry] = []
        for name in names {
            if let entry = try entry(named: name) { entries.append(entry) }
        }
        return BlockManifest(modelName: modelName, parameters: parameters, range: range, tensors: entries)
    }

    public func entry(named name: String) throws(EngineError) -> TensorEntry? {
        guard let tensor = file.tensor(named: name) else { return nil }
        return TensorEntry(
            name: name, type: tensor.type, dimensions: tensor.dimensions, byteCount: tensor.byteCount,
            crc32: try checksum(of: tensor))
    }

    public func read(_ entry: TensorEntry, into target: UnsafeMutableRawBufferPointer) throws(EngineError) {
        guard let tensor = file.tensor(named: entry.name), tensor.byteCount == entry.byteCount else {
            throw .modelFile("\(file.path): has no tensor \(entry.name) of \(entry.byteCount) bytes")
        }
        try file.read(tensor, into: target)
    }

    private func checksum(of tensor: GGUFTensor) throws(EngineError) -> UInt32 {
        if let known = checksums.withLock({ $0[tensor.name] }) { return known }
        let buffer = UnsafeMutableRawBufferPointer.allocate(
            byteCount: max(1, tensor.byteCount), alignment: 64)
        defer { buffer.deallocate() }
        let bytes = UnsafeMutableRawBufferPointer(rebasing: buffer[..<tensor.byteCount])
        try file.read(tensor, into: bytes)
        let value = CRC32.of(UnsafeRawBufferPointer(bytes))
        checksums.withLock { $0[tensor.name] = value }
        return value
    }
}
