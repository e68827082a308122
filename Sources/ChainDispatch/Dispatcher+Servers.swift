import ChainModel

/// What happens to servers, and through them to chains.
extension Dispatcher {
    /// A server is ready: chains that lacked only it become available and take waiting jobs.
    mutating func makeReady(_ server: ServerIndex, at now: Instant, into actions: inout [Action]) {
        let before = servers[server.rawValue]
        if before == .ready { return }
        servers[server.rawValue] = .ready
        var changed = false
        for position in firstChain[server.rawValue]..<firstChain[server.rawValue + 1] {
            let chain = chainsByServer[position]
            if before == .lost(returning: false) { restoreHope(of: chain) }
            occupancy[chain].missing -= 1
            if occupancy[chain].isAvailable {
                open.insert(chain)
                availableCount += 1
                changed = true
            }
        }
        if changed { sumAvailable() }
        startWaiting(at: now, into: &actions)
    }

    /// A server is lost: its chains' jobs are abandoned and wait for another attempt at the head of the
    /// queue, or are given up; and all that wait are, if no chain can ever serve them.
    mutating func lose(
        _ server: ServerIndex, returning: Bool, at now: Instant, into actions: inout [Action]
    ) {
        let before = servers[server.rawValue]
        let after = ServerState.lost(returning: returning)
        if before == after { return }
        servers[server.rawValue] = after
        var changed = false
        for position in firstChain[server.rawValue]..<firstChain[server.rawValue + 1] {
            let chain = chainsByServer[position]
            if before == .ready {
                if occupancy[chain].isAvailable {
                    open.remove(chain)
                    availableCount -= 1
                }
                changed = changed || occupancy[chain].isIntact
                occupancy[chain].missing += 1
            }
            if before == .lost(returning: false) { restoreHope(of: chain) }
            if !returning {
                if occupancy[chain].isRecoverable { recoverableCount -= 1 }
                occupancy[chain].gone += 1
            }
        }
        if changed {
            sumAvailable()
            let lost = jobs.runningSlots { !occupancy[$0].isIntact }
            let ids = lost.map { jobs[$0].id }
            abandon(lost, at: now, into: &actions)
            // On slower chains: those with a free slot, or, without the fastest, one below its threshold.
            startWaiting(at: now, into: &actions)
            if recoverableCount > 0 { announceRequeued(ids, into: &actions) }
        }
        if recoverableCount == 0 && !chains.isEmpty { failWaiting(into: &actions) }
    }

    /// Stops running jobs, given in order of arrival, and requeues those with attempts left.
    mutating func abandon(_ lost: [JobSlot], at now: Instant, into actions: inout [Action]) {
        for slot in lost {
            let record = jobs[slot]
            actions.append(
                .abandon(record.id, attempt: Int(record.attempts), ChainIndex(Int(record.chain))))
            leaveChain(slot)
        }
        var successor = queue.first
        for slot in lost {
            if jobs[slot].spent < configuration.maximumAttempts {
                requeue(slot, after: &successor, at: now)
            } else {
                actions.append(.fail(jobs[slot].id, .attemptsExhausted))
                jobs.remove(slot)
            }
        }
    }

    /// Gives up every waiting job, in order of arrival.
    private mutating func failWaiting(into actions: inout [Action]) {
        while !queue.isEmpty {
            let slot = queue.first
            actions.append(.fail(jobs[slot].id, .noChain))
            leaveQueue(slot)
            jobs.remove(slot)
        }
    }

    /// One server fewer of the chain is gone for good.
    private mutating func restoreHope(of chain: Int) {
        occupancy[chain].gone -= 1
        if occupancy[chain].isRecoverable { recoverableCount += 1 }
    }

    /// Sums the available chains' rates anew, in order, so that the sum depends on the state and not on its
    /// history.
    mutating func sumAvailable() {
        availableRate = 0
        fastestAvailable = chains.count
        for chain in occupancy.indices.reversed() where occupancy[chain].isAvailable {
            availableRate += slotRate(of: chain)
            fastestAvailable = chain
        }
    }
}
