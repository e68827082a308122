/// A model, what is asked of the pool, and the servers that are to carry it (paper section 2).
public struct Cluster: Hashable, Sendable {
    public var model: ModelShape
    public var demand: Demand
    /// In the order of the cluster file; `ServerIndex` points into it.
    public var servers: [Server]
    /// Block ranges fixed by hand, indexed by `ServerIndex`; `nil` for a server that the planner may place.
    public var manualPlacement: Placement

    /// - Parameter manualPlacement: one entry per server; `nil` leaves every server to the planner.
    /// - Precondition: a manual placement has as many ranges as there are servers.
    public init(
        model: ModelShape, demand: Demand, servers: [Server], manualPlacement: Placement? = nil
    ) {
        self.model = model
        self.demand = demand
        self.servers = servers
        self.manualPlacement =
            manualPlacement ?? Placement(ranges: [BlockRange?](repeating: nil, count: servers.count))
        precondition(self.manualPlacement.ranges.count == servers.count)
    }

    public subscript(server: ServerIndex) -> Server { servers[server.rawValue] }

    /// Memory of a server for blocks and caches: `M_j`, its declared memory less the model's compute buffers; bytes,
    /// never below zero.
    public func blockMemory(of server: ServerIndex) -> ByteCount {
        max(.zero, servers[server.rawValue].memory - model.computeSize)
    }

    /// Cache slots of a server that hosts `blockCount` blocks: `M̃_j = ⌊(M_j − s_m·m_j)/s_c⌋` (eq. 3), zero when the
    /// blocks alone do not fit. One slot holds one block's cache for one job.
    public func cacheSlots(of server: ServerIndex, hosting blockCount: Int) -> Int {
        let memory = blockMemory(of: server).rawValue
        let (blocks, overflow) = model.blockSize.rawValue.multipliedReportingOverflow(by: blockCount)
        guard !overflow, blocks <= memory else { return 0 }
        return (memory - blocks) / model.cacheSize.rawValue
    }
}
