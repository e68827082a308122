import Foundation

/// JFFC simulated job by job, straightforwardly: nothing of the analysis under test.
struct SimulatedQueue {
    let rates: [Double]
    let capacities: [Int]
    let arrivalRate: Double

    struct Figures {
        var meanResponse: Double
        var responseVariance: Double
        /// Share of the jobs that waited longer than each of the given times.
        var tail: [Double]
    }

    /// - Parameter times: Times for which the share of longer waits is counted, seconds.
    func run(jobs: Int, times: [Double], using generator: inout Xoshiro) -> Figures {
        // By chain, the times at which its slots are free again.
        var free = capacities.map { [Double](repeating: 0, count: $0) }
        var (now, sum, squares) = (0.0, 0.0, 0.0)
        var longer = [Int](repeating: 0, count: times.count)
        for _ in 0..<jobs {
            now += exponential(arrivalRate, &generator)
            var (chain, slot, earliest) = (0, 0, Double.infinity)
            search: for candidate in rates.indices {
                for position in free[candidate].indices {
                    if free[candidate][position] <= now {
                        (chain, slot, earliest) = (candidate, position, now)
                        break search
                    }
                    if free[candidate][position] < earliest {
                        (chain, slot, earliest) = (candidate, position, free[candidate][position])
                    }
                }
            }
            // First come, first served: the head takes the slot that is free first.
            let wait = max(0, earliest - now)
            let end = now + wait + exponential(rates[chain], &generator)
            free[chain][slot] = end
            sum += end - now
            squares += (end - now) * (end - now)
            for (position, time) in times.enumerated() where wait > time { longer[position] += 1 }
        }
        let mean = sum / Double(jobs)
        return Figures(
            meanResponse: mean, responseVariance: squares / Double(jobs) - mean * mean,
            tail: longer.map { Double($0) / Double(jobs) })
    }

    private func exponential(_ rate: Double, _ generator: inout Xoshiro) -> Double {
        -log(Double.random(in: Double.leastNonzeroMagnitude...1, using: &generator)) / rate
    }
}
