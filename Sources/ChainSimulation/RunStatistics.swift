import ChainModel

/// What is counted while a simulation runs. O(1) per event; memory does not grow with the run, unless every
/// request is to be kept.
struct RunStatistics: ~Copyable {
    /// A job that ended before it was known whether it counts.
    struct EarlyJob {
        var record: SimulatedJob
        var job: UInt64
        var end: Int64
        var firstToken: Int64
    }

    private let length: RunLength
    private let hasTokens: Bool
    private let savesRequests: Bool
    private let warmUp: UInt64

    /// Counted jobs of this stage, and those of them that have not ended.
    private(set) var target: Int
    private(set) var remaining: Int
    private var batches: BatchMeans
    private var early: [EarlyJob] = []
    /// Of jobs that started at once, whose response is their service.
    private var atOnce = HistogramCounter()
    /// Of jobs that waited.
    private var response = HistogramCounter()
    private var wait = HistogramCounter()
    private var service = HistogramCounter()
    private var firstToken = HistogramCounter()
    private var interToken = HistogramCounter()
    private var tokenGaps = HistogramCounter()
    private var completedCount = 0
    private var failedCount = 0
    private var refusedCount = 0
    private var retries = 0
    private var arrivals: UInt64 = 0
    private var inputTokens = 0
    private var outputTokens = 0
    private var requests: [RequestRecord] = []
    private var precisionMet: Bool?

    private var chains: OwnedBuffer<ChainTally>

    /// Integral of the number of jobs over time, and the sum of times in the system, modulo 2⁶⁴ nanoseconds.
    private var jobTime: UInt64 = 0
    private var sojourns: UInt64 = 0
    /// The integral when it was last added up.
    private var addedUp: UInt64 = 0
    private var timeline: OccupancyTimeline
    /// Integral of the number of jobs over the current interval, as far as it was added up.
    private var areaInInterval = 0.0

    /// From the first counted arrival to the last.
    private var window = Window()

    struct Window {
        var start: Int64 = 0
        var end: Int64 = 0
        /// Integral of the number of jobs since the start, nanoseconds.
        var jobTime = 0.0
        var jobTimeAtEnd = 0.0
        var busyAtEnd: [Double] = []
    }

    init(_ simulation: Simulation) {
        // Nothing may read `self` before it is whole: the compiler (6.3) then destroys what is not there yet.
        let length = simulation.length
        precondition(length.jobs >= 1 && length.warmUp >= 0, "A run needs jobs to count.")
        self.length = length
        hasTokens = simulation.sizes.areTokens
        savesRequests = simulation.savesRequests
        warmUp = UInt64(length.warmUp)
        target = length.jobs
        remaining = length.jobs
        batches = BatchMeans(jobs: length.jobs)
        let chains = simulation.system.chains
        self.chains = OwnedBuffer(repeating: ChainTally(), count: chains.count)
        let shortest = chains.first?.serviceTime ?? 1
        timeline = OccupancyTimeline(length: max(1, Int64(shortest * 1e9)), chainCount: chains.count)
    }

    /// Jobs that run on a chain.
    func running(on chain: Int) -> Int { chains[chain].running }

    // MARK: Events

    /// Until `time` so many jobs were in the system.
    @inline(__always)
    mutating func hold(inSystem: Int, since now: Int64, until time: Int64) {
        var since = now
        while time >= timeline.intervalEnd {
            integrate(inSystem, timeline.intervalEnd &- since)
            since = timeline.intervalEnd
            closeInterval()
        }
        integrate(inSystem, time &- since)
    }

    @inline(__always)
    private mutating func integrate(_ inSystem: Int, _ span: Int64) {
        jobTime &+= UInt64(bitPattern: Int64(inSystem) &* span)
    }

    /// Adds the integrals' growth until `time` to the window and to the timeline's interval.
    private mutating func addUp(until time: Int64) {
        let jobArea = Double(jobTime &- addedUp)
        addedUp = jobTime
        window.jobTime += jobArea
        areaInInterval += jobArea
        for chain in 0..<chains.count {
            var tally = chains[chain]
            let integral = UInt64(bitPattern: Int64(tally.running) &* time) &+ tally.balance
            let area = Double(integral &- tally.addedUp)
            tally.addedUp = integral
            tally.busy += area
            tally.inInterval += area
            chains[chain] = tally
        }
    }

    private mutating func closeInterval() {
        addUp(until: timeline.intervalEnd)
        timeline.closeInterval(area: areaInInterval, chains)
        areaInInterval = 0
        for chain in 0..<chains.count { chains[chain].inInterval = 0 }
    }

    @inline(__always)
    mutating func arrived(_ job: UInt64, at time: Int64) {
        arrivals &+= 1
        if job == warmUp { openWindow(at: time) }
        if job &+ 1 == warmUp &+ UInt64(target) { closeWindow(at: time) }
    }

    private mutating func openWindow(at time: Int64) {
        addUp(until: time)
        window.start = time
        window.jobTime = 0
        for chain in 0..<chains.count {
            chains[chain].busy = 0
            chains[chain].ended = 0
        }
    }

    private mutating func closeWindow(at time: Int64) {
        addUp(until: time)
        window.end = time
        window.jobTimeAtEnd = window.jobTime
        window.busyAtEnd = (0..<chains.count).map { chains[$0].busy }
    }

    @inline(__always)
    mutating func start(chain: Int, at time: Int64, isRetry: Bool) {
        chains[chain].running &+= 1
        chains[chain].balance &-= UInt64(bitPattern: time)
        if isRetry { retries += 1 }
    }

    @inline(__always)
    mutating func leave(chain: Int, at time: Int64) {
        chains[chain].running &-= 1
        chains[chain].balance &+= UInt64(bitPattern: time)
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

    @inline(__always)
    private mutating func count(_ record: SimulatedJob, index: Int, at time: Int64, firstToken token: Int64) {
        remaining &-= 1
        completedCount &+= 1
        chains[Int(record.chain)].ended &+= 1
        let responseTime = time &- record.arrival
        let waitTime = record.firstStart &- record.arrival
        if waitTime == 0 {
            atOnce.add(responseTime)
        } else {
            response.add(responseTime)
            wait.add(waitTime)
            service.add(time &- record.firstStart)
        }
        batches.add(
            index: index, response: responseTime, wait: waitTime, firstToken: token &- record.arrival)
        if hasTokens { countTokens(record, at: time, firstToken: token) }
        if savesRequests { save(record, index: index, at: time, firstToken: token) }
    }

    private mutating func countTokens(_ record: SimulatedJob, at time: Int64, firstToken token: Int64) {
        firstToken.add(token - record.arrival)
        inputTokens += Int(record.inputTokens)
        outputTokens += Int(record.outputTokens)
        if record.outputTokens > 1 {
            let gaps = Int(record.outputTokens) - 1
            interToken.add((time - token) / Int64(gaps))
            tokenGaps.add((time - token) / Int64(gaps), times: gaps)
        }
    }

    private mutating func save(
        _ record: SimulatedJob, index: Int, at time: Int64, firstToken: Int64
    ) {
        let seconds = { (span: Int64) in Double(span) / 1e9 }
        requests.append(
            RequestRecord(
                number: index + length.warmUp, arrival: seconds(record.arrival),
                wait: seconds(record.firstStart - record.arrival),
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
        let estimate = estimates(TimeHistograms(self)).response
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
    mutating func close(_ jobs: borrowing SimulatedJobs, at now: Int64) {
        for job in jobs.oldest..<jobs.next where jobs[job].arrival >= 0 {
            left(since: jobs[job].arrival, at: now)
        }
        if window.busyAtEnd.isEmpty { closeWindow(at: now) }
    }

    struct Estimates {
        var response: Estimate
        var wait: Estimate
        var service: Estimate
        var firstToken: Estimate
        var waitProbability: Estimate
        var degrees: Int
    }

    /// The histograms over all counted jobs.
    private struct TimeHistograms {
        var response: LogHistogram
        var wait: LogHistogram
        var service: LogHistogram
        var firstToken: LogHistogram

        init(_ statistics: borrowing RunStatistics) {
            let atOnce = LogHistogram(statistics.atOnce)
            response = LogHistogram(statistics.response)
            response.merge(atOnce)
            service = LogHistogram(statistics.service)
            service.merge(atOnce)
            wait = LogHistogram(statistics.wait)
            wait.addZeros(atOnce.count)
            firstToken = LogHistogram(statistics.firstToken)
        }
    }

    /// Means over all counted jobs, 95 % intervals from batch means.
    private func estimates(_ times: TimeHistograms) -> Estimates {
        let confidence = 0.95
        let complete = batches.complete(jobs: target).filter { $0.jobs > 0 }
        func estimate(_ mean: Double, _ value: (BatchMeans.Sums) -> Double) -> Estimate {
            let spread = Estimate(complete.map { value($0) / Double($0.jobs) }, confidence: confidence)
            return Estimate(mean: mean, halfWidth: spread.halfWidth, confidence: confidence)
        }
        let all = max(1, Double(times.response.count))
        let waited = batches.waited
        return Estimates(
            response: estimate(times.response.mean) { $0.response / 1e9 },
            wait: estimate(times.wait.mean) { $0.wait / 1e9 },
            service: estimate(times.service.mean) { ($0.response - $0.wait) / 1e9 },
            firstToken: estimate(times.firstToken.mean) { $0.firstToken / 1e9 },
            waitProbability: estimate(Double(waited) / all) { Double($0.waited) },
            degrees: max(1, complete.count - 1))
    }

    func result(
        _ simulation: Simulation, replication: Int, events: Int, trouble: String?, overload: String?
    ) -> SimulationResult {
        let times = TimeHistograms(self)
        let estimates = estimates(times)
        let interToken = LogHistogram(interToken)
        let tokenGaps = LogHistogram(tokenGaps)
        let span = Double(window.end - window.start)
        let chains = zip(simulation.system.chains, window.busyAtEnd).enumerated().map { chain, pair in
            ChainUse(
                utilisation: span > 0 ? pair.1 / span / Double(pair.0.capacity) : 0,
                jobs: self.chains[chain].ended)
        }
        let rate = span > 0 ? Double(target - 1) / (span / 1e9) : 0
        let meanJobs = span > 0 ? window.jobTimeAtEnd / span : 0
        let lawful = rate * times.response.mean
        let unstable = trouble ?? overload ?? drift(meanService: times.service.mean)
        return SimulationResult(
            policy: simulation.policy.name, seed: simulation.seed, replications: 1,
            completed: completedCount, failed: failedCount, refused: refusedCount, retries: retries,
            events: events, duration: span / 1e9, arrivalRate: rate,
            response: TimeSummary(estimate: estimates.response, histogram: times.response),
            wait: TimeSummary(estimate: estimates.wait, histogram: times.wait),
            service: TimeSummary(estimate: estimates.service, histogram: times.service),
            firstToken: hasTokens
                ? TimeSummary(estimate: estimates.firstToken, histogram: times.firstToken) : nil,
            interToken: hasTokens
                ? TimeSummary(
                    estimate: Estimate(mean: interToken.mean, halfWidth: nil), histogram: interToken) : nil,
            tokenGaps: hasTokens
                ? TimeSummary(
                    estimate: Estimate(mean: tokenGaps.mean, halfWidth: nil), histogram: tokenGaps) : nil,
            waitProbability: estimates.waitProbability, degrees: estimates.degrees,
            inputTokens: inputTokens, outputTokens: outputTokens, chains: chains,
            servers: simulation.system.serverUse(chains), meanJobs: meanJobs,
            littleDifference: lawful > 0 ? (meanJobs - lawful).magnitude / lawful : 0,
            littleHolds: jobTime == sojourns, timeline: timeline, unstable: unstable,
            hasMeans: trouble == nil && (unstable == nil || simulation.arrivals.isTrace),
            precisionMet: precisionMet,
            requests: requests)
    }

    /// Signs of a queue that grows: the wait rises from quarter to quarter, and the last is far above the first.
    private func drift(meanService: Double) -> String? {
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
            quarters[3] / 1e9 > 2 * meanService
        else { return nil }
        return "the wait grew throughout the run, from \(Self.rounded(quarters[0])) to "
            + "\(Self.rounded(quarters[3])) s: it has no mean"
    }

    private static func rounded(_ nanoseconds: Double) -> Double { (nanoseconds / 1e6).rounded() / 1e3 }
}
