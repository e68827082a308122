import ChainModel

/// What is counted while a simulation runs. O(1) per event; memory does not grow with the run, unless every
/// request is to be kept.
struct RunStatistics: Sendable {
    /// A job that ended before it was known whether it counts.
    private struct EarlyJob {
        var record: SimulatedJob
        var job: UInt64
        var end: Int64
        var firstToken: Int64
    }

    private let length: RunLength
    private let hasTokens: Bool
    private let savesRequests: Bool
    private let warmUp: UInt64
    private let capacity: Int

    /// Counted jobs of this stage, and those of them that have not ended.
    private(set) var target: Int
    private(set) var remaining: Int
    private var batches: BatchMeans
    private var early: [EarlyJob] = []
    private var response = LogHistogram()
    private var wait = LogHistogram()
    private var service = LogHistogram()
    private var firstToken = LogHistogram()
    private var interToken = LogHistogram()
    private var completedCount = 0
    private var failedCount = 0
    private var refusedCount = 0
    private var retries = 0
    private var arrivals: UInt64 = 0
    private var inputTokens = 0
    private var outputTokens = 0
    private var requests: [RequestRecord] = []
    private var precisionMet: Bool?

    /// Jobs that run on each chain, with the integral over time, nanoseconds.
    private(set) var running: [Int]
    private var totalRunning = 0
    private var busy: [Double]
    private var busySince: [Int64]
    private var endedOn: [Int]
    private var timeline: OccupancyTimeline

    /// Integrals of the number of jobs over time, and sums of times in the system, modulo 2⁶⁴ nanoseconds.
    private var jobTime: UInt64 = 0
    private var sojourns: UInt64 = 0

    /// From the first counted arrival to the last.
    private var window = Window()

    private struct Window {
        var start: Int64 = 0
        var end: Int64 = 0
        /// Integral of the number of jobs since the start, nanoseconds.
        var jobTime = 0.0
        var jobTimeAtEnd = 0.0
        var busyAtEnd: [Double] = []
        var waitingAtEnd = 0
        var isOpen = false
    }

    init(_ simulation: Simulation) {
        length = simulation.length
        precondition(length.jobs >= 1 && length.warmUp >= 0, "A run needs jobs to count.")
        hasTokens = simulation.sizes.areTokens
        savesRequests = simulation.savesRequests
        warmUp = UInt64(length.warmUp)
        target = length.jobs
        remaining = length.jobs
        batches = BatchMeans(jobs: length.jobs)
        let chains = simulation.system.chains
        capacity = simulation.system.totalCapacity
        running = Array(repeating: 0, count: chains.count)
        busy = Array(repeating: 0, count: chains.count)
        busySince = Array(repeating: 0, count: chains.count)
        endedOn = Array(repeating: 0, count: chains.count)
        let shortest = chains.first?.serviceTime ?? 1
        timeline = OccupancyTimeline(length: max(1, Int64(shortest * 1e9)))
    }

    // MARK: Events

    @inline(__always)
    mutating func hold(inSystem: Int, until time: Int64, since now: Int64) {
        let span = time &- now
        jobTime &+= UInt64(bitPattern: Int64(inSystem)) &* UInt64(bitPattern: span)
        window.jobTime += Double(inSystem) * Double(span)
        timeline.hold(running: totalRunning, waiting: inSystem &- totalRunning, until: time)
    }

    /// - Precondition: the job is not in `inSystem` of the last `hold`.
    @inline(__always)
    mutating func arrived(_ job: UInt64, at time: Int64) {
        arrivals &+= 1
        if job == warmUp { openWindow(at: time) }
        if job &+ 1 == warmUp &+ UInt64(target) { closeWindow(at: time) }
    }

    private mutating func openWindow(at time: Int64) {
        window.start = time
        window.jobTime = 0
        window.isOpen = true
        for chain in busy.indices {
            busy[chain] = 0
            busySince[chain] = time
            endedOn[chain] = 0
        }
    }

    private mutating func closeWindow(at time: Int64) {
        window.end = time
        window.jobTimeAtEnd = window.jobTime
        window.waitingAtEnd = 0
        for chain in busy.indices { settle(chain, at: time) }
        window.busyAtEnd = busy
    }

    @inline(__always)
    private mutating func settle(_ chain: Int, at time: Int64) {
        busy[chain] += Double(running[chain]) * Double(time &- busySince[chain])
        busySince[chain] = time
    }

    @inline(__always)
    mutating func start(chain: Int, isRetry: Bool, at time: Int64) {
        settle(chain, at: time)
        running[chain] &+= 1
        totalRunning &+= 1
        if isRetry { retries += 1 }
    }

    @inline(__always)
    mutating func leave(chain: Int, at time: Int64) {
        settle(chain, at: time)
        running[chain] &-= 1
        totalRunning &-= 1
    }

    @inline(__always)
    mutating func left(since arrival: Int64, at time: Int64) {
        sojourns &+= UInt64(bitPattern: time &- arrival)
    }

    /// A job ended well.
    @inline(__always)
    mutating func completed(_ record: SimulatedJob, _ job: UInt64, at time: Int64, firstToken: Int64) {
        guard job >= warmUp else { return }
        let index = Int(truncatingIfNeeded: job &- warmUp)
        if index >= target {
            if length.precision != nil {
                early.append(EarlyJob(record: record, job: job, end: time, firstToken: firstToken))
            }
            return
        }
        count(record, index: index, at: time, firstToken: firstToken)
    }

    private mutating func count(_ record: SimulatedJob, index: Int, at time: Int64, firstToken token: Int64) {
        remaining &-= 1
        completedCount &+= 1
        endedOn[Int(record.chain)] &+= 1
        let responseTime = time &- record.arrival
        let waitTime = record.firstStart &- record.arrival
        response.add(responseTime)
        wait.add(waitTime)
        service.add(time &- record.firstStart)
        batches.add(
            index: index, response: responseTime, wait: waitTime, firstToken: token &- record.arrival)
        if hasTokens { countTokens(record, at: time, firstToken: token) }
        if savesRequests { save(record, at: time, firstToken: token) }
    }

    private mutating func countTokens(_ record: SimulatedJob, at time: Int64, firstToken token: Int64) {
        firstToken.add(token - record.arrival)
        inputTokens += Int(record.inputTokens)
        outputTokens += Int(record.outputTokens)
        if record.outputTokens > 1 { interToken.add((time - token) / Int64(record.outputTokens - 1)) }
    }

    private mutating func save(_ record: SimulatedJob, at time: Int64, firstToken: Int64) {
        let seconds = { (span: Int64) in Double(span) / 1e9 }
        requests.append(
            RequestRecord(
                arrival: seconds(record.arrival), wait: seconds(record.firstStart - record.arrival),
                service: seconds(time - record.firstStart), firstToken: seconds(firstToken - record.arrival),
                chain: ChainIndex(Int(record.chain)), attempts: Int(record.attempts),
                tokens: hasTokens
                    ? TokenCounts(input: Int(record.inputTokens), output: Int(record.outputTokens)) : nil))
    }

    mutating func failed(_ job: UInt64) { if countsLoss(of: job) { failedCount += 1 } }
    mutating func refused(_ job: UInt64) { if countsLoss(of: job) { refusedCount += 1 } }

    private mutating func countsLoss(of job: UInt64) -> Bool {
        guard job >= warmUp, job - warmUp < UInt64(target) else { return false }
        remaining -= 1
        return true
    }

    // MARK: The end

    /// The arrivals are over: the jobs that came are the jobs that count.
    mutating func noMoreArrivals() {
        let counted = arrivals > warmUp ? Int(arrivals - warmUp) : 0
        guard counted < target else { return }
        remaining -= target - counted
        target = counted
    }

    /// Twice as many jobs, if a precision is asked for, not met, and the bound allows it.
    mutating func extend() -> Bool {
        guard let precision = length.precision else { return false }
        let estimate = estimates(confidence: 0.95).response
        precisionMet = estimate.relativeHalfWidth.map { $0 <= precision } ?? false
        guard precisionMet == false, target * 2 <= length.mostJobs, arrivals >= warmUp + UInt64(target)
        else { return false }
        remaining += target
        target *= 2
        let ended = early
        early.removeAll(keepingCapacity: true)
        for job in ended {
            completed(job.record, job.job, at: job.end, firstToken: job.firstToken)
        }
        return true
    }

    /// Adds the times so far of the jobs that have not ended.
    mutating func close(_ jobs: SimulatedJobs, at now: Int64) {
        for job in jobs.oldest..<jobs.next where jobs[job].arrival >= 0 {
            left(since: jobs[job].arrival, at: now)
        }
        if window.busyAtEnd.isEmpty { closeWindow(at: now) }
        window.waitingAtEnd = 0
    }

    struct Estimates {
        var response: Estimate
        var wait: Estimate
        var service: Estimate
        var firstToken: Estimate
        var waitProbability: Estimate
        var degrees: Int
    }

    /// Means over all counted jobs, intervals from batch means.
    func estimates(confidence: Double) -> Estimates {
        let complete = batches.complete(jobs: target).filter { $0.jobs > 0 }
        func estimate(_ mean: Double, _ value: (BatchMeans.Sums) -> Double) -> Estimate {
            let spread = Estimate(complete.map { value($0) / Double($0.jobs) }, confidence: confidence)
            return Estimate(mean: mean, halfWidth: spread.halfWidth, confidence: confidence)
        }
        let all = max(1, Double(response.count))
        let waited = batches.batches.reduce(0) { $0 + $1.waited }
        return Estimates(
            response: estimate(response.mean) { $0.response / 1e9 },
            wait: estimate(wait.mean) { $0.wait / 1e9 },
            service: estimate(service.mean) { ($0.response - $0.wait) / 1e9 },
            firstToken: estimate(firstToken.mean) { $0.firstToken / 1e9 },
            waitProbability: estimate(Double(waited) / all) { Double($0.waited) },
            degrees: max(1, complete.count - 1))
    }

    func result(
        _ simulation: Simulation, replication: Int, events: Int, trouble: String?
    ) -> SimulationResult {
        let estimates = estimates(confidence: 0.95)
        let span = Double(window.end - window.start)
        let chains = zip(simulation.system.chains, window.busyAtEnd).enumerated().map { chain, pair in
            ChainUse(
                utilisation: span > 0 ? pair.1 / span / Double(pair.0.capacity) : 0, jobs: endedOn[chain])
        }
        let rate = span > 0 ? Double(target - 1) / (span / 1e9) : 0
        let meanJobs = span > 0 ? window.jobTimeAtEnd / span : 0
        let lawful = rate * response.mean
        return SimulationResult(
            policy: simulation.policy.name, seed: simulation.seed, replications: 1,
            completed: completedCount, failed: failedCount, refused: refusedCount, retries: retries,
            events: events, duration: span / 1e9, arrivalRate: rate,
            response: TimeSummary(estimate: estimates.response, histogram: response),
            wait: TimeSummary(estimate: estimates.wait, histogram: wait),
            service: TimeSummary(estimate: estimates.service, histogram: service),
            firstToken: hasTokens
                ? TimeSummary(estimate: estimates.firstToken, histogram: firstToken) : nil,
            interToken: hasTokens
                ? TimeSummary(
                    estimate: Estimate(mean: interToken.mean, halfWidth: nil), histogram: interToken) : nil,
            waitProbability: estimates.waitProbability, degrees: estimates.degrees,
            inputTokens: inputTokens, outputTokens: outputTokens, chains: chains,
            servers: simulation.system.serverUse(chains), meanJobs: meanJobs,
            littleDifference: lawful > 0 ? (meanJobs - lawful).magnitude / lawful : 0,
            littleHolds: jobTime == sojourns, timeline: timeline,
            unstable: trouble ?? simulation.overload ?? drift, precisionMet: precisionMet,
            requests: requests)
    }

    /// Signs of a queue that grows: the wait rises from quarter to quarter, and the last is far above the first.
    private var drift: String? {
        let waits = batches.complete(jobs: target).filter { $0.jobs > 0 }.map { $0.wait / Double($0.jobs) }
        let quarter = waits.count / 4
        guard quarter >= 4 else { return nil }
        let quarters = (0..<4).map { part in
            waits[(waits.count * part / 4)..<(waits.count * (part + 1) / 4)].reduce(0, +)
                / Double(waits.count * (part + 1) / 4 - waits.count * part / 4)
        }
        // A queue that grows steadily has mean waits as 1 : 3 : 5 : 7.
        let rises = quarters[0] < quarters[1] && quarters[1] < quarters[2] && quarters[2] < quarters[3]
        let steps = [quarters[1] - quarters[0], quarters[2] - quarters[1], quarters[3] - quarters[2]]
        let least = steps.reduce(.infinity) { min($0, $1) }
        let largest = steps.reduce(0) { max($0, $1) }
        guard rises, quarters[3] > 2.5 * quarters[0], least > 0.25 * largest,
            quarters[3] / 1e9 > 2 * service.mean
        else { return nil }
        return "the wait grew throughout the run, from \(Self.rounded(quarters[0])) to "
            + "\(Self.rounded(quarters[3])) s: it has no mean"
    }

    private static func rounded(_ nanoseconds: Double) -> Double { (nanoseconds / 1e6).rounded() / 1e3 }
}

extension SimulatedSystem {
    /// What chains' use means for their servers.
    func serverUse(_ chains: [ChainUse]) -> [ServerUse] {
        var slots = Array(repeating: 0.0, count: serverCount)
        var jobs = Array(repeating: 0.0, count: serverCount)
        for (chain, use) in zip(self.chains, chains) {
            let running = use.utilisation * Double(chain.capacity)
            for (server, blocks) in zip(chain.servers, chain.blocks) {
                slots[server.rawValue] += running * Double(blocks)
                jobs[server.rawValue] += running
            }
        }
        return (0..<serverCount).map {
            let total = Double(cacheSlots[$0])
            return ServerUse(cacheUse: total > 0 ? slots[$0] / total : 0, meanJobs: jobs[$0])
        }
    }

    /// Total service rate for a law of sizes, jobs per second: `ν`, or with token times what they make of the
    /// mean request.
    package func totalRate(for sizes: JobSizes) -> Double {
        guard let mean = sizes.meanTokens, let tokenTimes else { return totalRate }
        return zip(chains, tokenTimes).reduce(0) { sum, pair in
            let (chain, times) = pair
            let time =
                times.overhead + times.perInputToken * mean.input
                + times.perOutputToken * (mean.output - 1)
            return sum + Double(chain.capacity) / time
        }
    }
}

extension Simulation {
    /// Offered load `λ/ν`; `nil` for a closed loop.
    package var load: Double? { arrivals.meanRate.map { $0 / system.totalRate(for: sizes) } }

    /// Why there can be no steady state, if so. A trace ends: it has means whatever its load.
    var overload: String? {
        if case .times = arrivals { return nil }
        guard let load, load >= 1 else { return nil }
        let rounded = (load * 1000).rounded() / 1000
        return "the load is \(rounded): jobs arrive faster than the chains can serve them"
    }
}
