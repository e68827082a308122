import ChainModel

/// Greedy cache allocation: GCA, Algorithm 2 of the paper (section 3.1.4), and reserved chains when it falls short.
package struct CacheAllocation {
    /// From fastest to slowest.
    package private(set) var chains: [ServerChain] = []
    /// `C = Σ c_k`.
    private(set) var totalCapacity = 0
    /// `ν = Σ c_k μ_k`, 1/s.
    private(set) var totalServiceRate = 0.0
    /// First block that nothing can follow with; set when there is no chain at all.
    private(set) var firstMissingBlock: Int?

    /// Takes the fastest chain with room, gives it all it can hold, and repeats until none is left.
    ///
    /// Every turn passes over at least one list entry of the boundary graph, which bounds the number of chains by
    /// `Σ_j min(m_j, M̃_j)`.
    /// - Complexity: O(K·L²) for K chains, after the graph is built.
    package init(_ cluster: Cluster, placement: Placement) {
        self.init(BoundaryLists(cluster, placement: placement), placement: placement)
    }

    /// Chains that are known already, from fastest to slowest.
    init(_ chains: [ServerChain]) {
        self.chains = chains
        total()
    }

    /// Allocates anew as above, with lists that hold the servers of `placement`, and maybe others.
    init(_ lists: BoundaryLists, placement: Placement) {
        var graph = BoundaryGraph(lists, placement: placement)
        fill(&graph)
        total()
    }

    /// Reserves `capacity` jobs on each of the given chains first, then allocates what is left as above.
    ///
    /// Lemma 1 guarantees the required rate through the reserved chains; the greedy chains can strand a server and miss
    /// it, rarely. A reserved chain that the allocation finds again is counted once, with both capacities.
    init(
        _ lists: BoundaryLists, placement: Placement, reserving reserved: [[ServerIndex]], capacity: Int
    ) {
        var graph = BoundaryGraph(lists, placement: placement)
        var first: [ServerChain] = []
        for servers in reserved {
            guard let chain = Self.chain(over: servers, lists, placement, capacity: capacity) else {
                continue
            }
            graph.reserve(chain.hops, capacity: capacity)
            first.append(chain)
        }
        fill(&graph)
        var positions: [[ChainHop]: Int] = [:]
        for (position, chain) in chains.enumerated() { positions[chain.hops] = position }
        for chain in first {
            if let position = positions[chain.hops] {
                chains[position].capacity += chain.capacity
            } else {
                chains.append(chain)
            }
        }
        // Ties: greedy chains before reserved ones, each in their own order.
        let order = chains.indices.sorted {
            let (left, right) = (chains[$0].serviceTimeSeconds, chains[$1].serviceTimeSeconds)
            return left != right ? left < right : $0 < $1
        }
        chains = order.map { chains[$0] }
        total()
    }

    private mutating func fill(_ graph: inout BoundaryGraph) {
        while true {
            let time = graph.fastestTime()
            guard time < .infinity else { break }
            let hops = graph.fastestHops()
            let room = graph.room(for: hops)
            graph.reserve(hops, capacity: room)
            chains.append(ServerChain(hops: hops, capacity: room, serviceTimeSeconds: time))
        }
        if chains.isEmpty { firstMissingBlock = graph.firstUnreachableBlock() }
    }

    private mutating func total() {
        for chain in chains {
            totalCapacity += chain.capacity
            totalServiceRate += Double(chain.capacity) * chain.serviceRate
        }
    }

    /// The chain over the given servers in order, each running to the end of its range.
    private static func chain(
        over servers: [ServerIndex], _ lists: BoundaryLists, _ placement: Placement, capacity: Int
    ) -> ServerChain? {
        var next = 1
        var hops: [ChainHop] = []
        var time = 0.0
        for server in servers {
            guard let range = placement[server], range.contains(next) else { return nil }
            hops.append(ChainHop(server: server, firstBlock: next, blockCount: range.end - next))
            time += lists.cost(of: server.rawValue, width: range.end - next)
            next = range.end
        }
        return ServerChain(hops: hops, capacity: capacity, serviceTimeSeconds: time)
    }
}
