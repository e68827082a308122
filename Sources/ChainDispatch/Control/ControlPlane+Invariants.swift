import ChainModel

/// What holds between events, derived anew and compared with what is kept.
extension ControlPlane {
    /// Traps if an invariant is broken. O(J + K·H + n log n) for `J` servers, `K` chains of `H` servers, `n` jobs.
    public func checkInvariants() {
        dispatcher.checkInvariants()
        accepted.checkInvariants()
        checkJobs()
        checkServers()
        checkTimers()
    }

    private func checkJobs() {
        precondition(accepted.count == dispatcher.jobCount, "Accepted jobs and the dispatcher's differ.")
        var counts = KeyTable()
        let jobs = dispatcher.waitingJobs + dispatcher.runningJobs
        for job in jobs {
            guard let record = accepted[job] else {
                preconditionFailure("The dispatcher has a job of its own.")
            }
            counts[record.client.rawValue] = (counts[record.client.rawValue] ?? 0) + 1
            if case .waiting? = dispatcher.state(of: job) {
                precondition(
                    record.heapPosition >= 0, "A job waits after its time was up, and nobody is told.")
            }
        }
        precondition(clients.count == counts.count, "Clients are miscounted.")
        precondition(
            jobs.compactMap { accepted[$0]?.client.rawValue }.allSatisfy { counts[$0] == clients[$0] },
            "A client's jobs are miscounted.")
        precondition(tickets.count <= configuration.ticketLimit, "There are too many tickets.")
        precondition(
            zip(tickets.tickets, tickets.tickets.dropFirst()).allSatisfy { $0.due <= $1.due },
            "Tickets are out of order.")
        precondition(tickets.count == 0 || !dispatcher.isDraining, "Tickets outlive the service.")
    }

    private func checkServers() {
        for (index, health) in servers.enumerated() {
            let server = ServerIndex(index)
            precondition(
                (dispatcher.state(of: server) == .ready) == health.isServing,
                "A server is in service for one and not for the other.")
            var isLeaving = false
            if case .leaving = health.phase { isLeaving = true }
            precondition(dispatcher.isResting[index] == isLeaving, "A server rests without reason.")
            precondition(!isLeaving || someoneLeaves, "A server at rest is forgotten.")
            precondition((health.missingSince == nil) == health.isServing, "A server's absence is wrong.")
            precondition(!health.isServing || !health.isGone, "A server in service is given up.")
            precondition(
                !health.isServing || now < health.heard + configuration.silenceLimit,
                "A silent server is in service.")
        }
        precondition(dispatcher.chains.count == plan.chains.count, "The dispatcher follows another plan.")
        precondition(highestPlan >= plan.number, "Plans are misnumbered.")
        var fresh = self
        fresh.renewHope()
        precondition(fresh.hasHope == hasHope, "Hope is out of date.")
    }

    private func checkTimers() {
        for index in servers.indices {
            precondition(healthWake <= timer(of: index), "A server's timer is forgotten.")
        }
        precondition(
            !servers.contains(where: \.isWatched) || healthWake <= nextPing,
            "Servers are not asked for signs of life.")
        precondition(rollout.map { now < $0.until } ?? true, "A rollout is stuck.")
        precondition(recomposition.map { now < $0.until } ?? true, "A recomposition is stuck.")
        precondition(drainDeadline.map { now < $0 } ?? true, "A drain is stuck.")
    }
}
