import ChainDispatch
import ChainModel

/// One run: pops the calendar, tells the dispatcher, and carries its actions out.
///
/// At equal times completions come first, then changes of servers, then arrivals.
struct SimulationRun<Dispatching: JobDispatching>: ~Copyable {
    let simulation: Simulation
    private let replication: Int
    private var dispatcher: Dispatching
    private var arrivals: ArrivalSource
    private var sizes: SizeSource
    private var faults: FaultSource
    private var calendar = EventCalendar()
    private var actions: [Dispatcher.Action] = []
    private let serviceNanoseconds: [Double]
    private let tokenTimes: [TokenTimes]

    private(set) var jobs = SimulatedJobs()
    /// Jobs that wait or run.
    private(set) var inSystem = 0
    private(set) var now: Int64 = 0
    private(set) var statistics: RunStatistics
    private(set) var events = 0
    private var stop = Stop.no

    private enum Stop { case no, done, overloaded, stalled }

    init(_ simulation: Simulation, dispatcher: Dispatching, replication: Int) {
        let seed = simulation.seed
        let tokenTimes = simulation.sizes.areTokens ? simulation.system.tokenTimes ?? [] : []
        precondition(
            !simulation.sizes.areTokens || tokenTimes.count == simulation.system.chains.count,
            "Sizes in tokens need the chains' token times.")
        // Nothing may read `self` before it is whole: the compiler (6.3) then destroys what is not there yet.
        self.simulation = simulation
        self.replication = replication
        self.dispatcher = dispatcher
        self.tokenTimes = tokenTimes
        arrivals = ArrivalSource(simulation.arrivals, seed: seed, replication: replication)
        sizes = SizeSource(simulation.sizes, seed: seed, replication: replication)
        faults = FaultSource(
            simulation.faults, serverCount: simulation.system.serverCount, seed: seed,
            replication: replication)
        serviceNanoseconds = simulation.system.chains.map { $0.serviceTime * 1e9 }
        statistics = RunStatistics(simulation)
    }

    mutating func result() -> SimulationResult {
        for server in 0..<simulation.system.serverCount {
            handle(.serverReady(ServerIndex(server)))
        }
        events = 0
        while stop == .no { step() }
        statistics.close(jobs, at: now)
        return statistics.result(
            simulation, replication: replication, events: events, trouble: trouble,
            overload: simulation.overload)
    }

    /// What ended the run early.
    private var trouble: String? {
        switch stop {
        case .no, .done: nil
        case .overloaded: "\(inSystem) jobs were in the system when the run was given up"
        case .stalled: "\(inSystem) jobs wait for servers that do not return"
        }
    }

    /// Moves on to the next event.
    private mutating func step() {
        let completion = calendar.firstTime
        let change = faults.next
        let arrival = arrivals.next
        if completion <= change && completion <= arrival {
            guard completion != .max else {
                endOfEvents()
                return
            }
            complete()
        } else if change <= arrival {
            // Servers may come and go for ever after the last job of a trace.
            guard arrival != .max || inSystem > 0 else {
                endOfEvents()
                return
            }
            pass(to: change)
            let (server, isLost) = faults.take()
            handle(isLost ? .serverLost(server, returning: true) : .serverReady(server))
        } else {
            arrive()
        }
        if statistics.remaining == 0 { endOfStage() }
    }

    private mutating func pass(to time: Int64) {
        statistics.hold(inSystem: inSystem, since: now, until: time)
        now = time
    }

    private mutating func complete() {
        let (time, number, lowBits) = calendar.takeFirst()
        let job = jobs.number(lowBits: lowBits)
        // The entry of an abandoned attempt: its job ended or runs another.
        guard jobs[job].completion == number, jobs[job].arrival >= 0 else { return }
        pass(to: time)
        let record = jobs[job]
        statistics.leave(chain: Int(record.chain), at: now)
        statistics.completed(record, job, at: now, firstToken: firstToken(of: record))
        endRecord(job, arrival: record.arrival)
        handle(.jobCompleted(JobID(job), attempt: Int(record.attempts)))
    }

    private mutating func arrive() {
        let time = arrivals.next
        pass(to: time)
        arrivals.advance()
        var record = SimulatedJob()
        record.arrival = time
        if tokenTimes.isEmpty {
            record.size = sizes.size()
        } else {
            let tokens = sizes.tokens()
            record.inputTokens = Int32(clamping: tokens.input)
            record.outputTokens = Int32(clamping: tokens.output)
        }
        guard jobs.hasRoom, inSystem < simulation.length.mostJobsInSystem else {
            stop = .overloaded
            return
        }
        let job = jobs.append(record)
        inSystem += 1
        statistics.arrived(job, at: time)
        handle(.jobArrived(JobID(job)))
    }

    private mutating func handle(_ event: Dispatcher.Event) {
        dispatcher.handle(event, at: Instant(nanoseconds: now), into: &actions)
        events &+= 1
        // One action is the rule; taking it off is quicker than emptying the list.
        if actions.count == 1 {
            carryOut(actions.removeLast())
        } else if !actions.isEmpty {
            for position in 0..<actions.count { carryOut(actions[position]) }
            actions.removeAll(keepingCapacity: true)
        }
        assert(conserves())
    }

    private mutating func carryOut(_ action: Dispatcher.Action) {
        switch action {
        case .start(let id, let attempt, let chain):
            start(id.rawValue, attempt: attempt, on: chain.rawValue)
        case .queue, .drained: break
        case .abandon(let id, _, let chain):
            let job = id.rawValue
            let token = firstToken(of: jobs[job])
            if token <= now { jobs[job].firstToken = token }
            jobs[job].completion = 0
            statistics.leave(chain: chain.rawValue, at: now)
        case .refuse(let id, _):
            statistics.refused(id.rawValue)
            endRecord(id.rawValue, arrival: jobs[id.rawValue].arrival)
        case .fail(let id, _):
            statistics.failed(id.rawValue)
            endRecord(id.rawValue, arrival: jobs[id.rawValue].arrival)
        }
    }

    private mutating func start(_ job: UInt64, attempt: Int, on chain: Int) {
        let time: Int64
        if tokenTimes.isEmpty {
            time = Int64(serviceNanoseconds[chain] * jobs[job].size + 0.5)
        } else {
            time = Int64(tokenTimes[chain].service(jobs[job].tokens) * 1e9 + 0.5)
        }
        let number = calendar.insert(at: now &+ time, payload: job & (EventCalendar.payloadLimit - 1))
        Self.start(&jobs[job], attempt: attempt, on: chain, at: now, completion: number)
        statistics.start(chain: chain, at: now, isRetry: attempt > 1)
    }

    @inline(__always)
    private static func start(
        _ job: inout SimulatedJob, attempt: Int, on chain: Int, at now: Int64, completion: UInt64
    ) {
        job.completion = completion
        job.chain = Int32(truncatingIfNeeded: chain)
        job.attempts = Int32(truncatingIfNeeded: attempt)
        job.start = now
        if attempt == 1 { job.firstStart = now }
    }

    /// When the job's first token is, or was, there, nanoseconds; its start where jobs have no tokens.
    @inline(__always)
    private func firstToken(of job: SimulatedJob) -> Int64 {
        if tokenTimes.isEmpty { return job.firstStart }
        if job.firstToken >= 0 { return job.firstToken }
        return job.start + Int64(tokenTimes[Int(job.chain)].prefill(job.tokens) * 1e9 + 0.5)
    }

    private mutating func endRecord(_ job: UInt64, arrival: Int64) {
        statistics.left(since: arrival, at: now)
        inSystem -= 1
        jobs.end(job)
        arrivals.jobEnded(at: now)
    }

    /// No event is left: the trace is over, or what waits waits for ever.
    private mutating func endOfEvents() {
        statistics.noMoreArrivals()
        stop = inSystem > 0 ? .stalled : .done
    }

    /// All counted jobs have ended: the end, unless the precision asked for is not met.
    private mutating func endOfStage() {
        if arrivals.next == .max { statistics.noMoreArrivals() }
        if !statistics.extend() { stop = .done }
    }

    /// Conservation of jobs and slots, after every event of a debug build.
    private func conserves() -> Bool {
        precondition(dispatcher.jobCount == inSystem, "The dispatcher holds other jobs than the simulator.")
        var running = 0
        for chain in simulation.system.chains.indices {
            let count = statistics.running(on: chain)
            precondition(
                dispatcher.running(on: ChainIndex(chain)) == count, "A chain's jobs are miscounted.")
            precondition(count <= simulation.system.chains[chain].capacity, "A chain has too many jobs.")
            running += count
        }
        precondition(running + dispatcher.queueLength == inSystem, "A job neither waits nor runs.")
        return true
    }
}
