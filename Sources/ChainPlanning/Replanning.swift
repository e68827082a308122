import ChainModel

/// What a move from one plan to another costs, and for how long its gain counts.
public struct MoveBounds: Hashable, Sendable {
    /// Bytes per second at which servers get new blocks, all together.
    public var loadRate = 125e6
    /// The new demand is taken to last this long, seconds.
    public var horizonSeconds = 1800.0
    /// Share of the mean number of jobs in the system that a move must save, beside paying for itself.
    public var leastGain = 0.05

    public init() {}
}

/// Whether another plan, made for the demand that is observed, is worth the move from the present one.
///
/// Everything is counted in job-seconds, the time that jobs spend in the system. With `N` and `N'` the exact mean numbers of
/// jobs under the two plans at the observed rate, and a horizon `H`:
///
///     gain = (N − N')·(H − T)            T = bytes to load / load rate
///     cost = T·(N_T − N)   + jobs that lose their chain · their mean service time
///
/// During the move, for a time `T`, only chains of the new plan whose servers keep their blocks serve: `N_T` is their exact
/// mean number or, where they do not keep up (`λ ≥ ν_T`), that of the new plan and the queue that builds and is worked off:
/// `(λ − ν_T)·T/2·(1 + (λ − ν_T)/(ν' − λ))`. A plan that does not keep up has on average `(λ − ν)·H/2` jobs more than slots,
/// and if the new one does not, the jobs not served during the move wait to the end of the horizon. The interrupted jobs are those of chains that end or use a server that loads, `a_l/μ_l` on chain `l`.
public struct Replanning: Sendable {
    /// The present chains for the observed demand: means, and thresholds where the rule has them.
    public let refreshed: Plan
    /// The best plan for the observed demand; nil when none is possible or it has the placement and chains of the present.
    public let candidate: Plan?
    /// Bytes that servers have to load for it.
    public let bytesToLoad: ByteCount
    /// Servers that have to load, in the order of the cluster.
    public let loadingServers: [ServerIndex]
    /// Time that loading takes: `T`, seconds.
    public let moveSeconds: Double
    /// Job-seconds saved over the horizon, and spent on the move.
    public let gain: Double
    public let cost: Double
    /// The move pays: it ends within the horizon, gains more than it costs, and enough to be worth the trouble.
    public let isWorthwhile: Bool

    /// - Parameters:
    ///   - cluster: with all servers that may be used; its demand is replaced by the observed rate.
    ///   - present: the plan in force.
    ///   - arrivalRate: `λ` as observed, 1/s, positive.
    /// - Complexity: that of planning.
    public init(
        _ cluster: Cluster, present: Plan, arrivalRate: Double, options: PlanningOptions,
        bounds: MoveBounds = MoveBounds(), loop: IndependentLoop? = nil
    ) {
        var cluster = cluster
        cluster.demand.arrivalRate = arrivalRate
        refreshed = PlanAssembly.refreshed(present, cluster: cluster, options: options)
        let other = try? Planner.plan(cluster, options: options, loop: loop)
        let isOther = other.map { $0.placement != present.placement || $0.chains != present.chains } ?? false
        guard let other, isOther else {
            candidate = nil
            (bytesToLoad, loadingServers, moveSeconds, gain, cost) = (.zero, [], 0, 0, 0)
            isWorthwhile = false
            return
        }
        candidate = other
        let move = Move(cluster, from: refreshed, to: other, bounds: bounds)
        (bytesToLoad, loadingServers, moveSeconds) = (move.bytes, move.loading, move.seconds)
        (gain, cost) = (move.gain, move.cost)
        let saved = move.jobsBefore - move.jobsAfter
        isWorthwhile =
            gain > cost && move.seconds < bounds.horizonSeconds
            && saved >= bounds.leastGain * move.jobsBefore
    }
}

/// The move from one plan to another, at the rate of the second.
private struct Move {
    let loading: [ServerIndex]
    let bytes: ByteCount
    let seconds: Double
    /// Mean numbers of jobs in the system: `N` and `N'`.
    let jobsBefore: Double
    let jobsAfter: Double
    let gain: Double
    let cost: Double

    init(_ cluster: Cluster, from present: Plan, to next: Plan, bounds: MoveBounds) {
        let rate = next.demand.arrivalRate
        let loading = cluster.servers.indices.filter {
            next.placement.ranges[$0] != nil && next.placement.ranges[$0] != present.placement.ranges[$0]
        }
        let blocks = loading.reduce(0) { $0 + (next.placement.ranges[$1]?.count ?? 0) }
        self.loading = loading.map(ServerIndex.init(_:))
        bytes = cluster.model.blockSize * blocks
        seconds = Double(bytes.rawValue) / bounds.loadRate

        let horizon = bounds.horizonSeconds
        let after = Self.meanJobs(next, rate: rate, horizon: horizon)
        jobsAfter = after
        jobsBefore = Self.meanJobs(present, rate: rate, horizon: horizon)
        gain = (jobsBefore - after) * max(0, horizon - seconds)

        let isLoading = Set(loading)
        let staying = next.chains.filter { chain in
            !chain.hops.contains { isLoading.contains($0.server.rawValue) }
        }
        let meanwhile = Self.meanwhile(
            ParallelChains(staying), next, after: after, rate: rate, seconds: seconds, horizon: horizon)
        let kept = Set(staying.map(\.hops))
        let interrupted = present.chains.filter { !kept.contains($0.hops) }
        cost = seconds * (meanwhile - jobsBefore) + Self.lostWork(of: interrupted, present)
    }

    /// Mean number of jobs over the horizon.
    private static func meanJobs(_ plan: Plan, rate: Double, horizon: Double) -> Double {
        plan.dispatch.meanResponseTime.map { $0 * rate }
            ?? Double(plan.totalCapacity) + (rate - plan.totalServiceRate) * horizon / 2
    }

    /// Mean number of jobs while only the chains that stay serve: `N_T`, with what is left of that after the move.
    private static func meanwhile(
        _ staying: ParallelChains, _ next: Plan, after: Double, rate: Double, seconds: Double, horizon: Double
    ) -> Double {
        if let exact = ExactAnalysis(staying, arrivalRate: rate) { return exact.meanJobs }
        let growth = rate - staying.totalRate
        let spare = next.totalServiceRate - rate
        guard spare > 0 else { return after + (next.totalServiceRate - staying.totalRate) * horizon }
        return after + growth * seconds / 2 * (1 + growth / spare)
    }

    /// Job-seconds of service that the jobs of these chains have had on average, and lose: every slot taken for as long as
    /// it is busy, at most.
    private static func lostWork(of chains: [ServerChain], _ present: Plan) -> Double {
        let load = min(1, present.load)
        return chains.reduce(0) {
            $0 + load * Double($1.capacity) * $1.serviceTimeSeconds
        }
    }
}
