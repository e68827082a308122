import ChainModel
import RealModule

/// The queue itself as a Markov chain, solved iteratively: a check of `ExactAnalysis` that shares no formula
/// with it.
///
/// States are `(q, z_1 … z_K)`: `q` jobs wait, `z_l` slots of chain `l` are busy. With thresholds `n_l`,
/// chains with `n_l ≤ q` are full, so level `q` holds the others' `∏ (c_l + 1)` states; under JFFC there is
/// one level. Above the full state of the last level, `q = n_K − 1`, the queue is geometric with ratio `ρ`,
/// by the cut between `n` and `n + 1` jobs.
///
/// Gauss–Seidel sweeps, each followed by aggregation over one chain's `z_l`, slowest chain first, or over `q`
/// (Koury, McAllister and Stewart 1984): both move by one, so cut equations say how to rescale their
/// marginals. All numbers stay positive. With too few sweeps between them the aggregations can undo each
/// other, so their number grows when needed.
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
        /// `‖πQ‖₁` over the largest rate out of a state.
        public var residual: Double
        /// Sweeps over all states.
        public var sweeps: Int
        public var stateCount: Int
    }

    /// Sweeps after which the iteration ends, whatever the residual.
    public static let mostSweeps = 20_000
    /// Sweeps before an aggregation at most; doubled from one whenever the residual falls by less than three
    /// quarters.
    private static let mostSmoothing = 64

    let rates: [Double]
    let capacities: [Int]
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

    /// Sweeps until the residual is below `tolerance`, or only rounding is left.
    /// - Complexity: O(states·K) for each sweep.
    public func solve(tolerance: Double = 1e-13) -> Solution {
        var weights = start()
        var sweeps = 0
        var residual = Double.infinity
        var smoothing = 1
        while sweeps < Self.mostSweeps, residual > tolerance {
            let now = weights.withUnsafeMutableBufferPointer { buffer in
                for _ in 0..<2 { sweeps += cycle(buffer, smoothing: smoothing) }
                return self.residual(buffer)
            }
            if now > residual / 4 {
                // Rounding is all that is left, or the aggregations act on weights that are too rough.
                if now < 64 * tolerance, smoothing >= Self.mostSmoothing { break }
                smoothing = min(Self.mostSmoothing, 2 * smoothing)
            }
            residual = now
        }
        return solution(weights, residual: residual, sweeps: sweeps)
    }

    // MARK: States

    /// Calls `visit(level, state, busy)` for every state; `busy` is the number on each chain.
    func forEachState(
        descending: Bool, _ visit: (_ level: Int, _ state: Int, _ busy: UnsafeMutablePointer<Int>) -> Void
    ) {
        withUnsafeTemporaryAllocation(of: Int.self, capacity: rates.count) { buffer in
            guard let busy = buffer.baseAddress else { return }
            for step in levels.indices {
                let number = descending ? levels.count - 1 - step : step
                let level = levels[number]
                for chain in rates.indices {
                    busy[chain] = chain < level.firstFree || descending ? capacities[chain] : 0
                }
                for index in 0..<level.count {
                    visit(number, level.offset + (descending ? level.count - 1 - index : index), busy)
                    // The next state: chain `firstFree` runs fastest.
                    for chain in level.firstFree..<rates.count {
                        if busy[chain] != (descending ? 0 : capacities[chain]) {
                            busy[chain] += descending ? -1 : 1
                            break
                        }
                        busy[chain] = descending ? capacities[chain] : 0
                    }
                }
            }
        }
    }

    /// The flow into a state from its neighbours, and the rate out of it.
    private func balance(
        _ weights: UnsafeMutableBufferPointer<Double>, level number: Int, state: Int,
        busy: UnsafeMutablePointer<Int>
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

    // MARK: Iteration

    /// Weights to start from: each chain as Erlang's loss system, offered what the one before turns away as
    /// if it were Poisson.
    private func start() -> [Double] {
        var marginals: [[Double]] = []
        var offered = arrivalRate
        for (rate, capacity) in zip(rates, capacities) {
            var logs = [0.0]
            for busy in 1...capacity {
                logs.append(logs[busy - 1] + Double.log(offered / rate / Double(busy)))
            }
            let largest = logs.max() ?? 0
            let sum = logs.reduce(0) { $0 + Double.exp($1 - largest) }
            marginals.append(logs.map { $0 - largest - Double.log(sum) })
            offered *= max(1e-12, Double.exp(logs[capacity] - largest) / sum)
        }
        var weights = [Double](repeating: 0, count: stateCount)
        var total = 0.0
        weights.withUnsafeMutableBufferPointer { buffer in
            forEachState(descending: false) { level, state, busy in
                var sum = -Double(level)
                for chain in levels[level].firstFree..<rates.count { sum += marginals[chain][busy[chain]] }
                buffer[state] = Double.exp(max(-600, sum))
                total += buffer[state]
            }
        }
        return weights.map { $0 / total }
    }

    /// Aggregates over `q` and every chain, slowest first, each after some sweeps. Returns how many.
    private func cycle(_ weights: UnsafeMutableBufferPointer<Double>, smoothing: Int) -> Int {
        let chains: [Int?] = (levels.count > 1 ? [nil] : []) + rates.indices.reversed().map { $0 }
        for chain in chains {
            for _ in 1..<smoothing { sweep(weights) }
            sweep(weights, aggregating: chain)
        }
        return chains.count * smoothing
    }

    /// Gauss–Seidel from the last state to the first, so that what departures bring is new already.
    private func sweep(_ weights: UnsafeMutableBufferPointer<Double>) {
        forEachState(descending: true) { level, state, busy in
            let (flow, out) = balance(weights, level: level, state: state, busy: busy)
            weights[state] = flow / out
        }
    }

    /// One more sweep, after which the marginal of one chain's `z_l`, or of `q` for `chain == nil`, is
    /// rescaled so that its cut equations hold.
    private func sweep(_ weights: UnsafeMutableBufferPointer<Double>, aggregating chain: Int?) {
        var marginal = Marginal(size: chain.map { capacities[$0] + 1 } ?? levels.count)
        forEachState(descending: true) { number, state, busy in
            let (flow, out) = balance(weights, level: number, state: state, busy: busy)
            let weight = flow / out
            weights[state] = weight
            let level = levels[number]
            guard let chain else {
                marginal.mass[number] += weight
                if number > 0 { marginal.down[number] += weight * levels[number - 1].rateAbove }
                for free in level.firstFree..<level.joinEnd where busy[free] < capacities[free] { return }
                marginal.up[number] += weight * arrivalRate
                return
            }
            marginal.mass[busy[chain]] += weight
            guard chain >= level.firstFree else { return }
            marginal.down[busy[chain]] += weight * rates[chain] * Double(busy[chain])
            guard chain < level.joinEnd, busy[chain] < capacities[chain] else { return }
            for earlier in level.firstFree..<chain where busy[earlier] < capacities[earlier] { return }
            marginal.up[busy[chain]] += weight * arrivalRate
        }
        let factors = marginal.factors
        forEachState(descending: false) { level, state, busy in
            weights[state] *= factors[chain.map { busy[$0] } ?? level]
        }
    }

    /// `‖πQ‖₁` over the largest rate out, for weights that sum to one.
    private func residual(_ weights: UnsafeMutableBufferPointer<Double>) -> Double {
        var sum = 0.0
        var total = 0.0
        var largest = 0.0
        forEachState(descending: false) { level, state, busy in
            let (flow, out) = balance(weights, level: level, state: state, busy: busy)
            sum += (flow - out * weights[state]).magnitude
            total += weights[state]
            largest = max(largest, out)
        }
        return sum / (total * largest)
    }
}

/// A quantity that moves by one: the flow up from `j` equals the flow down from `j + 1`.
private struct Marginal {
    var mass: [Double]
    var up: [Double]
    var down: [Double]

    init(size: Int) {
        mass = [Double](repeating: 0, count: size)
        up = mass
        down = mass
    }

    /// What to multiply the states of each value by, so that this holds and the sum is one.
    var factors: [Double] {
        // As logarithms: over hundreds of values the products leave every range.
        var logs = [0.0]
        for value in 1..<max(1, mass.count) {
            let moves = up[value - 1] > 0 && down[value] > 0
            logs.append(logs[value - 1] + (moves ? Double.log(up[value - 1] / down[value]) : 0))
        }
        var largest = -Double.infinity
        for (value, log) in logs.enumerated() where mass[value] > 0 {
            largest = max(largest, log + Double.log(mass[value]))
        }
        var total = 0.0
        for (value, log) in logs.enumerated() where mass[value] > 0 {
            total += Double.exp(min(600, log - largest)) * mass[value]
        }
        return logs.indices.map { mass[$0] > 0 ? Double.exp(min(600, logs[$0] - largest)) / total : 1 }
    }
}
