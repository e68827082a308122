import ChainModel

/// Greedy block placement with cache reservation: GBP-CR, Algorithm 1 of the paper (section 3.1.3).
///
/// Built once for given block counts `m_j(c)`, for all required rates at once: servers are placed until they run out, and
/// the accumulated rate after each complete chain says where Algorithm 1 would stop for a particular `λ/(ρ̄·c)`.
///
/// Ranges fixed by hand are worked around: where a chain still lacks block `b`, a fixed server that hosts `b` and can
/// hold `c` jobs over its whole range joins the chain before any other server is placed there (the one that reaches
/// furthest; ties: the first in the cluster). Fixed servers host their range whether or not a chain uses them.
struct GreedyPlacement {
    /// A server placed by the algorithm (not by hand).
    struct Step {
        var server: ServerIndex
        var range: BlockRange
    }

    /// A chain of servers that reaches block `L`.
    struct CompleteChain {
        /// The servers in order, fixed ones included.
        var servers: [ServerIndex]
        /// Steps taken when the chain is complete: a prefix of `steps`.
        var stepCount: Int
        /// `Σ 1/Σ t_j(c)` over the chains up to this one, 1/s (Algorithm 1's accumulated rate).
        var accumulatedRate: Double
    }

    private(set) var steps: [Step] = []
    private(set) var chains: [CompleteChain] = []
    private let fixed: Placement

    /// - Parameters:
    ///   - counts: `m_j(c)`, by server; 0 takes no part.
    ///   - capacity: `c`, which decides whether a fixed server has room for a reserved chain.
    /// - Complexity: O(J log J), and O(J·F) more with F fixed servers.
    init(_ cluster: Cluster, counts: [Int], capacity: Int) {
        fixed = cluster.manualPlacement
        let order = Self.order(cluster, counts: counts)
        var fixedServers = Self.fixedServers(cluster, capacity: capacity)
        let blockCount = cluster.model.blockCount
        var next = 1
        var chainServers: [ServerIndex] = []
        var chainTime = 0.0
        var rate = 0.0
        var taken = 0
        while true {
            if let (server, range) = Self.takeFixed(&fixedServers, hosting: next) {
                chainServers.append(server)
                chainTime += Self.time(cluster[server], blocks: range.count)
                next = range.end
            } else if taken < order.count {
                let server = order[taken]
                taken += 1
                let count = counts[server.rawValue]
                let range = BlockRange(first: min(next, blockCount - count + 1), count: count)
                steps.append(Step(server: server, range: range))
                chainServers.append(server)
                chainTime += Self.time(cluster[server], blocks: count)
                next = range.end
            } else {
                break
            }
            if next > blockCount {
                rate += 1 / chainTime
                chains.append(
                    CompleteChain(servers: chainServers, stepCount: steps.count, accumulatedRate: rate))
                chainServers.removeAll(keepingCapacity: true)
                chainTime = 0
                next = 1
            }
        }
    }

    /// `t_j(c) = τc_j + τp_j·m_j(c)`, seconds.
    private static func time(_ server: Server, blocks: Int) -> Double {
        server.communicationTimeSeconds + server.blockTimeSeconds * Double(blocks)
    }

    /// Servers by increasing amortized time `t̃_j(c) = t_j(c)/m_j(c)` (eq. 8); ties in the order of the cluster.
    private static func order(_ cluster: Cluster, counts: [Int]) -> [ServerIndex] {
        var keyed: [(time: Double, server: Int)] = []
        keyed.reserveCapacity(counts.count)
        for (server, count) in counts.enumerated() where count > 0 {
            keyed.append((time(cluster.servers[server], blocks: count) / Double(count), server))
        }
        keyed.sort { $0.time != $1.time ? $0.time < $1.time : $0.server < $1.server }
        return keyed.map { ServerIndex($0.server) }
    }

    /// Fixed servers that can hold `capacity` jobs over their whole range, in the order of the cluster.
    private static func fixedServers(_ cluster: Cluster, capacity: Int) -> [(ServerIndex, BlockRange)] {
        var result: [(ServerIndex, BlockRange)] = []
        for (position, range) in cluster.manualPlacement.ranges.enumerated() {
            guard let range else { continue }
            let slots = cluster.cacheSlots(of: ServerIndex(position), hosting: range.count)
            if slots / range.count >= capacity { result.append((ServerIndex(position), range)) }
        }
        return result
    }

    /// Takes the fixed server that hosts `block` and reaches furthest; ties: the first.
    private static func takeFixed(
        _ servers: inout [(ServerIndex, BlockRange)], hosting block: Int
    ) -> (ServerIndex, BlockRange)? {
        var best: Int?
        for (position, entry) in servers.enumerated() where entry.1.contains(block) {
            if let current = best, servers[current].1.end >= entry.1.end { continue }
            best = position
        }
        return best.map { servers.remove(at: $0) }
    }

    /// Number of chains Algorithm 1 builds for a required rate `λ/(ρ̄·c)`: `K(c)`, all of them when it is never reached.
    /// - Complexity: O(log K).
    func chainCount(reaching requiredRate: Double) -> Int {
        var low = 0
        var high = chains.count
        while low < high {
            let middle = (low + high) / 2
            if chains[middle].accumulatedRate >= requiredRate { high = middle } else { low = middle + 1 }
        }
        return min(low + 1, chains.count)
    }

    /// Whether the first `chainCount` chains reach `requiredRate`.
    func reaches(_ requiredRate: Double, chainCount: Int) -> Bool {
        chainCount > 0 && chains[chainCount - 1].accumulatedRate >= requiredRate
    }

    /// The placement when Algorithm 1 stops after `chainCount` chains: with the rate reached, only the servers up to
    /// there; without, every server, those of a last unfinished chain included.
    /// - Complexity: O(J).
    func placement(chainCount: Int, rateReached: Bool) -> Placement {
        var placement = fixed
        let stepCount = rateReached ? chains[chainCount - 1].stepCount : steps.count
        for step in steps.prefix(stepCount) { placement[step.server] = step.range }
        return placement
    }
}
