import ChainModel

/// One placement, its chains, and the smallest required capacity `c` that leads to it.
struct Composition {
    var capacityParameter: Int
    var placement: Placement
    var allocation: CacheAllocation
    /// `K(c)`: chains of Algorithm 1.
    var disjointChains: Int
    /// Whether the reserved chains reach `λ/(ρ̄·c)`.
    var reservedRateMet: Bool
}

/// Composes for a given `c`, and walks over all `c` meeting each distinct placement once (section 3.2.3).
struct Composer {
    let cluster: Cluster
    private let capacities: BlockCapacity

    init(_ cluster: Cluster) {
        self.cluster = cluster
        capacities = BlockCapacity(cluster)
    }

    /// `λ/(ρ̄·c)`, 1/s: the rate that the reserved chains have to reach.
    private func requiredRate(_ capacity: Int) -> Double {
        cluster.demand.arrivalRate / (cluster.demand.loadTarget * Double(capacity))
    }

    /// Largest `c` with `Σ m_j(c) ≥ L`; 0 when not even one job fits.
    /// - Complexity: O(J log c_max).
    var largestFeasibleCapacity: Int {
        var low = 0
        var high = capacities.largestCapacity
        while low < high {
            let middle = low + (high - low + 1) / 2
            if capacities.isFeasible(capacities.blockCounts(capacity: middle)) {
                low = middle
            } else {
                high = middle - 1
            }
        }
        return low
    }

    /// Throws why nothing can be composed at all.
    func requireFit() throws(PlanningError) {
        let counts = capacities.blockCounts(capacity: 1)
        guard capacities.isFeasible(counts) else {
            throw .modelDoesNotFit(
                blocksPlaceable: capacities.placeable(counts), blockCount: cluster.model.blockCount,
                missing: capacities.missingMemory)
        }
    }

    /// The composition for one `c`.
    /// - Precondition: `c` is feasible.
    func compose(capacity: Int) -> Composition {
        let counts = capacities.blockCounts(capacity: capacity)
        let greedy = GreedyPlacement(cluster, counts: counts, capacity: capacity)
        let required = requiredRate(capacity)
        let chainCount = greedy.chainCount(reaching: required)
        let reached = greedy.reaches(required, chainCount: chainCount)
        let placement = greedy.placement(chainCount: chainCount, rateReached: reached)
        return compose(placement, greedy, capacity: capacity, chainCount: chainCount, reached: reached)
    }

    private func compose(
        _ placement: Placement, _ greedy: GreedyPlacement, capacity: Int, chainCount: Int, reached: Bool
    ) -> Composition {
        var allocation = CacheAllocation(cluster, placement: placement)
        let needed = cluster.demand.arrivalRate / cluster.demand.loadTarget
        if reached, allocation.totalServiceRate < needed * (1 - Self.rounding) {
            let reserved = greedy.chains.prefix(chainCount).map(\.servers)
            let fallback = CacheAllocation(
                cluster, placement: placement, reserving: reserved, capacity: capacity)
            if fallback.totalServiceRate > allocation.totalServiceRate { allocation = fallback }
        }
        return Composition(
            capacityParameter: capacity, placement: placement, allocation: allocation,
            disjointChains: chainCount, reservedRateMet: reached)
    }

    /// Relative difference that is taken for rounding where a rate is compared with the one required.
    static let rounding = 1e-12

    /// Calls `visit` with every distinct placement, in increasing order of the smallest `c` that leads to it.
    ///
    /// For equal `m_j(c)` only the number of chains that Algorithm 1 builds depends on `c`; the placements of neighbouring
    /// runs may still be equal when only spare servers differ. An equal placement cannot come back later, since the
    /// amortized times of the servers outside it do not decrease with `c`.
    func forEachPlacement(_ visit: (Composition) -> Void) {
        let largest = largestFeasibleCapacity
        var capacity = 1
        var latest: (placement: Placement, chainCount: Int, reached: Bool)?
        while capacity <= largest {
            let last = min(largest, capacities.lastCapacity(sameAs: capacity))
            let counts = capacities.blockCounts(capacity: capacity)
            let greedy = GreedyPlacement(cluster, counts: counts, capacity: capacity)
            while capacity <= last {
                let required = requiredRate(capacity)
                let chainCount = greedy.chainCount(reaching: required)
                let reached = greedy.reaches(required, chainCount: chainCount)
                let placement = greedy.placement(chainCount: chainCount, rateReached: reached)
                // The number of chains, and whether they suffice, is what the surrogate compares.
                let same = latest.map {
                    $0.chainCount == chainCount && $0.reached == reached && $0.placement == placement
                }
                if same != true {
                    visit(
                        compose(
                            placement, greedy, capacity: capacity, chainCount: chainCount, reached: reached))
                    latest = (placement, chainCount, reached)
                }
                capacity = next(after: capacity, upTo: last, greedy, chainCount: chainCount, reached: reached)
            }
        }
    }

    /// Calls `visit` with the placement of every server that Algorithm 1 could place, for each distinct `m_j(c)`, until it
    /// returns `false`.
    func forEachFullPlacement(_ visit: (Placement) -> Bool) {
        let largest = largestFeasibleCapacity
        var capacity = 1
        while capacity <= largest {
            let counts = capacities.blockCounts(capacity: capacity)
            let greedy = GreedyPlacement(cluster, counts: counts, capacity: capacity)
            guard visit(greedy.placement(chainCount: greedy.chains.count, rateReached: false)) else { return }
            capacity = min(largest, capacities.lastCapacity(sameAs: capacity)) + 1
        }
    }

    /// Smallest `c' > c` at which Algorithm 1 stops elsewhere, `last + 1` when there is none up to `last`.
    private func next(
        after capacity: Int, upTo last: Int, _ greedy: GreedyPlacement, chainCount: Int, reached: Bool
    ) -> Int {
        guard chainCount > 0, !reached || chainCount > 1 else { return last + 1 }
        // Not reached: it changes when all chains reach the rate. Reached: when one chain fewer does.
        let target = reached ? chainCount - 1 : chainCount
        var low = capacity + 1
        var high = last + 1
        while low < high {
            let middle = low + (high - low) / 2
            if greedy.reaches(requiredRate(middle), chainCount: target) {
                high = middle
            } else {
                low = middle + 1
            }
        }
        return low
    }
}
