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

    /// Where Algorithm 1 stops for a required capacity `c`, and for all larger ones up to the next stop.
    struct Stop {
        /// The smallest such `c`.
        var capacity: Int
        /// `K(c)`: chains built, all of them when the rate is not reached.
        var chainCount: Int
        /// Whether they reach `λ/(ρ̄·c)`.
        var rateReached: Bool
    }

    /// Algorithm 1 run to its end for the block counts of one `c`.
    func greedy(capacity: Int) -> GreedyPlacement {
        GreedyPlacement(cluster, counts: capacities.blockCounts(capacity: capacity), capacity: capacity)
    }

    /// The composition for one `c`.
    /// - Precondition: `c` is feasible.
    func compose(capacity: Int) -> Composition {
        let greedy = greedy(capacity: capacity)
        let stop = stop(of: greedy, capacity: capacity)
        let placement = greedy.placement(chainCount: stop.chainCount, rateReached: stop.rateReached)
        return compose(stop, placement, greedy, BoundaryLists(cluster, placement: placement))
    }

    /// The composition for a stop of `greedy`, with lists that hold at least the servers of its placement.
    func compose(
        _ stop: Stop, _ placement: Placement, _ greedy: GreedyPlacement, _ lists: BoundaryLists
    ) -> Composition {
        var allocation = CacheAllocation(lists, placement: placement)
        let needed = cluster.demand.arrivalRate / cluster.demand.loadTarget
        if stop.rateReached, allocation.totalServiceRate < needed * (1 - Self.rounding) {
            let reserved = greedy.chains.prefix(stop.chainCount).map(\.servers)
            let fallback = CacheAllocation(
                lists, placement: placement, reserving: reserved, capacity: stop.capacity)
            if fallback.totalServiceRate > allocation.totalServiceRate { allocation = fallback }
        }
        return Composition(
            capacityParameter: stop.capacity, placement: placement, allocation: allocation,
            disjointChains: stop.chainCount, reservedRateMet: stop.rateReached)
    }

    private func stop(of greedy: GreedyPlacement, capacity: Int) -> Stop {
        let required = requiredRate(capacity)
        let chainCount = greedy.chainCount(reaching: required)
        return Stop(
            capacity: capacity, chainCount: chainCount,
            rateReached: greedy.reaches(required, chainCount: chainCount))
    }

    /// Relative difference that is taken for rounding where a rate is compared with the one required.
    static let rounding = 1e-12

    /// Calls `visit` with every run of Algorithm 1 that differs in its block counts `m_j(c)`, and where it stops for the
    /// `c` that share them; both in increasing order of `c`. Between them the stops lead to every distinct placement.
    ///
    /// For equal `m_j(c)` only the number of chains that Algorithm 1 builds depends on `c`; the placements of neighbouring
    /// runs may still be equal when only spare servers differ: the first stop of the later run is then left out. An equal
    /// placement cannot come back later, since the amortized times of the servers outside it do not decrease with `c`.
    /// - Complexity: O(J log J) for each run.
    func forEachRun(_ visit: (GreedyPlacement, [Stop]) -> Void) {
        let largest = largestFeasibleCapacity
        var capacity = 1
        var latest: (stop: Stop, placement: Placement)?
        while capacity <= largest {
            let last = min(largest, capacities.lastCapacity(sameAs: capacity))
            let greedy = greedy(capacity: capacity)
            var stops: [Stop] = []
            while capacity <= last {
                let stop = stop(of: greedy, capacity: capacity)
                stops.append(stop)
                capacity = next(after: stop, upTo: last, greedy)
            }
            let first = greedy.placement(chainCount: stops[0].chainCount, rateReached: stops[0].rateReached)
            // The number of chains, and whether they suffice, is what the surrogate compares.
            let repeats = latest.map {
                $0.stop.chainCount == stops[0].chainCount && $0.stop.rateReached == stops[0].rateReached
                    && $0.placement == first
            }
            let final = stops[stops.count - 1]
            latest = (
                final,
                stops.count == 1
                    ? first
                    : greedy.placement(chainCount: final.chainCount, rateReached: final.rateReached)
            )
            if repeats == true { stops.removeFirst() }
            if !stops.isEmpty { visit(greedy, stops) }
        }
    }

    /// Calls `visit` with every distinct placement, in increasing order of the smallest `c` that leads to it.
    func forEachPlacement(_ visit: (Composition) -> Void) {
        forEachRun { greedy, stops in forEachComposition(of: greedy, at: stops, visit) }
    }

    /// Calls `visit` with the compositions of one run, in order.
    func forEachComposition(
        of greedy: GreedyPlacement, at stops: [Stop], _ visit: (Composition) -> Void
    ) {
        // The first stop has the most servers: its lists serve the others too.
        let placements = stops.map {
            greedy.placement(chainCount: $0.chainCount, rateReached: $0.rateReached)
        }
        let lists = BoundaryLists(cluster, placement: placements[0])
        for (stop, placement) in zip(stops, placements) { visit(compose(stop, placement, greedy, lists)) }
    }

    /// Calls `visit` with the placement of every server that Algorithm 1 could place, for each distinct `m_j(c)`, until it
    /// returns `false`.
    func forEachFullPlacement(_ visit: (Placement) -> Bool) {
        let largest = largestFeasibleCapacity
        var capacity = 1
        while capacity <= largest {
            let greedy = greedy(capacity: capacity)
            guard visit(greedy.placement(chainCount: greedy.chains.count, rateReached: false)) else { return }
            capacity = min(largest, capacities.lastCapacity(sameAs: capacity)) + 1
        }
    }

    /// Smallest `c' > c` at which Algorithm 1 stops elsewhere, `last + 1` when there is none up to `last`.
    private func next(after stop: Stop, upTo last: Int, _ greedy: GreedyPlacement) -> Int {
        guard stop.chainCount > 0, !stop.rateReached || stop.chainCount > 1 else { return last + 1 }
        // Not reached: it changes when all chains reach the rate. Reached: when one chain fewer does.
        let target = stop.rateReached ? stop.chainCount - 1 : stop.chainCount
        var low = stop.capacity + 1
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
