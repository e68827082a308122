import ChainDispatch
import ChainModel

/// Clients: they come, listen, go away and come back.
extension FaultWorld {
    /// The orchestrator's time.
    var shellTime: Instant { now + clockOffset }

    mutating func arrive(_ request: Int) {
        guard case .away = clients[request].state else { return }
        guard shell != nil else {  // Nobody answers; it tries again.
            return comeAgain(request, in: .seconds(1))
        }
        let job = JobID(journal.lastJob + 1)
        journal.note(job: job)
        let arrival = JobArrival(
            job: job, client: clients[request].client, holder: TicketHolder(UInt64(request)),
            timeout: clients[request].timeout)
        let time = max(shellTime, shell!.plane.now)
        let timeout = arrival.timeout ?? scenario.configuration.defaultTimeout
        shell?.jobs[job] = ModelledShell.Job(
            request: request, generated: [], deadline: time + timeout,
            isAttached: true)
        clients[request].state = .attached(job)
        post(.jobArrived(arrival))
    }

    /// The client is told that it was not accepted.
    mutating func refuse(_ request: Int, _ refusal: ControlPlane.Refusal) {
        report.refused += 1
        clients[request].state = .away
        let mayReturn = clients[request].tries < 5 && !isHealed
        // As the official clients, nobody waits longer than the longest time that comes with a ticket.
        guard mayReturn, clients[request].manner != .givesUp, let wait = refusal.retryAfter,
            wait <= scenario.configuration.longestRetry || refusal.hasTicket
        else {
            clients[request].state = .ended(.turnedAway)
            return
        }
        if refusal.hasTicket && wait > scenario.configuration.longestRetry {
            violate("a client was told to wait \(wait.seconds) s")
        }
        let early = clients[request].manner == .comesEarly
        comeAgain(request, in: early ? Duration(nanoseconds: wait.nanoseconds / 2) : wait)
    }

    private mutating func comeAgain(_ request: Int, in wait: Duration) {
        clients[request].tries += 1
        if isHealed || clients[request].tries > 20 {
            clients[request].state = .ended(.turnedAway)
        } else {
            calendar.add(.arrive(request: request), at: now + wait)
        }
    }

    /// The next token of a job's stream.
    mutating func deliver(_ token: UInt64, to request: Int) {
        let position = clients[request].received.count
        guard position < clients[request].answer.count else {
            return violate("request \(request) got a token too many")
        }
        if clients[request].answer[position] != token {
            violate("request \(request) got a wrong token at \(position)")
        }
        clients[request].received.append(token)
        report.tokens += 1
    }

    /// The end of a job's stream.
    mutating func end(_ request: Int, _ outcome: ModelledJournal.Outcome) {
        switch outcome {
        case .finished:
            if clients[request].received != clients[request].answer {
                violate(
                    "request \(request) ended with \(clients[request].received.count) of"
                        + " \(clients[request].answer.count) tokens")
            }
            clients[request].state = .ended(.finished)
        case .failed(let failure): clients[request].state = .ended(.failed(failure))
        case .cancelled, .interrupted: clients[request].state = .ended(.cancelled)
        }
    }

    /// The client goes away, wherever it is.
    mutating func cancel(_ request: Int) {
        guard case .attached(let job) = clients[request].state, shell?.jobs[job] != nil else { return }
        clients[request].state = .ended(.cancelled)
        shell?.jobs[job]?.isAttached = false
        // First the caches, which the job's record names.
        post(.jobCancelled(job))
        conclude(job, .cancelled)
    }

    /// The client of a stream that was cut asks for the rest of it.
    mutating func rejoin(_ request: Int) {
        guard case .cut(let job) = clients[request].state else { return }
        guard shell != nil else {
            calendar.add(.rejoin(request: request), at: now + .seconds(1))
            return
        }
        guard let entry = journal[job] else {
            return violate("job \(job.rawValue) was accepted and has vanished")
        }
        clients[request].state = .attached(job)
        if let outcome = entry.outcome {
            for token in entry.tokens.dropFirst(clients[request].received.count) {
                deliver(token, to: request)
            }
            return end(request, outcome)
        }
        guard let known = shell?.jobs[job] else {
            return violate("job \(job.rawValue) has neither ended nor been restored")
        }
        shell?.jobs[job]?.isAttached = true
        for token in known.generated.dropFirst(clients[request].received.count) {
            deliver(token, to: request)
        }
    }

    mutating func endResumeWindow(_ life: Int, _ job: JobID) {
        guard let shell, shell.life == life, let known = shell.jobs[job] else { return }
        guard !known.isAttached, known.outcome == nil else { return }
        post(.jobCancelled(job))
        conclude(job, .interrupted)
    }

    /// Writes a job's outcome, and then tells its client; later, if the disk is full.
    mutating func conclude(_ job: JobID, _ outcome: ModelledJournal.Outcome) {
        guard let known = shell?.jobs[job] else { return }
        shell?.jobs[job]?.outcome = outcome
        let (before, written) = journal.conclude(job, outcome, tokens: known.generated)
        if let before { return violate("job \(job.rawValue) ends \(outcome) after \(before)") }
        guard written else {
            if !(shell?.unwritten.contains(job) ?? true) { shell?.unwritten.append(job) }
            return
        }
        note("outcome \(job.rawValue) \(outcome)")
        count(outcome)
        shell?.jobs[job] = nil
        guard known.isAttached else { return }
        end(known.request, outcome)
    }

    mutating func writeOutcomes() {
        guard let waiting = shell?.unwritten else { return }
        shell?.unwritten = []
        for job in waiting {
            if let outcome = shell?.jobs[job]?.outcome { conclude(job, outcome) }
        }
    }

    private mutating func count(_ outcome: ModelledJournal.Outcome) {
        switch outcome {
        case .finished: report.finished += 1
        case .failed(let failure):
            report.failed += 1
            report.failures[ControlPlane.Failure.allCases.firstIndex(of: failure)!] += 1
        case .cancelled: report.cancelled += 1
        case .interrupted: report.interrupted += 1
        }
    }

    /// What must be true when all is over.
    mutating func checkEnd() {
        if !report.violations.isEmpty { return }
        report.accepted = journal.entries.count
        for entry in journal.entries {
            if entry.outcome == nil { violate("job \(entry.job.rawValue) was accepted and has no outcome") }
            if entry.outcome == .finished && entry.tokens != clients[entry.request].answer {
                violate("job \(entry.job.rawValue) finished with a wrong answer")
            }
        }
        for (request, client) in clients.enumerated() {
            switch client.state {
            case .ended: break
            default: violate("request \(request) waits for ever: \(client.state)")
            }
        }
        for (index, server) in servers.enumerated() where !server.caches.isEmpty {
            violate("server \(index) still holds caches of \(server.caches.map(\.name.job.rawValue))")
        }
    }
}
