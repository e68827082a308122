import ChainModel
import Testing

@testable import ChainSimulation

/// SplitMix64, for cases that can be drawn again.
struct CaseGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

@Suite struct RouteGraphTests {
    /// Dijkstra's algorithm as a textbook has it, on the whole matrix: strict comparisons, nodes in the order of
    /// the cluster, the client first and last.
    private func dijkstra(_ weights: [[Double]]) -> [Int] {
        let count = weights.count
        var distance = [Double](repeating: .infinity, count: count)
        var previous = [Int](repeating: -1, count: count)
        var done = [Bool](repeating: false, count: count)
        distance[0] = 0
        for _ in 0..<count {
            var node = -1
            for candidate in 0..<count where !done[candidate] && distance[candidate] < .infinity {
                if node < 0 || distance[candidate] < distance[node] { node = candidate }
            }
            guard node >= 0 else { break }
            done[node] = true
            for other in 0..<count where distance[node] + weights[node][other] < distance[other] {
                distance[other] = distance[node] + weights[node][other]
                previous[other] = node
            }
        }
        var path: [Int] = []
        var node = previous[count - 1]
        while node > 0 {
            path.append(node - 1)
            node = previous[node]
        }
        return path.reversed()
    }

    /// Costs of 1, 2 or 3 make ties the rule.
    @Test func sameAsDijkstraWithManyTies() {
        var ties = 0
        for seed in 0..<400 {
            var generator = CaseGenerator(state: UInt64(seed))
            let blockCount = Int.random(in: 1...6, using: &generator)
            let count = Int.random(in: 1...9, using: &generator)
            let ranges = (0..<count).map { _ -> BlockRange? in
                guard Int.random(in: 0..<8, using: &generator) > 0 else { return nil }
                let first = Int.random(in: 1...blockCount, using: &generator)
                return BlockRange(
                    first: first, count: Int.random(in: 1...(blockCount - first + 1), using: &generator))
            }
            var graph = RouteGraph(Placement(ranges: ranges), blockCount: blockCount)
            func cost() -> Double { Double(Int.random(in: 1...3, using: &generator)) }
            let hopCosts = graph.hops.map { _ in cost() }
            let demandCosts = graph.demands.map { _ in cost() }
            let endCosts = ranges.map { _ in cost() }
            // The matrix by the definition of a legal hop, not by the graph.
            var weights = [[Double]](
                repeating: [Double](repeating: .infinity, count: count + 2), count: count + 2)
            for (position, server) in graph.order.enumerated() {
                for hop in graph.firstHop[position]..<graph.firstHop[position + 1] {
                    let entry = graph.hops[hop]
                    weights[entry.from + 1][server + 1] = hopCosts[hop] + demandCosts[entry.demand]
                }
            }
            var legal = 0
            for (server, range) in ranges.enumerated() {
                guard let range else { continue }
                if range.end == blockCount + 1 { weights[server + 1][count + 1] = endCosts[server] }
                let ends = [1] + ranges.compactMap { $0?.end }
                legal += ends.count { range.contains($0) }
            }
            #expect(graph.hops.count == legal, "seed \(seed)")
            let path = graph.shortestPath(hopCosts: hopCosts, demandCosts: demandCosts, endCosts: endCosts)
            #expect(path?.map(\.server.rawValue) ?? [] == dijkstra(weights), "seed \(seed)")
            if let path {
                ties += path.count > 1 ? 1 : 0
                var next = 1
                for hop in path {
                    #expect(hop.firstBlock == next && hop.blockCount >= 1, "seed \(seed)")
                    next = hop.endBlock
                    #expect(ranges[hop.server.rawValue]?.end == next, "seed \(seed)")
                }
                #expect(next == blockCount + 1, "seed \(seed)")
            }
            let missing = RouteGraph.firstMissingBlock(Placement(ranges: ranges), blockCount: blockCount)
            if missing == nil { #expect(path != nil, "seed \(seed)") }
        }
        #expect(ties > 50)
    }

    @Test func infiniteCostsCloseTheWay() {
        let ranges = [BlockRange(first: 1, count: 2), BlockRange(first: 1, count: 2)]
        var graph = RouteGraph(Placement(ranges: ranges), blockCount: 2)
        let zeros = [0.0, 0.0]
        let first = graph.shortestPath(hopCosts: [1, 1], demandCosts: [.infinity, 0], endCosts: zeros)
        #expect(first?.map(\.server.rawValue) == [1])
        #expect(
            graph.shortestPath(hopCosts: [1, 1], demandCosts: [.infinity, .infinity], endCosts: zeros) == nil)
    }
}

@Suite struct ReleaseListTests {
    /// Moments and slots from small ranges: equal moments, exact fits, overbooking.
    @Test func sameAsTheDefinition() {
        for seed in 0..<200 {
            var generator = CaseGenerator(state: UInt64(seed))
            var list = ReleaseList()
            var all: [(time: Double, slots: Int)] = []
            let total = Int.random(in: 1...12, using: &generator)
            var now = 0.0
            for _ in 0..<120 {
                now += Double(Int.random(in: 0...2, using: &generator))
                list.advance(to: now)
                let active = all.filter { $0.time > now }
                #expect(list.count == active.count)
                #expect(list.heldSlots == active.reduce(0) { $0 + $1.slots })
                let needed = Int.random(in: 1...6, using: &generator)
                // By definition: the first moment after which enough is free.
                var expected = 0.0
                if total - list.heldSlots < needed {
                    let moments = active.map(\.time).sorted()
                    let enough = moments.first { moment in
                        total - active.filter { $0.time > moment }.reduce(0) { $0 + $1.slots } >= needed
                    }
                    expected = enough.map { $0 - now } ?? 0
                }
                #expect(list.wait(for: needed, of: total, from: now) == expected, "seed \(seed)")
                let end = now + Double(Int.random(in: 1...20, using: &generator))
                all.append((end, needed))
                list.insert(slots: needed, until: end)
            }
        }
    }
}

@Suite struct ComposedSystemTests {
    /// One fast and one slow place: the third request waits for whichever is free first.
    @Test func fastestFreeChainThenTheQueue() {
        let cluster = HandPool.pool.cluster
        let chains = [([0], 3.0), ([1, 2], 4.0)].map { servers, time in
            ServerChain(
                hops: servers.map {
                    ChainHop(
                        server: ServerIndex($0), firstBlock: cluster.manualPlacement.ranges[$0]?.first ?? 0,
                        blockCount: cluster.manualPlacement.ranges[$0]?.count ?? 0)
                }, capacity: 1, serviceTimeSeconds: time)
        }
        let system = ComposedSystem(HandPool.pool, chains: chains)
        let requests = HandPool.requests([(0, 2), (0, 0.5), (0, 1), (1, 1), (6, 1), (20, 1)])
        let run = system.run(requests)
        // The third starts at 2 on the slow chain (until 6), the fourth at 6 on the fast one: both are free
        // then. The fifth, at the same moment, gets the slow one.
        #expect(HandPool.paths(run) == [[0], [1, 2], [1, 2], [0], [1, 2], [0]])
        #expect(close(run.outcomes.map(\.wait), [0, 0, 2, 5, 0, 0]))
        #expect(close(run.outcomes.map(\.response), [6.5, 2.5, 6.5, 8.5, 4.5, 3.5]))
        // The fast chain is free for whoever comes the moment that its request ends.
        let punctual = system.run(HandPool.requests([(0, 1), (3, 1)]))
        #expect(HandPool.paths(punctual) == [[0], [0]])
    }
}

@Suite struct RequestTimesTests {
    @Test func quantilesAndMeans() {
        #expect(RequestTimes.quantile([3, 1, 2], 0.5) == 2)
        #expect(RequestTimes.quantile([4, 1, 2, 3], 0.5) == 2.5)
        #expect(RequestTimes.quantile([1, 2, 3, 4, 5], 1) == 5)
        #expect(RequestTimes.quantile([1, 2, 3, 4, 5], 0.95) == 4.8)
        #expect(RequestTimes.quantile([], 0.5).isNaN)
    }

    /// Waits that grow by a tenth of a service time a request, and waits that do not.
    @Test func growthIsNoticed() {
        var growing = RequestTimes()
        var level = RequestTimes()
        for number in 0..<100 {
            let wait = Double(number) * 0.1
            growing.append(arrival: Double(number), wait: wait, service: 1, response: wait + 1)
            let other = Double(number % 7)
            level.append(arrival: Double(number), wait: other, service: 1, response: other + 1)
        }
        #expect(abs(growing.waitGrowth - 5) < 1e-9)
        #expect(growing.isUnstable())
        #expect(!level.isUnstable())
        #expect(!growing.isUnstable(growth: 6, backlog: 1))
        // Those after 99/1.1 = 90 still wait at 99.
        #expect(abs(growing.backlog - 0.09) < 1e-9)
        #expect(growing.isUnstable(growth: 6))
        #expect(!growing.isUnstable(growth: 6, backlog: 0.09))
        #expect(!RequestTimes().isUnstable())
    }
}
