import ChainModel
import Testing

@testable import ChainDispatch

/// Long runs of random events against the naive reference and the auditor, and replays of their journals.
///
/// A run is its seed: `RandomRun(seed:)` builds system and events from it, the same in every process.
@Suite struct RandomisedTests {
    @Test(arguments: UInt64(1)...60)
    func runsMatchTheReference(seed: UInt64) {
        var run = RandomRun(seed: seed)
        var naive = NaiveDispatcher(
            configuration: run.configuration, chains: run.chains, serverCount: run.serverCount)
        var audit = Audit(
            configuration: run.configuration, chains: run.chains, serverCount: run.serverCount)
        for step in 0..<RandomRun.length {
            let (event, actions) = run.step()
            let expected = naive.handle(event)
            let violations = audit.watch(event, actions)
            guard actions == expected, violations.isEmpty else {
                Issue.record(
                    "seed \(seed), step \(step), \(event): \(actions), expected \(expected) \(violations)")
                return
            }
            if step.isMultiple(of: 50) {
                run.dispatcher.checkInvariants()
                #expect(audit.agrees(with: run.dispatcher), "seed \(seed), step \(step)")
            }
        }
    }

    /// The runs must contain what they are meant to try.
    @Test func runsContainEveryKindOfActionOften() {
        var counts: [String: Int] = [:]
        for seed in UInt64(1)...60 {
            var run = RandomRun(seed: seed)
            for _ in 0..<RandomRun.length {
                for action in run.step().actions {
                    counts[kind(of: action), default: 0] += 1
                }
            }
        }
        print(
            "Random runs, seeds 1 to 60:", counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" })
        for kind in Self.kinds {
            #expect(counts[kind, default: 0] >= (kind == "drained" ? 5 : 100), "\(kind)")
        }
    }

    static let kinds =
        ["start", "queue", "abandon", "drained"] + Dispatcher.Refusal.allCases.map { "refuse \($0)" }
        + Dispatcher.Failure.allCases.map { "fail \($0)" }

    private func kind(of action: Dispatcher.Action) -> String {
        switch action {
        case .start: "start"
        case .queue: "queue"
        case .refuse(_, let reason): "refuse \(reason)"
        case .abandon: "abandon"
        case .fail(_, let reason): "fail \(reason)"
        case .drained: "drained"
        }
    }

    @Test(arguments: UInt64(1001)...1010)
    func aJournalReplaysToTheSameActions(seed: UInt64) {
        var run = RandomRun(seed: seed)
        let start = run.dispatcher
        var journal: [(event: Dispatcher.Event, time: Instant, actions: [Dispatcher.Action])] = []
        for _ in 0..<RandomRun.length {
            let (event, actions) = run.step()
            journal.append((event, run.now, actions))
        }
        var replayed = start
        for entry in journal {
            var actions: [Dispatcher.Action] = []
            replayed.handle(entry.event, at: entry.time, into: &actions)
            #expect(actions == entry.actions)
        }
        #expect(replayed == run.dispatcher)
        #expect(replayed != start)
    }

    @Test(arguments: UInt64(2001)...2010)
    func aCopyIsAValueOfItsOwn(seed: UInt64) {
        var run = RandomRun(seed: seed)
        for _ in 0..<500 { _ = run.step() }
        let copy = run.dispatcher
        let before = copy.snapshot
        for _ in 0..<500 { _ = run.step() }
        #expect(copy.snapshot == before)
        copy.checkInvariants()
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014): small, seeded, the same everywhere.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64
    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// A random system and an endless random run of it: arrivals, reports of running attempts, and of old and
/// future ones, failures, losses and returns of servers, cancels; towards the end, mostly, a drain.
struct RandomRun {
    let configuration: DispatcherConfiguration
    let chains: [DispatchChain]
    let serverCount: Int
    var dispatcher: Dispatcher
    private(set) var now = Instant.origin
    /// Events after which a run has seen everything; a drain comes in the last fifth.
    static let length = 1500
    private var stepCount = 0
    private var random: SplitMix
    private var nextJob: UInt64 = 1
    private var running: [(job: JobID, attempt: Int)] = []
    /// How likely servers are to go rather than to come: some runs are quiet, some hopeless.
    private let trouble: Int
    private let pressure: Int

    init(seed: UInt64) {
        var random = SplitMix(seed: seed)
        serverCount = Int.random(in: 1...6, using: &random)
        var chains: [DispatchChain] = []
        for _ in 0..<Int.random(in: 1...7, using: &random) {
            let servers = (0..<serverCount).shuffled(using: &random)
                .prefix(Int.random(in: 1...min(3, serverCount), using: &random))
            chains.append(
                DispatchChain(
                    servers: servers.map(ServerIndex.init(_:)),
                    capacity: Int.random(in: 1...4, using: &random),
                    serviceTime: Duration(nanoseconds: Int64.random(in: 1...3, using: &random))))
        }
        chains.sort { $0.serviceTime < $1.serviceTime }
        var thresholds = [1]
        for _ in chains.dropFirst() {
            thresholds.append(thresholds.last! + Int.random(in: 0...2, using: &random))
        }
        self.chains = chains
        configuration = DispatcherConfiguration(
            queueLimit: Int.random(in: 0...6, using: &random),
            maximumAttempts: Int.random(in: 1...4, using: &random),
            rule: Bool.random(using: &random) ? .jffc : .jffcWait(thresholds: thresholds))
        dispatcher = Dispatcher(configuration: configuration, chains: chains, serverCount: serverCount)
        trouble = [10, 25, 50].randomElement(using: &random)!
        pressure = [25, 35, 45].randomElement(using: &random)!
        self.random = random
    }

    /// One random event, handled.
    mutating func step() -> (event: Dispatcher.Event, actions: [Dispatcher.Action]) {
        let event = randomEvent()
        stepCount += 1
        now = now + Duration(nanoseconds: Int64.random(in: 0...5, using: &random))
        var actions: [Dispatcher.Action] = []
        dispatcher.handle(event, at: now, into: &actions)
        switch event {
        case .jobCompleted(let job, let attempt), .jobFailed(let job, let attempt, _):
            running.removeAll { $0 == (job, attempt) }
        default: break
        }
        for action in actions {
            switch action {
            case .start(let job, let attempt, _): running.append((job, attempt))
            case .abandon(let job, let attempt, _): running.removeAll { $0 == (job, attempt) }
            default: break
            }
        }
        return (event, actions)
    }

    private mutating func randomEvent() -> Dispatcher.Event {
        switch Int.random(in: 0..<100, using: &random) {
        case ..<pressure: return arrival()
        case ..<75:
            guard let (job, attempt) = running.randomElement(using: &random) else { return arrival() }
            switch Int.random(in: 0..<10, using: &random) {
            case ..<7: return .jobCompleted(job, attempt: attempt)
            case ..<9: return .jobFailed(job, attempt: attempt, retryable: true)
            default: return .jobFailed(job, attempt: attempt, retryable: false)
            }
        case ..<80:  // Stale, early or unknown.
            let attempt = Int.random(in: 0...4, using: &random)
            return Bool.random(using: &random)
                ? .jobCompleted(anyJob(), attempt: attempt)
                : .jobFailed(anyJob(), attempt: attempt, retryable: Bool.random(using: &random))
        case ..<85: return .jobCancelled(anyJob())
        default:
            if stepCount > Self.length * 4 / 5 && Int.random(in: 0..<20, using: &random) == 0 {
                return .drainStarted
            }
            let server = ServerIndex(Int.random(in: 0..<serverCount, using: &random))
            guard Int.random(in: 0..<100, using: &random) < trouble else { return .serverReady(server) }
            return .serverLost(server, returning: Int.random(in: 0..<3, using: &random) > 0)
        }
    }

    /// Mostly the next job; some numbers are left out, some come again.
    private mutating func arrival() -> Dispatcher.Event {
        if Int.random(in: 0..<20, using: &random) == 0 { return .jobArrived(anyJob()) }
        nextJob += Int.random(in: 0..<10, using: &random) == 0 ? 1000 : 1
        return .jobArrived(JobID(nextJob - 1))
    }

    /// A recent job, mostly.
    private mutating func anyJob() -> JobID {
        JobID(nextJob - min(nextJob, UInt64.random(in: 1...20, using: &random)))
    }
}
