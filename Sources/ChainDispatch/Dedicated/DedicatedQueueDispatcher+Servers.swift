import ChainModel

extension DedicatedQueueDispatcher {
    /// A server is ready: jobs without a chain are given one if one became available.
    mutating func makeReady(_ server: ServerIndex, at now: Instant, into actions: inout [Action]) {
        let before = servers[server.rawValue]
        if before == .ready { return }
        servers[server.rawValue] = .ready
        for chain in chainsByServer[server.rawValue] {
            if before == .lost(returning: false) { gone[chain] -= 1 }
            missing[chain] -= 1
            loads.isAvailable[chain] = missing[chain] == 0
        }
        guard loads.isAvailable.contains(true) else { return }
        placeAgain(queues[chains.count], at: now, into: &actions)
    }

    /// A server is lost: its chains' jobs are given other chains, or given up.
    mutating func lose(
        _ server: ServerIndex, returning: Bool, at now: Instant, into actions: inout [Action]
    ) {
        let before = servers[server.rawValue]
        let after = Dispatcher.ServerState.lost(returning: returning)
        if before == after { return }
        servers[server.rawValue] = after
        for chain in chainsByServer[server.rawValue] {
            if before == .ready { missing[chain] += 1 }
            if before == .lost(returning: false) { gone[chain] -= 1 }
            if !returning { gone[chain] += 1 }
            loads.isAvailable[chain] = missing[chain] == 0
        }
        moveJobs(at: now, into: &actions)
        if gone.allSatisfy({ $0 > 0 }) { failWaiting(into: &actions) }
    }

    /// Gives every job of an unavailable chain another chain, in order of arrival.
    private mutating func moveJobs(at now: Instant, into actions: inout [Action]) {
        var moved = jobs.runningSlots { !loads.isAvailable[$0] }
        for slot in moved {
            let record = jobs[slot]
            actions.append(
                .abandon(record.id, attempt: Int(record.attempts), ChainIndex(Int(record.chain))))
            leaveChain(slot)
        }
        moved = moved.filter { slot in
            let hasAttempts = Int(jobs[slot].attempts) < maximumAttempts
            if !hasAttempts {
                actions.append(.fail(jobs[slot].id, .attemptsExhausted))
                jobs.remove(slot)
            }
            return hasAttempts
        }
        for chain in chains.indices where !loads.isAvailable[chain] {
            let waiting = jobs.slots(of: queues[chain])
            for slot in waiting { leaveQueue(slot) }
            moved += waiting
        }
        moved.sort { jobs[$0].id < jobs[$1].id }
        let isAnyAvailable = loads.isAvailable.contains(true)
        for slot in moved {
            place(slot, on: isAnyAvailable ? loads.choose(policy) : chains.count, at: now, into: &actions)
        }
    }

    /// Gives the jobs of a list chains, in order.
    private mutating func placeAgain(_ list: JobList, at now: Instant, into actions: inout [Action]) {
        for slot in jobs.slots(of: list) {
            leaveQueue(slot)
            place(slot, on: loads.choose(policy), at: now, into: &actions)
        }
    }

    private mutating func failWaiting(into actions: inout [Action]) {
        for slot in jobs.slots(of: queues[chains.count]) {
            actions.append(.fail(jobs[slot].id, .noChain))
            leaveQueue(slot)
            jobs.remove(slot)
        }
    }

    /// Traps if an invariant is broken. O(J + K + n).
    public func checkInvariants() {
        var waiting = 0
        for (chain, value) in chains.enumerated() {
            let lost = value.servers.count { servers[$0.rawValue] != .ready }
            precondition(missing[chain] == lost, "Missing servers miscounted.")
            precondition(loads.isAvailable[chain] == (lost == 0), "A chain's availability is wrong.")
            precondition(runningOn[chain] <= value.capacity, "A chain exceeds its capacity.")
            precondition(
                loads.assigned[chain] == runningOn[chain] + queues[chain].count, "Assigned jobs miscounted.")
            precondition(
                queues[chain].isEmpty || runningOn[chain] == value.capacity,
                "A job waits beside a free slot of its chain.")
            precondition(lost == 0 || loads.assigned[chain] == 0, "An unavailable chain has jobs.")
            waiting += queues[chain].count
        }
        waiting += queues[chains.count].count
        precondition(
            queues[chains.count].isEmpty || !loads.isAvailable.contains(true),
            "A job has no chain though one is available.")
        precondition(waiting == queueLength, "Waiting jobs miscounted.")
        precondition(runningOn.reduce(0, +) == runningCount, "Running jobs miscounted.")
        precondition(runningCount + queueLength == jobs.count, "A job neither waits nor runs, or does both.")
    }
}
