@testable import ChainSimulation

/// Jobs served by unequal slots, first come, first served: JFFC written as a recursion over jobs instead of events.
///
/// Each job starts on the fastest chain with a free slot, else on the slot that is free first. Independent of the
/// calendar and the dispatcher; times in whole nanoseconds, as in the simulator.
struct SlotQueue {
    let rates: [Double]
    let capacities: [Int]

    struct Job: Equatable {
        var arrival: Int64
        var start: Int64
        var end: Int64
        var chain: Int
    }

    /// The first jobs of a workload, with the simulator's own arrivals and sizes.
    func run(
        jobs: Int, arrivals process: ArrivalProcess, sizes law: JobSizes = .exponential, seed: UInt64,
        visit: (Job) -> Void
    ) {
        var arrivals = ArrivalSource(process, seed: seed, replication: 0)
        var sizes = SizeSource(law, seed: seed, replication: 0)
        let service = rates.map { 1 / $0 * 1e9 }
        let total = capacities.reduce(0, +)
        let chainOf = capacities.indices.flatMap { Array(repeating: $0, count: capacities[$0]) }
        withUnsafeTemporaryAllocation(of: Int64.self, capacity: total) { free in
            free.initialize(repeating: 0)
            for _ in 0..<jobs {
                let arrival = arrivals.next
                var chosen = 0
                for slot in 0..<total {
                    if free[slot] <= arrival {
                        chosen = slot
                        break
                    }
                    if free[slot] < free[chosen] { chosen = slot }
                }
                let start = max(arrival, free[chosen])
                let end = start + Int64(service[chainOf[chosen]] * sizes.size() + 0.5)
                free[chosen] = end
                visit(Job(arrival: arrival, start: start, end: end, chain: chainOf[chosen]))
                arrivals.advance()
            }
        }
    }

    /// Mean response time, seconds, with a 99.9 % interval from 25 batches; the first tenth is left out.
    func meanResponse(
        jobs: Int, arrivalRate: Double, sizes: JobSizes = .exponential, seed: UInt64
    ) -> Estimate {
        var sums = Array(repeating: 0.0, count: 25)
        var number = 0
        let warmUp = jobs / 10
        run(jobs: jobs + warmUp, arrivals: .poisson(rate: arrivalRate), sizes: sizes, seed: seed) { job in
            if number >= warmUp { sums[(number - warmUp) * 25 / jobs] += Double(job.end - job.arrival) }
            number += 1
        }
        return Estimate(sums.map { $0 / Double(jobs / 25) / 1e9 }, confidence: 0.999)
    }
}
