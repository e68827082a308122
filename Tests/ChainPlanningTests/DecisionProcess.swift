import Foundation

/// The best non-preemptive dispatch as a Markov decision process, by relative value iteration.
///
/// A state is `(z_1 … z_K, q)`; at every event any number of waiting jobs may start on free slots, or none.
/// Arrivals beyond the cut of the queue are turned away at no cost, which can only help, so the lower bound
/// holds for the endless queue.
struct DecisionProcess {
    let rates: [Double]
    let capacities: [Int]
    let arrivalRate: Double
    /// Largest queue.
    let cut: Int

    /// Bounds on the least mean number of jobs in the system.
    struct Optimum {
        var lower: Double
        var upper: Double
    }

    init(rates: [Double], capacities: [Int], arrivalRate: Double) {
        self.rates = rates
        self.capacities = capacities
        self.arrivalRate = arrivalRate
        let total = zip(rates, capacities).reduce(0) { $0 + $1.0 * Double($1.1) }
        cut = 15 + Int(log(1e-7) / log(arrivalRate / total))
    }

    /// - Parameter accuracy: relative distance of the bounds at which the iteration ends.
    func solve(accuracy: Double) -> Optimum? {
        let tables = Tables(self)
        var values = [Double](repeating: 0, count: tables.count)
        var decided = values
        var next = values
        for _ in 0..<400 {
            for _ in 0..<25 {
                tables.decide(values, into: &decided)
                tables.step(decided, into: &next)
                swap(&values, &next)
            }
            var (low, high) = (Double.infinity, -Double.infinity)
            for state in 0..<tables.count {
                let change = values[state] - next[state]
                low = min(low, change)
                high = max(high, change)
            }
            if high - low <= accuracy * low {
                return Optimum(lower: low * tables.largestRate, upper: high * tables.largestRate)
            }
            let base = values[0]
            for state in 0..<tables.count { values[state] -= base }
        }
        return nil
    }

    /// Transitions of the process made uniform: one event every `1/Λ` on average.
    private struct Tables {
        let count: Int
        let largestRate: Double
        private let width: Int
        private let levels: Int
        private let chainCount: Int
        /// Mean jobs in each state over `Λ`.
        private var cost: [Double] = []
        /// By `z` and chain: distance to one job more, 0 when the chain is full.
        private var more: [Int] = []
        /// By `z` and chain: probability that a job of it ends, and the distance to one job less.
        private var ends: [Double] = []
        private var less: [Int] = []
        private let arrives: Double

        init(_ process: DecisionProcess) {
            let strides = process.capacities.indices.map { chain in
                process.capacities[..<chain].reduce(1) { $0 * ($1 + 1) }
            }
            chainCount = process.rates.count
            width = process.capacities.reduce(1) { $0 * ($1 + 1) }
            levels = process.cut + 1
            count = width * levels
            let total = zip(process.rates, process.capacities).reduce(0) { $0 + $1.0 * Double($1.1) }
            largestRate = process.arrivalRate + total
            arrives = process.arrivalRate / largestRate
            var jobs: [Int] = []
            for state in 0..<width {
                var sum = 0
                for chain in 0..<chainCount {
                    let busy = state / strides[chain] % (process.capacities[chain] + 1)
                    sum += busy
                    more.append(busy < process.capacities[chain] ? strides[chain] : 0)
                    less.append(busy > 0 ? strides[chain] : 0)
                    ends.append(Double(busy) * process.rates[chain] / largestRate)
                }
                jobs.append(sum)
            }
            for queue in 0..<levels {
                for state in 0..<width { cost.append(Double(jobs[state] + queue) / largestRate) }
            }
        }

        /// The least value after starting any of the waiting jobs.
        func decide(_ values: [Double], into decided: inout [Double]) {
            values.withUnsafeBufferPointer { values in
                decided.withUnsafeMutableBufferPointer { decided in
                    more.withUnsafeBufferPointer { more in
                        for state in 0..<width { decided[state] = values[state] }
                        var state = width
                        while state < count {
                            var entry = 0
                            let end = state + width
                            while state < end {
                                var best = values[state]
                                for _ in 0..<chainCount {
                                    let distance = more[entry]
                                    entry += 1
                                    if distance > 0 { best = min(best, decided[state - width + distance]) }
                                }
                                decided[state] = best
                                state += 1
                            }
                        }
                    }
                }
            }
        }

        /// One event on.
        func step(_ decided: [Double], into next: inout [Double]) {
            decided.withUnsafeBufferPointer { decided in
                next.withUnsafeMutableBufferPointer { next in
                    var state = 0
                    while state < count {
                        var entry = 0
                        let end = state + width
                        let above = end < count ? width : 0
                        while state < end {
                            let stays = decided[state]
                            var value = cost[state] + stays + arrives * (decided[state + above] - stays)
                            for _ in 0..<chainCount {
                                value += ends[entry] * (decided[state - less[entry]] - stays)
                                entry += 1
                            }
                            next[state] = value
                            state += 1
                        }
                    }
                }
            }
        }
    }
}
