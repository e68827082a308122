/// What the planner needs to know of a served model (paper section 2).
public struct ModelShape: Hashable, Sendable {
    /// The name clients ask for.
    public var name: String
    /// Number of transformer blocks: `L`.
    public var blockCount: Int
    /// Memory of one block's parameters: `s_m`, bytes. For files with mixed quantisation, the largest block's.
    public var blockSize: ByteCount
    /// Cache (KV) memory of one block for one job: `s_c`, bytes.
    public var cacheSize: ByteCount
    /// Memory every server sets aside, before blocks and caches, for the buffers a step computes in; bytes.
    ///
    /// Not in the paper, whose `M_j` is what remains after it. Zero unless the model is a real file.
    public var computeSize: ByteCount
    /// Floating-point operations of one block for one token: `F`; `nil` when the model's source does not say.
    public var blockOperations: Double?
    /// Numbers in a token's hidden state, what goes from server to server: `d`; `nil` when it is not known.
    public var hiddenSize: Int?

    public init(
        name: String, blockCount: Int, blockSize: ByteCount, cacheSize: ByteCount,
        computeSize: ByteCount = .zero, blockOperations: Double? = nil, hiddenSize: Int? = nil
    ) {
        self.name = name
        self.blockCount = blockCount
        self.blockSize = blockSize
        self.cacheSize = cacheSize
        self.computeSize = computeSize
        self.blockOperations = blockOperations
        self.hiddenSize = hiddenSize
    }
}
