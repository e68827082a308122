import ChainDispatch
import ChainModel
import ChainPlanning

/// Plans for a demand that is no longer the one planned for.
extension Conductor {
    /// Finds out whether another plan is worth the move, away from here: it may take a while.
    func reconsider(arrivalRate rate: Double, excluding excluded: [ServerIndex], number: Int) {
        let (configuration, source, present) = (configuration, source, plan)
        let presentNumber = control.plan.number
        Task.detached {
            let found = configuration.replanning?(present, rate, excluded)
            let moves = configuration.movesByItself && found?.isWorthwhile == true
            let chosen = found.flatMap { moves ? $0.candidate : $0.refreshed }
            let assignments = chosen.flatMap { try? configuration.assignments(of: $0, source: source) }
            let made = chosen.flatMap { plan in assignments.map { (plan: plan, assignments: $0) } }
            await self.reconsidered(found, made, rate: rate, number: number, present: presentNumber)
        }
    }

    private func reconsidered(
        _ found: Replanning?, _ made: (plan: Plan, assignments: [LoadAssignment?])?, rate: Double,
        number: Int, present: Int
    ) {
        // Another plan has come into force meanwhile, or is being made: the question is asked again if need be.
        guard control.plan.number == present, control.accepts(plan: number) else { return }
        guard let found, let made else {
            post(.planKept(plan: number, arrivalRate: rate))
            return
        }
        let text = found.summary(moves: configuration.movesByItself)
        logger.notice(
            "demand has changed", metadata: ["rate": "\(rate)", "plan": "\(number)", "found": "\(text)"])
        advice = text
        if made.plan.chains == plan.chains, made.plan.placement == plan.placement,
            made.plan.dispatch.thresholds == plan.dispatch.thresholds
        {
            plan = made.plan
            post(.planKept(plan: number, arrivalRate: rate))
        } else {
            putInForce(made.plan, made.assignments, number: number)
        }
    }
}

extension Replanning {
    /// What was found, for people.
    func summary(moves: Bool) -> String {
        func seconds(_ value: Double?) -> String {
            value.map { "\(($0 * 1000).rounded() / 1000) s" } ?? "ever longer"
        }
        let rate = (refreshed.demand.arrivalRate * 1000).rounded() / 1000
        let now = "at \(rate) requests/s the mean response is \(seconds(refreshed.dispatch.meanResponseTime))"
        guard let candidate else { return now + "; no other plan is better" }
        let megabytes = Double(bytesToLoad.rawValue) / 1e6
        let other =
            "another plan has \(seconds(candidate.dispatch.meanResponseTime)) and loads "
            + "\((megabytes * 10).rounded() / 10) MB on \(loadingServers.count) servers"
        guard isWorthwhile else { return "\(now); \(other), which does not pay" }
        return moves
            ? "\(now); \(other): the service moves to it"
            : "\(now); \(other): plan for arrival_rate \(rate), or serve with --replan auto"
    }
}
