import ChainModel
import ChainPlanning

/// The best placement of a small pool, by trying every one.
public struct JointOptimum: Hashable, Sendable {
    /// Least exact mean response time of JFFC over the chains that GCA finds on any placement, seconds; `nil`
    /// when no placement has a steady state.
    public var leastMean: Double?
    /// Fewest concurrent jobs that carry the load over all chains of any placement (eq. 5, jointly); `nil`
    /// when none can, or without a solver.
    public var fewestJobs: Int?
    public var placements = 0

    /// - Parameter solver: `nil` leaves `fewestJobs` out.
    /// - Throws: what the solver throws.
    /// - Complexity: exponential in the number of servers: `ExhaustivePlacements`.
    public init(_ cluster: Cluster, solver: HighsSolver?) throws(SolverError) {
        var failure: SolverError?
        var means = (count: 0, least: Double.infinity)
        var fewest = Int.max
        ExhaustivePlacements.forEach(cluster) { placement in
            means.count += 1
            let chains = CacheAllocation(cluster, placement: placement).chains
            guard let fastest = chains.first, fastest.serviceTimeSeconds > 0 else { return }
            let parallel = ParallelChains(chains)
            let rate = cluster.demand.arrivalRate
            let lower = ResponseBounds.lower(parallel, arrivalRate: rate) ?? .infinity
            if lower < means.least, let exact = ExactAnalysis(parallel, arrivalRate: rate) {
                means.least = min(means.least, exact.meanResponseTime)
            }
            guard let solver, failure == nil else { return }
            do throws(SolverError) {
                fewest = min(fewest, try Self.jobs(cluster, placement, solver, below: fewest) ?? .max)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
        placements = means.count
        leastMean = means.least.isFinite ? means.least : nil
        fewestJobs = fewest == .max ? nil : fewest
    }

    /// The optimum over all chains of one placement, unless the fastest chain alone rules it out.
    private static func jobs(
        _ cluster: Cluster, _ placement: Placement, _ solver: HighsSolver, below limit: Int
    ) throws(SolverError) -> Int? {
        let program = SlotProgram(
            cluster, placement: placement, chains: ExhaustivePlacements.chains(cluster, placement))
        guard program.trivialBound > 0, program.trivialBound < limit else { return nil }
        return try program.optimum(solver)
    }
}
