import ChainModel
import ChainPlanning

/// What a plan predicts beyond the bounds, compared with a solution of the queue itself: its balance equations by
/// elimination, which share no formula with the planner, or the recursion again where there are too many states for that.
enum PredictionCheck {
    /// Most states of the queue that are solved.
    private static let mostStates = 300_000
    /// Most slots that the recursion is run for.
    private static let mostSlots = 5_000_000
    /// No rule lets more jobs wait than this before a chain starts one: the planner tries far fewer.
    private static let mostWaiting = 1_000_000
    /// Relative difference that is taken for rounding; absolute for probabilities.
    private static let tolerance = 1e-6

    /// - Precondition: `Certificate` finds nothing wrong with the plan.
    /// - Returns: figures that are not what the chains lead to.
    static func violations(of plan: Plan) -> [PlanViolation] {
        let rate = plan.demand.arrivalRate
        guard plan.load < 1, plan.totalCapacity <= mostSlots else { return [] }
        guard plan.dispatch.thresholds.last ?? 1 <= mostWaiting else {
            return [PlanViolation(.thresholds, "a threshold is above \(mostWaiting)")]
        }
        let sorted = plan.chains.sorted { $0.serviceTimeSeconds < $1.serviceTimeSeconds }
        let chains = ParallelChains(sorted)
        var violations: [PlanViolation] = []
        func compare(_ name: String, _ given: Double?, _ derived: Double?, scale: Double? = nil) {
            guard let given, let derived else { return }
            let unit = scale ?? max(given.magnitude, derived.magnitude)
            if (given - derived).magnitude > tolerance * unit {
                violations.append(
                    PlanViolation(.meanResponseTime, "\(name) is \(given), the chains lead to \(derived)"))
            }
        }
        let jffc = figures(chains, rate: rate, thresholds: nil)
        compare("the exact mean response", plan.meanResponseTime.exact, jffc.response)
        compare("the mean wait", plan.meanWaitingTime, jffc.waiting, scale: jffc.response)
        compare("the wait probability", plan.waitProbability, jffc.probability, scale: 1)
        compare("the variance of the jobs", plan.spread.jobsVariance, jffc.jobsVariance)
        compare("the variance of the response", plan.spread.responseVariance, jffc.responseVariance)
        compare("the decay rate of the wait", plan.spread.waitDecayRate, plan.totalServiceRate - rate)
        let dispatch = figures(chains, rate: rate, thresholds: plan.dispatch.thresholds)
        compare(
            "the mean response under the dispatch rule", plan.dispatch.meanResponseTime, dispatch.response)
        compare(
            "the mean wait under the dispatch rule", plan.dispatch.meanWaitingTime, dispatch.waiting,
            scale: dispatch.response)
        compare(
            "the wait probability under the dispatch rule", plan.dispatch.waitProbability,
            dispatch.probability,
            scale: 1)
        return violations
    }

    private struct Figures {
        var response: Double?
        var waiting: Double?
        var probability: Double?
        var jobsVariance: Double?
        var responseVariance: Double?
    }

    private static func figures(_ chains: ParallelChains, rate: Double, thresholds: [Int]?) -> Figures {
        let exact = ExactAnalysis(
            chains, arrivalRate: rate, thresholds: thresholds, withVariances: thresholds == nil)
        let queue = SparseChain(
            chains, arrivalRate: rate, thresholds: thresholds, stateLimit: mostStates)
        guard let solution = queue?.solve(), solution.residual < 1e-9 else {
            return Figures(
                response: exact?.meanResponseTime, waiting: exact?.meanWaitingTime,
                probability: exact?.waitProbability, jobsVariance: exact?.variances?.jobs,
                responseVariance: exact?.variances?.response)
        }
        return Figures(
            response: solution.meanJobs / rate, waiting: solution.meanWaiting / rate,
            probability: solution.waitProbability, jobsVariance: solution.jobsVariance,
            responseVariance: exact?.variances?.response)
    }
}
