import ChainDispatch
import ChainEngine
import ChainModel
import Logging
import NIOCore
import Synchronization

/// Carries out what the control plane decides. It decides nothing itself: whatever happens becomes an event, the control
/// plane answers with actions, and each action is carried out here, in order, without waiting between reading state and
/// changing it. Events and actions go to the journal as they are.
///
/// Most of what it does takes microseconds and waits for nothing: `now` does that at once, on the caller's thread.
actor Conductor {
    private let executor = LockedExecutor(label: "chainserve.conductor")
    nonisolated var unownedExecutor: UnownedSerialExecutor { executor.asUnownedSerialExecutor() }

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

    var jobs: [JobID: JobRecord] = [:]
    /// The latest job of each request identifier. A client may use one again once its stream has ended, while the job
    /// before is still being taken down.
    private var jobByRequest: [String: JobID] = [:]
    private var jobByTicket: [UInt64: JobID] = [:]
    private var lastJob: UInt64 = 0
    private var wake: (at: Instant, task: Task<Void, Never>)?
    private var drainWaiters: [CheckedContinuation<Void, Never>] = []
    private var isDrained = false

    final class JobRecord {
        let requestID: String
        let ticket: UInt64
        let job: GenerationJob
        let feed: GenerationFeed
        var attempt: Attempt?
        /// Where it has caches: the hops of the attempt under way, or those that the next one goes on with.
        var hops: [AttemptHop] = []
        /// Number of the plan that the hops are of.
        var plan = 0
        var task: Task<Void, Never>?

        init(requestID: String, ticket: UInt64, job: GenerationJob, feed: GenerationFeed) {
            self.requestID = requestID
            self.ticket = ticket
            self.job = job
            self.feed = feed
        }
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

    /// Does what needs no waiting without giving up the thread.
    /// - Precondition: not called from within the conductor.
    nonisolated func now<Value: Sendable, Failure: Error>(
        _ body: @Sendable (isolated Conductor) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        let result = executor.run {
            assumeIsolated { conductor in
                Result { () throws(Failure) in try body(conductor) }
            }
        }
        return try result.get()
    }

    // MARK: - Jobs

    /// What a request is accepted with.
    struct Submission: Sendable {
        var request: GenerationRequest
        var job: GenerationJob
        var feed: GenerationFeed
        /// Names the job for `cancel(ticket:)`; never used twice.
        var ticket: UInt64
        var seed: UInt64
        var promptTokens: Int
        /// Who comes back, should it be refused.
        var holder: TicketHolder
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
            feed: submission.feed)
        jobByRequest[request.requestID] = id
        jobByTicket[submission.ticket] = id
        let client = ClientID(StableText.digest(request.client))
        let holder = submission.holder
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
    func turnAway(_ request: GenerationRequest, _ holder: TicketHolder) throws(GenerationRefusal) {
        if let problem = journal?.problem {
            throw .unavailable(retryAfter: 5, reason: problem.reasonWord)
        }
        let now = clock.now
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
    /// - Complexity: O(length of the prompt); not to be called from within.
    static func holder(of request: GenerationRequest) -> TicketHolder {
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
        record.feed.yield(.failed(failure))
        record.feed.finish()
        forget(id)
        return true
    }

    func forget(_ id: JobID) {
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
        case .queue(let job, let ahead): jobs[job]?.feed.yield(.queued(position: ahead + 1))
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
