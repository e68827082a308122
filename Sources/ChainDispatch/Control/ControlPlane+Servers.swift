import ChainModel

/// Server health: connections, proofs, signs of life, losses and returns.
extension ControlPlane {
    /// Whether a report is of the server's present connection.
    func isCurrent(_ server: ServerIndex, _ incarnation: Incarnation) -> Bool {
        guard servers.indices.contains(server.rawValue) else { return false }
        if case .seeking = servers[server.rawValue].phase { return false }
        return servers[server.rawValue].incarnation == incarnation
    }

    mutating func heard(_ server: ServerIndex, _ incarnation: Incarnation) {
        if isCurrent(server, incarnation) { servers[server.rawValue].heard = now }
    }

    /// A connection is open: the server is in service if it holds the right blocks, else it is to load them.
    mutating func connected(
        _ server: ServerIndex, _ incarnation: Incarnation, holds held: RangeChecksum?,
        into actions: inout [Action]
    ) {
        guard isCurrent(server, incarnation),
            case .connecting = servers[server.rawValue].phase
        else { return }
        servers[server.rawValue].heard = now
        guard let expected = plan.checksums[server.rawValue], held != expected else {
            return putInService(server, into: &actions)
        }
        enter(.loading(until: now + configuration.loadLimit), server)
        actions.append(.load(server, incarnation))
    }

    /// A load has ended: the proof decides.
    mutating func loaded(
        _ server: ServerIndex, _ incarnation: Incarnation, _ checksum: RangeChecksum,
        into actions: inout [Action]
    ) {
        guard isCurrent(server, incarnation),
            case .loading = servers[server.rawValue].phase
        else { return }
        servers[server.rawValue].heard = now
        if checksum == plan.checksums[server.rawValue] {
            putInService(server, into: &actions)
        } else {
            lose(server, .checksum, into: &actions)
        }
    }

    private mutating func putInService(_ server: ServerIndex, into actions: inout [Action]) {
        enter(.ready, server)
        servers[server.rawValue].readySince = now
        servers[server.rawValue].missingSince = nil
        servers[server.rawValue].isGone = false
        renewHope()
        dispatch(.serverReady(server), into: &actions)
        // Perhaps it is what an earlier recomposition lacked.
        recomposeIfNeeded(into: &actions)
    }

    /// The connection is of no more use: jobs move, and the server is sought again after a while.
    mutating func lose(_ server: ServerIndex, _ fault: ServerFault, into actions: inout [Action]) {
        let health = servers[server.rawValue]
        if !fault.isDisconnected { actions.append(.disconnect(server, health.incarnation)) }
        let isSteady = health.isServing && now - health.readySince >= configuration.steadyTime
        var delay = isSteady ? configuration.firstReconnect : health.delay
        servers[server.rawValue].delay = min(
            Duration(nanoseconds: delay.nanoseconds * 2), configuration.longestReconnect)
        if fault.isCorruption { delay = max(delay, configuration.quarantine) }
        if health.missingSince == nil { servers[server.rawValue].missingSince = now }
        enter(.seeking(from: now + delay), server)
        if health.isServing {
            dispatch(.serverLost(server, returning: true), into: &actions)
            endRest(server, into: &actions)
        }
        if fault == .unfit { giveUp(server, into: &actions) }
    }

    /// The server is gone for good, as far as one can tell: a plan that needs it is to be replaced.
    private mutating func giveUp(_ server: ServerIndex, into actions: inout [Action]) {
        if servers[server.rawValue].isGone { return }
        servers[server.rawValue].isGone = true
        if plan.checksums[server.rawValue] != nil { recompose(into: &actions) }
        renewHope()
    }

    /// The server asks to be let go.
    mutating func leave(
        _ server: ServerIndex, _ incarnation: Incarnation, into actions: inout [Action]
    ) {
        guard isCurrent(server, incarnation) else { return }
        guard servers[server.rawValue].phase == .ready else { return }
        rest(server, restarts: false)
        endLeavingIfQuiet(server, into: &actions)
    }

    /// Lets a server's jobs finish; it takes no more.
    mutating func rest(_ server: ServerIndex, restarts: Bool) {
        enter(.leaving(until: now + configuration.restPatience, restarts: restarts), server)
        someoneLeaves = true
        dispatcher.rest(server)
    }

    private mutating func endRest(_ server: ServerIndex, into actions: inout [Action]) {
        pending.removeAll(keepingCapacity: true)
        dispatcher.endRest(server, at: now, into: &pending)
        passOn(into: &actions)
    }

    /// Ends a rest once no job is left on the server.
    mutating func endLeavingIfQuiet(_ server: ServerIndex, into actions: inout [Action]) {
        guard case .leaving(_, let restarts) = servers[server.rawValue].phase,
            dispatcher.running(through: server) == 0
        else { return }
        let incarnation = servers[server.rawValue].incarnation
        if !restarts { return lose(server, .stepTimeout, into: &actions) }
        actions.append(.restart(server, incarnation))
        enter(.restarting(until: now + configuration.restartLimit), server)
        servers[server.rawValue].missingSince = now
        dispatch(.serverLost(server, returning: true), into: &actions)
        endRest(server, into: &actions)
    }

    private mutating func enter(_ phase: ServerHealth.Phase, _ server: ServerIndex) {
        servers[server.rawValue].phase = phase
        if servers[server.rawValue].isWatched {
            if nextPing <= now { nextPing = now + configuration.heartbeatInterval }
            healthWake = min(healthWake, nextPing)
        }
        healthWake = min(healthWake, timer(of: server.rawValue))
    }

    // MARK: Timers

    /// When something is due for the server, signs of life asked of all apart.
    func timer(of index: Int) -> Instant {
        if plan.number == 0 { return .never }
        let health = servers[index]
        var wake = Instant.never
        switch health.phase {
        case .seeking(let from): wake = from
        case .connecting(let until), .loading(let until), .restarting(let until): wake = until
        case .leaving(let until, _): wake = until
        case .ready: break
        }
        if health.isWatched { wake = min(wake, health.heard + configuration.silenceLimit) }
        if let since = health.missingSince, !health.isGone {
            wake = min(wake, since + configuration.recoveryLimit)
        }
        return wake
    }

    /// Does what is due for every server, then finds the next time. O(J) beside what jobs it moves.
    mutating func runServerTimers(into actions: inout [Action]) {
        for index in servers.indices { runTimer(of: ServerIndex(index), into: &actions) }
        if nextPing <= now {
            for index in servers.indices where servers[index].isWatched {
                actions.append(.ping(ServerIndex(index), servers[index].incarnation))
            }
            nextPing = now + configuration.heartbeatInterval
        }
        healthWake = servers.contains(where: \.isWatched) ? nextPing : .never
        for index in servers.indices { healthWake = min(healthWake, timer(of: index)) }
    }

    private mutating func runTimer(of server: ServerIndex, into actions: inout [Action]) {
        let health = servers[server.rawValue]
        switch health.phase {
        case .seeking(let from) where from <= now: connect(server, into: &actions)
        case .connecting(let until) where until <= now: lose(server, .stepTimeout, into: &actions)
        case .loading(let until) where until <= now: lose(server, .stepTimeout, into: &actions)
        case .restarting(let until) where until <= now: lose(server, .stepTimeout, into: &actions)
        case .leaving(let until, _) where until <= now: displace(from: server, into: &actions)
        default: break
        }
        let current = servers[server.rawValue]
        if current.isWatched && current.heard + configuration.silenceLimit <= now {
            lose(server, .stepTimeout, into: &actions)
        }
        if let since = servers[server.rawValue].missingSince, since + configuration.recoveryLimit <= now {
            // One that loads is on its way.
            if case .loading = servers[server.rawValue].phase {
                servers[server.rawValue].missingSince = now
            } else {
                giveUp(server, into: &actions)
            }
        }
    }

    private mutating func connect(_ server: ServerIndex, into actions: inout [Action]) {
        let incarnation = Incarnation(servers[server.rawValue].incarnation.rawValue &+ 1)
        servers[server.rawValue].incarnation = incarnation
        enter(.connecting(until: now + configuration.connectLimit), server)
        actions.append(.connect(server, incarnation))
    }

    private mutating func displace(from server: ServerIndex, into actions: inout [Action]) {
        pending.removeAll(keepingCapacity: true)
        dispatcher.displace(from: server, at: now, into: &pending)
        passOn(into: &actions)
        endLeavingIfQuiet(server, into: &actions)
    }
}
