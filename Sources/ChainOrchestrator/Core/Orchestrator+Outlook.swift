import ChainModel

extension Orchestrator {
    package func outlook() async -> PoolOutlook? {
        let plan = await conductor.planInForce()
        return PoolOutlook(
            planNumber: 1, arrivalRate: plan.demand.arrivalRate, serviceRate: plan.totalServiceRate,
            load: plan.load, capacity: plan.totalCapacity, lowerResponse: plan.meanResponseTime.lower,
            upperResponse: plan.meanResponseTime.upper,
            exactResponse: plan.dispatch.meanResponseTime ?? plan.meanResponseTime.exact,
            exactWait: plan.dispatch.meanWaitingTime ?? plan.meanWaitingTime,
            waitProbability: plan.dispatch.waitProbability ?? plan.waitProbability,
            serviceTimes: plan.chains.map(\.serviceTimeSeconds))
    }
}
