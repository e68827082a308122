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
    /// What a PETALS server tells the others about its speed; for that baseline alone.
    public var advertisedRates: AdvertisedRates?

    /// Speeds as PETALS measures them, requests per second.
    public struct AdvertisedRates: Hashable, Sendable {
        /// Forward passes of one block.
        public var forward: Double
        /// Transfers of a request's hidden states.
        public var network: Double

        public init(forward: Double, network: Double) {
            self.forward = forward
            self.network = network
        }
    }

    public init(
        name: String, memory: ByteCount, communicationTimeSeconds: Double, blockTimeSeconds: Double,
        address: String? = nil, advertisedRates: AdvertisedRates? = nil
    ) {
        self.name = name
        self.memory = memory
        self.communicationTimeSeconds = communicationTimeSeconds
        self.blockTimeSeconds = blockTimeSeconds
        self.address = address
        self.advertisedRates = advertisedRates
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
