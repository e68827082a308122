import CGGML
import ChainModel

/// The two ends of a model that are no block: token embedding, and output norm with head.
///
/// Belongs to one thread at a time.
public final class ModelEnds {
    public let width: Int
    public let vocabularySize: Int
    /// Bytes held on the device.
    public var memoryUsed: ByteCount { ByteCount(store.byteCount) }

    private let device: GGMLDevice
    private let store: TensorStore
    private let embedding: Tensor
    private let norm: Tensor
    private let head: Tensor
    private let normEpsilon: Float
    private let allocator: OpaquePointer
    private let headStore: TensorStore?

    public init(model: LlamaFile, options: EngineOptions) throws(EngineError) {
        width = model.parameters.embeddingWidth
        vocabularySize = model.parameters.vocabularySize
        normEpsilon = model.parameters.normEpsilon
        let device = try GGMLDevice(wanted: options.device, threads: options.threads)
        self.device = device
        let table = "token_embd.weight"
        let tied = model.file.tensor(named: "output.weight") == nil
        var entries: [TensorEntry] = []
        for name in tied ? [table, "output_norm.weight"] : [table, "output_norm.weight", "output.weight"] {
            guard let entry = try model.entry(named: name) else {
                throw .modelFile("\(model.file.path) lacks \(name)")
            }
            entries.append(entry)
        }
        let store = try TensorStore(entries: entries, source: model, device: device, plain: [table])
        // A tied head is multiplied with: where the device rearranges matrices for that, it needs a copy of
        // its own.
        var second: TensorStore?
        if tied, let entry = entries.first,
            device.extraBufferTypes.contains(where: {
                device.canMultiply(type: entry.type, dimensions: entry.dimensions, in: $0)
            })
        {
            second = try TensorStore(entries: [entry], source: model, device: device)
        }
        guard let embedding = store[table], let norm = store["output_norm.weight"],
            let head = second?[table] ?? store["output.weight"] ?? store[table],
            let type = device.bufferType, let allocator = ggml_gallocr_new(type)
        else { throw .memory("ggml could not hold the model's ends") }
        self.store = store
        headStore = second
        self.embedding = embedding
        self.norm = norm
        self.head = head
        self.allocator = allocator
    }

    deinit { ggml_gallocr_free(allocator) }

    /// Hidden states of `tokens`: row-major `[tokens][width]`.
    /// - Precondition: every token is in the vocabulary.
    public func embed(_ tokens: [Int32]) throws(EngineError) -> [Float] {
        precondition(
            tokens.allSatisfy { $0 >= 0 && Int($0) < vocabularySize }, "a token outside the vocabulary")
        let context = GGMLContext(tensors: 8, graphNodes: 8)
        let ids = context.tensor(type: GGML_TYPE_I32.rawValue, dimensions: [tokens.count])
        ggml_set_input(ids)
        return try compute(context, ggml_get_rows(context.pointer, embedding, ids)!) {
            ggml_backend_tensor_set(ids, tokens, 0, tokens.count * MemoryLayout<Int32>.size)
        }
    }

    /// Logits after the last block's `hidden` states, row by row: row-major `[rows][vocabulary]`.
    public func logits(_ hidden: [Float]) throws(EngineError) -> [Float] {
        precondition(!hidden.isEmpty && hidden.count % width == 0, "hidden states come in rows of \(width)")
        let context = GGMLContext(tensors: 8, graphNodes: 8)
        let rows = context.tensor(type: GGML_TYPE_F32.rawValue, dimensions: [width, hidden.count / width])
        ggml_set_input(rows)
        let normed = ggml_mul(context.pointer, ggml_rms_norm(context.pointer, rows, normEpsilon), norm)
        return try compute(context, ggml_mul_mat(context.pointer, head, normed)!) {
            ggml_backend_tensor_set(rows, hidden, 0, hidden.count * MemoryLayout<Float>.size)
        }
    }

    private func compute(
        _ context: GGMLContext, _ output: Tensor, fill: () -> Void
    ) throws(EngineError) -> [Float] {
        guard let graph = ggml_new_graph_custom(context.pointer, 8, false) else {
            throw .memory("ggml could not make a graph")
        }
        ggml_set_output(output)
        ggml_build_forward_expand(graph, output)
        guard ggml_gallocr_alloc_graph(allocator, graph) else {
            throw .memory("no room for the model's ends")
        }
        fill()
        let status = ggml_backend_graph_compute(device.backend, graph)
        guard status == GGML_STATUS_SUCCESS else {
            throw .device("device \(device.name) failed (\(status.rawValue))")
        }
        let count = Int(ggml_nelements(output))
        return [Float](unsafeUninitializedCapacity: count) { buffer, filled in
            ggml_backend_tensor_get(output, buffer.baseAddress, 0, count * MemoryLayout<Float>.size)
            filled = count
        }
    }
}
