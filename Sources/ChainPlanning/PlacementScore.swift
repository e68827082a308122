import ChainModel

/// What a placement achieves, smaller is better: first whether it meets the load target, or has a steady
/// state at all; then the exact mean response time under JFFC.
struct PlacementScore: Comparable {
    /// 0 meets the load target, 1 has a steady state, 2 has none.
    var grade: Int
    /// Exact mean response time, seconds; without a steady state the total service rate, negative.
    var objective: Double

    static func < (left: Self, right: Self) -> Bool {
        left.grade != right.grade ? left.grade < right.grade : left.objective < right.objective
    }

    /// - Parameter limit: A score that need not be computed exactly when the lower bound alone does not beat it.
    /// - Returns: `nil` for an allocation without chains, or one that takes no time; and for what cannot beat `limit`.
    /// - Complexity: O(C·S²); O(C) where the lower bound decides.
    init?(
        _ allocation: CacheAllocation, demand: Demand, ignoreLoadTarget: Bool, below limit: PlacementScore?
    ) {
        guard let fastest = allocation.chains.first, fastest.serviceTimeSeconds > 0 else { return nil }
        let chains = ParallelChains(allocation.chains)
        let load = demand.arrivalRate / chains.totalRate
        guard load < 1 else {
            self.init(grade: 2, objective: -chains.totalRate)
            return
        }
        let isMet = ignoreLoadTarget || LoadTarget.isMet(load, target: demand.loadTarget)
        let grade = isMet ? 0 : 1
        if let limit {
            guard grade <= limit.grade else { return nil }
            let lower = ResponseBounds.lower(chains, arrivalRate: demand.arrivalRate) ?? .infinity
            if grade == limit.grade, lower >= limit.objective { return nil }
        }
        let exact = ExactAnalysis(chains, arrivalRate: demand.arrivalRate)
        self.init(grade: grade, objective: exact?.meanResponseTime ?? .infinity)
    }

    private init(grade: Int, objective: Double) {
        self.grade = grade
        self.objective = objective
    }

    /// Whether this is better than `other` by more than rounding.
    func improves(on other: PlacementScore) -> Bool {
        guard grade == other.grade else { return grade < other.grade }
        return objective < other.objective - Self.leastGain * other.objective.magnitude
    }

    /// Smaller relative gains are not worth a change of the placement.
    private static let leastGain = 1e-6
}
