import ChainModel

/// The proposed system as the authors' program for figure 6 has it, which differs from the paper's algorithms.
///
/// - Placement: the last server of a chain gets only the blocks that are missing; chains are built until the
///   servers run out, whatever the arrival rate.
/// - Chains: the path search leaves the first server's time out, and every server of a path is charged, in time
///   and in cache, for its whole range; the search ends with the first path that has no room.
/// - Dispatch: the fastest free chain, but waiting requests are looked at only when another arrives, so that a
///   free slot may stay idle. A slot is held for the initial delay too.
/// - `c`: see `score`.
package struct ProposalAsCoded: Sendable {
    /// The composition for one `c`.
    package struct Composition: Sendable {
        package var capacityParameter: Int
        package var placement: Placement
        /// Fastest first; every hop counts the whole range of its server.
        package var chains: [ServerChain]

        /// `ν`, 1/s.
        package var totalServiceRate: Double {
            chains.reduce(0) { $0 + Double($1.capacity) * $1.serviceRate }
        }
        package var totalCapacity: Int { chains.reduce(0) { $0 + $1.capacity } }
    }

    /// Largest `c` that the program tries.
    package static let largestCapacity = 50
    /// Share of a chain's rate that is filled before requests are taken to spill over to the next, and weight of
    /// the slowest chain's delay. The program is known in outline; these two numbers make the choices of `c`
    /// those reported for it, in all 13 settings of which they are known.
    private static let fill = 0.68
    private static let slownessWeight = 0.1
    /// Weight of the queueing term where there is a single chain.
    private static let singleChainWeight = 0.3

    package let pool: RoutedPool
    package let composition: Composition

    /// Chooses `c` by the score.
    /// - Returns: `nil` when no `c` gives chains that reach `λ/ρ̄`.
    /// - Complexity: O(50·chains·J²).
    package init?(_ pool: RoutedPool) {
        let demand = pool.cluster.demand
        var best: (composition: Composition, score: Double)?
        for capacity in 1...Self.largestCapacity {
            guard let candidate = Self.compose(pool.cluster, capacity: capacity),
                candidate.totalServiceRate >= demand.arrivalRate / demand.loadTarget
            else { continue }
            let score = Self.score(candidate, arrivalRate: demand.arrivalRate)
            if score < best?.score ?? .infinity { best = (candidate, score) }
        }
        guard let best else { return nil }
        self.pool = pool
        composition = best.composition
    }

    /// The composition for a given `c`.
    /// - Returns: `nil` when there is no chain.
    package init?(_ pool: RoutedPool, capacity: Int) {
        guard let composition = Self.compose(pool.cluster, capacity: capacity) else { return nil }
        self.pool = pool
        self.composition = composition
    }

    // MARK: Composition

    private static func compose(_ cluster: Cluster, capacity: Int) -> Composition? {
        let placement = place(cluster, capacity: capacity)
        var chains = allocate(cluster, placement)
        guard !chains.isEmpty else { return nil }
        let order = chains.indices.sorted {
            let (left, right) = (chains[$0].serviceTimeSeconds, chains[$1].serviceTimeSeconds)
            return left != right ? left < right : $0 < $1
        }
        chains = order.map { chains[$0] }
        return Composition(capacityParameter: capacity, placement: placement, chains: chains)
    }

    private static func time(_ server: Server, blocks: Int) -> Double {
        server.communicationTimeSeconds + server.blockTimeSeconds * Double(blocks)
    }

    private static func place(_ cluster: Cluster, capacity: Int) -> Placement {
        let model = cluster.model
        let each = model.blockSize + model.cacheSize * capacity
        let counts = cluster.servers.indices.map {
            min(model.blockCount, cluster.blockMemory(of: ServerIndex($0)).wholeUnits(of: each))
        }
        let keys = cluster.servers.enumerated().map { number, server in
            time(server, blocks: counts[number]) / Double(counts[number])
        }
        let order = counts.indices.filter { counts[$0] > 0 }.sorted {
            keys[$0] != keys[$1] ? keys[$0] < keys[$1] : $0 < $1
        }
        var placement = Placement(ranges: counts.map { _ in nil })
        var left = order.reduce(0) { $0 + counts[$1] }
        var next = 1
        for server in order {
            let count = min(counts[server], model.blockCount - next + 1)
            placement.ranges[server] = BlockRange(first: next, count: count)
            next += count
            left -= counts[server]
            if next > model.blockCount {
                next = 1
            } else if left < model.blockCount - next + 1 {
                break
            }
        }
        return placement
    }

    private static func allocate(_ cluster: Cluster, _ placement: Placement) -> [ServerChain] {
        let model = cluster.model
        var graph = RouteGraph(placement, blockCount: model.blockCount)
        let counts = placement.ranges.map { $0?.count ?? 0 }
        var memory = counts.enumerated().map { server, count in
            cluster.blockMemory(of: ServerIndex(server)) - model.blockSize * count
        }
        let hopCosts = graph.hops.map { hop in
            let server = graph.demands[hop.demand].server
            return hop.from == RouteGraph.client ? 0 : time(cluster.servers[server], blocks: counts[server])
        }
        let zeros = counts.map { _ in 0.0 }
        var demandCosts = graph.demands.map { _ in 0.0 }
        var chains: [ServerChain] = []
        while let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: demandCosts, endCosts: zeros) {
            let room = path.map { hop in
                let server = hop.server.rawValue
                return memory[server].wholeUnits(of: model.cacheSize * counts[server])
            }
            guard let capacity = room.min(), capacity > 0 else { break }
            var hops: [ChainHop] = []
            for hop in path {
                let server = hop.server.rawValue
                memory[server] = memory[server] - model.cacheSize * (counts[server] * capacity)
                hops.append(
                    ChainHop(
                        server: hop.server, firstBlock: placement.ranges[server]?.first ?? 0,
                        blockCount: counts[server]))
            }
            let total = hops.reduce(0) { $0 + time(cluster[$1.server], blocks: $1.blockCount) }
            chains.append(ServerChain(hops: hops, capacity: capacity, serviceTimeSeconds: total))
            for (position, demand) in graph.demands.enumerated() {
                let needed = model.cacheSize * counts[demand.server]
                if memory[demand.server] < needed { demandCosts[position] = .infinity }
            }
        }
        return chains
    }

    /// What the program compares compositions by, seconds: the mean service time when requests fill the chains in
    /// order of speed, times `1 + ρ/((1 − ρ)·C)` for queueing, times a penalty for slow chains.
    static func score(_ composition: Composition, arrivalRate: Double) -> Double {
        let chains = composition.chains
        guard let fastest = chains.first, let slowest = chains.last else { return .infinity }
        var rest = arrivalRate
        var service = 0.0
        for chain in chains {
            let taken = min(rest, fill * Double(chain.capacity) * chain.serviceRate)
            service += taken * chain.serviceTimeSeconds
            rest -= taken
        }
        service = (service + rest * slowest.serviceTimeSeconds) / arrivalRate
        let load = arrivalRate / composition.totalServiceRate
        let queueing = load / ((1 - load) * Double(composition.totalCapacity))
        let slowness = slowest.serviceTimeSeconds / fastest.serviceTimeSeconds - 1
        return service * (1 + (chains.count == 1 ? singleChainWeight : 1) * queueing)
            * (1 + slownessWeight * slowness)
    }

    // MARK: Dispatch

    /// Serves the requests, from empty.
    /// - Precondition: arrivals do not decrease.
    package func run(_ requests: [RoutedRequest]) -> RoutedRun {
        let chains = composition.chains
        var running = [ReleaseList](repeating: ReleaseList(), count: chains.count)
        var outcomes = [RoutedOutcome?](repeating: nil, count: requests.count)
        var queue: [Int] = []
        var served = 0
        func start(_ number: Int, on chain: Int, at now: Double) {
            let outcome = outcome(requests[number], on: chains[chain], at: now)
            running[chain].insert(slots: 1, until: now + pool.initialDelay + outcome.service)
            outcomes[number] = outcome
        }
        for (number, request) in requests.enumerated() {
            let now = request.arrival
            for chain in chains.indices { running[chain].advance(to: now) }
            queue.append(number)
            while served < queue.count,
                let chain = chains.indices.first(where: { running[$0].count < chains[$0].capacity })
            {
                start(queue[served], on: chain, at: now)
                served += 1
            }
        }
        // Whoever is left starts, all at once, when the fastest chain's first request ends.
        for number in queue[served...] {
            let moment = max(running[0].nextTime ?? 0, requests[number].arrival)
            outcomes[number] = outcome(requests[number], on: chains[0], at: moment)
        }
        return RoutedRun(outcomes: outcomes.compactMap { $0 })
    }

    private func outcome(_ request: RoutedRequest, on chain: ServerChain, at now: Double) -> RoutedOutcome {
        let service = pool.service(of: request.size, on: chain.hops)
        let wait = now - request.arrival
        return RoutedOutcome(
            hops: chain.hops, meanService: chain.serviceTimeSeconds, service: service, plannedWait: 0,
            surpriseWait: wait, wait: wait, response: pool.initialDelay + service + wait)
    }
}
