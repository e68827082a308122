import ChainModel
import Testing

@testable import ChainSimulation

/// Three blocks of 100 bytes, caches of 10; `τc` 1 s, `τp` 1 s, or 1.5 s for the last two of four servers.
@Suite struct ProposalAsCodedTests {
    private func pool(_ memories: [Int], rate: Double = 0.1) -> RoutedPool {
        let model = ModelShape(name: "m", blockCount: 3, blockSize: ByteCount(100), cacheSize: ByteCount(10))
        let servers = memories.enumerated().map { number, memory in
            Server(
                name: "s\(number)", memory: ByteCount(memory), communicationTimeSeconds: 1,
                blockTimeSeconds: number < 2 ? 1 : 1.5)
        }
        let sites = memories.count + 1
        return RoutedPool(
            Cluster(model: model, demand: Demand(arrivalRate: rate), servers: servers),
            roundTrips: [Double](repeating: 0, count: sites * sites), outputTokens: 1, initialDelay: 0.5)
    }

    /// With `c` = 2 servers of 250 bytes hold ⌊250/120⌋ = 2 blocks. The second of a chain gets the one that is
    /// missing, and with it room for (250 − 100)/10 = 15 caches.
    @Test func lastServerOfAChainGetsWhatIsMissing() throws {
        let system = try #require(ProposalAsCoded(pool([250, 250, 250, 250]), capacity: 2))
        let ranges = system.composition.placement.ranges
        #expect(ranges.map { $0?.first } == [1, 3, 1, 3])
        #expect(ranges.map { $0?.count } == [2, 1, 2, 1])
        // The first server's time is not looked for, so both chains end with the faster server 1: they have
        // room for ⌊50/20⌋ = 2 each, which 1 has too.
        let chains = system.composition.chains
        #expect(chains.map { $0.hops.map(\.server.rawValue) } == [[0, 1], [2, 1]])
        #expect(chains.map(\.capacity) == [2, 2])
        #expect(chains.map(\.serviceTimeSeconds) == [5, 6])
    }

    /// Five servers: two chains are built, and the fifth is tried but cannot finish a third.
    @Test func serversThatCannotFinishAChain() throws {
        let system = try #require(ProposalAsCoded(pool([250, 250, 250, 250, 130, 130]), capacity: 2))
        let ranges = system.composition.placement.ranges
        // The small ones hold one block each: two of three. The first of them is placed all the same.
        #expect(ranges.map { $0?.count } == [2, 1, 2, 1, 1, nil])
        #expect(ranges[4]?.first == 1)
    }

    /// Slow server 0 and fast server 1 host blocks 1 and 2, server 2 the third for three requests. Without the time
    /// of the first server they are equal, so the first in the cluster is served first.
    @Test func firstServersTimeIsIgnored() throws {
        var pool = pool([250, 250, 130])
        pool.cluster.servers[0].blockTimeSeconds = 1.5
        pool.cluster.servers[2].blockTimeSeconds = 0.75
        let chains = try #require(ProposalAsCoded(pool, capacity: 2)).composition.chains
        #expect(chains.map { $0.hops.map(\.server.rawValue) } == [[1, 2], [0, 2]])
        #expect(chains.map(\.capacity) == [1, 2])
        #expect(chains.map(\.serviceTimeSeconds) == [4.75, 5.75])
    }

    @Test func noChainWithoutMemory() {
        #expect(ProposalAsCoded(pool([130, 130]), capacity: 1) == nil)
        #expect(ProposalAsCoded(pool([130, 130])) == nil)
    }

    /// One chain of two slots, 5 s for a request; a slot is held for the 0.5 s of the initial delay too.
    ///
    /// The third waits. Slots are free at 3 and 5.5, but nobody looks until the fourth comes at 8. The last two
    /// find 13.5 and 13.5 ahead and are left: both start at 13.5, though two are one too many with the fifth.
    @Test func queueIsServedWhenSomebodyArrives() throws {
        let system = try #require(ProposalAsCoded(pool([250, 250]), capacity: 2))
        let requests = [(0.0, 1.0), (0, 0.5), (1, 1), (8, 1), (9, 1), (10, 1)].map {
            RoutedRequest(arrival: $0.0, size: .multiple($0.1))
        }
        let run = system.run(requests)
        #expect(close(run.outcomes.map(\.wait), [0, 0, 7, 0, 4.5, 3.5]))
        #expect(close(run.outcomes.map(\.response), [5.5, 3, 12.5, 5.5, 10, 9]))
    }

    /// Chains of 5 and 6 s with 2 slots each: `ν` = 2/5 + 2/6; 0.68·0.4 = 0.272 of 0.3 fit the first.
    @Test func scoreByHand() throws {
        let system = try #require(ProposalAsCoded(pool([250, 250, 250, 250]), capacity: 2))
        let service = (0.272 * 5 + 0.028 * 6) / 0.3
        let load = 0.3 / (2.0 / 5 + 2.0 / 6)
        let expected = service * (1 + load / (1 - load) / 4) * (1 + 0.1 * 0.2)
        #expect(abs(ProposalAsCoded.score(system.composition, arrivalRate: 0.3) - expected) < 1e-12)
        let single = try #require(ProposalAsCoded(pool([250, 250]), capacity: 2))
        let other = 5 * (1 + 0.3 * 0.25 / 0.75 / 2)
        #expect(abs(ProposalAsCoded.score(single.composition, arrivalRate: 0.1) - other) < 1e-12)
    }
}
