import ChainModel

/// The queue itself as a Markov chain, solved by elimination: a check of `ExactAnalysis` that shares no formula with it.
///
/// States are `(q, z_1 … z_K)`: `q` jobs wait, `z_l` slots of chain `l` are busy. With thresholds `n_l`, chains with
/// `n_l ≤ q` are full, so level `q` holds the others' `∏ (c_l + 1)` states; under JFFC there is one level. Above the full
/// state of the last level, `q = n_K − 1`, the queue is geometric with ratio `ρ`, by the cut between `n` and `n + 1` jobs.
///
/// The residual is computed afterwards from the transitions of each state, without anything the elimination knows.
public struct SparseChain: Sendable {
    /// What a solution says, with how well it solves the balance equations.
    public struct Solution: Hashable, Sendable {
        /// Mean number of jobs in the system: `E[N]`.
        public var meanJobs: Double
        /// Variance of that number.
        public var jobsVariance: Double
        /// Mean number waiting.
        public var meanWaiting: Double
        /// Probability that an arriving job waits.
        public var waitProbability: Double
        /// `‖πQ‖₁` over the largest rate out of a state, for `π` of sum one.
        public var residual: Double
        public var stateCount: Int
    }

    let rates: [Double]
    let capacities: [Int]
    private let thresholds: [Int]
    let arrivalRate: Double
    let levels: [Level]
    /// States kept: `Σ_q ∏ (c_l + 1)` over the chains that are not full at level `q`.
    public let stateCount: Int

    /// The states with `q` jobs waiting: chains before `firstFree` are full.
    struct Level {
        var firstFree: Int
        /// Chains `firstFree ..< joinEnd` have the threshold `q + 1`: an arrival may start on them.
        var joinEnd: Int
        var offset: Int
        var count: Int
        /// Distance between states that differ by one job on a chain, by chain.
        var strides: [Int]
        /// `Σ_{l < joinEnd} c_l μ_l`: rate at which the level above comes down.
        var rateAbove: Double
    }

    /// - Parameter thresholds: `n_l`, not decreasing, the first 1; `nil` is JFFC.
    /// - Returns: `nil` when `λ ≥ ν`, or when there are more states than `stateLimit`.
    public init?(
        _ chains: ParallelChains, arrivalRate: Double, thresholds: [Int]? = nil, stateLimit: Int = 1_000_000
    ) {
        guard arrivalRate > 0, arrivalRate < chains.totalRate else { return nil }
        rates = chains.rates
        capacities = chains.capacities
        self.arrivalRate = arrivalRate
        let thresholds = thresholds ?? [Int](repeating: 1, count: chains.count)
        self.thresholds = thresholds
        var levels: [Level] = []
        var total = 0
        for waiting in 0..<(thresholds.last ?? 1) {
            let firstFree = thresholds.firstIndex { $0 > waiting } ?? chains.count
            let joinEnd = thresholds.firstIndex { $0 > waiting + 1 } ?? chains.count
            var strides = [Int](repeating: 0, count: chains.count)
            var count = 1
            for chain in firstFree..<chains.count {
                strides[chain] = count
                count *= chains.capacities[chain] + 1
                guard total + count <= stateLimit else { return nil }
            }
            var rateAbove = 0.0
            for chain in 0..<joinEnd { rateAbove += Double(capacities[chain]) * rates[chain] }
            levels.append(
                Level(
                    firstFree: firstFree, joinEnd: joinEnd, offset: total, count: count, strides: strides,
                    rateAbove: rateAbove))
            total += count
        }
        self.levels = levels
        stateCount = total
    }

    /// - Complexity: O(K²·states) time; memory of O(K) numbers for each state without the slowest chain.
    public func solve() -> Solution {
        var stages: [NestedElimination.Stage] = []
        var totalRate = 0.0
        for (chain, rate) in rates.enumerated() {
            totalRate += rate * Double(capacities[chain])
            let places = chain + 1 < thresholds.count ? thresholds[chain + 1] - thresholds[chain] : 0
            stages.append(
                NestedElimination.Stage(
                    capacity: capacities[chain], rate: rate, places: places, placeRate: totalRate))
        }
        let nested = NestedElimination(stages, arrivalRate: arrivalRate).weights()
        var total = 0.0
        for weight in nested { total += weight }
        var weights = [Double](repeating: 0, count: stateCount)
        var busy = [Int](repeating: 0, count: rates.count)
        var position = 0
        forEachNestedState(of: rates.count, &busy) { state in
            weights[state] = nested[position] / total
            position += 1
        }
        return solution(weights, residual: residual(weights))
    }

    // MARK: States

    /// Calls `visit(level, state, busy)` for every state; `busy` is the number on each chain.
    func forEachState(
        _ visit: (_ level: Int, _ state: Int, _ busy: UnsafeMutablePointer<Int>) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: rates.count) { buffer in
            guard let busy = buffer.baseAddress else { return }
            for (number, level) in levels.enumerated() {
                for chain in rates.indices { busy[chain] = chain < level.firstFree ? capacities[chain] : 0 }
                for index in 0..<level.count {
                    visit(number, level.offset + index, busy)
                    // The next state: chain `firstFree` runs fastest.
                    for chain in level.firstFree..<rates.count {
                        if busy[chain] < capacities[chain] {
                            busy[chain] += 1
                            break
                        }
                        busy[chain] = 0
                    }
                }
            }
        }
    }

    /// The flow into a state from its neighbours, and the rate out of it.
    private func balance(
        _ weights: [Double], level number: Int, state: Int, busy: UnsafeMutablePointer<Int>
    ) -> (flowIn: Double, rateOut: Double) {
        let level = levels[number]
        var flow = 0.0
        var out = arrivalRate
        // Arrivals that started on a chain: all before it are full.
        var chain = level.firstFree
        while chain < level.joinEnd {
            if busy[chain] > 0 { flow += arrivalRate * weights[state - level.strides[chain]] }
            guard busy[chain] == capacities[chain] else { break }
            chain += 1
        }
        let joinsFull = chain == level.joinEnd
        for other in 0..<rates.count {
            out += rates[other] * Double(busy[other])
            if other >= level.firstFree, busy[other] < capacities[other] {
                flow += rates[other] * Double(busy[other] + 1) * weights[state + level.strides[other]]
            }
        }
        if number > 0 {
            let below = levels[number - 1]
            flow += arrivalRate * weights[neighbour(state, from: level, to: below)]
        }
        if joinsFull, number + 1 < levels.count {
            let above = levels[number + 1]
            flow += level.rateAbove * weights[neighbour(state, from: level, to: above)]
        } else if joinsFull {
            // The last level's full state: arrivals and departures of the geometric tail cancel.
            out -= arrivalRate
        }
        return (flow, out)
    }

    /// The state of a neighbouring level with the same jobs on the chains free in both, the others full.
    private func neighbour(_ state: Int, from: Level, to: Level) -> Int {
        let index = state - from.offset
        let first = max(from.firstFree, to.firstFree)
        guard from.firstFree != to.firstFree else { return to.offset + index }
        if from.firstFree < to.firstFree {
            // The chains in between are full and run fastest: dropping them is a division.
            return to.offset + (first < rates.count ? index / from.strides[first] : 0)
        }
        let full = (first < rates.count ? to.strides[first] : to.count) - 1
        return to.offset + full + index * (full + 1)
    }

    /// Calls `visit` with every state in the order of `NestedElimination`: stage `l` is a plane for each number of jobs on
    /// chain `l`, slowest chain outermost, then a state for each waiting place behind it.
    private func forEachNestedState(of stage: Int, _ busy: inout [Int], _ visit: (Int) -> Void) {
        guard stage > 0 else { return visit(state(waiting: 0, busy: busy)) }
        for jobs in 0...capacities[stage - 1] {
            busy[stage - 1] = jobs
            forEachNestedState(of: stage - 1, &busy, visit)
        }
        guard stage < thresholds.count else { return }
        for waiting in thresholds[stage - 1]..<thresholds[stage] {
            visit(state(waiting: waiting, busy: busy))
        }
    }

    private func state(waiting: Int, busy: [Int]) -> Int {
        let level = levels[waiting]
        var state = level.offset
        for chain in level.firstFree..<rates.count { state += level.strides[chain] * busy[chain] }
        return state
    }

    /// `‖πQ‖₁` over the largest rate out, for weights that sum to one.
    private func residual(_ weights: [Double]) -> Double {
        var sum = 0.0
        var total = 0.0
        var largest = 0.0
        forEachState { level, state, busy in
            let (flow, out) = balance(weights, level: level, state: state, busy: busy)
            sum += (flow - out * weights[state]).magnitude
            total += weights[state]
            largest = max(largest, out)
        }
        return sum / (total * largest)
    }
}
