import ChainModel
import ChainPlanning

/// PETALS: servers choose their blocks when they join, and every request takes the path that its client finds
/// shortest.
///
/// Each server sets a fixed pool of attention cache aside, `⌊m_j·B_kv/s_c⌋` slots. A request takes `m_ij` slots of
/// every server of its path for its whole stay. As published, it keeps its path and waits for it; see `Retry` for
/// what else there is.
package struct PetalsSystem: Sendable {
    /// What a request does that finds its path full.
    package enum Retry: Hashable, Sendable {
        /// It waits, and starts the moment that the slots are free.
        case none
        /// It asks again after 1, 3, 7, 15, 31, 63, 123, 183, … seconds, and keeps its path.
        case backoff
        /// As PETALS' own client: it asks at 0, 0, 1, 3, 7, 15, … seconds, finds a new path every time, and avoids
        /// for a while a server that refused it.
        case client
        /// The same with one client for all requests: what refused one of them is avoided by all.
        case sharedClient
    }

    package struct Parameters: Hashable, Sendable {
        /// How servers choose their blocks.
        package var placement: PetalsParameters
        package var retry: Retry
        /// Wait for the slots that are free indeed, not also for those that the estimates call free: the
        /// programs have a request wait for the later of both.
        package var startsAsSoonAsPossible: Bool

        package init(
            placement: PetalsParameters, retry: Retry = .none, startsAsSoonAsPossible: Bool = false
        ) {
            self.placement = placement
            self.retry = retry
            self.startsAsSoonAsPossible = startsAsSoonAsPossible
        }
    }

    /// Overhead of a hop in the client's estimate, seconds.
    static let hopOverhead = 0.018
    /// What the client adds for a server without room, seconds.
    static let fullServerPenalty = 10.0

    package let pool: RoutedPool
    package let parameters: Parameters
    package let placement: Placement
    /// Cache slots by server.
    package let slots: [Int]
    /// Requests over the whole range of any server that the client takes to fit.
    package let sessions: Int
    /// A block that no server hosts: then nothing can be served.
    package let firstMissingBlock: Int?
    let graph: RouteGraph
    /// Cost of every hop without penalties, seconds, and of returning from a server.
    let hopCosts: [Double]
    let endCosts: [Double]

    package init(_ pool: RoutedPool, _ parameters: Parameters) {
        self.pool = pool
        self.parameters = parameters
        let model = pool.cluster.model
        placement = PetalsPlacement.placement(pool.cluster, parameters.placement)
        let cache = parameters.placement.cacheSize ?? model.cacheSize * 2
        slots = placement.ranges.map {
            ($0.map { cache * $0.count } ?? .zero).wholeUnits(of: model.cacheSize)
        }
        sessions = cache.wholeUnits(of: model.cacheSize)
        firstMissingBlock = RouteGraph.firstMissingBlock(placement, blockCount: model.blockCount)
        let graph = RouteGraph(placement, blockCount: model.blockCount)
        self.graph = graph
        var costs: [Double] = []
        for hop in graph.hops {
            let demand = graph.demands[hop.demand]
            let trip =
                hop.from == RouteGraph.client
                ? pool.roundTrip(toClientFrom: demand.server)
                : pool.roundTrip(from: hop.from, to: demand.server)
            let block = pool.cluster.servers[demand.server].blockTimeSeconds
            costs.append(
                trip / 2 + Self.hopOverhead + block * Double(demand.blocks) / pool.outputTokens)
        }
        hopCosts = costs
        endCosts = pool.cluster.servers.indices.map { pool.roundTrip(toClientFrom: $0) / 2 }
    }

    /// Serves the requests, from empty.
    ///
    /// - Precondition: every block is hosted; arrivals do not decrease.
    /// - Complexity: per request O(hops of the graph + requests that hold slots on its path).
    package func run(_ requests: [RoutedRequest]) -> RoutedRun {
        precondition(firstMissingBlock == nil, "A block is not hosted: nothing can be served.")
        switch parameters.retry {
        case .client, .sharedClient:
            return runWithClient(requests, shared: parameters.retry == .sharedClient)
        case .none, .backoff:
            return runWithFixedPaths(requests)
        }
    }

    private func runWithFixedPaths(_ requests: [RoutedRequest]) -> RoutedRun {
        var graph = graph
        var believed = [ReleaseList](repeating: ReleaseList(), count: slots.count)
        var actual = believed
        var penalties = [Double](repeating: 0, count: graph.demands.count)
        var outcomes: [RoutedOutcome] = []
        outcomes.reserveCapacity(requests.count)
        for request in requests {
            let now = request.arrival
            for server in slots.indices {
                believed[server].advance(to: now)
                actual[server].advance(to: now)
                let penalty = believed[server].count >= sessions ? Self.fullServerPenalty : 0
                for demand in graph.firstDemand[server]..<graph.firstDemand[server + 1] {
                    penalties[demand] = penalty
                }
            }
            let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: penalties, endCosts: endCosts)
            guard let path else { preconditionFailure("Every block is hosted, so there is a path.") }
            let outcome = serve(request, on: path, believed: believed, actual: actual)
            for hop in path {
                let server = hop.server.rawValue
                // The estimate leaves out what the request waits.
                believed[server].insert(
                    slots: hop.blockCount, until: now + outcome.meanService + pool.initialDelay)
                actual[server].insert(slots: hop.blockCount, until: now + outcome.response)
            }
            outcomes.append(outcome)
        }
        return RoutedRun(outcomes: outcomes)
    }

    private func serve(
        _ request: RoutedRequest, on path: [ChainHop], believed: [ReleaseList], actual: [ReleaseList]
    ) -> RoutedOutcome {
        var estimated = 0.0
        var real = 0.0
        for hop in path {
            let server = hop.server.rawValue
            let now = request.arrival
            estimated = max(
                estimated, believed[server].wait(for: hop.blockCount, of: slots[server], from: now))
            real = max(real, actual[server].wait(for: hop.blockCount, of: slots[server], from: now))
        }
        var wait = parameters.startsAsSoonAsPossible ? real : max(estimated, real)
        if parameters.retry == .backoff { wait = Self.attemptTime(notBefore: wait) }
        let service = pool.service(of: request.size, on: path)
        return RoutedOutcome(
            hops: path, meanService: pool.meanService(path), service: service, plannedWait: 0,
            surpriseWait: real, wait: wait, response: pool.initialDelay + service + wait)
    }

    /// First moment, in seconds from the first attempt, at which a client asks that waits 1, 2, 4, … and at most
    /// 60 s from one attempt to the next.
    static func attemptTime(notBefore wait: Double) -> Double {
        guard wait > 0 else { return 0 }
        var time = 1.0
        var gap = 2.0
        while time < wait, gap < longestGap {
            time += gap
            gap *= 2
        }
        if time < wait { time += ((wait - time) / longestGap).rounded(.up) * longestGap }
        return time
    }

    /// Longest time between two attempts, seconds.
    static let longestGap = 60.0
}
