import ChainDispatch
import ChainModel

/// The whole service in a box: clients, an orchestrator around the real control plane, block servers, the network
/// between them, a journal and a clock, and troubles, all from one seed.
///
/// Nothing in it depends on the machine or the process: the same seed gives the same transcript.
public struct FaultWorld: Sendable {
    /// What happens at a moment.
    enum Happening: Sendable {
        case arrive(request: Int)
        case rejoin(request: Int)
        case cancel(request: Int)
        case toServer(connection: Int, ServerMessage)
        case toShell(connection: Int, ServerAnswer, Damage)
        case computed(server: Int, life: Int, connection: Int, ServerAnswer)
        case wake(life: Int)
        case stepTimeout(life: Int, AttemptName, number: Int)
        case resumeWindow(life: Int, JobID)
        case composed(life: Int, plan: Int, excluding: [ServerIndex], fails: Bool)
        case reconsidered(life: Int, plan: Int, excluding: [ServerIndex], rate: Double, keeps: Bool)
        case trouble
        case serverUp(Int, life: Int, keepsBlocks: Bool)
        case resume(Int, life: Int)
        case fast(Int)
        case calm
        case orchestratorUp
        case diskFree
        case heal
        case drain
    }

    /// What the network did to an answer.
    enum Damage: Hashable, Sendable { case none, unreadable, notFinite }

    public let scenario: FaultScenario
    public internal(set) var report = FaultReport()
    var random: SeededGenerator
    var now = Instant.origin
    var calendar = EventCalendar<Happening>()
    var servers: [ModelledServer]
    var connections: [Connection] = []
    /// Nil while the orchestrator is down.
    var shell: ModelledShell?
    var lives = 0
    var journal = ModelledJournal()
    var clients: [ModelledClient] = []
    /// The orchestrator's clock less the world's.
    var clockOffset = Duration.zero
    /// Messages take this many times as long.
    var slowNetwork: Int64 = 1
    var isHealed = false
    var drainedAt: Instant?
    /// Keeps a line per event, for a person to read.
    let keepsLines: Bool
    public internal(set) var lines: [String] = []
    var digest = StableDigest()

    /// After everything is healed, all jobs must have ended within this time.
    public static let drainLimit = Duration.seconds(300)
    static let healDelay = Duration.seconds(5)
    /// After the last job, servers have this long to hear that it is over.
    static let settling = Duration.seconds(10)

    public init(_ scenario: FaultScenario, keepsLines: Bool = false) {
        self.scenario = scenario
        self.keepsLines = keepsLines
        var random = SeededGenerator(seed: scenario.seed ^ 0x5EED)
        servers = scenario.cluster.servers.map {
            // A job has about ten tokens; the plan's times are those of a whole job.
            ModelledServer(memory: $0.memory, blockTime: .seconds($0.blockTimeSeconds / 10))
        }
        for request in 0..<scenario.requestCount {
            clients.append(
                ModelledClient(
                    request: request, blocks: scenario.cluster.model.blockCount, random: &random))
            let time = Instant.origin + random.span(.zero, scenario.span)
            calendar.add(.arrive(request: request), at: time)
            if scenario.faults.contains(.cancel), random.happens(0.15) {
                calendar.add(
                    .cancel(request: request), at: time + random.span(milliseconds: 0...5000))
            }
        }
        self.random = random
        if !scenario.faults.isEmpty { calendar.add(.trouble, at: .origin + .seconds(2)) }
        calendar.add(.heal, at: .origin + scenario.span)
        startOrchestrator()
    }

    /// Runs until everything has ended, or the time to end is up, and says what went wrong.
    public mutating func run() -> FaultReport {
        let end = Instant.origin + scenario.span + Self.healDelay + Self.drainLimit
        while report.violations.isEmpty, !isOver, let next = calendar.next() {
            if next.time > end {
                violate(
                    "not all has ended \(Self.drainLimit.seconds) s after everything was healed:"
                        + " drained at \(String(describing: drainedAt)), requests \(openRequests)")
                break
            }
            now = max(now, next.time)
            report.happenings += 1
            digest.append(UInt64(bitPattern: now.nanoseconds))
            happen(next.happening)
        }
        checkEnd()
        report.digest = digest.value
        report.virtualSeconds = (now - .origin).seconds
        if let drainedAt { report.drainSeconds = (drainedAt - .origin - scenario.span).seconds }
        return report
    }

    /// All accepted jobs have ended, and nobody comes any more.
    private var isOver: Bool {
        guard isHealed, let drainedAt, now > drainedAt + Self.settling else { return false }
        return shell?.unwritten.isEmpty == true
            && clients.allSatisfy { if case .ended = $0.state { true } else { false } }
    }

    /// Requests that have not ended.
    private var openRequests: [String] {
        clients.indices.filter { if case .ended = clients[$0].state { false } else { true } }
            .map { "\($0): \(clients[$0].state) after \(clients[$0].tries) tries" }
    }

    private mutating func happen(_ happening: Happening) {
        switch happening {
        case .arrive(let request): arrive(request)
        case .rejoin(let request): rejoin(request)
        case .cancel(let request): cancel(request)
        case .toServer(let connection, let message): deliver(message, over: connection)
        case .toShell(let connection, let answer, let damage):
            receive(answer, damage, over: connection)
        case .computed(let server, let life, let connection, let answer):
            finishComputing(server, life: life, over: connection, answer)
        case .wake(let life): wake(life)
        case .stepTimeout(let life, let name, let number): timeOut(life, name, number: number)
        case .resumeWindow(let life, let job): endResumeWindow(life, job)
        case .composed(let life, let plan, let excluded, let fails):
            install(life, plan: plan, excluding: excluded, fails: fails)
        case .reconsidered(let life, let plan, let excluded, let rate, let keeps):
            adapt(life, plan: plan, excluding: excluded, rate: rate, keeps: keeps)
        case .trouble, .serverUp, .resume, .fast, .calm, .orchestratorUp, .diskFree, .heal:
            happenTrouble(happening)
        case .drain: post(.drainStarted(within: nil))
        }
    }

    mutating func violate(_ text: String) {
        report.violations.append("at \((now - .origin).seconds) s: \(text)")
        note("VIOLATION \(text)")
    }

    mutating func note(_ text: @autoclosure () -> String) {
        if keepsLines { lines.append("\((now - .origin).seconds) \(text())") }
    }
}

/// What a run came to.
public struct FaultReport: Hashable, Sendable {
    /// Broken promises; the first ends the run.
    public var violations: [String] = []
    public var digest: UInt64 = 0
    public var happenings = 0
    public var virtualSeconds = 0.0
    /// From healing until no job was left.
    public var drainSeconds = 0.0
    public var accepted = 0
    public var finished = 0
    public var failed = 0
    public var cancelled = 0
    public var interrupted = 0
    public var refused = 0
    public var tokens = 0
    /// Attempts beyond each job's first.
    public var furtherAttempts = 0
    public var restarts = 0
    public var plans = 0
    /// Times that another plan was sought because demand had changed.
    public var reconsiderations = 0
    public var rollouts = 0
    /// Servers that a rollout left out.
    public var skipped = 0
    /// Of each kind, in the order of `FaultKind.allCases`.
    public var troubles = [Int](repeating: 0, count: FaultKind.allCases.count)
    /// Failures by reason, in the order of `ControlPlane.Failure.allCases`.
    public var failures = [Int](repeating: 0, count: ControlPlane.Failure.allCases.count)

    public init() {}
}
