import ChainModel

/// PETALS with its own client (bigscience-workshop/petals at 22afba6): whoever finds no room tries again, on
/// another path.
///
/// A server refuses at once when it has too few slots. The client then avoids it for 15 s, twice as long with
/// every further refusal until one of its requests is taken there; and it sleeps 0, 1, 2, 4, … and at most 60 s
/// from one attempt to the next. Servers are taken to be full when they have no room for a request over their
/// whole range. All requests go through one client, as all orchestrated here do, and it knows the free caches of
/// the moment, where PETALS' may be some minutes old.
extension PetalsSystem {
    /// Attempts after which a request is given up. PETALS' client never does.
    static let attemptLimit = 1000
    /// Time for which a server is avoided after its first refusal, seconds.
    static let firstBan = 15.0
    /// Refusals in a row after which the time no longer doubles: 15 s·2¹⁰ is four hours.
    static let longestStreak = 10

    private enum Event {
        case attempt(request: Int, number: Int)
        case release(request: Int)
    }

    /// A client and the servers it knows.
    private struct Client {
        /// Free slots by server, the time until which it is avoided, and its refusals in a row.
        var free: [Int]
        var bannedUntil: [Double]
        var streaks: [Int]

        init(slots: [Int]) {
            free = slots
            bannedUntil = [Double](repeating: -.infinity, count: slots.count)
            streaks = [Int](repeating: 0, count: slots.count)
        }

        /// Takes the path's slots, or says which server refuses.
        mutating func take(_ path: [ChainHop]) -> Int? {
            if let refusing = path.first(where: { free[$0.server.rawValue] < $0.blockCount }) {
                return refusing.server.rawValue
            }
            for hop in path {
                free[hop.server.rawValue] -= hop.blockCount
                streaks[hop.server.rawValue] = 0
            }
            return nil
        }

        mutating func release(_ path: [ChainHop]) {
            for hop in path { free[hop.server.rawValue] += hop.blockCount }
        }

        mutating func ban(_ server: Int, at now: Double) {
            let streak = min(streaks[server], PetalsSystem.longestStreak)
            bannedUntil[server] = now + PetalsSystem.firstBan * Double(1 << streak)
            streaks[server] = streak + 1
        }
    }

    /// Sleep after the given number of failed attempts, seconds.
    static func sleep(afterFailures failures: Int) -> Double {
        guard failures > 1 else { return 0 }
        return min(Double(1 << min(failures - 2, 10)), longestGap)
    }

    func runWithClient(_ requests: [RoutedRequest]) -> RoutedRun {
        var graph = graph
        var client = Client(slots: slots)
        var costs = [Double](repeating: 0, count: graph.demands.count)
        var outcomes = [RoutedOutcome?](repeating: nil, count: requests.count)
        var calendar = TimedHeap<Double, Event>()
        for (number, request) in requests.enumerated() {
            calendar.insert(.attempt(request: number, number: 1), at: request.arrival, rank: 1)
        }
        while let (now, event) = calendar.removeNext() {
            switch event {
            case .release(let request):
                client.release(outcomes[request]?.hops ?? [])
            case .attempt(let request, let number):
                setCosts(&costs, client, now: now)
                let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: costs, endCosts: endCosts)
                let refusing = path.flatMap { client.take($0) }
                if let path, refusing == nil {
                    let outcome = outcome(requests[request], on: path, at: now)
                    outcomes[request] = outcome
                    // Slots are free again before anyone asks at the same moment.
                    calendar.insert(
                        .release(request: request), at: requests[request].arrival + outcome.response)
                    continue
                }
                if let refusing { client.ban(refusing, at: now) }
                guard number < Self.attemptLimit else { continue }
                calendar.insert(
                    .attempt(request: request, number: number + 1),
                    at: now + Self.sleep(afterFailures: number), rank: 1)
            }
        }
        return RoutedRun(outcomes: outcomes.map { $0 ?? Self.givenUp })
    }

    /// What the client adds to a hop: the penalty of a full server; servers it avoids are out of reach.
    private func setCosts(_ costs: inout [Double], _ client: Client, now: Double) {
        for server in slots.indices {
            var cost = client.free[server] < placement.ranges[server]?.count ?? 0 ? Self.fullServerPenalty : 0
            if client.bannedUntil[server] > now { cost = .infinity }
            for demand in graph.firstDemand[server]..<graph.firstDemand[server + 1] { costs[demand] = cost }
        }
    }

    private func outcome(_ request: RoutedRequest, on path: [ChainHop], at now: Double) -> RoutedOutcome {
        let service = pool.service(of: request.size, on: path)
        let wait = now - request.arrival
        return RoutedOutcome(
            hops: path, meanService: pool.meanService(path), service: service, plannedWait: 0,
            surpriseWait: wait, wait: wait, response: pool.initialDelay + service + wait)
    }

    private static let givenUp = RoutedOutcome(
        hops: [], meanService: 0, service: 0, plannedWait: 0, surpriseWait: 0, wait: .infinity,
        response: .infinity)
}
