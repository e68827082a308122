import CGGML

typealias Tensor = UnsafeMutablePointer<ggml_tensor>

/// Tensors of a model in a device's memory, loaded from a source one by one. Only what is named is ever in
/// memory.
final class TensorStore {
    private var contexts: [GGMLContext] = []
    private var buffers: [OpaquePointer] = []
    private var tensors: [String: Tensor] = [:]
    /// Bytes allocated on the device.
    private(set) var byteCount = 0

    /// - Parameter plain: names kept in ordinary memory, because something other than a product reads them.
    /// - Throws: `EngineError.memory` when the device has no room, or what `source` throws.
    init(
        entries: [TensorEntry], source: any TensorSource, device: GGMLDevice, plain: Set<String> = []
    ) throws(EngineError) {
        guard let ordinary = device.bufferType else {
            throw .device("\(device.name) has no memory of its own")
        }
        var groups: [(type: OpaquePointer, entries: [TensorEntry])] = [(ordinary, [])]
        let extra = device.extraBufferTypes
        groups += extra.map { ($0, []) }
        for entry in entries {
            var group = 0
            if entry.dimensions.count == 2, !plain.contains(entry.name) {
                let usable = extra.firstIndex {
                    device.canMultiply(type: entry.type, dimensions: entry.dimensions, in: $0)
                }
                if let usable { group = usable + 1 }
            }
            groups[group].entries.append(entry)
        }
        for group in groups where !group.entries.isEmpty {
            try load(group.entries, source: source, into: group.type, direct: group.type == ordinary)
        }
    }

    deinit { for buffer in buffers { ggml_backend_buffer_free(buffer) } }

    subscript(name: String) -> Tensor? { tensors[name] }

    private func load(
        _ entries: [TensorEntry], source: any TensorSource, into type: OpaquePointer, direct: Bool
    ) throws(EngineError) {
        let context = GGMLContext(tensors: entries.count)
        var made: [Tensor] = []
        for entry in entries {
            let tensor = context.tensor(type: entry.type, dimensions: entry.dimensions)
            ggml_set_name(tensor, entry.name)
            made.append(tensor)
        }
        guard let buffer = ggml_backend_alloc_ctx_tensors_from_buft(context.pointer, type) else {
            throw .memory(
                "the device has no room for \(entries.reduce(0) { $0 + $1.byteCount }) bytes of parameters")
        }
        contexts.append(context)
        buffers.append(buffer)
        ggml_backend_buffer_set_usage(buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS)
        byteCount += ggml_backend_buffer_get_size(buffer)
        let inPlace = direct && ggml_backend_buffer_is_host(buffer)
        for (entry, tensor) in zip(entries, made) {
            if inPlace, let data = tensor.pointee.data {
                try source.read(
                    entry, into: UnsafeMutableRawBufferPointer(start: data, count: entry.byteCount))
            } else {
                let staging = UnsafeMutableRawBufferPointer.allocate(
                    byteCount: entry.byteCount, alignment: 64)
                defer { staging.deallocate() }
                try source.read(entry, into: staging)
                ggml_backend_tensor_set(tensor, staging.baseAddress, 0, entry.byteCount)
            }
            tensors[entry.name] = tensor
        }
    }
}

/// The weights of one block; biases are absent in most models.
struct BlockWeights {
    var attentionNorm: Tensor
    var query: Tensor
    var key: Tensor
    var value: Tensor
    var attentionOutput: Tensor
    var feedForwardNorm: Tensor
    var gate: Tensor
    var up: Tensor
    var down: Tensor
    var queryBias: Tensor?
    var keyBias: Tensor?
    var valueBias: Tensor?
    var outputBias: Tensor?
    var gateBias: Tensor?
    var upBias: Tensor?
    var downBias: Tensor?
}

extension BlockWeights {
    /// - Parameter block: 1-based.
    /// - Throws: `EngineError.modelFile` when a tensor of the block is not in the store.
    init(block: Int, in store: TensorStore) throws(EngineError) {
        func required(_ suffix: String) throws(EngineError) -> Tensor {
            guard let tensor = store["blk.\(block - 1).\(suffix).weight"] else {
                throw .modelFile("block \(block) came without its tensor \(suffix)")
            }
            return tensor
        }
        func bias(_ suffix: String) -> Tensor? { store["blk.\(block - 1).\(suffix).bias"] }
        attentionNorm = try required("attn_norm")
        query = try required("attn_q")
        key = try required("attn_k")
        value = try required("attn_v")
        attentionOutput = try required("attn_output")
        feedForwardNorm = try required("ffn_norm")
        gate = try required("ffn_gate")
        up = try required("ffn_up")
        down = try required("ffn_down")
        queryBias = bias("attn_q")
        keyBias = bias("attn_k")
        valueBias = bias("attn_v")
        outputBias = bias("attn_output")
        gateBias = bias("ffn_gate")
        upBias = bias("ffn_up")
        downBias = bias("ffn_down")
    }
}
