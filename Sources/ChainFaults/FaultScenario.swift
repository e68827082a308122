import ChainDispatch
import ChainModel

/// Kinds of trouble; a scenario uses some of them.
public enum FaultKind: String, CaseIterable, Hashable, Sendable {
    /// A server ends, and its connections with it, noticed or not; later it is back, with its blocks or without.
    case crash
    /// A server stops for a while and then goes on with all that was sent to it.
    case pause
    /// A server answers signs of life, but computes nothing more until it is restarted.
    case hang
    /// A server computes much more slowly.
    case slow
    /// A server asks to be let go, and comes back.
    case leave
    /// A server is gone for a long time.
    case exile
    /// A connection is cut.
    case cut
    /// A connection carries nothing any more, and nobody is told.
    case blackHole
    /// Messages take much longer.
    case delay
    /// Answers come twice.
    case duplicate
    /// Answers overtake one another.
    case reorder
    /// Answers are lost.
    case loss
    /// Answers arrive damaged, or have values that are not finite.
    case corrupt
    /// A load ends with the wrong blocks.
    case corruptLoad
    /// The orchestrator ends without notice and is started again.
    case orchestratorCrash
    /// The orchestrator's clock jumps, forwards or backwards.
    case clockJump
    /// The journal cannot be written for a while.
    case fullDisk
    /// All servers are restarted one by one.
    case rollout
    /// A new plan is installed.
    case replan
    /// Clients go away in the middle.
    case cancel
}

/// What a seed stands for: a pool, a load, bounds and troubles.
public struct FaultScenario: Sendable {
    public let seed: UInt64
    public let cluster: Cluster
    public let configuration: ControlConfiguration
    public let faults: [FaultKind]
    /// Mean time between two troubles.
    public let troubleInterval: Duration
    /// Jobs arrive, and troubles happen, for this long.
    public let span: Duration
    public let requestCount: Int
    /// Whether generated tokens are journalled, or generated again after a restart.
    public let journalsTokens: Bool
    /// Milliseconds.
    public let networkDelay: ClosedRange<Double>
    /// How long a job restored after a restart waits for its client.
    public let resumeWindow: Duration
    /// A step may take this long.
    public let stepTimeout: Duration

    /// - Parameter faults: nil for those that the seed chooses.
    public init(seed: UInt64, faults wanted: [FaultKind]? = nil) {
        var random = SeededGenerator(seed: seed)
        self.seed = seed
        let blocks = random.integer(4...8)
        let servers = random.integer(3...7)
        let demand = [0.5, 1, 2].randomElement(using: &random)!
        var pool: [Server] = []
        for index in 0..<servers {
            // Room for two blocks and some caches at least, for the whole model at most.
            let hosted = random.integer(max(1, blocks / 2)...blocks)
            pool.append(
                Server(
                    name: "s\(index + 1)", memory: ByteCount(hosted * (100 + 10 * random.integer(1...4))),
                    communicationTimeSeconds: 0.02 * Double(random.integer(1...4)),
                    blockTimeSeconds: 0.02 * Double(random.integer(1...5))))
        }
        cluster = Cluster(
            model: ModelShape(
                name: "modelled", blockCount: blocks, blockSize: ByteCount(100), cacheSize: ByteCount(10)),
            demand: Demand(arrivalRate: demand), servers: pool)
        faults = wanted ?? FaultKind.allCases.filter { _ in random.happens(0.4) }
        var bounds = Self.bounds(&random)
        if faults.contains(.replan) { bounds.demand = Self.eagerDemand }
        configuration = bounds
        troubleInterval = .seconds([1, 3, 8].randomElement(using: &random)!)
        span = .seconds(40)
        requestCount = Int(demand * [0.5, 1, 4].randomElement(using: &random)! * 40)
        journalsTokens = random.happens(0.5)
        networkDelay = 0.2...([1, 5, 30].randomElement(using: &random)!)
        stepTimeout = .seconds(4)
        resumeWindow = .seconds([0.3, 20].randomElement(using: &random)!)
    }

    /// Sees a change of demand in every other handful of arrivals, so that plans change while everything else does.
    private static var eagerDemand: DemandBounds {
        var demand = DemandBounds()
        demand.window = .seconds(8)
        demand.leastArrivals = 3
        demand.deviations = 0.5
        return demand
    }

    private static func bounds(_ random: inout SeededGenerator) -> ControlConfiguration {
        var bounds = ControlConfiguration()
        bounds.queueLimit = [0, 2, 8, 64].randomElement(using: &random)!
        bounds.waitLimit = .seconds([5, 120].randomElement(using: &random)!)
        bounds.clientLimit = [3, 1024].randomElement(using: &random)!
        bounds.ticketLimit = [4, 4096].randomElement(using: &random)!
        bounds.maximumAttempts = [3, 10].randomElement(using: &random)!
        bounds.defaultTimeout = .seconds([15, 120].randomElement(using: &random)!)
        bounds.recoveryLimit = .seconds([4, 20].randomElement(using: &random)!)
        bounds.recompositionLimit = .seconds(5)
        bounds.restPatience = .seconds([0.2, 5].randomElement(using: &random)!)
        bounds.restartLimit = .seconds(3)
        bounds.loadLimit = .seconds(10)
        bounds.quarantine = .seconds(1)
        return bounds
    }
}
