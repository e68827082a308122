import ChainDispatch
import ChainModel

/// Troubles, and their end.
extension FaultWorld {
    mutating func happenTrouble(_ happening: Happening) {
        switch happening {
        case .trouble: makeTrouble()
        case .serverUp(let server, let life, let keepsBlocks):
            if servers[server].life == life { bringUp(server, keepsBlocks: keepsBlocks) }
        case .resume(let server, let life):
            if servers[server].life == life { resume(server) }
        case .fast(let server): servers[server].slowness = 1
        case .calm: slowNetwork = 1
        case .orchestratorUp: if shell == nil { startOrchestrator() }
        case .diskFree:
            journal.isFull = false
            writeOutcomes()
        case .heal: heal()
        default: break
        }
    }

    private mutating func makeTrouble() {
        if isHealed { return }
        calendar.add(.trouble, at: now + random.exponential(mean: scenario.troubleInterval))
        let kind = scenario.faults[random.integer(0...scenario.faults.count - 1)]
        let server = random.integer(0...servers.count - 1)
        note("trouble: \(kind) \(server)")
        switch kind {
        case .crash, .exile, .pause, .hang, .slow, .leave, .corruptLoad: trouble(kind, server)
        case .cut, .blackHole:
            guard let connection = shell?.connections[server] else { return }
            if kind == .blackHole {
                connections[connection].isBlackHole = true
            } else {
                answer(.closed, over: connection)
                servers[server].session = nil
                servers[server].caches = []
            }
        case .delay:
            slowNetwork = Int64(random.integer(5...40))
            calendar.add(.calm, at: now + random.span(milliseconds: 200...4000))
        case .orchestratorCrash: if shell != nil { crashOrchestrator() }
        case .clockJump:
            clockOffset = random.span(milliseconds: 0...40_000) - .seconds(20)
        case .fullDisk:
            journal.isFull = true
            calendar.add(.diskFree, at: now + random.span(milliseconds: 500...5000))
        case .rollout: post(.rolloutStarted(servers.indices.map(ServerIndex.init(_:))))
        case .replan:
            guard let life = shell else { return }
            install(life.life, plan: life.plane.nextPlanNumber, excluding: [], fails: false)
        // These strike by themselves.
        case .duplicate, .reorder, .loss, .corrupt, .cancel: return
        }
        report.troubles[FaultKind.allCases.firstIndex(of: kind)!] += 1
    }

    private mutating func trouble(_ kind: FaultKind, _ server: Int) {
        guard servers[server].isUp else { return }
        switch kind {
        case .crash, .exile:
            let session = servers[server].session
            servers[server].stop()
            // Sometimes the machine itself is gone, and nobody says that the connection is closed.
            if let session, random.happens(0.6) { answer(.closed, over: session) }
            let away = kind == .exile ? 10_000...60_000 : 50.0...6000
            calendar.add(
                .serverUp(server, life: servers[server].life, keepsBlocks: random.happens(0.7)),
                at: now + random.span(milliseconds: away))
        case .pause:
            if servers[server].pausedUntil != nil { return }
            let until = now + random.span(milliseconds: 50...5000)
            servers[server].pausedUntil = until
            calendar.add(.resume(server, life: servers[server].life), at: until)
        case .hang:
            servers[server].hangs = true
            calendar.add(
                .serverUp(server, life: servers[server].life, keepsBlocks: true),
                at: now + random.span(milliseconds: 3000...10_000))
        case .slow:
            servers[server].slowness = Int64(random.integer(2...10))
            calendar.add(.fast(server), at: now + random.span(milliseconds: 500...8000))
        case .leave:
            guard let session = servers[server].session else { return }
            servers[server].isLeaving = true
            answer(.leaving, over: session)
        default: servers[server].loadsWrongly = true
        }
    }

    private mutating func bringUp(_ server: Int, keepsBlocks: Bool) {
        if servers[server].isUp {  // It hung: it is restarted by hand.
            let session = servers[server].session
            servers[server].stop()
            if let session { answer(.closed, over: session) }
        }
        servers[server].isUp = true
        servers[server].hangs = false
        if !keepsBlocks {
            servers[server].range = nil
            servers[server].checksum = nil
        }
    }

    private mutating func resume(_ server: Int) {
        servers[server].pausedUntil = nil
        let backlog = servers[server].backlog
        servers[server].backlog = []
        for (connection, message) in backlog where servers[server].isUp {
            obey(message, server, over: connection)
        }
    }

    /// All troubles end. From here on everything must finish.
    private mutating func heal() {
        isHealed = true
        note("healed")
        slowNetwork = 1
        journal.isFull = false
        writeOutcomes()
        for server in servers.indices {
            servers[server].slowness = 1
            servers[server].loadsWrongly = false
            if !servers[server].isUp || servers[server].hangs { bringUp(server, keepsBlocks: true) }
            if servers[server].pausedUntil != nil { resume(server) }
        }
        calendar.add(.drain, at: now + Self.healDelay)
    }
}
