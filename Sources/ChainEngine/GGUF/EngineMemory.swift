import ChainModel

/// Memory that a server spends, in bytes: what counts towards its declared memory is parameters, cache units
/// and compute buffers, by these formulas.
public enum EngineMemory {
    /// Tokens of one compute step: libllama's own step, so that long prompts give its very numbers.
    public static let stepTokens = 512

    /// Compute threads that `computeSize` provides for unless told otherwise.
    public static let threads = 4

    /// A tensor's bytes with what backends add for alignment and row padding.
    public static func allocated(_ byteCount: Int) -> Int { (byteCount + 511) / 512 * 512 + 1024 }

    /// Rows reserved for a job of `sequenceLength` tokens in each of its blocks.
    public static func rows(sequenceLength: Int) -> Int {
        (sequenceLength + LlamaFile.rowGranularity - 1) / LlamaFile.rowGranularity * LlamaFile.rowGranularity
    }

    /// One cache unit: `s_c = 2·d_kv·rows·2` bytes (keys and values, 16-bit floats).
    public static func unitSize(_ parameters: LlamaParameters, sequenceLength: Int) -> ByteCount {
        parameters.cacheUnitSize(sequenceLength: sequenceLength)
    }

    /// What a server sets aside for steps of `stepTokens` tokens: activations, attention masks, row indices,
    /// and the CPU backend's scratch. An engine keeps within it whatever the batch: one whose layout would
    /// not fit is computed in parts.
    /// - Parameters:
    ///   - threads: compute threads.
    ///   - largeBlocks: some matrix has a type of 256-value blocks (Q2_K … Q6_K, IQ…), whose products take
    ///     more scratch.
    public static func computeSize(
        _ parameters: LlamaParameters, sequenceLength: Int, stepTokens: Int, threads: Int = Self.threads,
        largeBlocks: Bool = true
    ) -> ByteCount {
        let buffers = bufferSize(
            parameters, tokens: stepTokens, maskedRows: stepTokens * rows(sequenceLength: sequenceLength),
            blockCount: parameters.blockCount)
        let scratch = scratchSize(
            parameters, stepTokens: stepTokens, threads: threads, largeBlocks: largeBlocks)
        return ByteCount(buffers + scratch)
    }

    /// The tensors of a step that live at once, with room for jobs that join in the middle of a range (their
    /// hidden states wait, and the allocator's free places do not fit the wider ones).
    ///
    /// Per token the feed-forward network holds the residual, its norm and three inner vectors; attention
    /// the residual, the queries, and the results of the jobs before and after they are joined. The other
    /// widths are what waiting and misfit were seen to take over random batches.
    /// - Parameter maskedRows: cache rows that each token's attention reads, over all tokens.
    static func bufferSize(_ parameters: LlamaParameters, tokens: Int, maskedRows: Int, blockCount: Int)
        -> Int
    {
        let queries = parameters.headCount * parameters.headSize
        let keys = parameters.keyValueHeadCount * parameters.headSize
        let attention = 4 * parameters.embeddingWidth + 3 * queries + keys
        let feedForward = 6 * parameters.embeddingWidth + 3 * parameters.feedForwardWidth
        let indices = 8 * tokens * (blockCount + 1)
        return 4 * tokens * max(attention, feedForward) + 2 * maskedRows + indices + alignment
    }

    /// Alignment of tensors and the rotary factors.
    private static let alignment = 1 << 18

    /// The CPU backend's work buffer, which it allocates by itself; ggml computes it in `ggml_graph_plan` as
    /// the largest over a graph's operations. Those of our graphs: a product converts its right side to the
    /// partner type of the left one (at most 2 bytes a value), and for types of 256-value blocks keeps 512
    /// KiB a thread; flash attention keeps tiles of 64 queries and 64 rows a thread, or one partial result
    /// for each head and thread.
    static func scratchSize(_ parameters: LlamaParameters, stepTokens: Int, threads: Int, largeBlocks: Bool)
        -> Int
    {
        let head = parameters.headSize
        let queries = parameters.headCount * head
        let widest = max(parameters.feedForwardWidth, parameters.embeddingWidth, queries)
        let product = 2 * stepTokens * widest + 128 + (largeBlocks ? threads << 19 : 0)
        let tiles = 4 * threads * (4 * 64 * head + 2 * 64 * 64)
        let partials = 4 * threads * (parameters.headCount * (2 + head) + 3 * head + 16)
        return max(product, tiles, partials) + 64 * (threads + 1)
    }
}
