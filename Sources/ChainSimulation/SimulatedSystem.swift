import ChainDispatch
import ChainModel

/// Time of a request on a chain as a function of its tokens: linear in both counts (footnote 2 of the paper).
package struct TokenTimes: Hashable, Sendable {
    /// Before the first token whatever the prompt: communication and `t_o` of every block, seconds.
    package var overhead: Double
    /// For each token of the prompt: `tI`, seconds.
    package var perInputToken: Double
    /// For each token of the answer after the first: `tO` and communication, seconds.
    package var perOutputToken: Double

    package init(overhead: Double, perInputToken: Double, perOutputToken: Double) {
        self.overhead = overhead
        self.perInputToken = perInputToken
        self.perOutputToken = perOutputToken
    }

    /// Time to the first token, without waiting, seconds.
    package func prefill(_ tokens: TokenCounts) -> Double {
        overhead + perInputToken * Double(tokens.input)
    }

    /// Whole service time, seconds.
    package func service(_ tokens: TokenCounts) -> Double {
        prefill(tokens) + perOutputToken * Double(tokens.output - 1)
    }
}

/// How the mean times of servers split over tokens, where nothing better is known.
package struct TokenSplit: Hashable, Sendable {
    /// Mean tokens of the requests that the servers' times are for.
    package var meanInput: Double
    package var meanOutput: Double
    /// Time of an answer's token over that of a prompt's token in a block: `tO/tI`. 31 for the paper's BLOOM
    /// blocks on a slice of an A100: decoding reads all weights, prefill is bound by arithmetic.
    package var decodeWeight = 31.0
    /// Time of a block for a request whatever its tokens: `t_o`, seconds.
    package var blockOverhead = 0.001

    package init(meanInput: Double, meanOutput: Double) {
        self.meanInput = meanInput
        self.meanOutput = meanOutput
    }

    /// What a server takes, seconds: a round trip for each token of the answer, and for each block a constant, and a
    /// time for each token of the prompt and each further token of the answer.
    package typealias ServerTimes = (
        trip: Double, blockOverhead: Double, perInputToken: Double, perOutputToken: Double
    )

    /// Splits a server's mean times: `τp = t_o + tI·l_in + tO·(l_out − 1)` for the mean request. The overhead shrinks
    /// where a block takes less than it, and is all of the time where there are no other tokens.
    package func times(_ server: Server) -> ServerTimes {
        let output = max(1, meanOutput)
        let block = server.blockTimeSeconds
        let weight = meanInput + decodeWeight * (output - 1)
        let overhead = weight > 0 ? min(blockOverhead, block) : block
        let each = weight > 0 ? (block - overhead) / weight : 0
        return (server.communicationTimeSeconds / output, overhead, each, each * decodeWeight)
    }
}

/// What is simulated: chains over servers, from fastest to slowest.
package struct SimulatedSystem: Hashable, Sendable {
    package struct Chain: Hashable, Sendable {
        /// Servers of the path, source to sink.
        package var servers: [ServerIndex]
        /// Blocks computed at each of them, which are the cache slots a job takes there: `m_ij`.
        package var blocks: [Int]
        /// Concurrent jobs: `c_k`.
        package var capacity: Int
        /// Mean service time: `T_k`, seconds.
        package var serviceTime: Double

        package init(servers: [ServerIndex], blocks: [Int], capacity: Int, serviceTime: Double) {
            self.servers = servers
            self.blocks = blocks
            self.capacity = capacity
            self.serviceTime = serviceTime
        }
    }

    package var chains: [Chain]
    package var serverCount: Int
    /// Cache slots of each server: `M̃_j`; by `ServerIndex`.
    package var cacheSlots: [Int]
    /// For sizes in tokens: times of each chain.
    package var tokenTimes: [TokenTimes]?

    /// The chains of a plan.
    package init(_ plan: Plan, cluster: Cluster) {
        chains = plan.chains.map {
            Chain(
                servers: $0.hops.map(\.server), blocks: $0.hops.map(\.blockCount), capacity: $0.capacity,
                serviceTime: $0.serviceTimeSeconds)
        }
        serverCount = cluster.servers.count
        cacheSlots = cluster.servers.indices.map {
            cluster.cacheSlots(of: ServerIndex($0), hosting: plan.placement.ranges[$0]?.count ?? 0)
        }
    }

    /// - Precondition: cache slots of every server; chains come fastest first.
    init(chains: [Chain], serverCount: Int, cacheSlots: [Int]) {
        precondition(cacheSlots.count == serverCount)
        self.chains = chains
        self.serverCount = serverCount
        self.cacheSlots = cacheSlots
    }

    /// Chains of one server each, fastest first.
    /// - Precondition: rates are positive and not increasing, capacities at least 1.
    package init(rates: [Double], capacities: [Int]) {
        precondition(rates.count == capacities.count && rates.allSatisfy { $0 > 0 })
        precondition(zip(rates, rates.dropFirst()).allSatisfy(>=))
        chains = rates.indices.map {
            Chain(
                servers: [ServerIndex($0)], blocks: [1], capacity: capacities[$0],
                serviceTime: 1 / rates[$0])
        }
        serverCount = rates.count
        cacheSlots = capacities
    }

    /// Total service rate: `ν`, jobs per second (eq. 4).
    package var totalRate: Double { chains.reduce(0) { $0 + Double($1.capacity) / $1.serviceTime } }

    /// `C = Σ c_k`.
    package var totalCapacity: Int { chains.reduce(0) { $0 + $1.capacity } }

    /// The dispatcher's view of the chains.
    package var dispatchChains: [DispatchChain] {
        chains.map {
            DispatchChain(
                servers: $0.servers, capacity: $0.capacity,
                serviceTime: max(Duration(seconds: $0.serviceTime), Duration(nanoseconds: 1)))
        }
    }

    /// Token times that give every chain its `T_k` for a request with the mean numbers of tokens.
    package mutating func setTokenTimes(_ cluster: Cluster, split: TokenSplit) {
        tokenTimes = chains.map { chain in
            var times = TokenTimes(overhead: 0, perInputToken: 0, perOutputToken: 0)
            for (server, blocks) in zip(chain.servers, chain.blocks) {
                let own = split.times(cluster[server])
                times.overhead += own.trip + Double(blocks) * own.blockOverhead
                times.perInputToken += Double(blocks) * own.perInputToken
                times.perOutputToken += own.trip + Double(blocks) * own.perOutputToken
            }
            return times
        }
    }
}
