import ChainModel

@testable import ChainPlanning

/// The algorithms as the paper prints them, on the graph of servers, slow and independent of the planner.
enum NaiveComposition {
    /// Algorithm 1, straight through for one `c`. `nil` when `Σ m_j(c) < L`.
    static func placement(_ cluster: Cluster, capacity: Int) -> (Placement, chainCount: Int, rateMet: Bool)? {
        let model = cluster.model
        let counts = cluster.servers.map {
            min(
                $0.memory.rawValue / (model.blockSize.rawValue + capacity * model.cacheSize.rawValue),
                model.blockCount)
        }
        guard counts.reduce(0, +) >= model.blockCount else { return nil }
        func time(_ server: Int) -> Double {
            cluster.servers[server].communicationTimeSeconds
                + cluster.servers[server].blockTimeSeconds * Double(counts[server])
        }
        let order = cluster.servers.indices.filter { counts[$0] > 0 }.sorted {
            let (left, right) = (time($0) / Double(counts[$0]), time($1) / Double(counts[$1]))
            return left != right ? left < right : $0 < $1
        }
        var placement = Placement(ranges: [BlockRange?](repeating: nil, count: cluster.servers.count))
        let required = cluster.demand.arrivalRate / (cluster.demand.loadTarget * Double(capacity))
        var (next, chainTime, rate, chainCount) = (1, 0.0, 0.0, 0)
        for server in order {
            let first = min(next, model.blockCount - counts[server] + 1)
            placement.ranges[server] = BlockRange(first: first, count: counts[server])
            chainTime += time(server)
            next = first + counts[server]
            guard next > model.blockCount else { continue }
            rate += 1 / chainTime
            chainCount += 1
            if rate >= required { return (placement, chainCount, true) }
            (next, chainTime) = (1, 0)
        }
        return (placement, chainCount, false)
    }

    /// Algorithm 2 by listing every path of servers, over and over. Exponential: tiny pools only.
    static func allocation(_ cluster: Cluster, _ placement: Placement) -> [ServerChain] {
        var residual = cluster.servers.indices.map { server in
            placement.ranges[server].map {
                (cluster.servers[server].memory.rawValue - cluster.model.blockSize.rawValue * $0.count)
                    / cluster.model.cacheSize.rawValue
            } ?? 0
        }
        var chains: [ServerChain] = []
        while let chain = fastest(cluster, placement, residual) {
            for hop in chain.hops { residual[hop.server.rawValue] -= hop.blockCount * chain.capacity }
            chains.append(chain)
        }
        return chains
    }

    private static func fastest(_ cluster: Cluster, _ placement: Placement, _ residual: [Int]) -> ServerChain?
    {
        var best: ServerChain?
        func extend(_ hops: [ChainHop], next: Int) {
            if next == cluster.model.blockCount + 1 {
                let time = hops.reduce(0.0) {
                    let server = cluster[$1.server]
                    return $0
                        + (server.communicationTimeSeconds + server.blockTimeSeconds * Double($1.blockCount))
                }
                let room = hops.map { residual[$0.server.rawValue] / $0.blockCount }.min() ?? 0
                if time < best?.serviceTimeSeconds ?? .infinity {
                    best = ServerChain(hops: hops, capacity: room, serviceTimeSeconds: time)
                }
                return
            }
            for (server, range) in placement.ranges.enumerated() {
                guard let range, range.first <= next, next <= range.end - 1 else { continue }
                let count = range.end - next
                guard residual[server] >= count else { continue }
                extend(
                    hops + [ChainHop(server: ServerIndex(server), firstBlock: next, blockCount: count)],
                    next: range.end)
            }
        }
        extend([], next: 1)
        return best
    }

    /// Theorem 4 from the balance equations `π_n·λ = π_{n+1}·d_{n+1}`, cut far out in the tail.
    static func meanResponse(rates: [Double], capacities: [Int], arrivalRate: Double, fastestFirst: Bool)
        -> Double
    {
        var slots = zip(rates, capacities).flatMap { [Double](repeating: $0, count: $1) }
        slots.sort(by: fastestFirst ? (>) : (<))
        var (probability, sum, jobs) = (1.0, 1.0, 0.0)
        var number = 0
        while number < slots.count || probability > 1e-18 * sum {
            number += 1
            probability *= arrivalRate / slots.prefix(number).reduce(0, +)
            sum += probability
            jobs += Double(number) * probability
        }
        return jobs / sum / arrivalRate
    }
}
