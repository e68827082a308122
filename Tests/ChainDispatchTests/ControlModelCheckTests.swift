import ChainModel
import Testing

@testable import ChainDispatch

/// Breadth-first over the states that a small control plane can reach, time included: every event in every order, and
/// time as far as the next timer.
///
/// Safety: invariants, and a witness that sees only events and actions. Liveness: from the states of a sample, a driver
/// that answers everything at once ends every job. All spans are whole seconds, so that states come again; states that
/// differ only in the numbers of connections, plans and in absolute time count as one.
@Suite struct ControlModelCheckTests {
    struct System: CustomTestStringConvertible, Sendable {
        let testDescription: String
        let serverCount: Int
        let jobCount: UInt64
        /// The search stops there; nil where it ends by itself.
        let mostStates: Int
        /// So that the search cannot silently shrink.
        let leastStates: Int
    }

    static let systems = [
        System(
            testDescription: "one server, one job", serverCount: 1, jobCount: 1, mostStates: 4000,
            leastStates: 1000),
        System(
            testDescription: "one server, two jobs", serverCount: 1, jobCount: 2, mostStates: 1500,
            leastStates: 1500),
        System(
            testDescription: "two servers, two jobs", serverCount: 2, jobCount: 2, mostStates: 1500,
            leastStates: 1500),
    ]

    @Test(arguments: systems)
    func everyStateIsSafeAndCanFinish(_ system: System) {
        var search = Search(system)
        search.run()
        print(
            "Model check: \(search.states.count) states, \(search.transitionCount) transitions,",
            search.isComplete ? "complete:" : "cut off:", system.testDescription)
        #expect(search.states.count >= system.leastStates)
    }

    /// Sees only events and actions.
    struct Witness {
        enum Job: Hashable {
            case waiting
            case running(attempt: Int, server: Int)
            case ended
        }
        var jobs: [UInt64: Job] = [:]
        /// The connection over which each server proved its blocks, if it did.
        var proved: [Incarnation?]
        var connection: [Incarnation?]
        var expected: [RangeChecksum?]
        /// The server of each chain.
        var chains: [Int]
        var violations: [String] = []
        /// The job that this event cancels while it runs.
        var cancelled: UInt64?

        mutating func before(_ event: ControlPlane.Event) {
            cancelled = nil
            switch event {
            case .jobCancelled(let job):
                if jobs[job.rawValue] == .waiting { jobs[job.rawValue] = .ended }
                if case .running? = jobs[job.rawValue] { cancelled = job.rawValue }
            case .jobCompleted(let job, let attempt):
                if case .running(attempt, _)? = jobs[job.rawValue] { jobs[job.rawValue] = .ended }
            case .jobFailed(let job, let attempt, .permanent):
                if case .running(attempt, _)? = jobs[job.rawValue] { jobs[job.rawValue] = .waiting }
            case .jobFailed(let job, let attempt, _):
                if case .running(attempt, _)? = jobs[job.rawValue] { jobs[job.rawValue] = .waiting }
            case .serverConnected(let server, let incarnation, let held):
                let index = server.rawValue
                if connection[index] == incarnation && held == expected[index] {
                    proved[index] = incarnation
                }
            case .serverLoaded(let server, let incarnation, let checksum):
                let index = server.rawValue
                if connection[index] == incarnation && checksum == expected[index] {
                    proved[index] = incarnation
                }
            case .serverLost(let server, let incarnation, _):
                if connection[server.rawValue] == incarnation { drop(server.rawValue) }
            default: break
            }
        }

        mutating func drop(_ server: Int) {
            connection[server] = nil
            proved[server] = nil
        }

        mutating func after(_ event: ControlPlane.Event, _ actions: [ControlPlane.Action]) {
            if case .jobArrived(let arrival) = event, jobs[arrival.job.rawValue] == nil {
                jobs[arrival.job.rawValue] = .waiting
            }
            for action in actions { see(action) }
            if let cancelled, jobs[cancelled] != .ended { violations.append("job \(cancelled) runs on") }
            for (server, incarnation) in proved.enumerated() where incarnation == nil {
                for (job, place) in jobs.sorted(by: { $0.key < $1.key }) {
                    if case .running(_, server) = place {
                        violations.append("job \(job) runs on a lost server")
                    }
                }
            }
        }

        private mutating func see(_ action: ControlPlane.Action) {
            switch action {
            case .start(let job, let attempt, let chain):
                let server = chains[chain.rawValue]
                if jobs[job.rawValue] != .waiting { violations.append("\(action), but it does not wait") }
                if proved[server] == nil { violations.append("\(action), but nothing is proved") }
                let others = jobs.values.filter { if case .running(_, server) = $0 { true } else { false } }
                if !others.isEmpty { violations.append("\(action), but the server is full") }
                jobs[job.rawValue] = .running(attempt: attempt, server: server)
            case .abandon(let job, let attempt):
                guard case .running(attempt, _)? = jobs[job.rawValue] else {
                    violations.append("\(action), but it does not run")
                    return
                }
                jobs[job.rawValue] = cancelled == job.rawValue ? .ended : .waiting
            case .fail(let job, _), .refuse(let job, _):
                if jobs[job.rawValue] != .waiting { violations.append("\(action), but it does not wait") }
                jobs[job.rawValue] = .ended
            case .connect(let server, let incarnation):
                connection[server.rawValue] = incarnation
                proved[server.rawValue] = nil
            case .disconnect(let server, _): drop(server.rawValue)
            case .restart(let server, _):
                proved[server.rawValue] = nil
                if jobs.values.contains(where: {
                    if case .running(_, server.rawValue) = $0 { true } else { false }
                }) {
                    violations.append("\(action), but a job runs there")
                }
            case .drained:
                if jobs.values.contains(where: { $0 != .ended }) {
                    violations.append("drained with jobs left")
                }
            default: break
            }
        }
    }

    struct State {
        var plane: ControlPlane
        var witness: Witness

        mutating func step(_ event: ControlPlane.Event, at time: Instant) -> [ControlPlane.Action] {
            var actions: [ControlPlane.Action] = []
            if case .planInstalled(let plan) = event, plan.number > plane.plan.number {
                witness.expected = plan.checksums
                witness.chains = plan.chains.map { $0.hops[0].server.rawValue }
            }
            witness.before(event)
            plane.handle(event, at: time, into: &actions)
            plane.checkInvariants()
            witness.after(event, actions)
            return actions
        }
    }

    struct Search {
        let system: System
        var states: [State] = []
        var numbers: [[Int64]: Int] = [:]
        var transitionCount = 0
        var isComplete = false

        init(_ system: System) {
            self.system = system
            var plane = ControlPlane(configuration: Self.bounds, serverCount: system.serverCount)
            let none = [Incarnation?](repeating: nil, count: system.serverCount)
            var state = State(
                plane: plane,
                witness: Witness(proved: none, connection: none, expected: [], chains: []))
            plane = state.plane
            _ = state.step(.planInstalled(Self.plan(1, servers: Array(0..<system.serverCount))), at: .origin)
            add(state)
        }

        static var bounds: ControlConfiguration {
            var bounds = ControlConfiguration()
            bounds.queueLimit = 1
            bounds.maximumAttempts = 2
            bounds.defaultTimeout = .seconds(3)
            bounds.ticketLimit = 0
            bounds.heartbeatInterval = .seconds(1)
            bounds.silenceLimit = .seconds(2)
            bounds.stallTolerance = .seconds(1)
            bounds.connectLimit = .seconds(1)
            bounds.loadLimit = .seconds(2)
            bounds.firstReconnect = .seconds(1)
            bounds.longestReconnect = .seconds(1)
            bounds.quarantine = .seconds(1)
            bounds.steadyTime = .zero
            bounds.recoveryLimit = .seconds(3)
            bounds.recompositionLimit = .seconds(2)
            bounds.restPatience = .seconds(1)
            bounds.restartLimit = .seconds(1)
            return bounds
        }

        /// A chain for each of these servers, the first the fastest.
        static func plan(_ number: Int, servers: [Int], of count: Int? = nil) -> PlanInstallation {
            let total = count ?? servers.count
            return PlanInstallation(
                number: number,
                chains: servers.enumerated().map { ControlRig.chain([$1], seconds: Double($0) + 1) },
                checksums: (0..<total).map { servers.contains($0) ? RangeChecksum(UInt64($0) + 9) : nil })
        }

        mutating func run() {
            var next = 0
            while next < states.count, states.count < system.mostStates {
                let state = states[next]
                for (event, time) in events(in: state) {
                    var successor = state
                    let actions = successor.step(event, at: time)
                    transitionCount += 1
                    guard successor.witness.violations.isEmpty else {
                        Issue.record("\(successor.witness.violations) after \(event): \(actions)")
                        return
                    }
                    add(successor)
                }
                if next.isMultiple(of: 4), !canFinish(state) {
                    Issue.record("jobs cannot finish from \(state.plane.servers) \(state.witness.jobs)")
                    return
                }
                next += 1
            }
            isComplete = next == states.count
        }

        private mutating func add(_ state: State) {
            // Rearrangements are free of charge: bounded here alone.
            let excused = state.plane.dispatcher.snapshot
            if (excused.waiting + excused.running.joined()).contains(where: { $0.attempts > 3 }) { return }
            let key = Self.key(of: state)
            if numbers[key] != nil { return }
            numbers[key] = states.count
            states.append(state)
        }

        private func events(in state: State) -> [(ControlPlane.Event, Instant)] {
            let plane = state.plane
            var events: [ControlPlane.Event] = [
                .drainStarted(within: nil), .drainStarted(within: .seconds(1)),
            ]
            let arrived = plane.dispatcher.lastArrival?.rawValue ?? 0
            if arrived < system.jobCount {
                events.append(
                    .jobArrived(
                        JobArrival(job: JobID(arrived + 1), client: ClientID(1), holder: TicketHolder(1))))
            }
            for job in 1...system.jobCount where state.witness.jobs[job] != nil {
                let id = JobID(job)
                events.append(.jobCancelled(id))
                var attempt = 1
                if case .running(let current, _)? = state.witness.jobs[job] { attempt = current }
                events.append(.jobCompleted(id, attempt: attempt))
                events.append(.jobFailed(id, attempt: attempt, .permanent))
                events.append(.jobFailed(id, attempt: attempt, .refused))
                events.append(.jobCompleted(id, attempt: attempt - 1))
            }
            for (index, health) in plane.servers.enumerated() {
                let (server, incarnation) = (ServerIndex(index), health.incarnation)
                let old = Incarnation(incarnation.rawValue &- 1)
                let right = plane.plan.checksums[index]
                events.append(.serverConnected(server, incarnation, holds: right))
                events.append(.serverConnected(server, incarnation, holds: nil))
                events.append(.serverLoaded(server, incarnation, right ?? RangeChecksum(0)))
                events.append(.serverLoaded(server, incarnation, RangeChecksum(1)))
                events.append(.serverHeard(server, incarnation))
                events.append(.serverLost(server, incarnation, .closed))
                events.append(.serverLost(server, old, .malformed))
                events.append(.serverLeaving(server, incarnation))
            }
            events.append(.rolloutStarted([ServerIndex(0)]))
            events.append(
                .planInstalled(
                    Self.plan(
                        plane.nextPlanNumber, servers: [system.serverCount - 1], of: system.serverCount)))
            events.append(.recompositionFailed(plan: plane.nextPlanNumber - 1))
            var timed = events.map { ($0, plane.now) }
            if let wake = plane.nextWake { timed.append((.tick, max(wake, plane.now))) }
            return timed
        }

        /// Whether all jobs end once every server answers, every attempt succeeds and every plan is made.
        private func canFinish(_ start: State) -> Bool {
            var state = start
            var todo: [ControlPlane.Event] = state.plane.servers.enumerated().map {
                .serverConnected(
                    ServerIndex($0), $1.incarnation, holds: state.plane.plan.checksums[$0])
            }
            for _ in 0..<60 {
                while let event = todo.popLast() {
                    for action in state.step(event, at: state.plane.now) {
                        switch action {
                        case .connect(let server, let incarnation):
                            todo.append(
                                .serverConnected(
                                    server, incarnation, holds: state.plane.plan.checksums[server.rawValue]))
                        case .load(let server, let incarnation):
                            if let checksum = state.plane.plan.checksums[server.rawValue] {
                                todo.append(.serverLoaded(server, incarnation, checksum))
                            }
                        case .ping(let server, let incarnation):
                            todo.append(.serverHeard(server, incarnation))
                        case .restart(let server, let incarnation):
                            todo.append(.serverLost(server, incarnation, .closed))
                        case .recompose(_, let plan):
                            todo.append(
                                .planInstalled(Self.plan(plan, servers: Array(0..<system.serverCount))))
                        default: break
                        }
                    }
                    if !state.witness.violations.isEmpty { return false }
                }
                if state.plane.dispatcher.jobCount == 0 { return true }
                for (job, place) in state.witness.jobs.sorted(by: { $0.key < $1.key }) {
                    if case .running(let attempt, _) = place {
                        todo.append(.jobCompleted(JobID(job), attempt: attempt))
                    }
                }
                if todo.isEmpty {
                    guard let wake = state.plane.nextWake else { return false }
                    _ = state.step(.tick, at: wake)
                    for (index, health) in state.plane.servers.enumerated() {
                        todo.append(.serverHeard(ServerIndex(index), health.incarnation))
                        todo.append(
                            .serverConnected(
                                ServerIndex(index), health.incarnation,
                                holds: state.plane.plan.checksums[index]))
                        if let checksum = state.plane.plan.checksums[index] {
                            todo.append(.serverLoaded(ServerIndex(index), health.incarnation, checksum))
                        }
                    }
                }
            }
            return false
        }

        /// What the future depends on, times from now, without the numbers of connections and plans.
        private static func key(of state: State) -> [Int64] {
            let plane = state.plane
            func span(_ time: Instant?) -> Int64 {
                guard let time, time != .never else { return -1_000_000 }
                return (time - plane.now).nanoseconds / 1_000_000
            }
            let snapshot = plane.dispatcher.snapshot
            var key: [Int64] = [
                Int64(snapshot.lastArrival?.rawValue ?? 0), snapshot.isDraining ? 1 : 0,
                snapshot.isDrained ? 1 : 0, Int64(plane.plan.chains.count), plane.hasHope ? 1 : 0,
                span(plane.drainDeadline), span(plane.recomposition?.until),
                Int64(plane.rollout?.remaining.count ?? -1), Int64(plane.rollout?.current?.rawValue ?? -1),
                span(plane.rollout?.until),
            ]
            for health in plane.servers {
                switch health.phase {
                case .seeking(let from): key += [1, span(from), 0]
                case .connecting(let until): key += [2, span(until), 0]
                case .loading(let until): key += [3, span(until), 0]
                case .ready: key += [4, 0, 0]
                case .leaving(let until, let restarts): key += [5, span(until), restarts ? 1 : 0]
                case .restarting(let until): key += [6, span(until), 0]
                }
                key += [
                    health.isWatched ? span(health.heard) : 0, span(health.missingSince),
                    health.isGone ? 1 : 0,
                ]
            }
            key.append(plane.servers.contains(where: \.isWatched) ? span(plane.nextPing) : 0)
            for (chain, jobs) in ([snapshot.waiting] + snapshot.running).enumerated() {
                for job in jobs {
                    key += [
                        Int64(chain), Int64(job.id.rawValue), Int64(job.attempts), Int64(job.excused),
                        plane.accepted[job.id]?.heapPosition ?? 0 < 0
                            ? -1 : span(plane.accepted[job.id]?.deadline),
                    ]
                }
            }
            return key
        }
    }
}
