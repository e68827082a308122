import ChainModel
import ChainPlanning

/// BPRR: blocks placed for a design load (CG-BP), every request routed where it is expected to finish first,
/// waits included (WS-RR).
///
/// The router knows of earlier requests only what it expected of them when they came: it never learns that one
/// finished early or overran.
package struct BPRRSystem: Sendable {
    /// How many requests at once the placement is designed for: `|R|`.
    package enum DesignLoad: Hashable, Sendable {
        /// From the service time on the fastest path of the placement for one request.
        case offline
        /// The published program's: a delay that counts the computation of one server of the path only.
        /// `isHigh`: the servers of the faster kind.
        case coded(isHigh: [Bool])
        case fixed(Int)
    }

    /// How long a request is expected to wait for slots.
    package enum WaitEstimate: Hashable, Sendable {
        /// Until enough of the earlier requests are expected to be over.
        case release
        /// The time of a request over the server's whole range, by the number of requests there: as coded.
        case loadShare
    }

    package struct Parameters: Hashable, Sendable {
        package var designLoad: DesignLoad
        package var waitEstimate: WaitEstimate
        /// Start when the slots are free; else not before the wait that was planned is over either.
        package var startsAsSoonAsPossible: Bool

        package init(
            designLoad: DesignLoad = .offline, waitEstimate: WaitEstimate = .release,
            startsAsSoonAsPossible: Bool = false
        ) {
            self.designLoad = designLoad
            self.waitEstimate = waitEstimate
            self.startsAsSoonAsPossible = startsAsSoonAsPossible
        }
    }

    package let pool: RoutedPool
    package let parameters: Parameters
    /// `|R|`.
    package let designLoad: Int
    package let placement: Placement
    /// Cache slots by server.
    package let slots: [Int]
    /// A block that no server hosts: then nothing can be served.
    package let firstMissingBlock: Int?
    private let graph: RouteGraph
    /// `τc_j + τp_j·m_ij` by demand, seconds.
    private let demandTimes: [Double]
    /// `τc_j + τp_j·m_j` by server, seconds.
    private let rangeTimes: [Double]

    package init(_ pool: RoutedPool, _ parameters: Parameters) {
        self.pool = pool
        self.parameters = parameters
        let cluster = pool.cluster
        designLoad = Self.designLoad(pool, parameters.designLoad)
        // The placement's time of a token is a round trip and a share of the computation, no more.
        var byToken = cluster
        for server in cluster.servers.indices {
            byToken.servers[server].communicationTimeSeconds =
                pool.roundTrip(toClientFrom: server) * pool.outputTokens
        }
        placement =
            BPRRPlacement(byToken, designLoad: designLoad, outputTokens: pool.outputTokens).placement
        slots = placement.ranges.enumerated().map { server, range in
            range.map { cluster.cacheSlots(of: ServerIndex(server), hosting: $0.count) } ?? 0
        }
        firstMissingBlock = RouteGraph.firstMissingBlock(placement, blockCount: cluster.model.blockCount)
        func time(_ server: Int, _ blocks: Int) -> Double {
            cluster.servers[server].communicationTimeSeconds
                + cluster.servers[server].blockTimeSeconds * Double(blocks)
        }
        let graph = RouteGraph(placement, blockCount: cluster.model.blockCount)
        self.graph = graph
        demandTimes = graph.demands.map { time($0.server, $0.blocks) }
        rangeTimes = placement.ranges.enumerated().map { server, range in
            range.map { time(server, $0.count) } ?? 0
        }
    }

    /// Serves the requests, from empty.
    ///
    /// - Precondition: every block is hosted; arrivals do not decrease.
    /// - Complexity: per request O(hops of the graph + all requests that hold slots).
    package func run(_ requests: [RoutedRequest]) -> RoutedRun {
        precondition(firstMissingBlock == nil, "A block is not hosted: nothing can be served.")
        var graph = graph
        var believed = [ReleaseList](repeating: ReleaseList(), count: slots.count)
        var actual = believed
        var waits = [Double](repeating: 0, count: graph.demands.count)
        var costs = demandTimes
        // Only the demands cost anything: the way back does not count.
        let hopCosts = [Double](repeating: 0, count: graph.hops.count)
        let endCosts = [Double](repeating: 0, count: slots.count)
        var outcomes: [RoutedOutcome] = []
        outcomes.reserveCapacity(requests.count)
        for request in requests {
            let now = request.arrival
            for server in slots.indices {
                believed[server].advance(to: now)
                actual[server].advance(to: now)
                for demand in graph.firstDemand[server]..<graph.firstDemand[server + 1] {
                    waits[demand] = plannedWait(graph.demands[demand], believed[server], now: now)
                    costs[demand] = waits[demand] + demandTimes[demand]
                }
            }
            guard let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: costs, endCosts: endCosts)
            else { preconditionFailure("Every block is hosted, so there is a path.") }
            let outcome = serve(request, on: path, believed: believed, actual: actual)
            for hop in path {
                let server = hop.server.rawValue
                believed[server].insert(
                    slots: hop.blockCount,
                    until: now + outcome.meanService + pool.initialDelay + outcome.wait)
                actual[server].insert(slots: hop.blockCount, until: now + outcome.response)
            }
            outcomes.append(outcome)
        }
        return RoutedRun(outcomes: outcomes)
    }

    /// `wait(j, k)`, seconds.
    private func plannedWait(_ demand: RouteGraph.Demand, _ releases: ReleaseList, now: Double) -> Double {
        let total = slots[demand.server]
        switch parameters.waitEstimate {
        case .release:
            return releases.wait(for: demand.blocks, of: total, from: now)
        case .loadShare:
            guard total - releases.heldSlots < demand.blocks else { return 0 }
            return rangeTimes[demand.server] / Double(max(1, releases.count))
        }
    }

    private func serve(
        _ request: RoutedRequest, on path: [ChainHop], believed: [ReleaseList], actual: [ReleaseList]
    ) -> RoutedOutcome {
        var planned = 0.0
        var surprise = 0.0
        for hop in path {
            let server = hop.server.rawValue
            let demand = RouteGraph.Demand(server: server, blocks: hop.blockCount)
            planned = max(planned, plannedWait(demand, believed[server], now: request.arrival))
            surprise = max(
                surprise,
                actual[server].wait(for: hop.blockCount, of: slots[server], from: request.arrival))
        }
        let wait = parameters.startsAsSoonAsPossible ? surprise : max(planned, surprise)
        let service = pool.service(of: request.size, on: path)
        return RoutedOutcome(
            hops: path, meanService: pool.meanService(path), service: service, plannedWait: planned,
            surpriseWait: surprise, wait: wait, response: pool.initialDelay + service + wait)
    }

    // MARK: Design load

    private static func designLoad(_ pool: RoutedPool, _ choice: DesignLoad) -> Int {
        switch choice {
        case .fixed(let load):
            precondition(load >= 1, "The design load is at least one request.")
            return load
        case .offline:
            return BPRRPlacement(pool.cluster, outputTokens: pool.outputTokens).designLoad
        case .coded(let isHigh):
            return codedDesignLoad(pool, isHigh: isHigh)
        }
    }

    /// `max(1, ⌈min(λT̂ + √max(λT̂, 1), R_ub)⌉)` with `R_ub = max(1, ⌊(ΣM − s_m(L + J))/(s_c(L + J))⌋)`.
    ///
    /// `T̂ = l_out·RTT·n + (0.7·τp_high + 0.3·τp_low)·L/n` for the `n = min(3, max(2, ⌈L/50⌉))` servers that a
    /// path is thought to have: the computation is that of one of them. Without fast servers
    /// `n = max(3, ⌈L/5⌉)` and `τp_low` alone.
    private static func codedDesignLoad(_ pool: RoutedPool, isHigh: [Bool]) -> Int {
        let cluster = pool.cluster
        let count = cluster.servers.count
        precondition(isHigh.count == count)
        let blocks = cluster.model.blockCount
        let trip = RequestTimes.mean((0..<count).map { pool.roundTrip(toClientFrom: $0) })
        func blockTime(high: Bool) -> Double {
            let times = (0..<count).filter { isHigh[$0] == high }.map { cluster.servers[$0].blockTimeSeconds }
            return times.isEmpty ? 0 : RequestTimes.mean(times)
        }
        let (low, high) = (blockTime(high: false), blockTime(high: true))
        let hasHigh = isHigh.contains(true)
        let path = hasHigh ? min(3, max(2, (blocks + 49) / 50)) : max(3, (blocks + 4) / 5)
        let block = hasHigh ? 0.7 * high + 0.3 * low : low
        let time = pool.outputTokens * trip * Double(path) + block * Double(blocks) / Double(path)
        let memory = (0..<count).reduce(0) { $0 + cluster.blockMemory(of: ServerIndex($1)).rawValue }
        let units = blocks + count
        let room =
            (memory - cluster.model.blockSize.rawValue * units) / (cluster.model.cacheSize.rawValue * units)
        let offered = cluster.demand.arrivalRate * time
        let wanted = offered + max(offered, 1).squareRoot()
        return max(1, Int(min(wanted, Double(max(1, room))).rounded(.up)))
    }
}
