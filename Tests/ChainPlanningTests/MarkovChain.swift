import Testing

/// A queue with parallel chains as a plain Markov chain over `(z_1 … z_K, q)`, solved by elimination: no formula of the
/// analysis under test. The queue is cut where its probability is below rounding.
struct MarkovChain {
    let rates: [Double]
    let capacities: [Int]
    let thresholds: [Int]
    let arrivalRate: Double
    /// Queue length at which arrivals are turned away.
    let cut: Int

    struct Means {
        var jobs: Double
        var waiting: Double
        var waitProbability: Double
    }

    private struct State: Hashable {
        var busy: [Int]
        var queue: Int
    }

    init(rates: [Double], capacities: [Int], arrivalRate: Double, thresholds: [Int]? = nil) {
        self.rates = rates
        self.capacities = capacities
        self.arrivalRate = arrivalRate
        self.thresholds = thresholds ?? rates.map { _ in 1 }
        let total = zip(rates, capacities).reduce(0) { $0 + $1.0 * Double($1.1) }
        var cut = self.thresholds.max() ?? 1
        var tail = 1.0
        while tail > 1e-15 {
            tail *= arrivalRate / total
            cut += 1
        }
        self.cut = cut
    }

    /// Heads of the queue start on the fastest free chain for which enough jobs wait.
    private func settled(_ state: State) -> State {
        var state = state
        while let chain = rates.indices.first(where: {
            state.busy[$0] < capacities[$0] && state.queue >= thresholds[$0]
        }) {
            state.busy[chain] += 1
            state.queue -= 1
        }
        return state
    }

    private func transitions(from state: State) -> [(State, Double)] {
        var result: [(State, Double)] = []
        if state.queue < cut {
            var next = state
            next.queue += 1
            result.append((settled(next), arrivalRate))
        }
        for chain in rates.indices where state.busy[chain] > 0 {
            var next = state
            next.busy[chain] -= 1
            result.append((settled(next), rates[chain] * Double(state.busy[chain])))
        }
        return result
    }

    func solve() -> Means {
        var states = [State(busy: rates.map { _ in 0 }, queue: 0)]
        var positions = [states[0]: 0]
        var explored = 0
        var flows: [(from: Int, to: Int, rate: Double)] = []
        while explored < states.count {
            for (next, rate) in transitions(from: states[explored]) {
                let position = positions[next] ?? states.count
                if position == states.count {
                    positions[next] = position
                    states.append(next)
                }
                flows.append((explored, position, rate))
            }
            explored += 1
        }
        let probabilities = Self.stationary(count: states.count, flows: flows)
        var means = Means(jobs: 0, waiting: 0, waitProbability: 0)
        for (state, probability) in zip(states, probabilities) {
            means.jobs += probability * Double(state.busy.reduce(0, +) + state.queue)
            means.waiting += probability * Double(state.queue)
            let starts =
                state.queue == 0
                && rates.indices.contains {
                    thresholds[$0] == 1 && state.busy[$0] < capacities[$0]
                }
            if !starts { means.waitProbability += probability }
        }
        return means
    }

    /// `πQ = 0`, `Σπ = 1`, by the elimination of Grassmann, Taksar and Heyman: no subtraction, so no cancellation.
    private static func stationary(count: Int, flows: [(from: Int, to: Int, rate: Double)]) -> [Double] {
        var matrix = [[Double]](repeating: [Double](repeating: 0, count: count), count: count)
        for flow in flows where flow.from != flow.to { matrix[flow.from][flow.to] += flow.rate }
        for last in stride(from: count - 1, to: 0, by: -1) {
            let out = matrix[last][..<last].reduce(0, +)
            for row in 0..<last where matrix[row][last] != 0 {
                let factor = matrix[row][last] / out
                matrix[row][last] = factor
                for column in 0..<last where matrix[last][column] != 0 {
                    matrix[row][column] += factor * matrix[last][column]
                }
            }
        }
        var weights = [1.0]
        for state in 1..<count {
            weights.append((0..<state).reduce(0) { $0 + weights[$1] * matrix[$1][state] })
        }
        let sum = weights.reduce(0, +)
        return weights.map { $0 / sum }
    }
}
