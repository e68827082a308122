import ChainDispatch
import ChainEngine
import ChainModel
import Logging
import NIOCore
import Synchronization

/// Carries out what the control plane decides. It decides nothing itself: whatever happens becomes an event, the control
/// plane answers with actions, and each action is carried out here, in order, without waiting between reading state and
/// changing it. Events and actions go to the journal as they are.
actor Conductor {
    let configuration: OrchestratorConfiguration
    let frontend: any ModelFrontend
    let source: RangeSource
    let group: any EventLoopGroup
    let journal: Journal?
    let logger: Logger
    /// Told what each server does while it is made ready.
    let progress: @Sendable (ServerIndex, String) -> Void
    private let clock: MonotonicClock
    /// Jobs wait, or none is taken: a request is likely to be refused.
    let isCrowded = Atomic(false)

    var control: ControlPlane
    /// The plan in force, as the control plane numbers it.
    var plan: Plan
    var assignments: [LoadAssignment?]
    var servers: [ServerShell]
    var rollout: RolloutShell?
    /// What was found when demand last changed, for people; `nil` before and after any other plan.
    var advice: String?

    private var jobs: [JobID: JobRecord] = [:]
    /// The latest job of each request identifier. A client may use one again once its stream has ended, while the job
    /// before is still being taken down.
    private var jobByRequest: [String: JobID] = [:]
    private var jobByTicket: [UInt64: JobID] = [:]
    private var lastJob: UInt64 = 0
    private var wake: (at: Instant, task: Task<Void, Never>)?
    private var drainWaiters: [CheckedContinuation<Void, Never>] = []
    private var isDrained = false

    private struct JobRecord {
        var requestID: String
        var ticket: UInt64
        var job: GenerationJob
        var events: AsyncStream<GenerationEvent>.Continuation
        var attempt: Attempt?
        /// Where it has caches: the hops of the attempt under way, or those that the next one goes on with.
        var hops: [AttemptHop] = []
        /// Number of the plan that the hops are of.
        var plan = 0
        var task: Task<Void, Never>?
    }

    init(
        configuration: OrchestratorConfiguration, control: ControlPlane, assignments: [LoadAssignment?],
        frontend: any ModelFrontend, source: RangeSource, group: any EventLoopGroup, journal: Journal?,
        logger: Logger, progress: @escaping @Sendable (ServerIndex, String) -> Void
    ) {
        self.configuration = configuration
        self.control = control
        self.assignments = assignments
        self.frontend = frontend
        self.source = source
        self.group = group
        self.journal = journal
        self.logger = logger
        self.progress = progress
        clock = MonotonicClock()
        plan = configuration.plan
        servers = Array(repeating: ServerShell(), count: configuration.cluster.servers.count)
    }

    // MARK: - Jobs

    /// What a request is accepted with.
    struct Submission: Sendable {
        var request: GenerationRequest
        var job: GenerationJob
        var events: AsyncStream<GenerationEvent>.Continuation
        /// Names the job for `cancel(ticket:)`; never used twice.
        var ticket: UInt64
        var seed: UInt64
        var promptTokens: Int
        /// It was accepted by an earlier run of the service.
        var resumes: JournalKey?
    }

    /// Takes a job in, or refuses it.
    /// - Returns: its place in the journal; the client may be told once that is kept.
    func submit(_ submission: Submission) throws(GenerationRefusal) -> UInt64? {
        if let problem = journal?.problem {
            throw .unavailable(retryAfter: 5, reason: problem.reasonWord)
        }
        let request = submission.request
        lastJob += 1
        let id = JobID(lastJob)
        jobs[id] = JobRecord(
            requestID: request.requestID, ticket: submission.ticket, job: submission.job,
            events: submission.events)
        jobByRequest[request.requestID] = id
        jobByTicket[submission.ticket] = id
        let client = ClientID(StableText.digest(request.client))
        let holder = Self.holder(of: request)
        if submission.resumes != nil {
            // It was accepted already: no limit can turn it away.
            let timeout = request.timeout ?? configuration.control.defaultTimeout
            post(.jobRestored(id, client, deadline: clock.now + timeout, attempts: 0))
        } else {
            let arrival = JobArrival(job: id, client: client, holder: holder, timeout: request.timeout)
            if let refusal = post(.jobArrived(arrival)) {
                forget(id)
                throw describe(refusal, holder: holder)
            }
        }
        return journal?.add(
            .accepted(
                job: id, request, seed: submission.seed, promptTokens: submission.promptTokens,
                resumes: submission.resumes))
    }

    /// Refuses a request that would be refused, before anything is spent on it: a flood must not cost the jobs that were
    /// accepted their processors. What changes nothing is not even an event.
    func turnAway(_ request: GenerationRequest) throws(GenerationRefusal) {
        if let problem = journal?.problem {
            throw .unavailable(retryAfter: 5, reason: problem.reasonWord)
        }
        let now = clock.now
        let holder = Self.holder(of: request)
        let arrival = JobArrival(
            job: JobID(lastJob + 1), client: ClientID(StableText.digest(request.client)), holder: holder,
            timeout: request.timeout)
        guard let foreseen = control.foreseenRefusal(of: arrival, at: now) else { return }
        if foreseen.isRecorded {
            lastJob += 1
            let refusal = post(.jobArrived(arrival), at: now)
            precondition(refusal == foreseen.refusal, "an arrival was not refused as foreseen")
        }
        throw describe(foreseen.refusal, holder: holder)
    }

    /// Who comes back: whoever sends the ticket, else whoever sends the same request.
    private static func holder(of request: GenerationRequest) -> TicketHolder {
        if let ticket = request.ticket { return TicketHolder(ticket) }
        var digest = StableText.digest(request.client)
        switch request.input {
        case .text(let text): digest = StableText.digest(text, after: digest)
        case .tokens(let tokens): digest = StableText.digest(tokens, after: digest)
        case .chat(let messages):
            for message in messages {
                digest = StableText.digest(message.role.rawValue, after: digest)
                digest = StableText.digest(message.content, after: digest)
            }
        }
        return TicketHolder(StableText.digest([Int32(clamping: request.maximumTokens ?? 0)], after: digest))
    }

    /// Gives a job up; its stream ends with `.failed(.cancelled)`.
    func cancel(requestID: String) -> Bool { cancel(jobByRequest[requestID], .cancelled) }

    @discardableResult
    func cancel(ticket: UInt64) -> Bool { cancel(jobByTicket[ticket], .cancelled) }

    private func cancel(_ id: JobID?, _ failure: GenerationFailure) -> Bool {
        guard let id, let record = jobs[id] else { return false }
        post(.jobCancelled(id))
        journal?.add(.ended(job: id, JournalOutcome(kind: .cancelled)))
        record.events.yield(.failed(failure))
        record.events.finish()
        forget(id)
        return true
    }

    private func forget(_ id: JobID) {
        guard let record = jobs.removeValue(forKey: id) else { return }
        jobByTicket[record.ticket] = nil
        if jobByRequest[record.requestID] == id { jobByRequest[record.requestID] = nil }
    }

    func isInFlight(requestID: String) -> Bool { jobByRequest[requestID] != nil }

    private func describe(
        _ refusal: ControlPlane.Refusal, holder: TicketHolder
    ) -> GenerationRefusal {
        let wait = refusal.retryAfter?.seconds ?? 10
        let ticket = refusal.hasTicket ? holder.rawValue : nil
        return switch refusal.reason {
        case .duplicate: .internal(message: "a job number was used twice")
        case .draining: .unavailable(retryAfter: wait, reason: "draining")
        case .noChain: .unavailable(retryAfter: wait, reason: "no-chain")
        case .clientLimit: .overloaded(retryAfter: wait, reason: "client-limit")
        case .deadline: .overloaded(retryAfter: wait, reason: "deadline", ticket: ticket)
        case .queueFull: .overloaded(retryAfter: wait, reason: "queue-full", ticket: ticket)
        case .overloaded: .overloaded(retryAfter: wait, reason: "overloaded")
        }
    }

    // MARK: - Events and actions

    /// Hands an event to the control plane and carries its answer out. Returns the refusal of an arriving job, if any.
    @discardableResult
    func post(_ event: ControlPlane.Event, at time: Instant? = nil) -> ControlPlane.Refusal? {
        var actions: [ControlPlane.Action] = []
        let now = time ?? clock.now
        control.handle(event, at: now, into: &actions)
        journal?.add(.step(JournalStep(at: now, event: event, actions: actions)))
        var refusal: ControlPlane.Refusal?
        for (place, action) in actions.enumerated() {
            switch action {
            case .refuse(_, let reason): refusal = reason
            case .abandon(let job, _): abandon(job, before: actions[(place + 1)...])
            default: carryOut(action)
            }
        }
        scheduleWake()
        isCrowded.store(
            control.dispatcher.queueLength > 0 || control.dispatcher.isDraining || !control.hasHope,
            ordering: .relaxed)
        return refusal
    }

    private func carryOut(_ action: ControlPlane.Action) {
        switch action {
        case .start(let job, let attempt, let chain): start(job, attempt: attempt, on: chain)
        case .queue(let job, let ahead): jobs[job]?.events.yield(.queued(position: ahead + 1))
        case .refuse, .abandon: break
        case .fail(let job, let failure): fail(job, failure)
        case .connect(let server, let incarnation): connect(server, incarnation)
        case .load(let server, let incarnation): load(server, incarnation)
        case .ping(let server, let incarnation): link(server, incarnation)?.beat()
        case .disconnect(let server, let incarnation): disconnect(server, incarnation)
        case .restart(let server, let incarnation): restart(server, incarnation)
        case .recompose(let excluded, let number): recompose(excluding: excluded, number: number)
        case .reconsider(let rate, let excluded, let number):
            reconsider(arrivalRate: rate, excluding: excluded, number: number)
        case .rolloutEnded(let skipped): endRollout(skipped: skipped)
        case .drained:
            isDrained = true
            for waiter in drainWaiters { waiter.resume() }
            drainWaiters = []
        }
    }

    /// Has the control plane called again when it wants to be.
    private func scheduleWake() {
        guard let next = control.nextWake else { return }
        if let wake, wake.at <= next { return }
        wake?.task.cancel()
        let delay = max(0, next.nanoseconds - clock.now.nanoseconds)
        let task = Task {
            try? await Task.sleep(for: .nanoseconds(delay))
            if !Task.isCancelled { self.tick() }
        }
        wake = (next, task)
    }

    private func tick() {
        wake = nil
        post(.tick)
    }

    private func start(_ id: JobID, attempt number: Int, on index: ChainIndex) {
        guard var record = jobs[id] else { return }
        let chain = plan[index]
        let hops = hops(of: chain, for: Self.engineJob(id, attempt: number), record)
        // Jobs are started on chains whose servers are all ready, and ready servers have links.
        precondition(hops.count == chain.hops.count, "a chain was started without all its servers")
        let attempt = Attempt(number: number, hops: hops, chainName: configuration.name(of: chain))
        record.attempt = attempt
        record.hops = hops
        record.plan = control.plan.number
        record.events.yield(.started(chain: attempt.chainName, attempt: number))
        let previous = record.task
        record.task = Task(executorPreference: hops.first?.link.executor) { [job = record.job] in
            await previous?.value
            let outcome = await job.run(attempt)
            await self.end(id, attempt: number, outcome)
        }
        jobs[id] = record
    }

    /// The hops of a chain; those where the job has a cache in this plan go on with it.
    private func hops(
        of chain: ServerChain, for engineJob: EngineJobID, _ record: JobRecord
    ) -> [AttemptHop] {
        chain.hops.compactMap { hop in
            let shell = servers[hop.server.rawValue]
            guard let link = shell.link else { return nil }
            var new = AttemptHop(
                server: hop.server, incarnation: shell.incarnation, link: link,
                firstBlock: hop.firstBlock, blockCount: hop.blockCount, engineJob: engineJob)
            if record.plan == control.plan.number,
                let held = record.hops.first(where: { $0.isSamePlace(as: new) })
            {
                new.engineJob = held.engineJob
                new.isTakenOver = true
            }
            return new
        }
    }

    /// Stops the attempt. Caches that the next attempt goes on with are kept if that starts in the same moment, in the
    /// place that the job leaves; all others are freed at once, without waiting for the step under way.
    private func abandon(_ id: JobID, before actions: ArraySlice<ControlPlane.Action>) {
        guard var record = jobs[id] else { return }
        var kept: [AttemptHop] = []
        if !keepsNoStates, let next = Self.start(of: id, in: actions), record.plan == control.plan.number {
            let places = hops(of: plan[next.chain], for: Self.engineJob(id, attempt: next.attempt), record)
            kept = record.hops.filter { hop in places.contains { $0.isSamePlace(as: hop) } }
        }
        record.attempt?.ending.tell(keeping: kept)
        if kept.isEmpty { record.task?.cancel() }
        for hop in record.hops where !kept.contains(where: { $0.isSamePlace(as: hop) }) { hop.close() }
        record.hops = kept
        jobs[id] = record
    }

    private var keepsNoStates: Bool { configuration.keptStates.inAll == .zero }

    /// Where a job starts next.
    private static func start(
        of id: JobID, in actions: ArraySlice<ControlPlane.Action>
    ) -> (attempt: Int, chain: ChainIndex)? {
        for case .start(id, let attempt, let chain) in actions { return (attempt, chain) }
        return nil
    }

    /// Frees the caches of an attempt that ended by itself.
    private func freeCaches(of id: JobID) {
        for hop in jobs[id]?.hops ?? [] { hop.close() }
        jobs[id]?.hops = []
    }

    private func fail(_ id: JobID, _ failure: ControlPlane.Failure) {
        guard let record = jobs[id] else { return }
        let waited = "no chain came free for it in time"
        let reported: GenerationFailure =
            switch failure {
            case .attemptsExhausted:
                .unavailable(
                    message: "the request was started \(control.configuration.maximumAttempts) times and lost"
                        + " its servers each time")
            case .notRetryable: .internal(message: "the request failed")
            case .deadline: .deadlineExceeded(message: "the request's time is up: \(waited)")
            case .drainDeadline: .unavailable(message: "the service stopped before the request's end")
            }
        journal?.add(.ended(job: id, JournalOutcome(kind: .failed, reason: failure.rawValue)))
        record.events.yield(.failed(reported))
        record.events.finish()
        forget(id)
    }

    private func end(_ id: JobID, attempt: Int, _ outcome: AttemptOutcome) {
        guard let record = jobs[id], record.attempt?.number == attempt else { return }
        switch outcome {
        case .finished(let result, let tokens):
            let position = journal?.add(
                .ended(job: id, JournalOutcome(kind: .finished, result: result, tokens: tokens)))
            forget(id)
            // It may have finished in the very moment in which it was taken off a lost server.
            if case .running(attempt, _, _)? = control.dispatcher.state(of: id) {
                post(.jobCompleted(id, attempt: attempt))
            } else {
                post(.jobCancelled(id))
            }
            deliver(.finished(result), to: record.events, after: position)
        case .lost(let server, let incarnation, let error):
            logger.warning(
                "an attempt was lost",
                metadata: [
                    "server": "\(configuration.cluster.servers[server.rawValue].name)", "reason": "\(error)",
                    "attempt": "\(attempt)",
                ])
            let failure = error.fault.map { AttemptFailure.server(server, incarnation, $0) } ?? .refused
            // Without a fault nobody says that it is abandoned before its place is given to another.
            if error.fault == nil { freeCaches(of: id) }
            if error.fault != nil { servers[server.rawValue].lastError = error.description }
            post(.jobFailed(id, attempt: attempt, failure))
            if jobs[id]?.attempt?.number == attempt { freeCaches(of: id) }
        case .failed(let message):
            journal?.add(.ended(job: id, JournalOutcome(kind: .failed, reason: message)))
            record.events.yield(.failed(.internal(message: message)))
            record.events.finish()
            forget(id)
            post(.jobFailed(id, attempt: attempt, .permanent))
        case .abandoned:
            break
        }
    }

    /// Says the last word once it is kept, so that nobody who has heard it can find the request unfinished.
    private func deliver(
        _ event: GenerationEvent, to events: AsyncStream<GenerationEvent>.Continuation,
        after position: UInt64?
    ) {
        guard let journal, let position, !journal.isKept(position) else {
            events.yield(event)
            events.finish()
            return
        }
        Task {
            _ = await journal.waitUntilKept(position)
            events.yield(event)
            events.finish()
        }
    }

    /// The name of an attempt on the servers.
    private static func engineJob(_ id: JobID, attempt: Int) -> EngineJobID {
        EngineJobID(id.rawValue << 8 | UInt64(attempt & 0xFF))
    }

    // MARK: - Looking in

    func readiness() -> Readiness {
        if control.dispatcher.isDraining { return .draining }
        if control.dispatcher.availableChainCount > 0 { return .ready }
        let missing = configuration.cluster.servers.indices
            .filter { assignments[$0] != nil && state(of: ServerIndex($0)) != .ready }
            .map { configuration.cluster.servers[$0].name }
        let text = "waiting for \(missing.joined(separator: ", "))"
        return control.hasHope ? .starting(text) : .unavailable(text)
    }

    var queueLength: Int { control.dispatcher.queueLength }
    /// 0 for a chain of a plan that is not in force any more.
    func running(on chain: ChainIndex) -> Int {
        chain.rawValue < control.plan.chains.count ? control.dispatcher.running(on: chain) : 0
    }
    /// As `/status` shows them.
    func serverShells() -> [ServerShell] {
        servers.indices.map { index in
            var shell = servers[index]
            shell.state = state(of: ServerIndex(index))
            return shell
        }
    }

    func planInForce() -> (plan: Plan, number: Int, advice: String?) { (plan, control.plan.number, advice) }

    // MARK: - Stopping

    /// Takes no more jobs and returns when those accepted have ended; those left after `limit` fail.
    func drain(within limit: Duration?) async {
        post(.drainStarted(within: limit))
        if isDrained { return }
        await withCheckedContinuation { drainWaiters.append($0) }
    }

    /// Gives up every job there is.
    func cancelAll() {
        for id in jobs.keys.sorted() {
            _ = cancel(id, .unavailable(message: "the service stopped before the request's end"))
        }
    }

    /// Stops asking after servers and closes the links.
    func close() async {
        wake?.task.cancel()
        wake = nil
        let links = servers.compactMap(\.link)
        for index in servers.indices { servers[index] = ServerShell() }
        for link in links { await link.shutdown() }
    }
}
