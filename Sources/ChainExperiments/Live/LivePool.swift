import ChainFormats
import ChainModel
import ChainPlanning
import ChainSimulation

/// An emulated machine of the live experiment.
package struct LiveServer: Hashable, Sendable {
    package var name: String
    /// For parameters and caches, bytes.
    package var memory: ByteCount
    /// Of its device, for one token in one block, seconds.
    package var blockTokenSeconds: Double
    /// To the client, seconds.
    package var roundTripSeconds: Double
}

/// What the live experiment is run with.
package struct LiveSetting: Hashable, Sendable {
    package var largeServers = 2
    package var smallServers = 3
    /// Memory of a large server: the whole model and the caches of so many jobs. A small one has room for
    /// its share of the model and the caches of as many, rounded up to whole ten megabytes, as the large
    /// one's.
    package var jobs = 2
    /// Of a large server's device, for one token in one block, seconds.
    package var largeBlockSeconds = 0.017
    /// Of a small one's.
    package var smallBlockSeconds = 0.028
    /// What every further token of a prompt adds in a block, as a share of the first.
    package var promptShare = 0.02
    /// What is taken for the software of a hop when the pool is planned, seconds a token.
    package var hopSeconds = 0.005
    /// Sessions of the longest length that stock PETALS sets cache aside for: the ratio of its own defaults,
    /// 16,384 tokens of cache for sessions of up to 8,192.
    package var petalsSessions = 2
    /// Tokens that every session reserves.
    package var sequenceLength = 2048
    /// Arrivals per second.
    package var arrivalRate = 0.38
    package var requests = 30
    package var runs = 3
    package var seed: UInt64 = 1
    package var workloads = LiveWorkload.allCases
    package var systems = LiveSystem.allCases
    /// Tokens of the trace are multiplied by these.
    package var inputFactor = 1.0 / 64
    package var outputFactor = 0.6
    package var mostInputTokens = 128
    package var mostOutputTokens = 48
    /// Seconds that a request may take.
    package var requestLimit = 300.0

    package init() {}

    /// - Throws: `ExperimentError.invalidOption`.
    package func check() throws(ExperimentError) {
        for (name, value) in [
            ("requests", requests), ("runs", runs), ("large", largeServers), ("small", smallServers),
            ("jobs", jobs), ("sequence-length", sequenceLength),
        ] where value < 1 {
            throw .invalidOption("--\(name) is \(value): it must be at least 1")
        }
        guard largeServers + smallServers <= Self.mostServers else {
            throw .invalidOption(
                "--large and --small: at most \(Self.mostServers) servers together, each some processes of 0.6 GB"
            )
        }
        guard sequenceLength >= mostInputTokens + mostOutputTokens else {
            throw .invalidOption(
                "--sequence-length is \(sequenceLength): the longest request has"
                    + " \(mostInputTokens + mostOutputTokens) tokens")
        }
        for (name, value) in [
            ("rate", arrivalRate), ("large-block-time", largeBlockSeconds),
            ("small-block-time", smallBlockSeconds),
        ] where !(value > 0 && value < 1000) {
            throw .invalidOption("--\(name) is \(value): it must be above 0 and below 1000")
        }
        guard !workloads.isEmpty, !systems.isEmpty else {
            throw .invalidOption("--workloads and --systems must each name one at least")
        }
    }

    package static let mostServers = 12

    /// All that a run's numbers depend on: not which runs are made.
    package var identity: String {
        var common = self
        (common.runs, common.workloads, common.systems) = (1, [], [])
        return "\(common)"
    }
}

/// The pool of the live experiment: servers, models and round trips.
package struct LivePool: Sendable {
    package var setting: LiveSetting
    package var servers: [LiveServer]
    /// On PETALS: every value of parameters and caches in 32 bits.
    package var petalsShape: ModelShape
    /// On our own engine, from the same weights.
    package var ownShape: ModelShape
    /// Mean tokens of a request.
    package var meanTokens: (input: Double, output: Double)

    package init(
        _ setting: LiveSetting, petalsShape: ModelShape, ownShape: ModelShape,
        meanTokens: (input: Double, output: Double), sources: DataSources
    ) throws {
        self.setting = setting
        self.petalsShape = petalsShape
        self.ownShape = ownShape
        self.meanTokens = meanTokens
        let map = try MeasuredData.roundTrips(sources)
        var random = PaperStream(seed: setting.seed, .places)
        let count = setting.largeServers + setting.smallServers
        let places = random.sample(count + 1, below: map.places.count)
        func memory(blocks: Int) -> ByteCount {
            let exact = petalsShape.blockSize * blocks + petalsShape.cacheSize * (blocks * setting.jobs)
            return ByteCount((exact.rawValue + Self.memoryStep - 1) / Self.memoryStep * Self.memoryStep)
        }
        let share = (petalsShape.blockCount + setting.smallServers - 1) / setting.smallServers
        servers = (0..<count).map { number in
            let isLarge = number < setting.largeServers
            return LiveServer(
                name: isLarge ? "large-\(number + 1)" : "small-\(number + 1 - setting.largeServers)",
                memory: memory(blocks: isLarge ? petalsShape.blockCount : share),
                blockTokenSeconds: isLarge ? setting.largeBlockSeconds : setting.smallBlockSeconds,
                roundTripSeconds: map.roundTrip(places[0], places[number + 1]) / 1000)
        }
    }

    private static let memoryStep = 10_000_000

    /// What the emulated devices and round trips alone make of a request's tokens.
    package func nominalTimes(_ server: LiveServer) -> ServerTokenTimes {
        let step = server.roundTripSeconds + setting.hopSeconds
        let block = server.blockTokenSeconds
        return ServerTokenTimes(
            // The session is opened by a round trip of its own.
            promptDelay: server.roundTripSeconds + step, tokenDelay: step,
            blockConstant: block * (1 - setting.promptShare), blockPromptToken: block * setting.promptShare,
            blockOutputToken: block)
    }

    /// The cluster as the planner sees it, with mean times of a job.
    /// - Parameter times: by server; the nominal ones when `nil`.
    package func cluster(_ times: [ServerTokenTimes]? = nil) -> Cluster {
        let (input, output) = meanTokens
        return Cluster(
            model: petalsShape,
            demand: Demand(arrivalRate: setting.arrivalRate, loadTarget: Self.loadTarget),
            servers: servers.enumerated().map { number, server in
                let own = times?[number] ?? nominalTimes(server)
                // As the emulated servers announce them (`devices.py`): passes of 1,024 tokens, and 100
                // Mbit/s.
                let forward = 1024 / (server.blockTokenSeconds * (1 + setting.promptShare * 1023))
                return Server(
                    name: server.name, memory: server.memory,
                    communicationTimeSeconds: own.communication(input: input, output: output),
                    blockTimeSeconds: own.block(input: input, output: output),
                    advertisedRates: .init(forward: forward, network: Self.networkRate))
            })
    }

    static let loadTarget = 0.7
    /// PETALS' own when it cannot measure: 100 Mbit/s of 576 values of 16 bits, tokens per second.
    static let networkRate = 100e6 / (16 * 576)

    /// How stock PETALS places itself here.
    package var petalsParameters: PetalsParameters {
        PetalsParameters(
            selection: .lexicographic, blockSize: petalsShape.blockSize,
            cacheSize: petalsShape.cacheSize * setting.petalsSessions, reserve: .zero,
            joinOrder: servers.indices.map { ServerIndex($0) })
    }

    /// Blocks that stock PETALS fills a server's memory with: `⌊M_j/(s_m + k·s_c)⌋`, at most all.
    package func petalsBlocks(_ server: LiveServer) -> Int {
        let each = petalsShape.blockSize + petalsShape.cacheSize * setting.petalsSessions
        return min(petalsShape.blockCount, server.memory.wholeUnits(of: each))
    }
}
