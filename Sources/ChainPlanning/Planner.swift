import ChainModel

/// What to plan for, beside the cluster.
public struct PlanningOptions: Hashable, Sendable {
    /// How `c` is set.
    public enum Capacity: Hashable, Sendable {
        case fixed(Int)
        case tuned(by: TuningCriterion)
    }

    public var placement: PlacementMethod
    public var capacity: Capacity
    /// Let tuning exceed the load target where that lowers its criterion.
    public var ignoreLoadTarget: Bool
    public var dispatch: DispatchRule
    /// Put servers that Algorithm 1 leaves unused to work where that lowers the exact mean.
    public var useAllServers: Bool
    /// Improve on Algorithm 1 by local search.
    public var improve: Bool
    /// For the placement of PETALS.
    public var petals: PetalsParameters
    /// Mean tokens of an answer, for the placement of BPRR.
    public var outputTokens: Double

    public init(
        placement: PlacementMethod = .gbpCR, capacity: Capacity = .tuned(by: .exact),
        ignoreLoadTarget: Bool = false, dispatch: DispatchRule = .jffc,
        useAllServers: Bool = false, improve: Bool = false,
        petals: PetalsParameters = PetalsParameters(),
        outputTokens: Double = BPRRPlacement.defaultOutputTokens
    ) {
        self.placement = placement
        self.capacity = capacity
        self.ignoreLoadTarget = ignoreLoadTarget
        self.dispatch = dispatch
        self.useAllServers = useAllServers
        self.improve = improve
        self.petals = petals
        self.outputTokens = outputTokens
    }
}

/// Composes a pool: places blocks, allocates caches to chains, and predicts what comes of it.
public enum Planner {
    /// The plan for a cluster.
    ///
    /// Servers with a manual placement keep it under every method. Under `gbp-cr` the planner places the others around
    /// them, under `whole-model` those that can hold the whole model do, under `petals` and `cg-bp` the others join after
    /// them, and under `manual` the others stay spare.
    /// - Parameter loop: runs what can be computed independently while tuning; the plan does not depend on it. One after
    ///   another when `nil`.
    /// - Throws: `PlanningError` when there is no plan. A missed load target or `λ ≥ ν` is not an error: the plan says so.
    /// - Complexity: dominated by the cache allocation of each distinct placement, O(K·L²).
    public static func plan(
        _ cluster: Cluster, options: PlanningOptions = PlanningOptions(), loop: IndependentLoop? = nil
    ) throws(PlanningError) -> Plan {
        try validate(cluster)
        if options.useAllServers || options.improve, options.placement != .gbpCR {
            throw .invalidInput(
                "--use-all-servers and --improve go with --placement gbp-cr, not \(options.placement.rawValue)"
            )
        }
        var composition: Composition
        var tunedBy: TuningCriterion?
        switch options.placement {
        case .gbpCR where cluster.manualPlacement.ranges.contains(nil):
            (composition, tunedBy) = try greedy(cluster, options, loop)
        case .manual where cluster.manualPlacement.ranges.allSatisfy { $0 == nil }:
            throw .invalidInput(
                "no server is placed by hand: add `placement` to the cluster file, or use gbp-cr")
        case .gbpCR, .manual:
            composition = try fixed(cluster, cluster.manualPlacement)
        case .wholeModel:
            composition = try fixed(cluster, wholeModel(cluster))
        case .petals:
            composition = try fixed(cluster, PetalsPlacement.placement(cluster, options.petals))
        case .cgBP:
            composition = try designed(cluster, options)
        }
        guard !composition.allocation.chains.isEmpty else {
            throw .noChain(firstMissingBlock: composition.allocation.firstMissingBlock ?? 1)
        }
        for chain in composition.allocation.chains where !chain.serviceRate.isFinite {
            throw .chainTakesNoTime(servers: chain.hops.map { cluster[$0.server].name })
        }
        let gain = improve(&composition, cluster, options)
        let usesCapacity =
            options.placement == .cgBP
            || options.placement == .gbpCR && cluster.manualPlacement.ranges.contains(nil)
        var plan = PlanAssembly(cluster: cluster, options: options, composition: composition)
            .plan(capacityParameter: usesCapacity ? composition.capacityParameter : nil, tunedBy: tunedBy)
        plan.improvement = gain
        return plan
    }

    /// Spare servers and local search, where asked for, with what they start from.
    private static func improve(
        _ composition: inout Composition, _ cluster: Cluster, _ options: PlanningOptions
    ) -> PlanImprovement? {
        guard options.useAllServers || options.improve else { return nil }
        let search = PlacementImprovement(cluster, composition, ignoreLoadTarget: options.ignoreLoadTarget)
        guard var search else { return nil }
        let before = ExactAnalysis(
            ParallelChains(composition.allocation.chains), arrivalRate: cluster.demand.arrivalRate)
        if options.useAllServers { search.useSpares() }
        if options.improve { search.improve(usingSpares: options.useAllServers) }
        if search.changes > 0 {
            composition = search.composition
            composition.disjointChains = disjointChains(cluster, composition.placement)
        }
        return PlanImprovement(
            meanResponseTimeBefore: before?.meanResponseTime, changes: search.changes,
            evaluations: search.evaluations)
    }

    private static func greedy(
        _ cluster: Cluster, _ options: PlanningOptions, _ loop: IndependentLoop?
    ) throws(PlanningError) -> (Composition, TuningCriterion?) {
        let composer = Composer(cluster)
        try composer.requireFit()
        switch options.capacity {
        case .fixed(let capacity):
            let largest = composer.largestFeasibleCapacity
            guard (1...largest).contains(capacity) else {
                throw .capacityOutOfRange(requested: capacity, largest: largest)
            }
            return (composer.compose(capacity: capacity), nil)
        case .tuned(by: .simulated):
            throw .unsupported(
                "tuning by simulation needs the simulator, which is not there yet: use --tune exact, lower-bound, "
                    + "upper-bound or surrogate")
        case .tuned(let criterion):
            let tuning = CapacityTuning(
                cluster: cluster, criterion: criterion, ignoreLoadTarget: options.ignoreLoadTarget,
                loop: loop ?? CapacityTuning.sequentially)
            // Without any chain the composition for c = 1 says which block is missing.
            return (tuning.best(composer) ?? composer.compose(capacity: 1), criterion)
        }
    }

    /// Chains over a placement that does not depend on `c`.
    private static func fixed(_ cluster: Cluster, _ placement: Placement) throws(PlanningError) -> Composition
    {
        Composition(
            capacityParameter: 1, placement: placement,
            allocation: CacheAllocation(cluster, placement: placement),
            disjointChains: disjointChains(cluster, placement), reservedRateMet: false)
    }

    /// Chains of a placement that share no server and hold a job each.
    private static func disjointChains(_ cluster: Cluster, _ placement: Placement) -> Int {
        var pinned = cluster
        pinned.manualPlacement = placement
        let none = [Int](repeating: 0, count: cluster.servers.count)
        return GreedyPlacement(pinned, counts: none, capacity: 1).chains.count
    }

    /// The placement of BPRR; a fixed capacity is its design load `|R|`.
    private static func designed(
        _ cluster: Cluster, _ options: PlanningOptions
    ) throws(PlanningError) -> Composition {
        var designLoad: Int?
        if case .fixed(let capacity) = options.capacity {
            guard capacity >= 1 else {
                throw .invalidInput("the design load of cg-bp is \(capacity): give --capacity 1 or more")
            }
            designLoad = capacity
        }
        guard options.outputTokens > 0 else {
            throw .invalidInput("cg-bp needs a positive number of output tokens")
        }
        let baseline = BPRRPlacement(cluster, designLoad: designLoad, outputTokens: options.outputTokens)
        var composition = try fixed(cluster, baseline.placement)
        composition.capacityParameter = baseline.designLoad
        return composition
    }

    /// Every server that can hold all blocks and one job's caches does; the others keep what is fixed by hand.
    private static func wholeModel(_ cluster: Cluster) throws(PlanningError) -> Placement {
        var placement = cluster.manualPlacement
        let all = BlockRange(first: 1, count: cluster.model.blockCount)
        for position in cluster.servers.indices where placement.ranges[position] == nil {
            let slots = cluster.cacheSlots(of: ServerIndex(position), hosting: all.count)
            if slots >= all.count { placement.ranges[position] = all }
        }
        guard placement.ranges.contains(where: { $0 != nil }) else {
            let each = cluster.model.blockSize + cluster.model.cacheSize
            let (needed, overflow) = each.rawValue.multipliedReportingOverflow(by: all.count)
            throw .noServerHoldsWholeModel(
                needed: ByteCount(overflow ? Int.max : needed),
                largest: cluster.servers.indices.map { cluster.blockMemory(of: ServerIndex($0)) }.max()
                    ?? .zero)
        }
        return placement
    }

    // MARK: Input

    static func validate(_ cluster: Cluster) throws(PlanningError) {
        let demand = cluster.demand
        guard demand.arrivalRate > 0, demand.arrivalRate.isFinite else {
            throw .invalidInput(
                "the arrival rate is \(demand.arrivalRate): it must be a positive number per second")
        }
        guard demand.loadTarget > 0, demand.loadTarget < 1 else {
            throw .invalidInput("the load target is \(demand.loadTarget): it must lie between 0 and 1")
        }
        let model = cluster.model
        guard model.blockCount >= 1, model.blockSize > .zero, model.cacheSize > .zero else {
            throw .invalidInput("the model needs at least one block, and positive block and cache sizes")
        }
        for server in cluster.servers {
            let times = [server.communicationTimeSeconds, server.blockTimeSeconds]
            guard times.allSatisfy({ $0 >= 0 && $0 <= longestTime }) else {
                throw .invalidInput(
                    "the times of \(server.name) must be numbers from 0 to \(longestTime) seconds")
            }
        }
        try requireBoundedJobs(cluster)
        for (position, range) in cluster.manualPlacement.ranges.enumerated() {
            guard let range else { continue }
            try validate(range, of: ServerIndex(position), cluster)
        }
    }

    /// Longer than the universe has lasted, and short enough that sums over all blocks stay numbers.
    private static let longestTime = 1e30
    /// Most jobs that a pool may hold at once: the analysis walks through every slot of every chain.
    static let mostJobs = 20_000_000

    /// Each job takes a cache slot of every block, on whatever servers.
    private static func requireBoundedJobs(_ cluster: Cluster) throws(PlanningError) {
        let slots = cluster.servers.indices.reduce(0.0) {
            $0 + Double(cluster.blockMemory(of: ServerIndex($1)).rawValue)
                / Double(cluster.model.cacheSize.rawValue)
        }
        let jobs = slots / Double(cluster.model.blockCount)
        guard jobs <= Double(mostJobs) else {
            throw .invalidInput(
                "the memory of all servers holds the caches of about \(Int(min(jobs, 1e18))) jobs, and a plan is made for "
                    + "\(mostJobs) at most: is cache_size right?")
        }
    }

    private static func validate(
        _ range: BlockRange, of server: ServerIndex, _ cluster: Cluster
    ) throws(PlanningError) {
        let (name, model) = (cluster[server].name, cluster.model)
        guard range.first >= 1, range.count >= 1, range.first <= model.blockCount,
            range.count <= model.blockCount - range.first + 1
        else {
            throw .invalidManualRange(
                server: name, range: range, reason: "the model has blocks 1 to \(model.blockCount)")
        }
        let fits = cluster.blockMemory(of: server).wholeUnits(of: model.blockSize)
        guard range.count <= fits else {
            throw .invalidManualRange(
                server: name, range: range, reason: "its memory holds at most \(fits) blocks")
        }
    }
}
