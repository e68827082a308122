import ChainModel

/// PETALS with its own client (bigscience-workshop/petals at 22afba6): whoever finds no room tries again, on
/// another path.
///
/// A server refuses at once when it has too few slots. The client then avoids it for 15 s, twice as long with
/// every further refusal until it is taken there; and it sleeps 0, 1, 2, 4, … and at most 60 s from one attempt
/// to the next. Servers are taken to be full when they have no room for a request over their whole range. Clients
/// know the free caches of the moment, where those of PETALS may be some minutes old.
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

    /// The servers that a client avoids.
    private struct Bans {
        /// By server, the time until which it is avoided, and its refusals in a row.
        var until: [Double]
        var streaks: [Int]

        init(servers: Int) {
            until = [Double](repeating: -.infinity, count: servers)
            streaks = [Int](repeating: 0, count: servers)
        }

        mutating func refused(by server: Int, at now: Double) {
            let streak = min(streaks[server], PetalsSystem.longestStreak)
            until[server] = now + PetalsSystem.firstBan * Double(1 << streak)
            streaks[server] = streak + 1
        }

        mutating func taken(by path: [ChainHop]) {
            for hop in path { streaks[hop.server.rawValue] = 0 }
        }
    }

    /// Takes the path's slots, or says which server refuses.
    private func take(_ path: [ChainHop], from free: inout [Int]) -> Int? {
        if let refusing = path.first(where: { free[$0.server.rawValue] < $0.blockCount }) {
            return refusing.server.rawValue
        }
        for hop in path { free[hop.server.rawValue] -= hop.blockCount }
        return nil
    }

    /// Sleep after the given number of failed attempts, seconds.
    static func sleep(afterFailures failures: Int) -> Double {
        guard failures > 1 else { return 0 }
        return min(Double(1 << min(failures - 2, 10)), longestGap)
    }

    /// - Parameter shared: All requests go through one client, and avoid what refused any of them.
    func runWithClient(_ requests: [RoutedRequest], shared: Bool) -> RoutedRun {
        var graph = graph
        var free = slots
        let none = Bans(servers: slots.count)
        var bans = [Bans](repeating: none, count: shared ? 1 : requests.count)
        var costs = [Double](repeating: 0, count: graph.demands.count)
        var outcomes = [RoutedOutcome?](repeating: nil, count: requests.count)
        var calendar = TimedHeap<Double, Event>()
        for (number, request) in requests.enumerated() {
            calendar.insert(.attempt(request: number, number: 1), at: request.arrival, rank: 1)
        }
        while let (now, event) = calendar.removeNext() {
            switch event {
            case .release(let request):
                for hop in outcomes[request]?.hops ?? [] { free[hop.server.rawValue] += hop.blockCount }
            case .attempt(let request, let number):
                let client = shared ? 0 : request
                setCosts(&costs, free: free, bans[client], now: now)
                let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: costs, endCosts: endCosts)
                let refusing = path.flatMap { take($0, from: &free) }
                if let path, refusing == nil {
                    bans[client].taken(by: path)
                    let outcome = outcome(requests[request], on: path, at: now)
                    outcomes[request] = outcome
                    // Slots are free again before anyone asks at the same moment.
                    calendar.insert(
                        .release(request: request), at: requests[request].arrival + outcome.response)
                    continue
                }
                if let refusing { bans[client].refused(by: refusing, at: now) }
                guard number < Self.attemptLimit else { continue }
                calendar.insert(
                    .attempt(request: request, number: number + 1),
                    at: now + Self.sleep(afterFailures: number), rank: 1)
            }
        }
        return RoutedRun(outcomes: outcomes.map { $0 ?? Self.givenUp })
    }

    /// What a client adds to a hop: the penalty of a full server; servers it avoids are out of reach.
    private func setCosts(_ costs: inout [Double], free: [Int], _ bans: Bans, now: Double) {
        for server in slots.indices {
            var cost = free[server] < placement.ranges[server]?.count ?? 0 ? Self.fullServerPenalty : 0
            if bans.until[server] > now { cost = .infinity }
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
