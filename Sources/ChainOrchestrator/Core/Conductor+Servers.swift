import ChainDispatch
import ChainEngine
import ChainModel
import ChainWire
import NIOCore

/// What is known of a server beside what the control plane knows.
struct ServerShell: Sendable {
    var state = PoolStatus.ServerState.starting
    /// Of the connection last asked for.
    var incarnation = Incarnation(0)
    var link: NodeLink?
    /// The connection last asked for is over, and why is known: its closing is no news.
    var isOver = false
    var lastError: String?
    /// The reason cannot go away by itself: the wrong model, too little memory.
    var isHopeless = false
    /// How often it was lost while it served.
    var losses = 0

    /// The connection is over.
    mutating func lose() {
        if state == .ready { losses += 1 }
        link = nil
        if state != .starting { state = .lost }
    }
}

/// Servers that are being restarted, and who waits for the end of that.
struct RolloutShell {
    var servers: [ServerIndex]
    var waiters: [CheckedContinuation<[ServerIndex], Never>]
}

/// Connections, loads, restarts and plans.
extension Conductor {
    /// Begins: puts the first plan in force, which has every server sought.
    func begin() { post(.planInstalled(installation(of: plan, assignments, number: 1))) }

    private func installation(
        of plan: Plan, _ assignments: [LoadAssignment?], number: Int
    ) -> PlanInstallation {
        let thresholds = plan.dispatch.thresholds
        return PlanInstallation(
            number: number, chains: plan.chains.map(PlanInstallation.Chain.init),
            thresholds: thresholds.count == plan.chains.count ? thresholds : nil,
            checksums: assignments.map { $0.map { RangeChecksum($0.manifest.checksum) } },
            arrivalRate: configuration.replanning == nil ? nil : plan.demand.arrivalRate)
    }

    func link(_ server: ServerIndex, _ incarnation: Incarnation) -> NodeLink? {
        let shell = servers[server.rawValue]
        return shell.incarnation == incarnation ? shell.link : nil
    }

    func state(of server: ServerIndex) -> PoolStatus.ServerState {
        let shell = servers[server.rawValue]
        guard control.dispatcher.state(of: server) == .ready else { return shell.state }
        return shell.state == .draining ? .draining : .ready
    }

    // MARK: Connecting

    func connect(_ server: ServerIndex, _ incarnation: Incarnation) {
        servers[server.rawValue].incarnation = incarnation
        servers[server.rawValue].link = nil
        servers[server.rawValue].isOver = false
        let address = configuration.addresses[server.rawValue]
        var timeouts = LinkTimeouts()
        timeouts.connect = configuration.control.connectLimit
        timeouts.step = configuration.stepTimeout
        // The control plane asks for signs of life and misses them.
        timeouts.heartbeat = .zero
        let (group, logger, protection) = (group, logger, configuration.protection)
        Task { [timeouts] in
            do {
                let link = try await NodeLink.connect(
                    host: address.host, port: address.port, on: group, timeouts: timeouts,
                    protection: protection, logger: logger)
                self.connected(server, incarnation, link)
            } catch {
                self.failed(server, incarnation, error)
            }
        }
    }

    private func connected(_ server: ServerIndex, _ incarnation: Incarnation, _ link: NodeLink) {
        let shell = servers[server.rawValue]
        guard shell.incarnation == incarnation, !shell.isOver else {
            Task { await link.shutdown() }
            return
        }
        servers[server.rawValue].link = link
        Task {
            for await event in link.events { self.note(event, of: server, incarnation, link) }
            await link.shutdown()
        }
        post(.serverConnected(server, incarnation, holds: nil))
        if control.dispatcher.state(of: server) == .ready { becameReady(server) }
    }

    private func note(
        _ event: LinkEvent, of server: ServerIndex, _ incarnation: Incarnation, _ link: NodeLink
    ) {
        switch event {
        case .heard: post(.serverHeard(server, incarnation))
        case .draining(let text):
            logger.info("a server is leaving", metadata: ["server": "\(name(server))", "reason": "\(text)"])
            if self.link(server, incarnation) != nil { servers[server.rawValue].state = .draining }
            post(.serverLeaving(server, incarnation))
        case .closed(let error): failed(server, incarnation, error)
        }
    }

    private func becameReady(_ server: ServerIndex) {
        servers[server.rawValue].state = .ready
        servers[server.rawValue].lastError = nil
        servers[server.rawValue].isHopeless = false
        progress(server, "ready")
    }

    /// A connection failed, however.
    private func failed(_ server: ServerIndex, _ incarnation: Incarnation, _ error: any Error) {
        let shell = servers[server.rawValue]
        guard shell.incarnation == incarnation, !shell.isOver else { return }
        servers[server.rawValue].isOver = true
        let text = (error as? LinkError)?.description ?? "\(error)"
        if shell.state == .ready || shell.state == .draining {
            logger.warning("a server was lost", metadata: ["server": "\(name(server))", "reason": "\(text)"])
        }
        servers[server.rawValue].lose()
        servers[server.rawValue].lastError = text
        servers[server.rawValue].isHopeless = Self.isHopeless(error)
        progress(server, "not ready yet (\(text))")
        post(.serverLost(server, incarnation, Self.fault(of: error)))
    }

    private func name(_ server: ServerIndex) -> String { configuration.cluster.servers[server.rawValue].name }

    private static func isHopeless(_ error: any Error) -> Bool {
        switch error {
        case LinkError.wrongModel, LinkError.versionMismatch: true
        case LinkError.refused(let code, _):
            [.memoryTooSmall, .badManifest, .wrongModel, .engine].contains(code)
        // Found here, before the server was asked.
        case is EngineError: true
        default: false
        }
    }

    private static func fault(of error: any Error) -> ServerFault {
        if isHopeless(error) { return .unfit }
        return (error as? LinkError)?.fault ?? .stepTimeout
    }

    func disconnect(_ server: ServerIndex, _ incarnation: Incarnation) {
        guard servers[server.rawValue].incarnation == incarnation else { return }
        servers[server.rawValue].isOver = true
        guard let link = servers[server.rawValue].link else { return }
        servers[server.rawValue].lose()
        servers[server.rawValue].state = .lost
        Task { await link.shutdown() }
    }

    // MARK: Loading

    func load(_ server: ServerIndex, _ incarnation: Incarnation) {
        guard let link = link(server, incarnation), let assignment = assignments[server.rawValue] else {
            return
        }
        servers[server.rawValue].state = .loading
        let (source, progress) = (source, progress)
        Task {
            do {
                let report = try await link.load(assignment, rangeSource: source.tensors) { report in
                    progress(server, report.text)
                }
                self.loaded(server, incarnation, RangeChecksum(report.checksum))
            } catch {
                self.loadFailed(server, incarnation, error)
            }
        }
    }

    private func loaded(_ server: ServerIndex, _ incarnation: Incarnation, _ checksum: RangeChecksum) {
        post(.serverLoaded(server, incarnation, checksum))
        if link(server, incarnation) != nil, control.dispatcher.state(of: server) == .ready {
            becameReady(server)
        }
    }

    private func loadFailed(_ server: ServerIndex, _ incarnation: Incarnation, _ error: any Error) {
        let link = link(server, incarnation)
        failed(server, incarnation, error)
        if let link { Task { await link.shutdown() } }
    }

    // MARK: Restarting

    func restart(_ server: ServerIndex, _ incarnation: Incarnation) {
        servers[server.rawValue].state = .draining
        link(server, incarnation)?.restart()
    }

    /// Restarts servers one after another.
    /// - Returns: those that were skipped.
    func restart(_ list: [ServerIndex]) async -> [ServerIndex] {
        if rollout != nil { return list }
        return await withCheckedContinuation { waiter in
            rollout = RolloutShell(servers: list, waiters: [waiter])
            post(.rolloutStarted(list))
        }
    }

    func endRollout(skipped: [ServerIndex]) {
        guard let ended = rollout else { return }
        rollout = nil
        for waiter in ended.waiters { waiter.resume(returning: skipped) }
    }

    // MARK: Plans

    /// Composes anew, away from here: it may take a while.
    func recompose(excluding excluded: [ServerIndex], number: Int) {
        let names = excluded.map(name).joined(separator: ", ")
        logger.notice("composing a new plan", metadata: ["without": "\(names)", "plan": "\(number)"])
        let (configuration, source, present) = (configuration, source, plan)
        Task.detached {
            var made: (Plan, [LoadAssignment?])?
            if let plan = configuration.recomposition?(present, excluded) {
                made = (try? configuration.assignments(of: plan, source: source)).map { (plan, $0) }
            }
            await self.recomposed(made, number: number)
        }
    }

    private func recomposed(_ made: (Plan, [LoadAssignment?])?, number: Int) {
        guard let made else {
            logger.error("no plan is possible without the lost servers", metadata: ["plan": "\(number)"])
            post(.recompositionFailed(plan: number))
            return
        }
        guard control.accepts(plan: number) else { return }
        putInForce(made.0, made.1, number: number)
        advice = nil
        logger.notice("a new plan is in force", metadata: ["plan": "\(number)"])
    }

    /// - Precondition: the control plane accepts a plan of this number.
    func putInForce(_ new: Plan, _ given: [LoadAssignment?], number: Int) {
        // In force before its actions are carried out, which speak of its chains.
        (plan, assignments) = (new, given)
        post(.planInstalled(installation(of: new, given, number: number)))
    }
}

extension LinkError {
    /// What it says of the server; `nil` when the server is well and only refused the job.
    var fault: ServerFault? {
        switch self {
        case .unreachable: .unreachable
        case .closed: .closed
        case .timedOut: .stepTimeout
        case .malformed, .versionMismatch: .malformed
        case .badChecksum: .checksum
        case .notFinite: .nonFinite
        case .wrongModel: .unfit
        case .refused: nil
        }
    }
}

/// FNV-1a, 64 bits: the same in every process.
enum StableText {
    static let basis: UInt64 = 0xCBF2_9CE4_8422_2325
    private static let prime: UInt64 = 0x0000_0100_0000_01B3

    /// Of a text's UTF-8, and of its length when it goes on from another's digest.
    static func digest(_ text: String, after previous: UInt64? = nil) -> UInt64 {
        let digest = text.utf8.reduce(previous ?? basis) { ($0 ^ UInt64($1)) &* prime }
        return previous == nil ? digest : (digest ^ UInt64(text.utf8.count)) &* prime
    }

    /// Of numbers, taken whole.
    static func digest(_ numbers: [Int32], after previous: UInt64) -> UInt64 {
        numbers.reduce(previous) { ($0 ^ UInt64(UInt32(bitPattern: $1))) &* prime }
    }
}
