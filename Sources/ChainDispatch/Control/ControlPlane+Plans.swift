import ChainModel

/// Plans that replace one another, and servers restarted one by one.
extension ControlPlane {
    /// Puts a plan in force. Chains that it keeps run on; servers whose blocks change load anew; jobs of all other
    /// chains go back to the head of the queue.
    mutating func install(_ installation: PlanInstallation, into actions: inout [Action]) {
        // While a later one is being made, this one already lacks a server.
        guard accepts(plan: installation.number) else { return }
        precondition(installation.checksums.count == servers.count, "There must be one checksum per server.")
        recomposition = nil
        reconsideration = nil
        demand?.restart(plannedRate: installation.arrivalRate, at: now)
        highestPlan = max(highestPlan, installation.number)
        let changed = servers.indices.filter { plan.checksums[$0] != installation.checksums[$0] }
        let successors = plan.chains.map { old in
            old.hops.contains { changed.contains($0.server.rawValue) }
                ? nil : installation.chains.firstIndex { $0.hops == old.hops }
        }
        let isFirst = plan.number == 0
        plan = installation
        // A server that is only let go of its blocks needs no new proof: nothing depends on it.
        let reloading = changed.filter { installation.checksums[$0] != nil && servers[$0].isConnected }
        pending.removeAll(keepingCapacity: true)
        dispatcher.install(
            installation.chains.map(\.dispatchChain), rule: .jffcWait(thresholds: installation.thresholds),
            successors: successors, unready: reloading.map(ServerIndex.init(_:)), at: now, into: &pending)
        passOn(into: &actions)
        for index in reloading { reload(ServerIndex(index), into: &actions) }
        if isFirst {
            for index in servers.indices {
                servers[index].phase = .seeking(from: now)
                servers[index].missingSince = now
            }
        }
        healthWake = now
        renewHope()
        runServerTimers(into: &actions)
    }

    /// Connects anew to a server whose blocks changed; it loads once it answers.
    private mutating func reload(_ server: ServerIndex, into actions: inout [Action]) {
        actions.append(.disconnect(server, servers[server.rawValue].incarnation))
        if servers[server.rawValue].missingSince == nil { servers[server.rawValue].missingSince = now }
        servers[server.rawValue].phase = .seeking(from: now)
        pending.removeAll(keepingCapacity: true)
        dispatcher.endRest(server, at: now, into: &pending)
        passOn(into: &actions)
    }

    /// Asks for a plan without the servers that are gone.
    mutating func recompose(into actions: inout [Action]) {
        highestPlan += 1
        recomposition = Recomposition(plan: highestPlan, until: now + configuration.recompositionLimit)
        let gone = servers.indices.filter { servers[$0].isGone }.map(ServerIndex.init(_:))
        actions.append(.recompose(excluding: gone, plan: highestPlan))
    }

    /// Asks again if the plan depends on a server that is gone and no answer is awaited.
    mutating func recomposeIfNeeded(into actions: inout [Action]) {
        guard recomposition == nil,
            servers.indices.contains(where: { servers[$0].isGone && plan.checksums[$0] != nil })
        else { return }
        recompose(into: &actions)
        renewHope()
    }

    mutating func endRecomposition(_ number: Int) {
        if recomposition?.plan != number { return }
        recomposition = nil
        renewHope()
    }

    /// Whether newcomers may wait: some chain serves or may again, or a recovery is under way.
    mutating func renewHope() {
        hasHope =
            recomposition != nil
            || plan.chains.contains { !$0.hops.contains { servers[$0.server.rawValue].isGone } }
    }

    // MARK: Rollout

    mutating func startRollout(of list: [ServerIndex], into actions: inout [Action]) {
        let known = list.filter { servers.indices.contains($0.rawValue) }
        if rollout != nil {
            actions.append(.rolloutEnded(skipped: known))
            return
        }
        rollout = Rollout(
            remaining: known.reversed(), current: nil, until: now + configuration.recoveryLimit)
    }

    /// Takes the rollout as far as it goes now: the next server rests once all of the plan are in service.
    mutating func advanceRollout(into actions: inout [Action]) {
        if someoneLeaves {
            for index in servers.indices { endLeavingIfQuiet(ServerIndex(index), into: &actions) }
            someoneLeaves = servers.contains { if case .leaving = $0.phase { true } else { false } }
        }
        while let present = rollout {
            if let server = present.current {
                if servers[server.rawValue].phase == .ready {
                    rollout?.current = nil
                    rollout?.until = now + configuration.recoveryLimit
                } else if present.until <= now {
                    // It has not come back: do not take another one away.
                    rollout?.skipped.append(server)
                    rollout?.skipped += present.remaining.reversed()
                    rollout?.remaining = []
                    rollout?.current = nil
                } else {
                    return
                }
            } else if let server = present.remaining.last {
                let isWhole = servers.indices.allSatisfy {
                    plan.checksums[$0] == nil || servers[$0].phase == .ready || servers[$0].isGone
                }
                if servers[server.rawValue].isGone || present.until <= now {
                    rollout?.remaining.removeLast()
                    rollout?.skipped.append(server)
                    rollout?.until = now + configuration.recoveryLimit
                } else if isWhole && servers[server.rawValue].phase == .ready {
                    rollout?.remaining.removeLast()
                    rollout?.current = server
                    let patience = configuration.restPatience + configuration.restartLimit
                    rollout?.until = now + patience + configuration.recoveryLimit
                    rest(server, restarts: true)
                    endLeavingIfQuiet(server, into: &actions)
                } else {
                    return
                }
            } else {
                actions.append(.rolloutEnded(skipped: present.skipped))
                rollout = nil
            }
        }
    }
}
