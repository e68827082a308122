import ChainModel

/// Every way through a placement, for shortest paths with costs that change from request to request.
///
/// A request that has left server `i` needs block `e_i` next; the hop to `j` is legal when `j` hosts that block,
/// and makes `j` compute to the end of its range. So every hop raises the next block, and the servers in order of
/// the ends of their ranges are in topological order: one sweep over the hops finds the shortest path.
struct RouteGraph {
    /// A hop into a server, from another or from the client.
    struct Hop {
        /// The server left, or `client`.
        var from: Int
        /// Position in `demands`.
        var demand: Int
    }

    /// A server and a number of blocks that it may be asked to compute. Hops that differ only in where they come
    /// from share it, and with it the wait.
    struct Demand: Hashable {
        var server: Int
        /// `m_ij`.
        var blocks: Int
    }

    static let client = -1

    /// Servers that host something, by the ends of their ranges; ties: in the order of the cluster.
    let order: [Int]
    /// Hops into `order[n]`: `hops[firstHop[n] ..< firstHop[n + 1]]`; the client's first, then by server.
    let hops: [Hop]
    let firstHop: [Int]
    /// Demands of a server: `demands[firstDemand[j] ..< firstDemand[j + 1]]`, by increasing blocks.
    let demands: [Demand]
    let firstDemand: [Int]
    /// Whether a server hosts the last block.
    let reachesEnd: [Bool]
    private let ranges: [BlockRange?]
    private var distance: [Double]
    private var previous: [Int]
    private var demandTaken: [Int]

    /// - Complexity: O(J²).
    init(_ placement: Placement, blockCount: Int) {
        ranges = placement.ranges
        let count = ranges.count
        let hosts = (0..<count).filter { placement.ranges[$0] != nil }
        let ends = placement.ranges.map { $0?.end ?? 0 }
        order = hosts.sorted { ends[$0] != ends[$1] ? ends[$0] < ends[$1] : $0 < $1 }
        reachesEnd = ends.map { $0 == blockCount + 1 }
        var hops: [Hop] = []
        var firstHop = [0]
        var demands: [Demand] = []
        var firstDemand = [Int](repeating: 0, count: count + 1)
        // Where each demand of a server is, by its blocks.
        var positions: [[Int]] = []
        for server in 0..<count {
            firstDemand[server] = demands.count
            var position: [Int] = []
            if let range = placement.ranges[server] {
                position = [Int](repeating: -1, count: range.count + 1)
                let starts = Set([1] + hosts.map { ends[$0] }).filter { range.contains($0) }
                for start in starts.sorted(by: >) {
                    position[range.end - start] = demands.count
                    demands.append(Demand(server: server, blocks: range.end - start))
                }
            }
            positions.append(position)
        }
        firstDemand[count] = demands.count
        for server in order {
            guard let range = placement.ranges[server] else { continue }
            if range.first == 1 {
                hops.append(Hop(from: Self.client, demand: positions[server][range.count]))
            }
            for other in hosts where range.contains(ends[other]) {
                hops.append(Hop(from: other, demand: positions[server][range.end - ends[other]]))
            }
            firstHop.append(hops.count)
        }
        self.hops = hops
        self.firstHop = firstHop
        self.demands = demands
        self.firstDemand = firstDemand
        distance = [Double](repeating: .infinity, count: count)
        previous = [Int](repeating: Self.client, count: count)
        demandTaken = [Int](repeating: 0, count: count)
    }

    /// First block that no server hosts; `nil` when every block is hosted, and then there is a route: whatever
    /// block is next, somebody has it.
    static func firstMissingBlock(_ placement: Placement, blockCount: Int) -> Int? {
        (1...blockCount).first { block in !placement.ranges.contains { $0?.contains(block) == true } }
    }

    /// The path of least cost from the client to the last block; `nil` when there is none.
    ///
    /// Ties go as in Dijkstra's algorithm with a strict comparison: of equal ways into a server the one whose
    /// last server is itself the closer, then the first in the cluster.
    /// - Parameters:
    ///   - hopCosts: by hop; infinite for one not to be used.
    ///   - demandCosts: added to all hops of a demand.
    ///   - endCosts: of leaving a server for the client, by server.
    /// - Complexity: O(number of hops).
    mutating func shortestPath(
        hopCosts: [Double], demandCosts: [Double], endCosts: [Double]
    ) -> [ChainHop]? {
        for (position, server) in order.enumerated() {
            var best = Double.infinity
            var from = Self.client
            var fromDistance = Double.infinity
            var demand = 0
            for hop in firstHop[position]..<firstHop[position + 1] {
                let entry = hops[hop]
                let start = entry.from == Self.client ? 0 : distance[entry.from]
                let total = start + (hopCosts[hop] + demandCosts[entry.demand])
                if total < best || (total == best && start < fromDistance) {
                    best = total
                    from = entry.from
                    fromDistance = start
                    demand = entry.demand
                }
            }
            distance[server] = best
            previous[server] = from
            demandTaken[server] = demand
        }
        return path(endingAt: lastServer(endCosts))
    }

    private func lastServer(_ endCosts: [Double]) -> Int? {
        var last: Int?
        var best = Double.infinity
        for server in distance.indices where reachesEnd[server] && distance[server] < .infinity {
            let total = distance[server] + endCosts[server]
            if let current = last, total > best || total == best && distance[server] >= distance[current] {
                continue
            }
            best = total
            last = server
        }
        return last
    }

    private func path(endingAt last: Int?) -> [ChainHop]? {
        guard var server = last else { return nil }
        var result: [ChainHop] = []
        while server != Self.client {
            let blocks = demands[demandTaken[server]].blocks
            let end = ranges[server]?.end ?? 0
            result.append(ChainHop(server: ServerIndex(server), firstBlock: end - blocks, blockCount: blocks))
            server = previous[server]
        }
        result.reverse()
        return result
    }
}
