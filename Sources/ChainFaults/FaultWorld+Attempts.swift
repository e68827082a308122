import ChainDispatch
import ChainModel

/// Attempts: open on every hop, then step by step through them, token by token.
extension FaultWorld {
    mutating func start(_ job: JobID, attempt: Int, on chain: ChainIndex) {
        // An arrival that could not be written is cancelled in the same breath.
        guard let known = shell!.jobs[job] else { return }
        if let other = known.attempt {
            return violate("job \(job.rawValue) runs twice: \(other.name.attempt) and \(attempt)")
        }
        if attempt <= known.lastAttempt { violate("job \(job.rawValue)'s attempt \(attempt) comes again") }
        if known.outcome != nil { violate("job \(job.rawValue) starts after its end") }
        if known.lastAttempt > 0 { report.furtherAttempts += 1 }
        let name = AttemptName(job: job, attempt: attempt)
        var hops: [ModelledShell.Attempt.Hop] = []
        for hop in shell!.plane.plan.chains[chain.rawValue].hops {
            guard let connection = shell!.connections[hop.server.rawValue] else {
                return violate("job \(job.rawValue) starts on a server without connection")
            }
            hops.append(ModelledShell.Attempt.Hop(hop: hop, connection: connection))
        }
        shell!.jobs[job]!.lastAttempt = attempt
        shell!.jobs[job]!.attempt = ModelledShell.Attempt(name: name, hops: hops)
        for hop in hops {
            send(
                .open(name, firstBlock: hop.hop.firstBlock, blockCount: hop.hop.blockCount),
                over: hop.connection)
        }
        setStepTimeout(name, number: 0)
    }

    mutating func abandon(_ job: JobID, attempt: Int) {
        guard let current = shell!.jobs[job]?.attempt, current.name.attempt == attempt else { return }
        release(current)
        shell!.jobs[job]!.attempt = nil
    }

    private mutating func release(_ attempt: ModelledShell.Attempt) {
        for hop in attempt.hops { send(.release(attempt.name), over: hop.connection) }
    }

    private mutating func setStepTimeout(_ name: AttemptName, number: Int) {
        calendar.add(
            .stepTimeout(life: shell!.life, name, number: number), at: now + scenario.stepTimeout)
    }

    mutating func timeOut(_ life: Int, _ name: AttemptName, number: Int) {
        guard shell?.life == life, let attempt = shell?.jobs[name.job]?.attempt, attempt.name == name
        else { return }
        let silent: Int?
        if let awaited = attempt.awaited {
            silent = awaited.number == number ? awaited.hop : nil
        } else {
            silent = number == 0 ? attempt.hops.firstIndex { !$0.isOpen } : nil
        }
        if let silent { fail(attempt, hop: silent, .stepTimeout) }
    }

    /// Ends an attempt because of one of its servers.
    private mutating func fail(_ attempt: ModelledShell.Attempt, hop: Int, _ fault: ServerFault) {
        let connection = connections[attempt.hops[hop].connection]
        abandon(attempt.name.job, attempt: attempt.name.attempt)
        post(
            .jobFailed(
                attempt.name.job, attempt: attempt.name.attempt,
                .server(ServerIndex(connection.server), connection.incarnation, fault)))
    }

    mutating func opened(_ name: AttemptName, over connection: Int) {
        guard var attempt = shell!.jobs[name.job]?.attempt, attempt.name == name, attempt.awaited == nil,
            let hop = attempt.hops.firstIndex(where: { $0.connection == connection })
        else { return }
        attempt.hops[hop].isOpen = true
        shell!.jobs[name.job]!.attempt = attempt
        if attempt.hops.allSatisfy(\.isOpen) { feed(name.job) }
    }

    /// Sends what is not computed yet through the first hop, or ends the job.
    private mutating func feed(_ job: JobID) {
        guard let known = shell!.jobs[job], var attempt = known.attempt else { return }
        let client = clients[known.request]
        if known.generated.count >= client.tokenLimit {
            release(attempt)
            shell!.jobs[job]!.attempt = nil
            return post(.jobCompleted(job, attempt: attempt.name.attempt))
        }
        let inputs = client.prompt + known.generated
        attempt.rows = inputs.count - attempt.position
        let hidden = (attempt.position..<inputs.count).map {
            ModelledModel.embed(inputs[$0], position: $0)
        }
        shell!.jobs[job]!.attempt = attempt
        step(job, hop: 0, hidden)
    }

    private mutating func step(_ job: JobID, hop: Int, _ hidden: [UInt64]) {
        guard var attempt = shell!.jobs[job]?.attempt else { return }
        attempt.lastNumber += 1
        attempt.awaited = (attempt.lastNumber, hop)
        shell!.jobs[job]!.attempt = attempt
        send(
            .step(attempt.name, number: attempt.lastNumber, position: attempt.position, hidden: hidden),
            over: attempt.hops[hop].connection)
        setStepTimeout(attempt.name, number: attempt.lastNumber)
    }

    mutating func stepped(
        _ name: AttemptName, number: Int, _ hidden: [UInt64], _ damage: Damage, over connection: Int
    ) {
        guard var attempt = shell!.jobs[name.job]?.attempt, attempt.name == name,
            let awaited = attempt.awaited, awaited.number == number,
            attempt.hops[awaited.hop].connection == connection
        else { return }
        if damage == .notFinite { return fail(attempt, hop: awaited.hop, .nonFinite) }
        if awaited.hop + 1 < attempt.hops.count { return step(name.job, hop: awaited.hop + 1, hidden) }
        attempt.position += attempt.rows
        shell!.jobs[name.job]!.attempt = attempt
        emit(ModelledModel.token(after: hidden[hidden.count - 1]), of: name.job)
        feed(name.job)
    }

    /// A token is chosen, kept, and sent on.
    private mutating func emit(_ token: UInt64, of job: JobID) {
        let request = shell!.jobs[job]!.request
        shell!.jobs[job]!.generated.append(token)
        if scenario.journalsTokens { journal.append(token, to: job) }
        guard shell!.jobs[job]!.isAttached,
            shell!.jobs[job]!.generated.count > clients[request].received.count
        else { return }
        deliver(token, to: request)
    }
}
