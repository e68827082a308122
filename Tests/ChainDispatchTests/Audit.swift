import ChainModel

@testable import ChainDispatch

/// An auditor that sees only events and actions, and says which promise of `Dispatcher` an action breaks.
///
/// It shares no code with the dispatcher, and finds everything by searching through all jobs.
struct Audit {
    /// Where a job is, as far as the actions told.
    enum Place: Hashable {
        case waiting
        case running(chain: Int)
        /// Its chain is lost, or it was cancelled: the attempt must be abandoned by the end of this event.
        case stopping(chain: Int, cancelled: Bool)
        /// It must be given up by the end of this event.
        case failing(Dispatcher.Failure)
    }

    struct Job: Hashable {
        let id: UInt64
        var place = Place.waiting
        var attempts = 0
    }

    let configuration: DispatcherConfiguration
    let chains: [DispatchChain]
    private(set) var servers: [Dispatcher.ServerState]
    /// Accepted, unfinished jobs, in order of arrival.
    private(set) var jobs: [Job] = []
    private(set) var lastArrival: UInt64?
    private(set) var draining = false
    private(set) var drained = false

    private var violations: [String] = []
    /// Jobs that must be told their place in the queue if they still wait after this event.
    private var unannounced: [UInt64] = []
    private var announced: [(job: UInt64, ahead: Int)] = []

    init(configuration: DispatcherConfiguration, chains: [DispatchChain], serverCount: Int) {
        self.configuration = configuration
        self.chains = chains
        servers = Array(repeating: .lost(returning: true), count: serverCount)
    }

    /// Takes an event and the actions it led to; returns what is wrong with them.
    mutating func watch(_ event: Dispatcher.Event, _ actions: [Dispatcher.Action]) -> [String] {
        violations = []
        unannounced = []
        announced = []
        let refusal = apply(event)
        if let refusal {
            expect(actions == [refusal], "the arrival should be refused")
            return violations
        }
        for action in actions { apply(action) }
        checkSettled()
        return violations
    }

    // MARK: What the world knows

    var waiting: [Job] { jobs.filter { $0.place == .waiting } }

    func running(on chain: Int) -> [Job] { jobs.filter { $0.place == .running(chain: chain) } }

    func isAvailable(_ chain: Int) -> Bool {
        chains[chain].servers.allSatisfy { servers[$0.rawValue] == .ready }
    }

    var mayRecover: Bool {
        chains.contains { $0.servers.allSatisfy { servers[$0.rawValue] != .lost(returning: false) } }
    }

    /// The chain that the rule gives the head of a queue of `length`.
    func chainForHead(length: Int) -> Int? {
        let available = chains.indices.filter(isAvailable)
        guard let free = available.first(where: { running(on: $0).count < chains[$0].capacity }) else {
            return nil
        }
        guard case .jffcWait(let thresholds) = configuration.rule else { return free }
        let threshold = min(thresholds[free], configuration.queueLimit + 1)
        return free == available.first || length >= threshold ? free : nil
    }

    // MARK: Events

    /// Changes what the event itself changes; returns the refusal due, if it is an arrival to refuse.
    private mutating func apply(_ event: Dispatcher.Event) -> Dispatcher.Action? {
        switch event {
        case .jobArrived(let id): return arrive(id)
        case .jobCompleted(let id, let attempt):
            if let position = current(id, attempt) { jobs.remove(at: position) }
        case .jobFailed(let id, let attempt, let retryable):
            guard let position = current(id, attempt) else { break }
            if !retryable {
                jobs[position].place = .failing(.notRetryable)
            } else {
                wait(again: position)
            }
        case .jobCancelled(let id):
            guard let position = jobs.firstIndex(where: { $0.id == id.rawValue }) else { break }
            if case .running(let chain) = jobs[position].place {
                jobs[position].place = .stopping(chain: chain, cancelled: true)
            } else {
                jobs.remove(at: position)
            }
        case .serverReady(let server): servers[server.rawValue] = .ready
        case .serverLost(let server, let returning):
            servers[server.rawValue] = .lost(returning: returning)
            for position in jobs.indices {
                if case .running(let chain) = jobs[position].place, !isAvailable(chain) {
                    jobs[position].place = .stopping(chain: chain, cancelled: false)
                }
            }
        case .drainStarted: draining = true
        }
        return nil
    }

    private mutating func arrive(_ id: JobID) -> Dispatcher.Action? {
        if let lastArrival, id.rawValue <= lastArrival { return .refuse(id, .duplicate) }
        lastArrival = id.rawValue
        if draining { return .refuse(id, .draining) }
        if !mayRecover { return .refuse(id, .noChain) }
        let newcomers = waiting.count { $0.attempts == 0 }
        if newcomers >= configuration.queueLimit && chainForHead(length: waiting.count + 1) == nil {
            return .refuse(id, .queueFull)
        }
        jobs.append(Job(id: id.rawValue))
        unannounced.append(id.rawValue)
        return nil
    }

    private func current(_ id: JobID, _ attempt: Int) -> Int? {
        jobs.firstIndex {
            if case .running = $0.place { $0.id == id.rawValue && $0.attempts == attempt } else { false }
        }
    }

    private mutating func wait(again position: Int) {
        if jobs[position].attempts < configuration.maximumAttempts {
            jobs[position].place = .waiting
            unannounced.append(jobs[position].id)
        } else {
            jobs[position].place = .failing(.attemptsExhausted)
        }
    }

    // MARK: Actions

    private mutating func apply(_ action: Dispatcher.Action) {
        switch action {
        case .start(let id, let attempt, let chain): start(id, attempt, chain.rawValue)
        case .queue(let id, let ahead): announced.append((id.rawValue, ahead))
        case .refuse(let id, _): expect(false, "job \(id.rawValue) is refused without reason")
        case .abandon(let id, let attempt, let chain):
            guard let position = jobs.firstIndex(where: { $0.id == id.rawValue }),
                case .stopping(chain.rawValue, let cancelled) = jobs[position].place,
                jobs[position].attempts == attempt
            else { return expect(false, "job \(id.rawValue) is abandoned without reason") }
            if cancelled { jobs.remove(at: position) } else { wait(again: position) }
        case .fail(let id, let failure):
            let position = jobs.firstIndex {
                $0.id == id.rawValue
                    && ($0.place == .failing(failure)
                        || $0.place == .waiting && failure == .noChain && !mayRecover)
            }
            guard let position else { return expect(false, "job \(id.rawValue) is failed without reason") }
            jobs.remove(at: position)
        case .drained:
            expect(draining && !drained && jobs.isEmpty, "drained too early or twice")
            drained = true
        }
    }

    private mutating func start(_ id: JobID, _ attempt: Int, _ chain: Int) {
        let length = waiting.count
        guard let position = jobs.firstIndex(where: { $0.id == id.rawValue && $0.place == .waiting }) else {
            return expect(false, "job \(id.rawValue) is started, but does not wait")
        }
        expect(waiting.first?.id == id.rawValue, "job \(id.rawValue) overtakes an older one")
        expect(attempt == jobs[position].attempts + 1, "job \(id.rawValue)'s attempt is misnumbered")
        expect(attempt <= configuration.maximumAttempts, "job \(id.rawValue) has too many attempts")
        expect(isAvailable(chain), "job \(id.rawValue) starts on an unavailable chain")
        expect(running(on: chain).count < chains[chain].capacity, "chain \(chain) is over its capacity")
        expect(chainForHead(length: length) == chain, "the rule gives the head another chain, or none")
        jobs[position].attempts = attempt
        jobs[position].place = .running(chain: chain)
    }

    /// What must hold when all actions of an event are carried out.
    private mutating func checkSettled() {
        for job in jobs {
            switch job.place {
            case .waiting: expect(mayRecover, "job \(job.id) waits for chains that cannot return")
            case .running(let chain): expect(isAvailable(chain), "job \(job.id) runs on a lost chain")
            case .stopping: expect(false, "job \(job.id) should be abandoned")
            case .failing: expect(false, "job \(job.id) should be failed")
            }
        }
        let queue = waiting
        expect(queue.isEmpty || chainForHead(length: queue.count) == nil, "a job waits beside a free slot")
        let due = queue.enumerated().filter { unannounced.contains($0.element.id) }
        let announced = announced
        expect(
            announced.elementsEqual(due) { $0.job == $1.element.id && $0.ahead == $1.offset },
            "places in the queue are announced as \(announced)")
        expect(!draining || drained || !jobs.isEmpty, "the drain is complete, but nobody is told")
    }

    private mutating func expect(_ condition: Bool, _ text: @autoclosure () -> String) {
        if !condition { violations.append(text()) }
    }
}

/// Whether the dispatcher itself says what its actions said.
extension Audit {
    func agrees(with dispatcher: Dispatcher) -> Bool {
        let snapshot = dispatcher.snapshot
        let queueAgrees = snapshot.waiting.elementsEqual(waiting) {
            $0.id.rawValue == $1.id && $0.attempts == $1.attempts
        }
        let chainsAgree = chains.indices.allSatisfy { chain in
            snapshot.running[chain].elementsEqual(running(on: chain)) {
                $0.id.rawValue == $1.id && $0.attempts == $1.attempts
            }
        }
        return queueAgrees && chainsAgree && snapshot.servers == servers
            && snapshot.lastArrival?.rawValue == lastArrival
            && snapshot.isDraining == draining && snapshot.isDrained == drained
    }
}
