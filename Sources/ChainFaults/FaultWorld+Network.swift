import ChainDispatch
import ChainModel

/// Connections, messages and the servers at their ends.
extension FaultWorld {
    // MARK: The orchestrator's end

    mutating func connect(_ server: Int, _ incarnation: Incarnation) {
        if let old = shell!.connections[server] { close(old) }
        connections.append(Connection(server: server, incarnation: incarnation, life: shell!.life))
        shell!.connections[server] = connections.count - 1
        send(.hello, over: connections.count - 1)
    }

    mutating func load(_ server: Int, _ incarnation: Incarnation) {
        guard let range = shell!.ranges[shell!.plane.plan.number]?[server] else {
            return violate("server \(server) is to load nothing")
        }
        send(.load(range, Self.checksum(of: range)), to: server, incarnation)
    }

    mutating func disconnect(_ server: Int, _ incarnation: Incarnation) {
        guard let connection = shell!.connections[server],
            connections[connection].incarnation == incarnation
        else { return }
        close(connection)
        shell!.connections[server] = nil
    }

    private mutating func close(_ connection: Int) {
        send(.bye, over: connection)
        connections[connection].isOpen = false
    }

    mutating func send(_ message: ServerMessage, to server: Int, _ incarnation: Incarnation) {
        guard let connection = shell!.connections[server],
            connections[connection].incarnation == incarnation
        else { return }
        send(message, over: connection)
    }

    mutating func send(_ message: ServerMessage, over connection: Int) {
        guard connections[connection].isOpen, !connections[connection].isBlackHole else { return }
        let time = max(connections[connection].lastToServer, now + networkDelay())
        connections[connection].lastToServer = time
        calendar.add(.toServer(connection: connection, message), at: time)
    }

    private mutating func networkDelay() -> Duration {
        let delay = random.span(milliseconds: scenario.networkDelay)
        return Duration(nanoseconds: delay.nanoseconds * slowNetwork)
    }

    mutating func receive(_ answer: ServerAnswer, _ damage: Damage, over connection: Int) {
        let (server, incarnation) = (connections[connection].server, connections[connection].incarnation)
        guard shell?.life == connections[connection].life, connections[connection].isOpen,
            shell!.connections[server] == connection
        else { return }
        let index = ServerIndex(server)
        if damage == .unreadable {
            return post(.serverLost(index, incarnation, random.happens(0.5) ? .malformed : .checksum))
        }
        switch answer {
        case .welcome(let held): post(.serverConnected(index, incarnation, holds: held))
        case .loaded(let checksum): post(.serverLoaded(index, incarnation, checksum))
        case .pong: post(.serverHeard(index, incarnation))
        case .opened(let name): opened(name, over: connection)
        case .noRoom(let name): violate("server \(server) has no room for job \(name.job.rawValue)")
        case .stepped(let name, let number, let hidden):
            stepped(name, number: number, hidden, damage, over: connection)
        case .outOfStep(let name): violate("job \(name.job.rawValue) is out of step on server \(server)")
        case .leaving: post(.serverLeaving(index, incarnation))
        case .closed, .refused:
            connections[connection].isOpen = false
            shell!.connections[server] = nil
            post(.serverLost(index, incarnation, answer == .closed ? .closed : .unreachable))
        }
    }

    // MARK: The server's end

    mutating func deliver(_ message: ServerMessage, over connection: Int) {
        let server = connections[connection].server
        if !servers[server].isUp {
            if message == .bye { return }
            return answer(message == .hello ? .refused : .closed, over: connection)
        }
        if servers[server].pausedUntil != nil {
            servers[server].backlog.append((connection, message))
        } else {
            obey(message, server, over: connection)
        }
    }

    /// The server acts on a message of its session; of an older one, only the end matters.
    mutating func obey(_ message: ServerMessage, _ server: Int, over connection: Int) {
        if message == .hello {
            // A late greeting of a connection that was replaced already.
            if let session = servers[server].session, session > connection { return }
            servers[server].session = connection
            servers[server].caches = []
            return answer(.welcome(holds: servers[server].checksum), over: connection)
        }
        guard servers[server].session == connection else { return }
        switch message {
        case .hello: break
        case .ping: answer(.pong, over: connection)
        case .load(let range, let checksum): load(range, checksum, server, over: connection)
        case .open(let name, let first, let count):
            answer(
                servers[server].open(
                    name, firstBlock: first, blockCount: count, model: scenario.cluster.model),
                over: connection)
            checkSlots(server)
        case .step(let name, let number, let position, let hidden):
            compute(name, number, position, hidden, server, over: connection)
        case .release(let name): servers[server].release(name)
        case .restart: restart(server)
        case .bye:
            servers[server].session = nil
            servers[server].caches = []
            if servers[server].isLeaving { restart(server) }
        }
    }

    private mutating func checkSlots(_ server: Int) {
        let total = servers[server].slotCount(scenario.cluster.model)
        if servers[server].slotsUsed > total {
            violate("server \(server) holds \(servers[server].slotsUsed) slots of \(total)")
        }
    }

    private mutating func load(
        _ range: BlockRange, _ checksum: RangeChecksum, _ server: Int, over connection: Int
    ) {
        servers[server].caches = []
        servers[server].range = range
        servers[server].checksum = checksum
        if servers[server].loadsWrongly {
            servers[server].loadsWrongly = false
            servers[server].checksum = RangeChecksum(checksum.rawValue ^ 1)
        }
        let answer = ServerAnswer.loaded(servers[server].checksum!)
        calendar.add(
            .computed(server: server, life: servers[server].life, connection: connection, answer),
            at: now + random.span(milliseconds: 50...1500))
    }

    private mutating func compute(
        _ name: AttemptName, _ number: Int, _ position: Int, _ hidden: [UInt64], _ server: Int,
        over connection: Int
    ) {
        if servers[server].hangs { return }
        guard
            let result = servers[server].step(name, number: number, position: position, hidden: hidden)
        else { return }
        let blocks = Int64(servers[server].caches.first { $0.name == name }?.states.count ?? 1)
        let time = servers[server].blockTime.nanoseconds * blocks * servers[server].slowness
        calendar.add(
            .computed(server: server, life: servers[server].life, connection: connection, result),
            at: now + Duration(nanoseconds: time))
    }

    mutating func finishComputing(
        _ server: Int, life: Int, over connection: Int, _ result: ServerAnswer
    ) {
        guard servers[server].life == life, servers[server].session == connection else { return }
        if let until = servers[server].pausedUntil {
            calendar.add(
                .computed(server: server, life: life, connection: connection, result), at: until)
        } else if !servers[server].hangs {
            answer(result, over: connection)
        }
    }

    private mutating func restart(_ server: Int) {
        let session = servers[server].session
        servers[server].stop()
        if let session { answer(.closed, over: session) }
        calendar.add(
            .serverUp(server, life: servers[server].life, keepsBlocks: true),
            at: now + random.span(milliseconds: 100...1500))
    }

    /// Sends an answer, through whatever the network does to it.
    mutating func answer(_ answer: ServerAnswer, over connection: Int) {
        guard !connections[connection].isBlackHole else { return }
        var time = max(connections[connection].lastToShell, now + networkDelay())
        if chance(.loss, 0.01) && answer != .closed { return }
        if chance(.reorder, 0.05) && answer != .closed {
            time = now + random.span(milliseconds: 0...200)
        } else {
            connections[connection].lastToShell = time
        }
        var damage = Damage.none
        if chance(.corrupt, 0.003) {
            damage = .unreadable
            if case .stepped = answer, random.happens(0.5) { damage = .notFinite }
        }
        calendar.add(.toShell(connection: connection, answer, damage), at: time)
        if chance(.duplicate, 0.05) {
            calendar.add(
                .toShell(connection: connection, answer, .none),
                at: time + random.span(milliseconds: 0...500))
        }
    }

    /// Whether a fault of the network strikes now.
    private mutating func chance(_ fault: FaultKind, _ probability: Double) -> Bool {
        guard !isHealed, scenario.faults.contains(fault), random.happens(probability) else { return false }
        report.troubles[FaultKind.allCases.firstIndex(of: fault)!] += 1
        return true
    }
}
