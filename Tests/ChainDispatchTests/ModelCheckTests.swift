import ChainModel
import Testing

@testable import ChainDispatch

/// Breadth-first over every state that a small system can reach, by every event in every order.
///
/// Safety: the auditor sees each transition. Liveness: from each state, making all servers ready and
/// completing whatever runs finishes every job, and a drain. No hidden history: two ways to a state that
/// looks the same from outside lead to equal dispatchers.
@Suite struct ModelCheckTests {
    /// A small system and a floor on its states, so that the search cannot silently shrink.
    struct System: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let chains: [DispatchChain]
        let configuration: DispatcherConfiguration
        let jobCount: UInt64
        let leastStates: Int
    }

    static let systems = [
        System(
            testDescription: "two chains share a server, 4 jobs, two may wait, two attempts",
            chains: [chain(0, 1), chain(1, 2, seconds: 2)],
            configuration: DispatcherConfiguration(queueLimit: 2, maximumAttempts: 2),
            jobCount: 4, leastStates: 2860),
        System(
            testDescription: "two chains share a server, 3 jobs, one may wait, three attempts",
            chains: [chain(0, 1), chain(1, 2, seconds: 2)],
            configuration: DispatcherConfiguration(queueLimit: 1, maximumAttempts: 3),
            jobCount: 3, leastStates: 2200),
        System(
            testDescription: "equally fast chains of one server and of two slots, 5 jobs, one attempt",
            chains: [chain(0), chain(1, capacity: 2)],
            configuration: DispatcherConfiguration(queueLimit: 2, maximumAttempts: 1),
            jobCount: 5, leastStates: 1054),
        System(
            testDescription: "thresholds 1, 2, 3, the fastest and the slowest chain on one server, 4 jobs",
            chains: [chain(0), chain(1, seconds: 5), chain(0, seconds: 9)],
            configuration: DispatcherConfiguration(
                queueLimit: 2, maximumAttempts: 2, rule: .jffcWait(thresholds: [1, 2, 3])),
            jobCount: 4, leastStates: 2262),
        System(
            testDescription: "three chains in a ring of servers, no queue, 3 jobs, two attempts",
            chains: [chain(0, 1), chain(1, 2, seconds: 2), chain(2, 0, seconds: 3)],
            configuration: DispatcherConfiguration(queueLimit: 0, maximumAttempts: 2),
            jobCount: 3, leastStates: 1144),
    ]

    @Test(arguments: systems)
    func everyReachableStateIsSafeAndCanFinish(_ system: System) {
        var search = Search(system)
        search.run()
        print(
            "Model check: \(search.stateCount) states, \(search.transitionCount) transitions:",
            system.testDescription)
        #expect(search.stateCount >= system.leastStates)
    }

    /// A dispatcher and what the auditor knows of it.
    struct State {
        var dispatcher: Dispatcher
        var audit: Audit

        /// Handles the event under the auditor's eyes; returns what is wrong.
        mutating func step(_ event: Dispatcher.Event) -> [String] {
            var actions: [Dispatcher.Action] = []
            dispatcher.handle(event, at: .origin, into: &actions)
            return audit.watch(event, actions).map { "\($0), after \(event): \(actions)" }
        }
    }

    struct Search {
        let system: System
        /// Every state found, in order of discovery: the list is its own queue.
        var states: [State] = []
        var numbers: [[UInt8]: Int] = [:]
        var transitionCount = 0
        var stateCount: Int { states.count }

        init(_ system: System) {
            self.system = system
            let serverCount = system.chains.flatMap(\.servers).map(\.rawValue).max()! + 1
            let configuration = system.configuration
            add(
                State(
                    dispatcher: Dispatcher(
                        configuration: configuration, chains: system.chains, serverCount: serverCount),
                    audit: Audit(
                        configuration: configuration, chains: system.chains, serverCount: serverCount)))
        }

        mutating func run() {
            var next = 0
            while next < states.count {
                let state = states[next]
                next += 1
                for event in events(in: state) {
                    var successor = state
                    let violations = successor.step(event)
                    transitionCount += 1
                    if !violations.isEmpty {
                        Issue.record("\(violations) from \(state.dispatcher.snapshot)")
                        return
                    }
                    add(successor)
                }
                guard canFinish(state) else {
                    Issue.record("Jobs cannot finish from \(state.dispatcher.snapshot)")
                    return
                }
            }
        }

        private mutating func add(_ state: State) {
            let key = Self.key(of: state.audit)
            if let number = numbers[key] {
                if states[number].dispatcher != state.dispatcher {
                    Issue.record("The past of \(state.dispatcher.snapshot) shows.")
                }
                return
            }
            numbers[key] = states.count
            states.append(state)
            state.dispatcher.checkInvariants()
            #expect(state.audit.agrees(with: state.dispatcher))
        }

        /// Everything that can happen in the state, and stale, unknown and duplicate reports besides.
        private func events(in state: State) -> [Dispatcher.Event] {
            var events: [Dispatcher.Event] = [.drainStarted]
            for number in 1...system.jobCount {
                let job = JobID(number)
                events.append(.jobCancelled(job))
                let known = state.audit.jobs.first { $0.id == number }
                let attempt = known?.attempts ?? 1
                events.append(.jobCompleted(job, attempt: attempt))
                events.append(.jobFailed(job, attempt: attempt, retryable: true))
                guard known != nil else { continue }
                events.append(.jobFailed(job, attempt: attempt, retryable: false))
                events.append(.jobCompleted(job, attempt: attempt - 1))
                events.append(.jobFailed(job, attempt: attempt + 1, retryable: true))
            }
            // The next job and the one before it, again.
            let arrived = state.audit.lastArrival ?? 0
            if arrived > 0 { events.append(.jobArrived(JobID(arrived))) }
            if arrived < system.jobCount { events.append(.jobArrived(JobID(arrived + 1))) }
            for server in state.audit.servers.indices.map(ServerIndex.init(_:)) {
                events.append(.serverReady(server))
                events.append(.serverLost(server, returning: true))
                events.append(.serverLost(server, returning: false))
            }
            return events
        }

        /// Whether all jobs finish once every server is ready and every attempt succeeds.
        private func canFinish(_ start: State) -> Bool {
            var state = start
            for server in state.audit.servers.indices {
                if !state.step(.serverReady(ServerIndex(server))).isEmpty { return false }
            }
            for _ in 0..<system.jobCount {
                let running = state.audit.jobs.first { if case .running = $0.place { true } else { false } }
                guard let running else { break }
                let event = Dispatcher.Event.jobCompleted(JobID(running.id), attempt: running.attempts)
                if !state.step(event).isEmpty { return false }
            }
            return state.audit.jobs.isEmpty && state.dispatcher.jobCount == 0
                && state.audit.drained == state.audit.draining
        }

        /// What is visible from outside, packed.
        private static func key(of audit: Audit) -> [UInt8] {
            var key: [UInt8] = [
                UInt8(audit.lastArrival ?? 0), audit.draining ? 1 : 0, audit.drained ? 1 : 0,
            ]
            for server in audit.servers {
                key.append(server == .ready ? 2 : server == .lost(returning: true) ? 1 : 0)
            }
            for job in audit.jobs {
                var place: UInt8 = 0
                if case .running(let chain) = job.place { place = UInt8(chain) + 1 }
                key += [UInt8(job.id), place, UInt8(job.attempts)]
            }
            return key
        }
    }
}
