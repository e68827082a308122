import ChainModel

/// Puts a plan together from a composition, with everything predicted of it.
struct PlanAssembly {
    let cluster: Cluster
    let options: PlanningOptions
    let composition: Composition

    /// A plan's chains under the demand of `cluster`: its means anew, and the thresholds of the rule in `options`.
    static func refreshed(_ plan: Plan, cluster: Cluster, options: PlanningOptions) -> Plan {
        var options = options
        options.placement = plan.placementMethod
        let composition = Composition(
            capacityParameter: plan.capacityParameter ?? 1, placement: plan.placement,
            allocation: CacheAllocation(plan.chains), disjointChains: plan.disjointChains,
            reservedRateMet: plan.loadTargetMet)
        return PlanAssembly(cluster: cluster, options: options, composition: composition)
            .plan(capacityParameter: plan.capacityParameter, tunedBy: plan.tunedBy)
    }

    func plan(capacityParameter: Int?, tunedBy: TuningCriterion?) -> Plan {
        let allocation = composition.allocation
        let chains = ParallelChains(allocation.chains)
        let rate = cluster.demand.arrivalRate
        let load = rate / allocation.totalServiceRate
        let exact = load < 1 ? ExactAnalysis(chains, arrivalRate: rate, withVariances: true) : nil
        let placement = composition.placement
        let spare = placement.ranges.indices.filter { placement.ranges[$0] == nil }.map { ServerIndex($0) }
        return Plan(
            modelName: cluster.model.name, demand: cluster.demand, placementMethod: options.placement,
            capacityParameter: capacityParameter, tunedBy: tunedBy, placement: placement, spareServers: spare,
            chains: allocation.chains, disjointChains: composition.disjointChains,
            totalCapacity: allocation.totalCapacity, totalServiceRate: allocation.totalServiceRate,
            load: load,
            loadTargetMet: LoadTarget.isMet(load, target: cluster.demand.loadTarget),
            meanResponseTime: meanResponse(chains, exact: exact), meanWaitingTime: exact?.meanWaitingTime,
            waitProbability: exact?.waitProbability, spread: spread(exact),
            unstable: unstableReason(load, allocation.totalServiceRate),
            dispatch: dispatch(chains, jffc: exact))
    }

    /// For one chain all three are equal up to rounding.
    private func meanResponse(_ chains: ParallelChains, exact: ExactAnalysis?) -> MeanResponse {
        guard let exact else { return MeanResponse() }
        let rate = cluster.demand.arrivalRate
        return MeanResponse(
            lower: ResponseBounds.lower(chains, arrivalRate: rate),
            upper: ResponseBounds.upper(chains, arrivalRate: rate), exact: exact.meanResponseTime,
            exactError: chains.totalCapacity <= Self.mostSlotsChecked
                ? ExactAnalysis.error(of: exact, chains, arrivalRate: rate) : nil)
    }

    /// Doubling the nodes takes four times as long as the mean; above so many slots that would be felt.
    private static let mostSlotsChecked = 20_000

    private func spread(_ exact: ExactAnalysis?) -> ResponseSpread {
        ResponseSpread(
            responseVariance: exact?.variances?.response, jobsVariance: exact?.variances?.jobs,
            waitDecayRate: exact?.waitDecayRate)
    }

    private func unstableReason(_ load: Double, _ totalRate: Double) -> String? {
        guard load >= 1 else { return nil }
        return
            "jobs arrive at \(cluster.demand.arrivalRate) per second and the chains complete at most \((totalRate * 1000).rounded() / 1000) per "
            + "second: the queue grows without end (add servers or lower the arrival rate)"
    }

    private func dispatch(_ chains: ParallelChains, jffc: ExactAnalysis?) -> DispatchPlan {
        let ones = [Int](repeating: 1, count: chains.count)
        guard let jffc, options.dispatch == .jffcWait else {
            return DispatchPlan(
                rule: options.dispatch, thresholds: ones, meanResponseTime: jffc?.meanResponseTime,
                meanWaitingTime: jffc?.meanWaitingTime, waitProbability: jffc?.waitProbability)
        }
        let chosen = WaitThresholds.choose(chains, arrivalRate: cluster.demand.arrivalRate, jffc: jffc)
        return DispatchPlan(
            rule: .jffcWait, thresholds: chosen.thresholds,
            meanResponseTime: chosen.analysis.meanResponseTime,
            meanWaitingTime: chosen.analysis.meanWaitingTime, waitProbability: chosen.analysis.waitProbability
        )
    }
}
