import ChainModel
import ChainPlanning

/// Chooses the required capacity `c` by simulation: least simulated mean response, every composition meeting the
/// same arrivals and sizes (section 3.2.3 of the paper, `--tune simulated`).
package enum SimulatedTuning {
    /// A composition that was simulated.
    package struct Candidate: Sendable {
        package var plan: Plan
        /// Mean response, seconds; `nil` when it was not simulated because a better grade exists, or unstable.
        package var mean: Double?
    }

    package struct Choice: Sendable {
        package var plan: Plan
        /// Every distinct composition, in increasing `c`.
        package var candidates: [Candidate]
    }

    /// The best plan for a workload.
    ///
    /// As in the other tunings, plans that meet the load target come before those that do not, and those before
    /// plans without a steady state. Ties: the smallest `c`. The result does not depend on the number of cores.
    /// - Parameter simulation: makes the run for a plan; its seed must not depend on the plan.
    /// - Throws: `PlanningError` when there is no plan.
    package static func choose(
        _ cluster: Cluster, options: PlanningOptions,
        simulation: @escaping @Sendable (Plan) -> Simulation
    ) async throws -> Choice {
        let plans = try distinctPlans(cluster, options)
        let grades = plans.map { grade($0, options) }
        let best = grades.min() ?? 2
        let means = await withTaskGroup(of: (Int, Double?).self) { group in
            for (position, plan) in plans.enumerated() where grades[position] == best && best < 2 {
                group.addTask {
                    let result = simulation(plan).run()
                    return (position, result.unstable == nil ? result.response.mean : nil)
                }
            }
            var means = [Double?](repeating: nil, count: plans.count)
            for await (position, mean) in group { means[position] = mean }
            return means
        }
        var chosen: (position: Int, mean: Double)?
        for (position, mean) in means.enumerated() {
            guard let mean else { continue }
            if let current = chosen, mean >= current.mean { continue }
            chosen = (position, mean)
        }
        // Without any steady state, the largest total rate.
        let fallback = plans.indices.max {
            (-grades[$0], plans[$0].totalServiceRate) < (-grades[$1], plans[$1].totalServiceRate)
        }
        guard let position = chosen?.position ?? fallback else {
            throw PlanningError.noChain(firstMissingBlock: 1)
        }
        var plan = plans[position]
        plan.tunedBy = .simulated
        let candidates = zip(plans, means).map { Candidate(plan: $0.0, mean: $0.1) }
        return Choice(plan: plan, candidates: candidates)
    }

    /// 0 meets the load target, 1 has a steady state, 2 has none.
    private static func grade(_ plan: Plan, _ options: PlanningOptions) -> Int {
        if plan.load >= 1 { return 2 }
        return plan.loadTargetMet || options.ignoreLoadTarget ? 0 : 1
    }

    /// The plans of every `c`, each distinct set of chains once, with the smallest `c` that leads to it.
    private static func distinctPlans(_ cluster: Cluster, _ options: PlanningOptions) throws -> [Plan] {
        var plans: [Plan] = []
        var capacity = 1
        while true {
            var fixed = options
            fixed.capacity = .fixed(capacity)
            switch Self.plan(cluster, fixed) {
            case .success(let plan):
                if plan.capacityParameter == nil { return [plan] }
                if plans.last?.chains != plan.chains { plans.append(plan) }
            case .failure(.capacityOutOfRange) where capacity > 1: return plans
            // A larger `c` may still give chains.
            case .failure(.noChain) where capacity > 1: break
            case .failure(let error): throw error
            }
            capacity += 1
        }
    }

    private static func plan(_ cluster: Cluster, _ options: PlanningOptions) -> Result<Plan, PlanningError> {
        do throws(PlanningError) {
            return .success(try Planner.plan(cluster, options: options))
        } catch {
            return .failure(error)
        }
    }
}
