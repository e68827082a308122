import ChainModel

/// Chooses the required capacity `c` (section 3.2.3).
///
/// Compositions are ranked first by what they achieve (load target met, else a steady state, else nothing), so that a
/// tuned plan exceeds the load target only when no composition meets it or the target is to be ignored; then by the
/// criterion. Ties: the smallest `c`.
struct CapacityTuning {
    let cluster: Cluster
    let criterion: TuningCriterion
    let ignoreLoadTarget: Bool

    /// What a composition achieves; smaller is better.
    private enum Grade: Int, Comparable {
        case meetsTarget
        case stable
        case unstable
        static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    }

    private struct Candidate {
        var composition: Composition
        var chains: ParallelChains
        var grade: Grade
        /// The criterion's value, or a lower bound on it where the exact one is not needed yet.
        var objective: Double
    }

    /// - Returns: `nil` when no `c` gives chains that can be compared.
    /// - Complexity: the sum over distinct placements of O(K·L² + C); for the exact mean O(C·S²) more for those few whose
    ///   lower bound does not rule them out.
    func best(_ composer: Composer) -> Composition? {
        var candidates: [Candidate] = []
        composer.forEachPlacement { composition in
            // A chain that takes no time has no rate; the fastest chain comes first.
            guard let fastest = composition.allocation.chains.first, fastest.serviceTimeSeconds > 0 else {
                return
            }
            let candidate = candidate(composition)
            // Only the best grade seen so far can win.
            if let grade = candidates.first?.grade {
                guard candidate.grade <= grade else { return }
                if candidate.grade < grade { candidates.removeAll(keepingCapacity: true) }
            }
            candidates.append(candidate)
        }
        guard let grade = candidates.first?.grade else { return nil }
        if criterion == .exact, grade != .unstable { return leastExact(candidates) }
        var best = candidates[0]
        for candidate in candidates.dropFirst() where Self.isLess(candidate.objective, best.objective) {
            best = candidate
        }
        return best.composition
    }

    /// Objectives closer than this, relatively, are taken for equal: rounding of the bounds.
    private static let tie = 1e-12
    /// The same for the exact mean, whose interpolation is good to about 3e-10.
    private static let exactTie = 1e-9

    private static func isLess(_ left: Double, _ right: Double, tie: Double = Self.tie) -> Bool {
        if right == .infinity { return left < right }
        return left < right - tie * right.magnitude
    }

    private func candidate(_ composition: Composition) -> Candidate {
        let demand = cluster.demand
        let chains = ParallelChains(composition.allocation.chains)
        let load = demand.arrivalRate / chains.totalRate
        let grade: Grade =
            load >= 1
            ? .unstable
            : LoadTarget.isMet(load, target: demand.loadTarget) || ignoreLoadTarget ? .meetsTarget : .stable
        return Candidate(
            composition: composition, chains: chains, grade: grade,
            objective: objective(composition, chains, grade))
    }

    private func objective(_ composition: Composition, _ chains: ParallelChains, _ grade: Grade) -> Double {
        let rate = cluster.demand.arrivalRate
        // Without a steady state no mean exists: the larger the total rate, the better.
        if grade == .unstable, criterion != .surrogate { return -chains.totalRate }
        switch criterion {
        case .exact, .lowerBound, .simulated:
            return ResponseBounds.lower(chains, arrivalRate: rate) ?? .infinity
        case .upperBound:
            return ResponseBounds.upper(chains, arrivalRate: rate) ?? .infinity
        case .surrogate:
            guard composition.reservedRateMet else { return .infinity }
            return Double(composition.capacityParameter) * Double(composition.disjointChains)
        }
    }

    /// The least exact mean, in increasing order of the lower bound: once that exceeds the best exact value the rest
    /// cannot win.
    private func leastExact(_ candidates: [Candidate]) -> Composition? {
        let order = candidates.indices.sorted {
            let (left, right) = (candidates[$0].objective, candidates[$1].objective)
            return left != right ? left < right : $0 < $1
        }
        var best: (position: Int, mean: Double)?
        for position in order {
            let candidate = candidates[position]
            if let best, candidate.objective > best.mean * (1 + Self.exactTie) { break }
            let analysis = ExactAnalysis(candidate.chains, arrivalRate: cluster.demand.arrivalRate)
            guard let mean = analysis?.meanResponseTime else { continue }
            guard let current = best else {
                best = (position, mean)
                continue
            }
            let tied = (mean - current.mean).magnitude <= Self.exactTie * current.mean
            // Of tied candidates the smallest c; they are visited in another order here.
            if tied ? position < current.position : mean < current.mean { best = (position, mean) }
        }
        return best.map { candidates[$0.position].composition }
    }
}

/// Comparison of a load with its target.
enum LoadTarget {
    /// `ρ ≤ ρ̄`, up to rounding.
    static func isMet(_ load: Double, target: Double) -> Bool { load <= target * (1 + Composer.rounding) }
}
