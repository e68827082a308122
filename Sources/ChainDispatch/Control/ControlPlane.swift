import ChainModel

/// The service's one deterministic core: dispatch, admission, server health, deadlines, plans, rollouts and drains.
///
/// A value without clock, socket or task. A driver (the orchestrator, a simulator) passes each event in with its time,
/// carries out the actions in order, and calls again with `.tick` when `nextWake` is reached. The same events at the
/// same times give the same actions in every process: their list is a journal that replays exactly.
///
/// Promises beside those of `Dispatcher`, each an invariant (`checkInvariants()`) or a test:
/// - An accepted job completes, is cancelled, or fails with a reason; a lost server, a new plan, a rollout or a restart
///   of the service moves it, and it keeps its place.
/// - A server is in service only while it is heard of and has proved that its blocks are those of the plan.
/// - What an old connection, an old attempt or an old plan reports changes nothing.
/// - Queue, jobs of a client, tickets and retries are bounded.
public struct ControlPlane: Sendable {
    public let configuration: ControlConfiguration
    package internal(set) var dispatcher: Dispatcher
    /// The plan last installed; number 0 and no chains before the first.
    public internal(set) var plan: PlanInstallation
    /// Indexed by `ServerIndex`.
    var servers: [ServerHealth]
    var accepted = AcceptedJobs()
    /// Jobs of each client that has any.
    var clients = KeyTable()
    var tickets: TicketQueue
    var rollout: Rollout?
    var recomposition: Recomposition?
    /// A plan for another demand that was asked for.
    var reconsideration: Recomposition?
    var demand: DemandWatch?
    /// Whether a server may be at rest.
    var someoneLeaves = false
    /// The highest plan number asked for or installed.
    var highestPlan = 0
    /// When jobs that a drain has not finished are given up.
    var drainDeadline: Instant?
    /// When servers are next asked for signs of life.
    var nextPing = Instant.origin
    /// No timer of a server goes off before this.
    var healthWake = Instant.never
    /// Some chain can serve or may again, or a new plan is being made.
    public internal(set) var hasHope = false
    /// The latest time passed in: a clock that goes back stands still.
    public internal(set) var now = Instant.origin
    /// What the driver was last told to wait for.
    var expectedWake = Instant.never
    private var eventCount: UInt = 0
    /// The dispatcher's actions, before they are passed on; kept for its memory.
    var pending: [Dispatcher.Action] = []
    /// Jobs that lost their path after their time was up; kept for its memory.
    var overdue: [JobID] = []

    /// Servers to be restarted one by one.
    struct Rollout: Hashable, Sendable {
        /// Last one first.
        var remaining: [ServerIndex]
        var current: ServerIndex?
        /// When the current one, or the pool before it, must be in service again.
        var until: Instant
        var skipped: [ServerIndex] = []
    }

    /// A plan that was asked for.
    struct Recomposition: Hashable, Sendable {
        var plan: Int
        var until: Instant
    }

    /// No plan is installed and no server connected; `.planInstalled` begins.
    /// - Precondition: `configuration.problem` is nil.
    public init(configuration: ControlConfiguration = ControlConfiguration(), serverCount: Int) {
        precondition(configuration.problem == nil, configuration.problem ?? "")
        self.configuration = configuration
        dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(
                queueLimit: configuration.queueLimit, maximumAttempts: configuration.maximumAttempts),
            chains: [], serverCount: serverCount)
        plan = PlanInstallation(
            number: 0, chains: [], checksums: Array(repeating: nil, count: serverCount))
        servers = Array(
            repeating: ServerHealth(delay: configuration.firstReconnect), count: serverCount)
        tickets = TicketQueue(grace: configuration.ticketGrace)
        demand = configuration.demand.map(DemandWatch.init(bounds:))
    }

    /// Takes one event, and appends what is to be done to `actions`, in order; then does what was due by `time`.
    ///
    /// For events of jobs O(log n) expected, an arrival at a full queue O(tickets); for events of servers and plans as
    /// the dispatcher's. In a steady state no event of a job allocates.
    /// - Parameter time: on a clock that does not go back; if it does, the latest time holds.
    public mutating func handle(_ event: Event, at time: Instant, into actions: inout [Action]) {
        forgiveStall(until: time)
        now = max(now, time)
        switch event {
        case .tick: break
        case .planInstalled(let installation): install(installation, into: &actions)
        case .recompositionFailed(let number): endRecomposition(number)
        case .planKept(let number, let rate): keepPlan(number, arrivalRate: rate)
        case .jobArrived(let arrival): arrive(arrival, into: &actions)
        case .jobRestored(let job, let client, let deadline, let attempts):
            restore(job, of: client, deadline: deadline, attempts: attempts, into: &actions)
        case .jobCompleted(let job, let attempt):
            conclude(job, with: .jobCompleted(job, attempt: attempt), into: &actions)
        case .jobFailed(let job, let attempt, let failure):
            endAttempt(job, attempt: attempt, failure, into: &actions)
        case .jobCancelled(let job): conclude(job, with: .jobCancelled(job), into: &actions)
        case .serverConnected(let server, let incarnation, let held):
            connected(server, incarnation, holds: held, into: &actions)
        case .serverLoaded(let server, let incarnation, let checksum):
            loaded(server, incarnation, checksum, into: &actions)
        case .serverHeard(let server, let incarnation): heard(server, incarnation)
        case .serverLost(let server, let incarnation, let fault):
            if isCurrent(server, incarnation) { lose(server, fault, into: &actions) }
        case .serverLeaving(let server, let incarnation): leave(server, incarnation, into: &actions)
        case .rolloutStarted(let servers): startRollout(of: servers, into: &actions)
        case .drainStarted(let within): startDrain(within: within, into: &actions)
        }
        // What was reported counts before what is concluded from silence and from time that passed: an attempt that
        // completes at the moment at which its job would be moved has completed.
        if wakeTime <= now { runTimers(into: &actions) }
        advanceRollout(into: &actions)
        expectedWake = wakeTime
        eventCount &+= 1
        assert(passesSampledCheck())
    }

    /// Where the job is; `nil` once it is finished, failed, cancelled or refused. O(1) expected, without a copy of the
    /// dispatcher.
    public func state(of job: JobID) -> Dispatcher.JobState? { dispatcher.state(of: job) }

    /// The least number that the next plan may have.
    public var nextPlanNumber: Int { highestPlan + 1 }

    /// When to call again with `.tick`, if no other event comes before; nil for never. O(1).
    public var nextWake: Instant? { expectedWake == .never ? nil : expectedWake }

    private var wakeTime: Instant {
        var wake = min(healthWake, accepted.nextDeadline ?? .never)
        if let drainDeadline { wake = min(wake, drainDeadline) }
        if let recomposition { wake = min(wake, recomposition.until) }
        if let rollout { wake = min(wake, rollout.until) }
        return wake
    }

    /// A driver that calls much later than it was told to was itself not running: servers it did not listen to get that
    /// time back.
    private mutating func forgiveStall(until time: Instant) {
        guard expectedWake != .never, time > expectedWake + configuration.stallTolerance else { return }
        let stall = time - expectedWake
        for index in servers.indices where servers[index].isWatched {
            servers[index].heard = servers[index].heard + stall
        }
    }

    private mutating func runTimers(into actions: inout [Action]) {
        if healthWake <= now { runServerTimers(into: &actions) }
        failOverdue(into: &actions)
        if let recomposition, recomposition.until <= now { endRecomposition(recomposition.plan) }
        if let drainDeadline, drainDeadline <= now { endDrain(into: &actions) }
    }

    /// Checks every state of a tiny system, every 64th of others; traps on a broken invariant.
    private func passesSampledCheck() -> Bool {
        if eventCount.isMultiple(of: 64) || accepted.count + servers.count + tickets.count <= 4 {
            checkInvariants()
        }
        return true
    }
}

extension Instant {
    /// Later than any moment that comes.
    static let never = Instant(nanoseconds: .max)
}
