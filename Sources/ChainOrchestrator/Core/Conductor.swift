import ChainDispatch
import ChainEngine
import ChainModel
import Logging

/// Carries out what the dispatcher decides. It decides nothing itself: whatever happens becomes an event, the
/// dispatcher answers with actions, and each action is carried out here, in order, without waiting between reading
/// state and changing it.
actor Conductor {
    private let configuration: OrchestratorConfiguration
    private let frontend: any ModelFrontend
    private let logger: Logger
    private let clock = MonotonicClock()

    private var dispatcher: Dispatcher
    private var jobs: [JobID: JobRecord] = [:]
    /// The latest job of each request identifier. A client may use one again once its stream has ended, while the job
    /// before is still being taken down.
    private var jobByRequest: [String: JobID] = [:]
    private var jobByTicket: [UInt64: JobID] = [:]
    private var lastJob: UInt64 = 0
    private var servers: [ServerRecord]
    private var drainWaiters: [CheckedContinuation<Void, Never>] = []
    private var isDrained = false

    private struct JobRecord {
        var requestID: String
        var ticket: UInt64
        var job: GenerationJob
        var events: AsyncStream<GenerationEvent>.Continuation
        var attempt = 0
        var task: Task<Void, Never>?
    }

    /// What is known of a server beside what the dispatcher knows.
    struct ServerRecord: Sendable {
        var state = PoolStatus.ServerState.starting
        var link: NodeLink?
        var lastError: String?
        /// The reason cannot go away by itself: the wrong model, too little memory.
        var isHopeless = false
    }

    init(configuration: OrchestratorConfiguration, frontend: any ModelFrontend, logger: Logger) {
        self.configuration = configuration
        self.frontend = frontend
        self.logger = logger
        let plan = configuration.plan
        var rule = DispatchPolicy.jffc
        if plan.dispatch.thresholds.contains(where: { $0 > 1 }) {
            rule = .jffcWait(thresholds: plan.dispatch.thresholds)
        }
        dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(
                queueLimit: configuration.queueLimit, maximumAttempts: configuration.maximumAttempts,
                rule: rule),
            chains: plan.chains.map(DispatchChain.init), serverCount: configuration.cluster.servers.count)
        servers = [ServerRecord](repeating: ServerRecord(), count: configuration.cluster.servers.count)
    }

    // MARK: - Jobs

    /// Takes a job in, or refuses it.
    /// - Parameter ticket: names the job for `cancel(ticket:)`; never used twice.
    func submit(
        _ job: GenerationJob, requestID: String, ticket: UInt64,
        events: AsyncStream<GenerationEvent>.Continuation
    ) throws(GenerationRefusal) {
        lastJob += 1
        let id = JobID(lastJob)
        jobs[id] = JobRecord(requestID: requestID, ticket: ticket, job: job, events: events)
        jobByRequest[requestID] = id
        jobByTicket[ticket] = id
        if let refusal = post(.jobArrived(id)) {
            forget(id)
            throw describe(refusal)
        }
    }

    /// Gives a job up; its stream ends with `.failed(.cancelled)`.
    func cancel(requestID: String) -> Bool { cancel(jobByRequest[requestID]) }

    @discardableResult
    func cancel(ticket: UInt64) -> Bool { cancel(jobByTicket[ticket]) }

    private func cancel(_ id: JobID?) -> Bool {
        guard let id, let record = jobs[id] else { return false }
        post(.jobCancelled(id))
        record.events.yield(.failed(.cancelled))
        record.events.finish()
        forget(id)
        return true
    }

    private func forget(_ id: JobID) {
        guard let record = jobs.removeValue(forKey: id) else { return }
        jobByTicket[record.ticket] = nil
        if jobByRequest[record.requestID] == id { jobByRequest[record.requestID] = nil }
    }

    private func describe(_ refusal: Dispatcher.Refusal) -> GenerationRefusal {
        let wait = (dispatcher.expectedWaitForRoom() ?? .seconds(5)).seconds
        return switch refusal {
        case .queueFull: .overloaded(retryAfter: wait, reason: "queue-full")
        case .noChain: .unavailable(retryAfter: 10, reason: "no-chain")
        case .draining: .unavailable(retryAfter: 10, reason: "draining")
        case .duplicate: .internal(message: "a job number was used twice")
        }
    }

    // MARK: - Events and actions

    /// Hands an event to the dispatcher and carries its answer out. Returns the refusal of an arriving job, if any.
    @discardableResult
    private func post(_ event: Dispatcher.Event) -> Dispatcher.Refusal? {
        var actions: [Dispatcher.Action] = []
        dispatcher.handle(event, at: clock.now, into: &actions)
        var refusal: Dispatcher.Refusal?
        for action in actions {
            switch action {
            case .start(let job, let attempt, let chain): start(job, attempt: attempt, on: chain)
            case .queue(let job, let ahead): jobs[job]?.events.yield(.queued(position: ahead + 1))
            case .refuse(_, let reason): refusal = reason
            case .abandon(let job, let attempt, let chain): abandon(job, attempt: attempt, on: chain)
            case .fail(let job, let failure): fail(job, failure)
            case .drained:
                isDrained = true
                for waiter in drainWaiters { waiter.resume() }
                drainWaiters = []
            }
        }
        return refusal
    }

    private func start(_ id: JobID, attempt number: Int, on index: ChainIndex) {
        guard var record = jobs[id] else { return }
        let chain = configuration.plan[index]
        var hops: [AttemptHop] = []
        for hop in chain.hops {
            guard let link = servers[hop.server.rawValue].link else { continue }
            hops.append(
                AttemptHop(
                    server: hop.server, link: link, firstBlock: hop.firstBlock, blockCount: hop.blockCount))
        }
        let attempt = Attempt(
            number: number, engineJob: Self.engineJob(id, attempt: number), hops: hops,
            chainName: configuration.name(of: chain))
        // The dispatcher starts jobs on chains whose servers are all ready, and ready servers have links.
        precondition(hops.count == chain.hops.count, "a chain was started without all its servers")
        record.attempt = number
        record.events.yield(.started(chain: attempt.chainName, attempt: number))
        let previous = record.task
        record.task = Task { [job = record.job] in
            await previous?.value
            let outcome = await job.run(attempt)
            self.end(id, attempt: number, outcome)
        }
        jobs[id] = record
    }

    /// Stops the attempt and frees its caches at once, without waiting for the step under way.
    private func abandon(_ id: JobID, attempt: Int, on index: ChainIndex) {
        jobs[id]?.task?.cancel()
        let engineJob = Self.engineJob(id, attempt: attempt)
        for hop in configuration.plan[index].hops {
            servers[hop.server.rawValue].link?.close(job: engineJob)
        }
    }

    private func fail(_ id: JobID, _ failure: Dispatcher.Failure) {
        guard let record = jobs[id] else { return }
        let message =
            switch failure {
            case .attemptsExhausted:
                "the request was started \(configuration.maximumAttempts) times and lost its servers each time"
            case .notRetryable: "the request failed"
            case .noChain: "the servers it needs are lost and no other path exists; try again later"
            }
        record.events.yield(.failed(.unavailable(message: message)))
        record.events.finish()
        forget(id)
    }

    private func end(_ id: JobID, attempt: Int, _ outcome: AttemptOutcome) {
        guard let record = jobs[id], record.attempt == attempt else { return }
        switch outcome {
        case .finished(let result):
            record.events.yield(.finished(result))
            record.events.finish()
            forget(id)
            // It may have finished in the very moment in which the dispatcher took it off a lost server.
            if case .running(attempt, _, _)? = dispatcher.state(of: id) {
                post(.jobCompleted(id, attempt: attempt))
            } else {
                post(.jobCancelled(id))
            }
        case .lost(let server, let link, let error):
            logger.warning(
                "an attempt was lost",
                metadata: [
                    "server": "\(configuration.cluster.servers[server.rawValue].name)", "reason": "\(error)",
                    "attempt": "\(attempt)",
                ])
            // The loss first: it moves every job of the server, this one too, and makes this attempt's end stale.
            switch error {
            case .closed, .unreachable, .timedOut, .malformed, .versionMismatch:
                Task { await link.shutdown() }
                markLost(server, link: link, reason: error.description)
            case .refused, .wrongModel: break
            }
            post(.jobFailed(id, attempt: attempt, retryable: true))
        case .failed(let message):
            record.events.yield(.failed(.internal(message: message)))
            record.events.finish()
            forget(id)
            post(.jobFailed(id, attempt: attempt, retryable: false))
        case .abandoned:
            break
        }
    }

    /// The name of an attempt on the servers.
    private static func engineJob(_ id: JobID, attempt: Int) -> EngineJobID {
        EngineJobID(id.rawValue << 8 | UInt64(attempt & 0xFF))
    }

    // MARK: - Servers

    func markReady(_ server: ServerIndex, link: NodeLink) {
        servers[server.rawValue].link = link
        servers[server.rawValue].state = .ready
        servers[server.rawValue].lastError = nil
        post(.serverReady(server))
    }

    func setState(_ server: ServerIndex, _ state: PoolStatus.ServerState) {
        servers[server.rawValue].state = state
    }

    /// - Parameter link: the connection that was lost; `nil` whichever there is. One that has been replaced already is
    ///   not news.
    func markLost(_ server: ServerIndex, link: NodeLink?, reason: String, isReturning: Bool = true) {
        let record = servers[server.rawValue]
        if let link, record.link !== link { return }
        servers[server.rawValue].link = nil
        servers[server.rawValue].state = .lost
        servers[server.rawValue].lastError = reason
        post(.serverLost(server, returning: isReturning))
    }

    /// Notes why a server cannot be used yet. `isHopeless`: trying again will not help.
    func note(_ server: ServerIndex, problem: String, isHopeless: Bool) {
        if servers[server.rawValue].state == .loading { servers[server.rawValue].state = .lost }
        servers[server.rawValue].lastError = problem
        servers[server.rawValue].isHopeless = isHopeless
    }

    func serverRecords() -> [ServerRecord] { servers }

    // MARK: - Looking in

    func readiness() -> Readiness {
        if dispatcher.isDraining { return .draining }
        if dispatcher.availableChainCount > 0 { return .ready }
        let missing = zip(configuration.cluster.servers, servers).filter { $1.state != .ready }.map(\.0.name)
        let text = "waiting for \(missing.joined(separator: ", "))"
        return dispatcher.mayRecover ? .starting(text) : .unavailable(text)
    }

    var queueLength: Int { dispatcher.queueLength }
    func running(on chain: ChainIndex) -> Int { dispatcher.running(on: chain) }

    /// Takes no more jobs and returns when those accepted have ended.
    func drain() async {
        post(.drainStarted)
        if isDrained { return }
        await withCheckedContinuation { drainWaiters.append($0) }
    }

    /// Gives up every job there is.
    func cancelAll() {
        for id in jobs.keys.sorted() { _ = cancel(id) }
    }
}

/// Nanoseconds since the clock was made.
struct MonotonicClock: Sendable {
    private let origin = ContinuousClock.now

    var now: Instant {
        let elapsed = ContinuousClock.now - origin
        let (seconds, attoseconds) = elapsed.components
        return Instant(nanoseconds: seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
