import ChainModel

/// Runs `body(0) … body(count − 1)`, in any order and maybe several at once, and returns when all have ended.
///
/// The planner starts no threads: whoever calls it may lend it some. Plans do not depend on the loop.
public typealias IndependentLoop = @Sendable (_ count: Int, _ body: @Sendable (Int) -> Void) -> Void

/// Chooses the required capacity `c` (section 3.2.3).
///
/// Compositions are ranked first by what they achieve (load target met, else a steady state, else nothing), so that a
/// tuned plan exceeds the load target only when no composition meets it or the target is to be ignored; then by the
/// criterion. Ties: the smallest `c`.
///
/// What cannot win is not computed: a run of Algorithm 1 whose `SlotBound` is above a value found already, and the exact
/// mean where the lower bound of Theorem 4 is. Only values above that of the winner are ever left out, so the choice
/// depends neither on the order of the evaluations nor on how many run at once.
struct CapacityTuning {
    let cluster: Cluster
    let criterion: TuningCriterion
    let ignoreLoadTarget: Bool
    /// Runs the evaluations.
    var loop: IndependentLoop = CapacityTuning.sequentially

    static let sequentially: IndependentLoop = { count, body in
        for position in 0..<count { body(position) }
    }

    /// A run of Algorithm 1 that has yet to be evaluated.
    private struct Run {
        var stops: [Composer.Stop]
        /// The best that any of its compositions can be.
        var bestGrade: TuningGrade
        var bound: Double
    }

    /// - Returns: `nil` when no `c` gives chains that can be compared.
    /// - Complexity: O(J log J) for each distinct `m_j(c)`; for each distinct placement that is not ruled out O(K·L² + C);
    ///   for the exact mean O(C·S²) more for those few whose lower bound does not rule them out.
    func best(_ composer: Composer) -> Composition? {
        let runs = runs(composer)
        let standings = TuningStandings(tie: criterion == .exact ? Self.exactTie : Self.tie)
        loop(runs.count) { position in
            let run = runs[position]
            guard standings.canWin(run.bestGrade, run.bound) else { return }
            let greedy = composer.greedy(capacity: run.stops[0].capacity)
            composer.forEachComposition(of: greedy, at: run.stops) { enter($0, standings) }
        }
        let postponed = standings.postponed()
        loop(postponed.count) { position in
            let candidate = postponed[position]
            guard standings.canWin(candidate.grade, candidate.bound) else { return }
            enterExact(candidate, standings)
        }
        return standings.winner().map { composer.compose(capacity: $0) }
    }

    /// Objectives closer than this, relatively, are taken for equal: rounding of the bounds.
    private static let tie = 1e-12
    /// The same for the exact mean, whose interpolation is good to about 3e-10.
    private static let exactTie = 1e-9

    /// All runs, the most promising first. Ties: the smallest `c`.
    private func runs(_ composer: Composer) -> [Run] {
        var runs: [Run] = []
        composer.forEachRun { greedy, stops in
            var run = Run(stops: stops, bestGrade: .meetsTarget, bound: -.infinity)
            if criterion != .surrogate {
                let bound = SlotBound(greedy, cluster)
                run.bestGrade = grade(totalRate: bound.totalRate * (1 + Self.exactTie))
                run.bound = run.bestGrade == .unstable ? -bound.totalRate : bound.meanResponseTime
            }
            runs.append(run)
        }
        return runs.sorted {
            if $0.bestGrade != $1.bestGrade { return $0.bestGrade < $1.bestGrade }
            return $0.bound != $1.bound ? $0.bound < $1.bound : $0.stops[0].capacity < $1.stops[0].capacity
        }
    }

    private func grade(totalRate: Double) -> TuningGrade {
        let load = cluster.demand.arrivalRate / totalRate
        guard load < 1 else { return .unstable }
        return ignoreLoadTarget || LoadTarget.isMet(load, target: cluster.demand.loadTarget)
            ? .meetsTarget : .stable
    }

    /// Evaluates one composition as far as it can still win.
    private func enter(_ composition: Composition, _ standings: TuningStandings) {
        // A chain that takes no time has no rate; the fastest chain comes first.
        guard let fastest = composition.allocation.chains.first, fastest.serviceRate.isFinite else {
            return
        }
        let chains = ParallelChains(composition.allocation.chains)
        let rate = cluster.demand.arrivalRate
        let grade = grade(totalRate: chains.totalRate)
        let capacity = composition.capacityParameter
        // Without a steady state no mean exists: the larger the total rate, the better.
        if grade == .unstable, criterion != .surrogate {
            standings.enter(capacity, grade, objective: -chains.totalRate)
            return
        }
        switch criterion {
        case .lowerBound, .simulated:
            let lower = ResponseBounds.lower(chains, arrivalRate: rate)
            standings.enter(capacity, grade, objective: lower ?? .infinity)
        case .upperBound:
            let upper = ResponseBounds.upper(chains, arrivalRate: rate)
            standings.enter(capacity, grade, objective: upper ?? .infinity)
        case .surrogate:
            let slots = Double(capacity) * Double(composition.disjointChains)
            standings.enter(capacity, grade, objective: composition.reservedRateMet ? slots : .infinity)
        case .exact:
            let bound = ResponseBounds.lower(chains, arrivalRate: rate) ?? .infinity
            let candidate = TuningStandings.Candidate(
                capacity: capacity, grade: grade, bound: bound, chains: chains)
            // The least bound so far is likely to win and to rule out others; the rest may wait.
            if standings.isFirstChoice(candidate) { enterExact(candidate, standings) }
        }
    }

    private func enterExact(_ candidate: TuningStandings.Candidate, _ standings: TuningStandings) {
        guard let exact = ExactAnalysis(candidate.chains, arrivalRate: cluster.demand.arrivalRate) else {
            return
        }
        standings.enter(candidate.capacity, candidate.grade, objective: exact.meanResponseTime)
    }
}

/// Comparison of a load with its target.
enum LoadTarget {
    /// `ρ ≤ ρ̄`, up to rounding.
    static func isMet(_ load: Double, target: Double) -> Bool { load <= target * (1 + Composer.rounding) }
}
