import ChainModel

/// Accepted jobs: their attempts, their deadlines, and the drain that ends them.
extension ControlPlane {
    /// Hands the dispatcher an event and passes its actions on.
    mutating func dispatch(_ event: Dispatcher.Event, into actions: inout [Action]) {
        pending.removeAll(keepingCapacity: true)
        dispatcher.handle(event, at: now, into: &pending)
        passOn(into: &actions)
    }

    /// Passes the dispatcher's pending actions on. A job that would wait after its time was up fails instead.
    mutating func passOn(into actions: inout [Action]) {
        overdue.removeAll(keepingCapacity: true)
        for action in pending {
            switch action {
            case .start(let job, let attempt, let chain):
                actions.append(.start(job, attempt: attempt, chain))
            case .queue(let job, let ahead):
                if let record = accepted[job], record.heapPosition < 0 {
                    overdue.append(job)
                } else {
                    actions.append(.queue(job, ahead: ahead))
                }
            case .abandon(let job, let attempt, _): actions.append(.abandon(job, attempt: attempt))
            case .fail(let job, let failure):
                forget(job)
                actions.append(.fail(job, Failure(failure)))
            // Arrivals reach the dispatcher only if it has room.
            case .refuse(let job, let reason): preconditionFailure("\(job) was refused: \(reason)")
            case .drained: actions.append(.drained)
            }
        }
        if overdue.isEmpty { return }
        let failing = overdue
        for job in failing { giveUp(job, .deadline, into: &actions) }
    }

    /// Takes a job off, waiting or running, and says that it failed.
    mutating func giveUp(_ job: JobID, _ failure: Failure, into actions: inout [Action]) {
        forget(job)
        // Said after the end of its attempt and before the starts that this makes room for.
        if case .running(let attempt, _, _)? = dispatcher.state(of: job) {
            actions.append(.abandon(job, attempt: attempt))
        }
        actions.append(.fail(job, failure))
        let first = actions.count
        dispatch(.jobCancelled(job), into: &actions)
        actions[first...].removeAll { if case .abandon(job, _) = $0 { true } else { false } }
    }

    /// Hands over the end of a job; if it was one, the job is forgotten.
    mutating func conclude(_ job: JobID, with event: Dispatcher.Event, into actions: inout [Action]) {
        let before = dispatcher.jobCount
        pending.removeAll(keepingCapacity: true)
        dispatcher.handle(event, at: now, into: &pending)
        if dispatcher.jobCount < before { forget(job) }
        passOn(into: &actions)
    }

    /// An attempt failed. If a server is to blame it is lost first, which moves all its jobs, this one too.
    mutating func endAttempt(
        _ job: JobID, attempt: Int, _ failure: AttemptFailure, into actions: inout [Action]
    ) {
        if case .server(let server, let incarnation, let fault) = failure,
            servers.indices.contains(server.rawValue), isCurrent(server, incarnation)
        {
            lose(server, fault, into: &actions)
        }
        dispatch(
            .jobFailed(job, attempt: attempt, retryable: failure != .permanent), into: &actions)
    }

    mutating func restore(
        _ job: JobID, of client: ClientID, deadline: Instant, attempts: Int, into actions: inout [Action]
    ) {
        if let last = dispatcher.lastArrival, job <= last { return }
        accept(job, of: client, deadline: deadline)
        pending.removeAll(keepingCapacity: true)
        dispatcher.restore(job, attempts: attempts, at: now, into: &pending)
        passOn(into: &actions)
        // A deadline that passed while the service was away.
        if deadline <= now { failOverdue(into: &actions) }
    }

    /// Gives up the waiting jobs whose time is up. One that runs may finish; it fails if it comes to wait again.
    mutating func failOverdue(into actions: inout [Action]) {
        while let job = accepted.popOverdue(at: now) {
            if case .waiting? = dispatcher.state(of: job) { giveUp(job, .deadline, into: &actions) }
        }
    }

    mutating func accept(_ job: JobID, of client: ClientID, deadline: Instant) {
        accepted.insert(job, client: client, deadline: deadline)
        clients[client.rawValue] = (clients[client.rawValue] ?? 0) + 1
    }

    mutating func forget(_ job: JobID) {
        guard let record = accepted.remove(job) else { return }
        let left = (clients[record.client.rawValue] ?? 1) - 1
        clients[record.client.rawValue] = left > 0 ? left : nil
    }

    // MARK: Drain

    mutating func startDrain(within: Duration?, into actions: inout [Action]) {
        if let within { drainDeadline = min(drainDeadline ?? .never, now + within) }
        tickets.removeAll()
        dispatch(.drainStarted, into: &actions)
        if let drainDeadline, drainDeadline <= now { endDrain(into: &actions) }
    }

    /// Gives up what a drain has not finished: those that wait first, so that none starts in a place just freed.
    mutating func endDrain(into actions: inout [Action]) {
        drainDeadline = nil
        for job in dispatcher.waitingJobs.reversed() { giveUp(job, .drainDeadline, into: &actions) }
        for job in dispatcher.runningJobs { giveUp(job, .drainDeadline, into: &actions) }
    }
}

extension ControlPlane.Failure {
    init(_ failure: Dispatcher.Failure) {
        switch failure {
        case .attemptsExhausted: self = .attemptsExhausted
        case .notRetryable: self = .notRetryable
        // Servers are never given up for good here, so that jobs wait for them until their deadline.
        case .noChain: preconditionFailure("The dispatcher gave up all chains.")
        }
    }
}
