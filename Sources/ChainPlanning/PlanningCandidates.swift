import ChainModel

/// A composition that tuning may choose, with what is predicted of it.
package struct PlanningCandidate: Hashable, Sendable {
    /// The smallest required capacity `c` that leads to it.
    package var capacity: Int
    package var placement: Placement
    /// From fastest to slowest.
    package var chains: [ServerChain]
    /// `ρ = λ/ν`, and whether it meets the load target.
    package var load: Double
    package var loadTargetMet: Bool
    /// Exact mean response time under JFFC, seconds.
    package var meanResponseTime: Double
}

extension Planner {
    /// The distinct compositions that tuning chooses among, for choosing by other means, such as a simulation.
    ///
    /// Only those that could be chosen: if any meets the load target, those that do (all, where the target is to be
    /// ignored). By increasing predicted mean; ties: the smallest `c`. Empty when none has a steady state.
    /// - Parameters:
    ///   - options: `capacity`, `useAllServers` and `improve` play no part.
    ///   - factor: leaves out what is predicted to take more than this times the least mean.
    /// - Throws: `PlanningError` as `plan` does, and for placements that do not depend on `c`.
    /// - Complexity: O(K·L² + C·S²) for each distinct placement.
    package static func candidates(
        _ cluster: Cluster, options: PlanningOptions = PlanningOptions(), within factor: Double = .infinity
    ) throws(PlanningError) -> [PlanningCandidate] {
        try validate(cluster)
        guard options.placement == .gbpCR, cluster.manualPlacement.ranges.contains(nil) else {
            throw .invalidInput("there is nothing to tune: the placement does not depend on the capacity")
        }
        let composer = Composer(cluster)
        try composer.requireFit()
        var candidates: [PlanningCandidate] = []
        composer.forEachPlacement { composition in
            guard let candidate = candidate(composition, cluster) else { return }
            // A placement may come twice in a row, with another number of reserved chains.
            if let last = candidates.last, last.placement == candidate.placement,
                last.chains == candidate.chains
            {
                return
            }
            candidates.append(candidate)
        }
        if !options.ignoreLoadTarget, candidates.contains(where: \.loadTargetMet) {
            candidates.removeAll { !$0.loadTargetMet }
        }
        candidates.sort {
            $0.meanResponseTime != $1.meanResponseTime
                ? $0.meanResponseTime < $1.meanResponseTime : $0.capacity < $1.capacity
        }
        guard let least = candidates.first?.meanResponseTime else { return [] }
        return candidates.filter { $0.meanResponseTime <= factor * least }
    }

    private static func candidate(_ composition: Composition, _ cluster: Cluster) -> PlanningCandidate? {
        guard let fastest = composition.allocation.chains.first, fastest.serviceTimeSeconds > 0 else {
            return nil
        }
        let chains = ParallelChains(composition.allocation.chains)
        let rate = cluster.demand.arrivalRate
        guard let exact = ExactAnalysis(chains, arrivalRate: rate) else { return nil }
        let load = rate / chains.totalRate
        return PlanningCandidate(
            capacity: composition.capacityParameter, placement: composition.placement,
            chains: composition.allocation.chains, load: load,
            loadTargetMet: LoadTarget.isMet(load, target: cluster.demand.loadTarget),
            meanResponseTime: exact.meanResponseTime)
    }

    /// The plan for a candidate, said to be tuned by `criterion`.
    package static func plan(
        _ cluster: Cluster, options: PlanningOptions = PlanningOptions(),
        choosing candidate: PlanningCandidate,
        tunedBy criterion: TuningCriterion
    ) throws(PlanningError) -> Plan {
        var options = options
        options.capacity = .fixed(candidate.capacity)
        var plan = try plan(cluster, options: options)
        plan.tunedBy = criterion
        return plan
    }
}
