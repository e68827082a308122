import ChainModel

/// Algorithm 1 with the servers in any order: fills one chain after another and counts the chains that are
/// complete.
///
/// With the order of Algorithm 1 it gives the planner's number of chains; with random ones, the placements
/// that figure 1 compares it with.
struct SequentialPlacement {
    /// `Σ 1/T` after each complete chain, 1/s.
    private(set) var accumulatedRates: [Double] = []
    /// Servers in increasing amortized time `t̃_j(c)` (eq. 8).
    private(set) var greedyOrder: [Int] = []
    private let cluster: Cluster
    private let counts: [Int]

    init(_ cluster: Cluster, capacity: Int) {
        self.cluster = cluster
        let each = cluster.model.blockSize.rawValue + capacity * cluster.model.cacheSize.rawValue
        counts = cluster.servers.map { min($0.memory.rawValue / each, cluster.model.blockCount) }
        let times = cluster.servers.indices.map { amortized($0) }
        greedyOrder = cluster.servers.indices.filter { counts[$0] > 0 }
            .sorted { times[$0] != times[$1] ? times[$0] < times[$1] : $0 < $1 }
    }

    private func time(_ server: Int) -> Double {
        cluster.servers[server].communicationTimeSeconds
            + cluster.servers[server].blockTimeSeconds * Double(counts[server])
    }

    private func amortized(_ server: Int) -> Double {
        counts[server] > 0 ? time(server) / Double(counts[server]) : .infinity
    }

    /// Places the servers in this order until all are placed.
    mutating func place(_ order: [Int]) {
        accumulatedRates = []
        var (next, total, rate) = (1, 0.0, 0.0)
        for server in order where counts[server] > 0 {
            next = min(next, cluster.model.blockCount - counts[server] + 1) + counts[server]
            total += time(server)
            if next > cluster.model.blockCount {
                rate += 1 / total
                accumulatedRates.append(rate)
                (next, total) = (1, 0)
            }
        }
    }

    /// Chains needed for a rate; `nil` when all servers together do not reach it.
    func chains(reaching rate: Double) -> Int? {
        accumulatedRates.firstIndex { $0 >= rate * (1 - 1e-12) }.map { $0 + 1 }
    }
}
