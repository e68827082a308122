import ChainFormats
import ChainModel
import ChainPlanning
import ChainSimulation

/// The systems that route per request instead of composing chains, as named on the command line.
enum RoutedPolicy: String, CaseIterable {
    /// PETALS as its paper and programs place and route; a request keeps its path and waits for it.
    case petals
    /// Windows compared by their sum, as the published comparison has it.
    case petalsSum = "petals-sum"
    /// Asks again after growing pauses, and keeps its path.
    case petalsBackoff = "petals-backoff"
    /// As PETALS' own client: finds a new path every time.
    case petalsClient = "petals-client"
    case petalsSharedClient = "petals-shared-client"
    /// Starts as soon as the slots are free indeed.
    case petalsASAP = "petals-asap"
    case bprr
    case bprrASAP = "bprr-asap"
    /// Design load and waits as the published program estimates them.
    case bprrAsCoded = "bprr-as-coded"

    /// The system on a pool.
    /// - Throws: `InvalidWorkload` when some block has no server.
    func system(_ pool: RoutedPool, seed: UInt64) throws -> RoutedSystem {
        let system: RoutedSystem
        switch self {
        case .petals: system = petals(pool, seed)
        case .petalsSum: system = petals(pool, seed, selection: .sum)
        case .petalsBackoff: system = petals(pool, seed, retry: .backoff)
        case .petalsClient: system = petals(pool, seed, retry: .client)
        case .petalsSharedClient: system = petals(pool, seed, retry: .sharedClient)
        case .petalsASAP: system = petals(pool, seed, asap: true)
        case .bprr: system = .bprr(BPRRSystem(pool, .init()))
        case .bprrASAP: system = .bprr(BPRRSystem(pool, .init(startsAsSoonAsPossible: true)))
        case .bprrAsCoded:
            let fastest = pool.cluster.servers.map(\.blockTimeSeconds).min() ?? 0
            let isHigh = pool.cluster.servers.map { $0.blockTimeSeconds == fastest }
            system = .bprr(
                BPRRSystem(pool, .init(designLoad: .coded(isHigh: isHigh), waitEstimate: .loadShare)))
        }
        if let block = system.firstMissingBlock {
            throw InvalidWorkload(
                "--policy \(rawValue): its placement leaves block \(block) without a server; give servers more "
                    + "memory, add servers, or leave the policy out")
        }
        return system
    }

    private func petals(
        _ pool: RoutedPool, _ seed: UInt64, selection: PetalsParameters.Selection = .lexicographic,
        retry: PetalsSystem.Retry = .none, asap: Bool = false
    ) -> RoutedSystem {
        let placement = PetalsParameters(selection: selection, joinSeed: seed)
        return .petals(
            PetalsSystem(pool, .init(placement: placement, retry: retry, startsAsSoonAsPossible: asap)))
    }
}

extension RoutedPool {
    /// The pool of a cluster file, with no delay before the first hop.
    ///
    /// Round trips to the client that the file does not give follow from the communication time, a round trip for each
    /// token of the answer; those between servers are then the way over the client.
    /// - Throws: `InvalidWorkload` where the mean answer is not known.
    init(_ file: ClusterFile, _ cluster: Cluster, _ sizes: JobSizes, split: TokenSplit, policy: String) throws
    {
        guard let output = file.demand.meanOutputTokens ?? sizes.meanTokens?.output, output > 0 else {
            throw InvalidWorkload(
                "--policy \(policy): it routes by times of a token: add `mean_output_tokens` to `demand`, or give "
                    + "sizes in tokens")
        }
        let count = cluster.servers.count
        let own = cluster.servers.indices.map {
            file.servers[$0].roundTripTime ?? cluster.servers[$0].communicationTimeSeconds / output
        }
        var trips = Array(repeating: 0.0, count: (count + 1) * (count + 1))
        func set(_ first: Int, _ second: Int, _ seconds: Double) {
            trips[first * (count + 1) + second] = seconds
            trips[second * (count + 1) + first] = seconds
        }
        for server in 0..<count { set(0, server + 1, own[server]) }
        for first in 0..<count {
            for second in 0..<first { set(first + 1, second + 1, own[first] + own[second]) }
        }
        for (first, entry) in file.servers.enumerated() {
            for time in entry.roundTripTimes {
                guard let second = file.servers.firstIndex(where: { $0.name == time.name }) else { continue }
                set(first + 1, second + 1, time.seconds)
            }
        }
        self.init(
            cluster, roundTrips: trips, outputTokens: output,
            tokenTimes: sizes.areTokens ? Self.tokenTimes(cluster, split) : [], initialDelay: 0)
    }

    /// The times by tokens that chains of the same servers have.
    private static func tokenTimes(_ cluster: Cluster, _ split: TokenSplit) -> [ServerTokenTimes] {
        cluster.servers.indices.map { server in
            let times = split.times(cluster.servers[server])
            return ServerTokenTimes(
                promptDelay: times.trip, tokenDelay: times.trip, blockConstant: times.blockOverhead,
                blockPromptToken: times.perInputToken, blockOutputToken: times.perOutputToken)
        }
    }
}
