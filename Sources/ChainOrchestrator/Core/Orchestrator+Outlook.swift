import ChainModel

extension Orchestrator {
    package func outlook() async -> PoolOutlook? {
        let (plan, number, advice) = await conductor.planInForce()
        return PoolOutlook(
            planNumber: number, arrivalRate: plan.demand.arrivalRate, serviceRate: plan.totalServiceRate,
            load: plan.load, capacity: plan.totalCapacity, lowerResponse: plan.meanResponseTime.lower,
            upperResponse: plan.meanResponseTime.upper,
            exactResponse: plan.dispatch.meanResponseTime ?? plan.meanResponseTime.exact,
            exactWait: plan.dispatch.meanWaitingTime ?? plan.meanWaitingTime,
            waitProbability: plan.dispatch.waitProbability ?? plan.waitProbability,
            serviceTimes: plan.chains.map(\.serviceTimeSeconds), advice: advice)
    }
}
