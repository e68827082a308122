/// The ideal that no rule without preemption reaches: jobs move to faster slots as soon as those come free, so that
/// `n` jobs always occupy the `n` fastest slots.
///
/// With Poisson arrivals and exponential sizes the number of jobs is a birth–death process with the death rates
/// of Theorem 4's lower bound, so its mean is that bound: a check of simulator and bound alike.
package struct MigratingIdeal: Sendable {
    package var system: SimulatedSystem
    package var arrivalRate: Double

    package init(_ system: SimulatedSystem, arrivalRate: Double) {
        self.system = system
        self.arrivalRate = arrivalRate
    }

    /// Mean response time, with an interval from 20 batches. O(jobs × jobs in the system).
    package func run(jobs: Int, warmUp: Int, seed: UInt64, confidence: Double = 0.95) -> Estimate {
        var arrivals = RandomStream(seed: seed, purpose: .arrivals)
        var sizes = RandomStream(seed: seed, purpose: .sizes)
        let slotTimes = system.chains.flatMap { chain in
            Array(repeating: chain.serviceTime, count: chain.capacity)
        }
        // In order of arrival; the job at a position has the slot of that position.
        var present: [(number: Int, arrival: Double, work: Double)] = []
        var (now, next, arrived, ended) = (0.0, arrivals.exponential() / arrivalRate, 0, 0)
        var sums = Array(repeating: (time: 0.0, jobs: 0), count: 20)
        while ended < jobs {
            var (first, position) = (Double.infinity, -1)
            for slot in 0..<min(present.count, slotTimes.count) {
                let end = now + present[slot].work * slotTimes[slot]
                if end < first { (first, position) = (end, slot) }
            }
            let time = min(first, next)
            for slot in 0..<min(present.count, slotTimes.count) {
                present[slot].work -= (time - now) / slotTimes[slot]
            }
            now = time
            if first <= next {
                let job = present.remove(at: position)
                if job.number >= warmUp, job.number < warmUp + jobs {
                    let batch = (job.number - warmUp) * sums.count / jobs
                    sums[batch].time += now - job.arrival
                    sums[batch].jobs += 1
                    ended += 1
                }
            } else {
                present.append((arrived, now, sizes.exponential()))
                arrived += 1
                next += arrivals.exponential() / arrivalRate
            }
        }
        return Estimate(sums.map { $0.time / Double($0.jobs) }, confidence: confidence)
    }
}
