import Synchronization

/// What a composition achieves; smaller is better.
enum TuningGrade: Int, Comparable {
    case meetsTarget
    case stable
    case unstable
    static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// The best of the compositions evaluated so far, and those whose exact mean is not needed yet.
///
/// Shared by evaluations that run at the same time, hence a class with a lock. Whatever the order of the entries, the
/// winner is the same: the best grade, then of all objectives within a tie of the least the one of the smallest `c`.
final class TuningStandings: Sendable {
    /// A composition of which a lower bound on the objective is known.
    struct Candidate {
        var capacity: Int
        var grade: TuningGrade
        var bound: Double
        var chains: ParallelChains
    }

    private struct State {
        var grade = TuningGrade.unstable
        var least = Double.infinity
        var leastBound = Double.infinity
        /// Evaluated, of the best grade.
        var finalists: [(capacity: Int, objective: Double)] = []
        var postponed: [Candidate] = []

        /// Only the best grade seen so far can win.
        mutating func raise(to better: TuningGrade) {
            guard better < grade else { return }
            (grade, least, leastBound) = (better, .infinity, .infinity)
            finalists.removeAll()
            postponed.removeAll()
        }

        /// Whether an objective of at least `bound` could win.
        func isOpen(_ candidate: TuningGrade, _ bound: Double, tie: Double) -> Bool {
            guard candidate == grade, least < .infinity else { return candidate <= grade }
            return bound <= least + tie * least.magnitude
        }
    }

    private let tie: Double
    private let state = Mutex(State())

    /// - Parameter tie: objectives closer than this, relatively, are taken for equal.
    init(tie: Double) { self.tie = tie }

    /// Whether a composition of at best this grade, with an objective of at least `bound`, could win.
    func canWin(_ grade: TuningGrade, _ bound: Double) -> Bool {
        state.withLock { $0.isOpen(grade, bound - Self.slack * bound.magnitude, tie: tie) }
    }

    /// Bounds are rounded too: they rule out only what they rule out by more than this, relatively.
    private static let slack = 1e-9

    /// Enters what has been evaluated.
    func enter(_ capacity: Int, _ grade: TuningGrade, objective: Double) {
        state.withLock { state in
            state.raise(to: grade)
            guard state.isOpen(grade, objective, tie: tie) else { return }
            state.least = min(state.least, objective)
            state.finalists.append((capacity, objective))
        }
    }

    /// Whether a candidate has the least bound so far, and so is to be evaluated at once; otherwise it is kept for later.
    func isFirstChoice(_ candidate: Candidate) -> Bool {
        state.withLock { state in
            state.raise(to: candidate.grade)
            guard state.isOpen(candidate.grade, candidate.bound, tie: tie + Self.slack) else { return false }
            if candidate.bound < state.leastBound {
                state.leastBound = candidate.bound
                return true
            }
            state.postponed.append(candidate)
            return false
        }
    }

    /// What is left to evaluate, by increasing bound. Ties: the smallest `c`.
    func postponed() -> [Candidate] {
        state.withLock { $0.postponed }.sorted {
            $0.bound != $1.bound ? $0.bound < $1.bound : $0.capacity < $1.capacity
        }
    }

    /// The smallest `c` whose objective is tied with the least one; `nil` when nothing was entered.
    func winner() -> Int? {
        state.withLock { state in
            let tied = state.finalists.filter { $0.objective <= state.least + tie * state.least.magnitude }
            return (tied.isEmpty ? state.finalists : tied).map(\.capacity).min()
        }
    }
}
