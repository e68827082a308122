import ChainModel

extension SparseChain {
    /// Means of a distribution over the states, with the geometric tail above the last.
    func solution(_ weights: [Double], residual: Double) -> Solution {
        let slots = capacities.reduce(0, +)
        var totalRate = 0.0
        for (rate, capacity) in zip(rates, capacities) { totalRate += rate * Double(capacity) }
        let load = arrivalRate / totalRate
        var sums = Sums()
        forEachState { number, state, busy in
            let level = levels[number]
            var jobs = number
            var starts = false
            for chain in rates.indices {
                jobs += busy[chain]
                if chain < level.joinEnd, number == 0, busy[chain] < capacities[chain] { starts = true }
            }
            sums.add(weights[state], jobs: Double(jobs), waiting: Double(number), waits: !starts)
        }
        // n ≥ 1 more jobs than in the last state, each step by the factor ρ: Σ ρⁿ, Σ n·ρⁿ and Σ n²·ρⁿ.
        let full = weights[stateCount - 1]
        let rest = 1 - load
        let (none, one) = (load / rest, load / (rest * rest))
        let two = load * (1 + load) / (rest * rest * rest)
        let waiting = Double(levels.count - 1)
        let jobs = Double(slots) + waiting
        sums.total += full * none
        sums.waits += full * none
        sums.jobs += full * (jobs * none + one)
        sums.waiting += full * (waiting * none + one)
        sums.squares += full * (jobs * jobs * none + 2 * jobs * one + two)
        let mean = sums.jobs / sums.total
        return Solution(
            meanJobs: mean, jobsVariance: sums.squares / sums.total - mean * mean,
            meanWaiting: sums.waiting / sums.total, waitProbability: sums.waits / sums.total,
            residual: residual, stateCount: stateCount)
    }

    private struct Sums {
        var total = 0.0
        var jobs = 0.0
        var squares = 0.0
        var waiting = 0.0
        var waits = 0.0

        mutating func add(_ weight: Double, jobs count: Double, waiting queue: Double, waits turnedAway: Bool)
        {
            total += weight
            jobs += weight * count
            squares += weight * count * count
            waiting += weight * queue
            if turnedAway { waits += weight }
        }
    }
}
