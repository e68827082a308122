import ChainDispatch
import ChainModel
import ChainPlanning

/// The orchestrator around its control plane: it hands events over and carries actions out.
extension FaultWorld {
    // MARK: Life

    mutating func startOrchestrator() {
        lives += 1
        var fresh = ModelledShell(
            life: lives, configuration: scenario.configuration, serverCount: servers.count)
        guard let (installation, ranges) = compose(plan: 1, excluding: []) else {
            preconditionFailure("The scenario's pool has no plan.")
        }
        fresh.ranges[1] = ranges
        shell = fresh
        post(.planInstalled(installation))
        for entry in journal.entries where entry.outcome == nil {
            let generated = scenario.journalsTokens ? entry.tokens : []
            shell?.jobs[entry.job] = ModelledShell.Job(
                request: entry.request, generated: generated, deadline: entry.deadline, isAttached: false)
            calendar.add(.resumeWindow(life: lives, entry.job), at: now + scenario.resumeWindow)
            post(.jobRestored(entry.job, entry.client, deadline: entry.deadline, attempts: 0))
        }
        // A client may have left before its job was.
        if isHealed { calendar.add(.drain, at: now + .seconds(1)) }
    }

    /// The process ends: all that it knew is gone, and all its connections with it.
    mutating func crashOrchestrator() {
        guard let dying = shell else { return }
        check(dying)
        report.restarts += 1
        note("orchestrator ends")
        for connection in connections.indices where connections[connection].isOpen {
            send(.bye, over: connection)
            connections[connection].isOpen = false
        }
        shell = nil
        for request in clients.indices {
            guard case .attached(let job) = clients[request].state else { continue }
            if clients[request].returns || isHealed {
                clients[request].state = .cut(job)
                calendar.add(.rejoin(request: request), at: now + random.span(milliseconds: 200...4000))
            } else {
                clients[request].state = .ended(.left)
            }
        }
        calendar.add(.orchestratorUp, at: now + random.span(milliseconds: 300...5000))
    }

    /// The journal of a life replays to the same actions.
    mutating func check(_ life: ModelledShell) {
        let divergence = Replay.check(
            life.records, configuration: scenario.configuration, serverCount: servers.count)
        if let divergence { violate("the journal replays differently at \(divergence.record.sequence)") }
    }

    // MARK: Events and actions

    /// Hands an event over and carries the actions out, then those that they lead to.
    mutating func post(_ event: ControlPlane.Event) {
        guard shell != nil else { return }
        shell!.inbox.append(event)
        if shell!.isHandling { return }
        shell!.isHandling = true
        while let life = shell, !life.inbox.isEmpty, report.violations.isEmpty {
            handle(shell!.inbox.removeFirst())
        }
        shell?.isHandling = false
        setTimer()
    }

    private mutating func handle(_ event: ControlPlane.Event) {
        var actions: [ControlPlane.Action] = []
        let time = shellTime
        var foreseen: ControlPlane.Refusal?
        if case .jobArrived(let arrival) = event {
            foreseen = shell!.plane.foreseenRefusal(of: arrival, at: time)?.refusal
        }
        shell!.plane.handle(event, at: time, into: &actions)
        let actionDigest = ControlPlane.digest(of: actions)
        digest.append(actionDigest)
        note("\(event) -> \(actions)")
        shell!.records.append(
            JournalRecord(
                sequence: UInt64(shell!.records.count) + 1, time: time, event: event, actions: actionDigest))
        if shell!.records.count.isMultiple(of: 16) { shell!.plane.checkInvariants() }
        checkBounds()
        checkForeseen(event, foreseen, actions)
        // Only what the control plane takes for completed has ended. Else it moved the job meanwhile, and another attempt
        // finds nothing left to do.
        if case .jobCompleted(let job, _) = event, shell!.plane.dispatcher.state(of: job) == nil {
            conclude(job, .finished)
        }
        var actionsToDo = actions[...]
        if case .jobArrived(let arrival) = event { actionsToDo = admit(arrival.job, actions) }
        for action in actionsToDo { carryOut(action) }
    }

    /// A refusal is foreseen exactly, so that a shell may turn requests away by it.
    private mutating func checkForeseen(
        _ event: ControlPlane.Event, _ foreseen: ControlPlane.Refusal?, _ actions: [ControlPlane.Action]
    ) {
        guard case .jobArrived(let arrival) = event else { return }
        var refusal: ControlPlane.Refusal?
        for case .refuse(arrival.job, let reason) in actions { refusal = reason }
        if refusal != foreseen { violate("job \(arrival.job.rawValue)'s refusal was not foreseen") }
    }

    /// What the queue holds, counted from outside.
    private mutating func checkBounds() {
        let dispatcher = shell!.plane.dispatcher
        if dispatcher.queueLength > scenario.configuration.queueLimit + shell!.jobs.count {
            violate("the queue holds \(dispatcher.queueLength) jobs")
        }
        if dispatcher.queueRoom < 0 { violate("more newcomers wait than may") }
    }

    /// Writes an accepted job before anybody is told; what remains to be done.
    private mutating func admit(_ job: JobID, _ actions: [ControlPlane.Action]) -> ArraySlice<
        ControlPlane.Action
    > {
        guard let known = shell!.jobs[job] else { return actions[...] }
        for action in actions {
            if case .refuse(job, let refusal) = action {
                shell!.jobs[job] = nil
                refuse(known.request, refusal)
                return actions[...]
            }
        }
        let entry = ModelledJournal.Entry(
            job: job, request: known.request, client: clients[known.request].client,
            deadline: known.deadline)
        if journal.accept(entry) {
            clients[known.request].wasAccepted = true
            return actions[...]
        }
        // It cannot be promised, so it is not accepted.
        shell!.jobs[job] = nil
        refuse(
            known.request,
            ControlPlane.Refusal(.noChain, retryAfter: .seconds(1), hasTicket: false))
        shell!.inbox.append(.jobCancelled(job))
        return actions[...]
    }

    private mutating func carryOut(_ action: ControlPlane.Action) {
        switch action {
        case .start(let job, let attempt, let chain): start(job, attempt: attempt, on: chain)
        case .queue, .refuse: break
        case .abandon(let job, let attempt): abandon(job, attempt: attempt)
        case .fail(let job, let failure):
            checkFailure(job, failure)
            conclude(job, .failed(failure))
        case .connect(let server, let incarnation): connect(server.rawValue, incarnation)
        case .load(let server, let incarnation): load(server.rawValue, incarnation)
        case .ping(let server, let incarnation): send(.ping, to: server.rawValue, incarnation)
        case .disconnect(let server, let incarnation): disconnect(server.rawValue, incarnation)
        case .restart(let server, let incarnation): send(.restart, to: server.rawValue, incarnation)
        case .recompose(let excluded, let plan):
            calendar.add(
                .composed(
                    life: shell!.life, plan: plan, excluding: excluded,
                    fails: !isHealed && random.happens(0.1)),
                at: now + random.span(milliseconds: 20...1000))
        case .reconsider(let rate, let excluded, let plan):
            report.reconsiderations += 1
            calendar.add(
                .reconsidered(
                    life: shell!.life, plan: plan, excluding: excluded, rate: rate, keeps: random.happens(0.4)
                ),
                at: now + random.span(milliseconds: 20...8000))
        case .rolloutEnded(let skipped):
            report.rollouts += 1
            report.skipped += skipped.count
        case .drained:
            if shell!.isDrained { violate("the drain ended twice") }
            shell!.isDrained = true
            drainedAt = now
            check(shell!)
        }
    }

    /// A failure must have its reason.
    private mutating func checkFailure(_ job: JobID, _ failure: ControlPlane.Failure) {
        guard let known = shell!.jobs[job] else {
            return violate("job \(job.rawValue) fails and is not known")
        }
        switch failure {
        case .deadline:
            if shell!.plane.now < known.deadline { violate("job \(job.rawValue) fails before its deadline") }
        case .attemptsExhausted:
            if known.lastAttempt < scenario.configuration.maximumAttempts {
                violate("job \(job.rawValue) fails after \(known.lastAttempt) attempts")
            }
        case .notRetryable, .drainDeadline: violate("job \(job.rawValue) fails: \(failure)")
        }
    }

    // MARK: Timers

    private mutating func setTimer() {
        guard let wake = shell?.plane.nextWake else { return }
        if let armed = shell!.armed, armed <= wake { return }
        shell!.armed = wake
        calendar.add(.wake(life: shell!.life), at: max(now, wake + (.zero - clockOffset)))
    }

    mutating func wake(_ life: Int) {
        guard shell?.life == life else { return }
        shell!.armed = nil
        if let due = shell!.plane.nextWake, due <= shellTime {
            post(.tick)
            if let next = shell?.plane.nextWake, next <= shell!.plane.now {
                violate("the control plane wants to be woken at once, for ever")
            }
        }
        setTimer()
    }

    // MARK: Plans

    /// A plan without those servers, and the ranges that it gives the others.
    func compose(plan number: Int, excluding excluded: [ServerIndex]) -> (PlanInstallation, [BlockRange?])? {
        let kept = servers.indices.filter { !excluded.contains(ServerIndex($0)) }
        if kept.isEmpty { return nil }
        let cluster = Cluster(
            model: scenario.cluster.model, demand: scenario.cluster.demand,
            servers: kept.map { scenario.cluster.servers[$0] })
        for capacity in [1 + number % 2, 1] {
            var options = PlanningOptions(capacity: .fixed(capacity))
            // Later plans differ, so that some chains stay and some do not.
            options.useAllServers = number.isMultiple(of: 3)
            guard let plan = try? Planner.plan(cluster, options: options) else { continue }
            var ranges = [BlockRange?](repeating: nil, count: servers.count)
            var checksums = [RangeChecksum?](repeating: nil, count: servers.count)
            for (position, server) in kept.enumerated() {
                guard let range = plan.placement[ServerIndex(position)] else { continue }
                ranges[server] = range
                checksums[server] = Self.checksum(of: range)
            }
            let chains = plan.chains.map { chain in
                var moved = PlanInstallation.Chain(chain)
                for hop in moved.hops.indices {
                    moved.hops[hop].server = ServerIndex(kept[moved.hops[hop].server.rawValue])
                }
                return moved
            }
            let installation = PlanInstallation(
                number: number, chains: chains, checksums: checksums,
                arrivalRate: scenario.cluster.demand.arrivalRate)
            return (installation, ranges)
        }
        return nil
    }

    static func checksum(of range: BlockRange) -> RangeChecksum {
        RangeChecksum(mix(UInt64(range.first) << 16 | UInt64(range.count)))
    }

    mutating func install(_ life: Int, plan: Int, excluding: [ServerIndex], fails: Bool) {
        guard shell?.life == life else { return }
        guard !fails, let (installation, ranges) = compose(plan: plan, excluding: excluding) else {
            return post(.recompositionFailed(plan: plan))
        }
        report.plans += 1
        shell!.ranges[plan] = ranges
        post(.planInstalled(installation))
    }

    /// The answer to a change of demand, which may come late: the plan is kept, or another one installed.
    mutating func adapt(_ life: Int, plan: Int, excluding: [ServerIndex], rate: Double, keeps: Bool) {
        guard shell?.life == life, shell!.plane.accepts(plan: plan) else { return }
        guard !keeps, let (installation, ranges) = compose(plan: plan, excluding: excluding) else {
            return post(.planKept(plan: plan, arrivalRate: rate))
        }
        var adapted = installation
        adapted.arrivalRate = rate
        report.plans += 1
        shell!.ranges[plan] = ranges
        post(.planInstalled(adapted))
    }
}
