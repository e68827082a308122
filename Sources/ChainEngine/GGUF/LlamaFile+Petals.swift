import ChainModel

extension LlamaFile {
    /// What the planner needs of the same model on PETALS: every value of parameters and caches takes `valueSize` bytes,
    /// whatever the file's types, and a cache has room for just the reserved tokens.
    ///
    /// What a PETALS process needs beside them (torch, buffers of a step) is bounded by nobody and not counted:
    /// `computeSize` is zero.
    public func petalsShape(name: String, sequenceLength: Int, valueSize: Int) -> ModelShape {
        var largest = 0
        for block in 1...parameters.blockCount {
            let values = tensors(ofBlock: block).reduce(0) { $0 + $1.dimensions.reduce(1, *) }
            largest = max(largest, values)
        }
        let row = 2 * parameters.keyValueHeadCount * parameters.headSize
        return ModelShape(
            name: name, blockCount: parameters.blockCount, blockSize: ByteCount(largest * valueSize),
            cacheSize: ByteCount(row * valueSize) * sequenceLength)
    }

    /// Embedding and output head are kept in float32, so that they are computed without rounding weights or states.
    public var hasFullEnds: Bool {
        ["token_embd.weight", "output.weight"].allSatisfy { name in
            file.tensor(named: name).map { $0.type == Self.float32 } ?? true
        }
    }

    /// ggml's number of the type.
    private static let float32: UInt32 = 0
}
