import ChainModel

/// Every placement of a small pool, and every chain over one: for optima by exhaustion.
public enum ExhaustivePlacements {
    /// Calls `visit` with each placement in which every server hosts nothing or any range that its memory
    /// holds with one job's caches. Servers fixed by hand keep their range.
    /// - Complexity: `∏_j (1 + m_j·(L − (m_j − 1)/2))` placements for the largest `m_j`: a handful of servers and blocks.
    public static func forEach(_ cluster: Cluster, _ visit: (Placement) -> Void) {
        var placement = cluster.manualPlacement
        func place(_ position: Int) {
            guard position < cluster.servers.count else {
                visit(placement)
                return
            }
            place(position + 1)
            guard cluster.manualPlacement.ranges[position] == nil else { return }
            let each = cluster.model.blockSize + cluster.model.cacheSize
            let blockCount = cluster.model.blockCount
            let most = min(
                blockCount, cluster.blockMemory(of: ServerIndex(position)).wholeUnits(of: each))
            for count in 1..<(most + 1) {
                for first in 1...(blockCount - count + 1) {
                    placement.ranges[position] = BlockRange(first: first, count: count)
                    place(position + 1)
                }
            }
            placement.ranges[position] = nil
        }
        place(0)
    }

    /// Number of placements that `forEach` visits.
    public static func count(_ cluster: Cluster) -> Double {
        let each = cluster.model.blockSize + cluster.model.cacheSize
        var count = 1.0
        for (position, range) in cluster.manualPlacement.ranges.enumerated() where range == nil {
            let fits = cluster.blockMemory(of: ServerIndex(position)).wholeUnits(of: each)
            let most = min(cluster.model.blockCount, fits)
            count *= 1 + Double(most) * (Double(cluster.model.blockCount) - Double(most - 1) / 2)
        }
        return count
    }

    /// Every chain over a placement that could hold a job on its own, from fastest to slowest; ties in the
    /// order found.
    /// - Complexity: exponential in the length of a chain.
    public static func chains(_ cluster: Cluster, _ placement: Placement) -> [ServerChain] {
        var chains: [ServerChain] = []
        func extend(_ hops: [ChainHop], next: Int, time: Double, room: Int) {
            guard next <= cluster.model.blockCount else {
                chains.append(ServerChain(hops: hops, capacity: room, serviceTimeSeconds: time))
                return
            }
            for (position, range) in placement.ranges.enumerated() {
                guard let range, range.contains(next) else { continue }
                let count = range.end - next
                let server = ServerIndex(position)
                let slots = cluster.cacheSlots(of: server, hosting: range.count)
                guard slots >= count else { continue }
                let cost =
                    cluster[server].communicationTimeSeconds + cluster[server].blockTimeSeconds
                    * Double(count)
                extend(
                    hops + [ChainHop(server: server, firstBlock: next, blockCount: count)], next: range.end,
                    time: time + cost, room: min(room, slots / count))
            }
        }
        extend([], next: 1, time: 0, room: .max)
        let order = chains.indices.sorted {
            let (left, right) = (chains[$0].serviceTimeSeconds, chains[$1].serviceTimeSeconds)
            return left != right ? left < right : $0 < $1
        }
        return order.map { chains[$0] }
    }
}
