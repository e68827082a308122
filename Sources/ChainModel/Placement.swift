/// A contiguous range of blocks, 1-based as in the paper: `first … first + count − 1`, or `[a, e)` with `e = a + m`.
public struct BlockRange: Hashable, Sendable {
    /// First block: `a_j`, from 1.
    public var first: Int
    /// Number of blocks: `m_j`, at least 1.
    public var count: Int
    /// One past the last block: `e_j = a_j + m_j`.
    public var end: Int { first + count }

    public init(first: Int, count: Int) {
        self.first = first
        self.count = count
    }

    public func contains(_ block: Int) -> Bool { first <= block && block < end }
}

/// Which blocks each server hosts. Indexed by `ServerIndex`; `nil` for a server that hosts nothing (a spare).
public struct Placement: Hashable, Sendable {
    public var ranges: [BlockRange?]

    public init(ranges: [BlockRange?]) { self.ranges = ranges }

    public subscript(server: ServerIndex) -> BlockRange? {
        get { ranges[server.rawValue] }
        set { ranges[server.rawValue] = newValue }
    }
}

/// One server of a chain and the blocks computed there: `m_ij` blocks from `firstBlock` to the end of its range.
public struct ChainHop: Hashable, Codable, Sendable {
    public var server: ServerIndex
    /// First block computed at this hop, 1-based: the end `e_i` of the previous hop.
    public var firstBlock: Int
    /// Blocks computed at this hop: `m_ij`.
    public var blockCount: Int
    /// One past the last block computed here.
    public var endBlock: Int { firstBlock + blockCount }

    public init(server: ServerIndex, firstBlock: Int, blockCount: Int) {
        self.server = server
        self.firstBlock = firstBlock
        self.blockCount = blockCount
    }
}

/// A source-to-sink path over the servers, with the number of jobs it may run at once (paper section 2).
public struct ServerChain: Hashable, Sendable {
    public var hops: [ChainHop]
    /// Concurrent jobs: `c_k`.
    public var capacity: Int
    /// Mean service time: `T_k = Σ (τc_j + τp_j·m_ij)` over its hops, seconds (eq. 2).
    public var serviceTimeSeconds: Double
    /// Service rate `μ_k = 1/T_k`, jobs per second.
    public var serviceRate: Double { 1 / serviceTimeSeconds }

    public init(hops: [ChainHop], capacity: Int, serviceTimeSeconds: Double) {
        self.hops = hops
        self.capacity = capacity
        self.serviceTimeSeconds = serviceTimeSeconds
    }
}
