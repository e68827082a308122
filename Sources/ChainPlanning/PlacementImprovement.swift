import ChainModel

/// Local search on a placement: moves, resizes, swaps, drops and adds servers while that lowers the exact
/// mean.
///
/// Each candidate is judged by the chains that the cache allocation finds on it (Algorithm 2). A change is
/// taken at once when it improves; the search ends when a whole round brings nothing, or after a bounded
/// number of allocations. Servers fixed by hand stay as they are. Ties and the order of the changes: servers
/// in the order of the cluster.
struct PlacementImprovement {
    private let cluster: Cluster
    private let ignoreLoadTarget: Bool
    private(set) var composition: Composition
    private var score: PlacementScore
    /// Changes taken.
    private(set) var changes = 0
    /// Allocations computed.
    private(set) var evaluations = 0

    /// Allocations tried, times servers: bounds the time at any size.
    private static let mostWork = 120_000
    private let mostEvaluations: Int

    /// - Returns: `nil` when the composition has no chains.
    init?(_ cluster: Cluster, _ composition: Composition, ignoreLoadTarget: Bool) {
        let score = PlacementScore(
            composition.allocation, demand: cluster.demand, ignoreLoadTarget: ignoreLoadTarget, below: nil)
        guard let score else { return nil }
        self.cluster = cluster
        self.composition = composition
        self.score = score
        self.ignoreLoadTarget = ignoreLoadTarget
        mostEvaluations = max(20, Self.mostWork / max(1, cluster.servers.count))
    }

    // MARK: Spare servers

    /// Puts spare servers to work: first all at once as Algorithm 1 would go on placing them, for every `c`;
    /// then one by one where each lowers the mean most.
    mutating func useSpares() {
        let composer = Composer(cluster)
        composer.forEachFullPlacement { placement in
            _ = accept(placement)
            return evaluations < mostEvaluations / 2
        }
        for server in spares {
            var best: (placement: Placement, allocation: CacheAllocation, score: PlacementScore)?
            for range in ranges(for: server) where evaluations < mostEvaluations {
                var placement = composition.placement
                placement[server] = range
                guard let found = evaluate(placement, below: best?.score ?? score) else { continue }
                if found.score.improves(on: best?.score ?? score) {
                    best = (placement, found.allocation, found.score)
                }
            }
            if let best { take(best.placement, best.allocation, best.score) }
        }
    }

    private var spares: [ServerIndex] {
        composition.placement.ranges.indices.filter { composition.placement.ranges[$0] == nil }
            .map { ServerIndex($0) }
    }

    // MARK: Local search

    /// Rounds over all servers until nothing improves.
    /// - Parameter usingSpares: Whether servers that host nothing may be given blocks.
    mutating func improve(usingSpares: Bool) {
        var improved = true
        while improved, evaluations < mostEvaluations {
            improved = false
            for position in cluster.servers.indices
            where cluster.manualPlacement.ranges[position] == nil {
                let server = ServerIndex(position)
                if composition.placement[server] == nil, !usingSpares { continue }
                if improve(server) { improved = true }
                if swap(server) { improved = true }
            }
        }
    }

    private mutating func improve(_ server: ServerIndex) -> Bool {
        var improved = false
        for range in ranges(for: server) where evaluations < mostEvaluations {
            guard composition.placement[server] != range else { continue }
            var placement = composition.placement
            placement[server] = range
            if accept(placement) { improved = true }
        }
        return improved
    }

    /// Exchanges ranges with later servers where both fit.
    private mutating func swap(_ server: ServerIndex) -> Bool {
        var improved = false
        for position in (server.rawValue + 1)..<max(server.rawValue + 1, cluster.servers.count)
        where evaluations < mostEvaluations && cluster.manualPlacement.ranges[position] == nil {
            let other = ServerIndex(position)
            guard let range = composition.placement[server], let theirs = composition.placement[other],
                range != theirs, theirs.count <= largestCount(server), range.count <= largestCount(other)
            else { continue }
            var placement = composition.placement
            placement[server] = theirs
            placement[other] = range
            if accept(placement) { improved = true }
        }
        return improved
    }

    // MARK: Candidates

    /// `m_j(1)`: blocks that fit with the caches of one job.
    private func largestCount(_ server: ServerIndex) -> Int {
        let each = cluster.model.blockSize + cluster.model.cacheSize
        return min(cluster.model.blockCount, cluster.blockMemory(of: server).wholeUnits(of: each))
    }

    /// Ranges worth trying for a server: of its present size, one more and one less, the most that fit and
    /// what is reserved for `c` jobs; starting where others end, ending where others start, or next to where
    /// it is.
    private func ranges(for server: ServerIndex) -> [BlockRange] {
        let blockCount = cluster.model.blockCount
        let largest = largestCount(server)
        let current = composition.placement[server]
        let each =
            cluster.model.blockSize.rawValue
            + composition.capacityParameter * cluster.model.cacheSize.rawValue
        var counts = [largest, cluster.blockMemory(of: server).rawValue / each, 2 * largest / 3]
        if let current { counts += [current.count, current.count + 1, current.count - 1] }
        counts = counts.filter { $0 >= 1 && $0 <= largest }.sorted()
        var isBoundary = [Bool](repeating: false, count: blockCount + 2)
        isBoundary[1] = true
        isBoundary[blockCount + 1] = true
        for (position, range) in composition.placement.ranges.enumerated() where position != server.rawValue {
            guard let range else { continue }
            isBoundary[range.first] = true
            isBoundary[range.end] = true
        }
        var result: [BlockRange] = []
        for (position, count) in counts.enumerated() where position == 0 || counts[position - 1] != count {
            for first in 1...(blockCount - count + 1) {
                let isNear = current.map { (first - $0.first).magnitude <= 1 } ?? false
                if isBoundary[first] || isBoundary[first + count] || isNear {
                    result.append(BlockRange(first: first, count: count))
                }
            }
        }
        return result
    }

    private mutating func evaluate(
        _ placement: Placement, below limit: PlacementScore
    ) -> (allocation: CacheAllocation, score: PlacementScore)? {
        evaluations += 1
        let allocation = CacheAllocation(cluster, placement: placement)
        let score = PlacementScore(
            allocation, demand: cluster.demand, ignoreLoadTarget: ignoreLoadTarget, below: limit)
        return score.map { (allocation, $0) }
    }

    private mutating func accept(_ placement: Placement) -> Bool {
        guard let found = evaluate(placement, below: score), found.score.improves(on: score) else {
            return false
        }
        take(placement, found.allocation, found.score)
        return true
    }

    private mutating func take(
        _ placement: Placement, _ allocation: CacheAllocation, _ score: PlacementScore
    ) {
        composition.placement = placement
        composition.allocation = allocation
        self.score = score
        changes += 1
    }
}
