/// Mean response time of JFFC under a plan, seconds; each `nil` when the queue has no steady state (`λ ≥ ν`).
public struct MeanResponse: Hashable, Sendable {
    /// Lower bound of Theorem 4; holds for every rule that does not preempt.
    public var lower: Double?
    /// Upper bound of Theorem 4; holds for JFFC.
    public var upper: Double?
    /// Exact, by the overflow recursion.
    public var exact: Double?
    /// Its numerical error, estimated by doubling the nodes of the recursion; `nil` when that was not done.
    public var exactError: Double?

    public init(
        lower: Double? = nil, upper: Double? = nil, exact: Double? = nil, exactError: Double? = nil
    ) {
        self.lower = lower
        self.upper = upper
        self.exact = exact
        self.exactError = exactError
    }
}

/// Exact figures of JFFC beyond the means; each `nil` when it is not known.
public struct ResponseSpread: Hashable, Sendable {
    /// Variance of the response time, seconds squared.
    public var responseVariance: Double?
    /// Variance of the number of jobs in the system.
    public var jobsVariance: Double?
    /// `ν − λ` in `P(W > t) = P(wait)·e^{−(ν−λ)t}`, 1/s.
    public var waitDecayRate: Double?

    public init(responseVariance: Double? = nil, jobsVariance: Double? = nil, waitDecayRate: Double? = nil) {
        self.responseVariance = responseVariance
        self.jobsVariance = jobsVariance
        self.waitDecayRate = waitDecayRate
    }
}

/// The dispatch rule of a plan and what it does to the means.
public struct DispatchPlan: Hashable, Sendable {
    public var rule: DispatchRule
    /// Queue length at which each chain starts a job, the head included: `n_k`, in the order of the plan's chains. All
    /// ones is JFFC.
    public var thresholds: [Int]
    /// Exact mean response time under this rule, seconds; `nil` when there is no steady state.
    public var meanResponseTime: Double?
    /// Exact mean wait under this rule, seconds.
    public var meanWaitingTime: Double?
    /// Probability that an arriving job waits under this rule.
    public var waitProbability: Double?

    public init(
        rule: DispatchRule, thresholds: [Int], meanResponseTime: Double? = nil,
        meanWaitingTime: Double? = nil,
        waitProbability: Double? = nil
    ) {
        self.rule = rule
        self.thresholds = thresholds
        self.meanResponseTime = meanResponseTime
        self.meanWaitingTime = meanWaitingTime
        self.waitProbability = waitProbability
    }
}

/// What was gained on the plain placement by using spare servers and by local search.
public struct PlanImprovement: Hashable, Sendable {
    /// Exact mean response time of the plain placement, seconds; `nil` when it has no steady state.
    public var meanResponseTimeBefore: Double?
    /// Changes of the placement.
    public var changes: Int
    /// Placements tried.
    public var evaluations: Int

    public init(meanResponseTimeBefore: Double?, changes: Int, evaluations: Int) {
        self.meanResponseTimeBefore = meanResponseTimeBefore
        self.changes = changes
        self.evaluations = evaluations
    }
}

/// A composition: which blocks each server hosts, the chains over them, and what is predicted of it.
///
/// Positions (`ServerIndex`) refer to the cluster that the plan was made for.
public struct Plan: Hashable, Sendable {
    public var modelName: String
    /// The demand planned for, after any override of the cluster file.
    public var demand: Demand
    public var placementMethod: PlacementMethod
    /// Required capacity `c` of every reserved chain; `nil` when the placement does not depend on it.
    public var capacityParameter: Int?
    /// What `c` was chosen by; `nil` when it was given or plays no part.
    public var tunedBy: TuningCriterion?
    public var placement: Placement
    /// Servers that host nothing, in the order of the cluster.
    public var spareServers: [ServerIndex]
    /// From fastest to slowest.
    public var chains: [ServerChain]
    /// Chains of the placement that share no server and hold `c` jobs each: `K(c)`.
    public var disjointChains: Int
    /// `C = Σ c_k`.
    public var totalCapacity: Int
    /// `ν = Σ c_k·μ_k`, jobs per second (eq. 4).
    public var totalServiceRate: Double
    /// `ρ = λ/ν`.
    public var load: Double
    /// Whether `ρ ≤ ρ̄`.
    public var loadTargetMet: Bool
    /// Means under JFFC.
    public var meanResponseTime: MeanResponse
    /// Exact mean wait under JFFC, seconds; `nil` when there is no steady state.
    public var meanWaitingTime: Double?
    /// Probability that an arriving job waits under JFFC.
    public var waitProbability: Double?
    /// Variances, and the tail of the wait, under JFFC.
    public var spread: ResponseSpread
    /// Why there are no means: set exactly when `λ ≥ ν`.
    public var unstable: String?
    public var dispatch: DispatchPlan
    /// `nil` for a plain placement.
    public var improvement: PlanImprovement?

    public init(
        modelName: String, demand: Demand, placementMethod: PlacementMethod, capacityParameter: Int?,
        tunedBy: TuningCriterion?, placement: Placement, spareServers: [ServerIndex], chains: [ServerChain],
        disjointChains: Int, totalCapacity: Int, totalServiceRate: Double, load: Double, loadTargetMet: Bool,
        meanResponseTime: MeanResponse, meanWaitingTime: Double?, waitProbability: Double?,
        spread: ResponseSpread = ResponseSpread(), unstable: String?, dispatch: DispatchPlan,
        improvement: PlanImprovement? = nil
    ) {
        self.modelName = modelName
        self.demand = demand
        self.placementMethod = placementMethod
        self.capacityParameter = capacityParameter
        self.tunedBy = tunedBy
        self.placement = placement
        self.spareServers = spareServers
        self.chains = chains
        self.disjointChains = disjointChains
        self.totalCapacity = totalCapacity
        self.totalServiceRate = totalServiceRate
        self.load = load
        self.loadTargetMet = loadTargetMet
        self.meanResponseTime = meanResponseTime
        self.meanWaitingTime = meanWaitingTime
        self.waitProbability = waitProbability
        self.spread = spread
        self.unstable = unstable
        self.dispatch = dispatch
        self.improvement = improvement
    }

    public subscript(chain: ChainIndex) -> ServerChain { chains[chain.rawValue] }

    /// Slots of a server's cache that all chains together can take: `Σ_k c_k·m_ij`; 0 for a server in no chain.
    /// - Complexity: O(total hops).
    public func reservedSlots(of server: ServerIndex) -> Int {
        var slots = 0
        for chain in chains {
            for hop in chain.hops where hop.server == server { slots += hop.blockCount * chain.capacity }
        }
        return slots
    }
}
