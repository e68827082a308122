/// A machine that hosts a contiguous range of blocks (paper section 2).
public struct Server: Hashable, Sendable {
    /// Unique in its cluster.
    public var name: String
    /// Memory declared for ChainServe, in bytes. `M_j` of the paper is this less `ModelShape.computeSize`.
    public var memory: ByteCount
    /// Mean communication time of a job at this server, all its tokens together: `τc_j`, seconds.
    public var communicationTimeSeconds: Double
    /// Mean computation time of a job for one block, all its tokens together: `τp_j`, seconds.
    public var blockTimeSeconds: Double
    /// `host:port` of the block server when the cluster is served.
    public var address: String?

    public init(
        name: String, memory: ByteCount, communicationTimeSeconds: Double, blockTimeSeconds: Double,
        address: String? = nil
    ) {
        self.name = name
        self.memory = memory
        self.communicationTimeSeconds = communicationTimeSeconds
        self.blockTimeSeconds = blockTimeSeconds
        self.address = address
    }
}

/// What the pool is asked to carry.
public struct Demand: Hashable, Sendable {
    /// Job arrival rate: `λ`, jobs per second.
    public var arrivalRate: Double
    /// Target load: `ρ̄`, in (0, 1).
    public var loadTarget: Double

    public init(arrivalRate: Double, loadTarget: Double = 0.7) {
        self.arrivalRate = arrivalRate
        self.loadTarget = loadTarget
    }
}
