import ChainModel
import ChainPlanning
import Testing

@testable import ChainSimulation

/// Two blocks; server 0 hosts both, server 1 the first, servers 2 and 3, equal in all, the second. Round trips
/// are 0, every `τc` and `τp` 1 s, answers one token, the initial delay 0.5 s.
///
/// A request over server 0 takes 3 s, one over two servers 4 s. Each server holds two requests.
enum HandPool {
    static let pool: RoutedPool = {
        let model = ModelShape(name: "m", blockCount: 2, blockSize: ByteCount(100), cacheSize: ByteCount(10))
        let servers = [240, 120, 120, 120].enumerated().map { number, memory in
            Server(
                name: "s\(number)", memory: ByteCount(memory), communicationTimeSeconds: 1,
                blockTimeSeconds: 1)
        }
        let ranges = [(1, 2), (1, 1), (2, 1), (2, 1)].map { BlockRange(first: $0.0, count: $0.1) }
        let cluster = Cluster(
            model: model, demand: Demand(arrivalRate: 1), servers: servers,
            manualPlacement: Placement(ranges: ranges))
        return RoutedPool(
            cluster, roundTrips: [Double](repeating: 0, count: 25), outputTokens: 1, initialDelay: 0.5)
    }()

    static func requests(_ list: [(arrival: Double, size: Double)]) -> [RoutedRequest] {
        list.map { RoutedRequest(arrival: $0.arrival, size: .multiple($0.size)) }
    }

    static func paths(_ run: RoutedRun) -> [[Int]] { run.outcomes.map { $0.hops.map(\.server.rawValue) } }
}

func close(_ values: [Double], _ expected: [Double]) -> Bool {
    values.count == expected.count && zip(values, expected).allSatisfy { abs($0 - $1) < 1e-12 }
}

@Suite struct PetalsSystemTests {
    private func system(retry: PetalsSystem.Retry = .none, asap: Bool = false) -> PetalsSystem {
        PetalsSystem(
            HandPool.pool,
            .init(placement: PetalsParameters(reserve: .zero), retry: retry, startsAsSoonAsPossible: asap))
    }

    @Test func slotsAreAFixedPoolForEachBlock() {
        let system = system()
        #expect(system.slots == [4, 2, 2, 2])
        #expect(system.sessions == 2)
        #expect(system.firstMissingBlock == nil)
    }

    /// Without penalties: server 0 costs 0.018 + 2 = 2.018 s, servers 1 and 2 cost 2.036 s.
    ///
    /// The first two requests fill server 0, the next two 1 and 2. For the fifth 0 costs 12.018 and 1, 3 cost
    /// 12.036. It waits for the first, which ends at 3.5. At 3.5 those whose estimate is 3.5 are gone for the
    /// router, though the second stays until 6.5 and the fifth until 7.
    @Test func waitsByHand() {
        let requests = HandPool.requests([
            (0, 1), (0, 2), (0, 1), (0, 0.5), (0, 1), (3.5, 2), (4, 1), (4.2, 1),
        ])
        let run = system().run(requests)
        #expect(HandPool.paths(run) == [[0], [0], [1, 2], [1, 2], [0], [0], [0], [0]])
        #expect(run.outcomes[2].hops.map(\.firstBlock) == [1, 2])
        #expect(run.outcomes[2].hops.map(\.blockCount) == [1, 1])
        // The last: 8 slots of 4 are taken, until 6.5, 7, 10.5 and 13.
        #expect(close(run.outcomes.map(\.wait), [0, 0, 0, 0, 3.5, 3, 3, 6.3]))
        #expect(close(run.outcomes.map(\.response), [3.5, 6.5, 4.5, 2.5, 7, 9.5, 6.5, 9.8]))
        #expect(run.outcomes.map(\.meanService) == [3, 3, 4, 4, 3, 3, 3, 3])
        // A client that only asks at 1, 3, 7, 15 s.
        let late = system(retry: .backoff).run(requests)
        #expect(Array(late.outcomes.map(\.wait).prefix(5)) == [0, 0, 0, 0, 7])
    }

    /// Four short requests end at 20.8 and 21.9, but are believed to last until 23.5 and 25.5.
    @Test func estimatesKeepRequestsWaiting() {
        let requests = HandPool.requests([(20, 0.1), (20, 0.1), (21, 0.1), (21, 0.1), (22, 1)])
        let coded = system().run(requests)
        #expect(HandPool.paths(coded) == [[0], [0], [1, 2], [1, 2], [0]])
        #expect(close(coded.outcomes.map(\.wait), [0, 0, 0, 0, 1.5]))
        let fair = system(asap: true).run(requests)
        #expect(HandPool.paths(fair) == HandPool.paths(coded))
        #expect(close(fair.outcomes.map(\.wait), [0, 0, 0, 0, 0]))
    }

    /// The fifth waits until 6.5, but is believed to be over at 3.5: so both requests at 5 go to server 0, though 1
    /// and 2 are free, and wait there.
    @Test func estimatesLeaveTheWaitOut() {
        let requests = HandPool.requests([(0, 2), (0, 2), (0, 1), (0, 1), (0, 1), (5, 1), (5, 1)])
        let run = system().run(requests)
        #expect(HandPool.paths(run) == [[0], [0], [1, 2], [1, 2], [0], [0], [0]])
        #expect(close(run.outcomes.map(\.wait), [0, 0, 0, 0, 6.5, 1.5, 5]))
    }

    @Test func attemptsOfTheSimulator() {
        let pairs: [(Double, Double)] = [
            (0, 0), (0.5, 1), (1, 1), (1.1, 3), (7, 7), (40, 63), (63, 63), (64, 123), (123.5, 183),
        ]
        for (wait, time) in pairs { #expect(PetalsSystem.attemptTime(notBefore: wait) == time) }
    }

    @Test func sleepsOfTheClient() {
        #expect((1...9).map(PetalsSystem.sleep(afterFailures:)) == [0, 1, 2, 4, 8, 16, 32, 60, 60])
    }

    /// Requests 1 to 4 fill servers 0, 1 and 2; the fifth is penalised everywhere. Server 0 costs least
    /// (12.018) and refuses: avoided until 15. At once it asks for 1, 3 (cost 12.036), which 1 refuses: avoided
    /// until 15 too. At 1, 3 and 7 s there is no way; at 15 s 0 is free.
    @Test func clientAvoidsServersThatRefused() {
        let requests = HandPool.requests([(0, 1), (0, 2), (0, 1), (0, 0.5), (0, 1)])
        let run = system(retry: .client).run(requests)
        #expect(HandPool.paths(run) == [[0], [0], [1, 2], [1, 2], [0]])
        #expect(close(run.outcomes.map(\.wait), [0, 0, 0, 0, 15]))
        #expect(run.unserved == 0)
        // Both stay: 0 refuses again at 15 (avoided until 45), 1 takes the request when 0 is avoided.
        let long = HandPool.requests([(0, 10), (0, 10), (0, 1), (0, 0.5), (0, 1)])
        let other = system(retry: .client).run(long)
        #expect(HandPool.paths(other).last == [1, 2])
        #expect(close(other.outcomes.map(\.wait), [0, 0, 0, 0, 15]))
        // Everybody stays for more than 60 s: refusals at 15, 15 (avoided until 45), 63.
        let longest = HandPool.requests([(0, 20), (0, 20), (0, 15), (0, 15), (0, 1)])
        let last = system(retry: .client).run(longest)
        #expect(close([last.outcomes[4].wait], [63]))
    }

    /// At 3.5 the first is over, and its slots are free for whoever comes then.
    @Test func releasesComeBeforeAttempts() {
        let run = system(retry: .client).run(HandPool.requests([(0, 1), (0, 2), (3.5, 1)]))
        #expect(HandPool.paths(run) == [[0], [0], [0]])
    }

    /// The fifth is refused by 0 and 1, which it avoids until 15. The sixth, at 4, finds 0 with room, unless it has
    /// the fifth's client: then it asks at 4, 4, 5, 7, 11 and 19.
    @Test func clientsMayBeShared() {
        let requests = HandPool.requests([(0, 1), (0, 2), (0, 1), (0, 0.5), (0, 1), (4, 1)])
        let own = system(retry: .client).run(requests)
        #expect(close(own.outcomes.map(\.wait), [0, 0, 0, 0, 15, 0]))
        let shared = system(retry: .sharedClient).run(requests)
        #expect(close(shared.outcomes.map(\.wait), [0, 0, 0, 0, 15, 15]))
    }

    @Test func missingBlockIsNamed() {
        var pool = HandPool.pool
        pool.cluster.manualPlacement.ranges = [nil, BlockRange(first: 1, count: 1), nil, nil]
        pool.cluster.servers[0].memory = ByteCount(10)
        pool.cluster.servers[2].memory = ByteCount(10)
        pool.cluster.servers[3].memory = ByteCount(10)
        let system = PetalsSystem(pool, .init(placement: PetalsParameters(reserve: .zero)))
        #expect(system.firstMissingBlock == 2)
    }
}

@Suite struct BPRRSystemTests {
    private func system(_ estimate: BPRRSystem.WaitEstimate, asap: Bool = false) -> BPRRSystem {
        BPRRSystem(
            HandPool.pool,
            .init(designLoad: .fixed(1), waitEstimate: estimate, startsAsSoonAsPossible: asap))
    }

    @Test func slotsAreAllRemainingMemory() {
        let system = system(.release)
        #expect(system.slots == [4, 2, 2, 2])
        #expect(system.firstMissingBlock == nil)
    }

    /// The fifth request: server 0 is free at 3.5 by the estimates, 3.5 + 3 = 6.5 s in all; 1, 3 would be
    /// 4.5 + 2 + 2 = 8.5 s. Its own estimate, unlike that of PETALS, includes the wait: 7.
    @Test func releasesByHand() {
        let requests = HandPool.requests([(0, 1), (0, 2), (0, 1), (0, 0.5), (0, 1), (1, 1), (4, 1)])
        let run = system(.release).run(requests)
        // The sixth at 1 s: 0 is free at 7 by then (3.5, 3.5 and 7 with 2 of 4 slots each): the first release
        // frees none, the second two: 2.5 + 3 = 5.5 s, while 1, 3 take 3.5 + 4 = 7.5 s.
        #expect(HandPool.paths(run) == [[0], [0], [1, 2], [1, 2], [0], [0], [1, 3]])
        #expect(close(Array(run.outcomes.map(\.plannedWait).prefix(6)), [0, 0, 0, 0, 3.5, 2.5]))
        // In truth the slots are free at 3.5, 6.5 and 7: the sixth starts at 6.5.
        #expect(close(Array(run.outcomes.map(\.surpriseWait).prefix(6)), [0, 0, 0, 0, 3.5, 5.5]))
        #expect(close(Array(run.outcomes.map(\.wait).prefix(6)), [0, 0, 0, 0, 3.5, 5.5]))
        // The seventh at 4 s: on 0 the estimates 7 and 10 (with the wait of 5.5) hold all slots: 3 + 3 s. Over 1
        // and 3 it is 0.5 + 2 + 2 s. The fourth is over in truth, but the plan is kept.
        #expect(close([run.outcomes[6].plannedWait, run.outcomes[6].surpriseWait], [0.5, 0]))
        #expect(close([run.outcomes[6].response], [5]))
    }

    /// As coded the wait for server 0 is 3 s by 2 requests: 1.5 + 3 = 4.5 s, against 4 s over 1, 2. For the
    /// fifth 1, 3 would be 2/2 + 2 + 2 = 5 s.
    @Test func loadShareByHand() {
        let requests = HandPool.requests([(0, 1), (0, 2), (0, 1), (0, 0.5), (0, 1)])
        let run = system(.loadShare).run(requests)
        #expect(HandPool.paths(run) == [[0], [0], [1, 2], [1, 2], [0]])
        #expect(close(run.outcomes.map(\.plannedWait), [0, 0, 0, 0, 1.5]))
        #expect(close(run.outcomes.map(\.wait), [0, 0, 0, 0, 3.5]))
    }

    /// Short requests are over at 0.8, but planned until 3.5: whoever came at 1 waits for nobody.
    @Test func plannedWaitIsWaited() {
        let requests = HandPool.requests([(0, 0.1), (0, 0.1), (0, 0.1), (0, 0.1), (1, 1)])
        let coded = system(.release).run(requests)
        #expect(close(coded.outcomes.map(\.plannedWait), [0, 0, 0, 0, 2.5]))
        #expect(close(coded.outcomes.map(\.surpriseWait), [0, 0, 0, 0, 0]))
        #expect(close(coded.outcomes.map(\.wait), [0, 0, 0, 0, 2.5]))
        #expect(close([coded.outcomes[4].response], [6]))
        let fair = system(.release, asap: true).run(requests)
        #expect(close([fair.outcomes[4].response], [3.5]))
    }

    /// `T̂ = 1·0·2 + (0.7·1 + 0.3·1)·2/2 = 1`, `λT̂ + 1 = 2`; by memory `(600 − 600)/60 = 0`, so 1.
    @Test func codedDesignLoad() {
        var pool = HandPool.pool
        let coded = BPRRSystem.Parameters(designLoad: .coded(isHigh: [true, false, false, false]))
        #expect(BPRRSystem(pool, coded).designLoad == 1)
        for server in 0..<4 { pool.cluster.servers[server].memory += ByteCount(60) }
        // (840 − 600)/60 = 4 by memory.
        #expect(BPRRSystem(pool, coded).designLoad == 2)
        pool.cluster.demand.arrivalRate = 1.5
        // 1.5 + 1.22 = 2.72.
        #expect(BPRRSystem(pool, coded).designLoad == 3)
        pool.cluster.demand.arrivalRate = 100
        #expect(BPRRSystem(pool, coded).designLoad == 4)
        // No fast server: n = 3, T̂ = 2/3, λT̂ = 1, 1 + 1.
        pool.cluster.demand.arrivalRate = 1.5
        let slow = BPRRSystem.Parameters(
            designLoad: .coded(isHigh: [Bool](repeating: false, count: 4)))
        #expect(BPRRSystem(pool, slow).designLoad == 2)
    }
}
