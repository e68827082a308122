import ChainDispatch
import ChainEngine
import ChainModel
import Logging

/// Starts of jobs on chains, and how they end.
extension Conductor {
    func start(_ id: JobID, attempt number: Int, on index: ChainIndex) {
        guard let record = jobs[id] else { return }
        let chain = plan[index]
        let hops = hops(of: chain, for: Self.engineJob(id, attempt: number), record)
        // Jobs are started on chains whose servers are all ready, and ready servers have links.
        precondition(hops.count == chain.hops.count, "a chain was started without all its servers")
        let attempt = Attempt(number: number, hops: hops, chainName: configuration.name(of: chain))
        record.attempt = attempt
        record.hops = hops
        record.plan = control.plan.number
        record.feed.yield(.started(chain: attempt.chainName, attempt: number))
        record.task = Self.task(for: attempt, of: record.job, id, after: record.task, conductor: self)
    }

    /// An attempt on its way. Runs on the first server's event loop and not in the conductor.
    private nonisolated static func task(
        for attempt: Attempt, of job: GenerationJob, _ id: JobID, after previous: Task<Void, Never>?,
        conductor: Conductor
    ) -> Task<Void, Never> {
        Task(executorPreference: attempt.hops.first?.link.executor) {
            await previous?.value
            let outcome = await job.run(attempt)
            conductor.now { $0.end(id, attempt: attempt.number, outcome) }
        }
    }

    /// The hops of a chain; those where the job has a cache in this plan go on with it.
    private func hops(
        of chain: ServerChain, for engineJob: EngineJobID, _ record: JobRecord
    ) -> [AttemptHop] {
        chain.hops.compactMap { hop in
            let shell = servers[hop.server.rawValue]
            guard let link = shell.link else { return nil }
            var new = AttemptHop(
                server: hop.server, incarnation: shell.incarnation, link: link,
                firstBlock: hop.firstBlock, blockCount: hop.blockCount, engineJob: engineJob)
            if record.plan == control.plan.number,
                let held = record.hops.first(where: { $0.isSamePlace(as: new) })
            {
                new.engineJob = held.engineJob
                new.isTakenOver = true
            }
            return new
        }
    }

    /// Stops the attempt. Caches that the next attempt goes on with are kept if that starts in the same moment, in the
    /// place that the job leaves; all others are freed at once, without waiting for the step under way.
    func abandon(_ id: JobID, before actions: ArraySlice<ControlPlane.Action>) {
        guard let record = jobs[id] else { return }
        var kept: [AttemptHop] = []
        if !keepsNoStates, let next = Self.start(of: id, in: actions), record.plan == control.plan.number {
            let places = hops(of: plan[next.chain], for: Self.engineJob(id, attempt: next.attempt), record)
            kept = record.hops.filter { hop in places.contains { $0.isSamePlace(as: hop) } }
        }
        record.attempt?.ending.tell(keeping: kept)
        if kept.isEmpty { record.task?.cancel() }
        for hop in record.hops where !kept.contains(where: { $0.isSamePlace(as: hop) }) { hop.close() }
        record.hops = kept
    }

    private var keepsNoStates: Bool { configuration.keptStates.inAll == .zero }

    /// Where a job starts next.
    private static func start(
        of id: JobID, in actions: ArraySlice<ControlPlane.Action>
    ) -> (attempt: Int, chain: ChainIndex)? {
        for case .start(id, let attempt, let chain) in actions { return (attempt, chain) }
        return nil
    }

    /// Frees the caches of an attempt that ended by itself.
    private func freeCaches(of id: JobID) {
        for hop in jobs[id]?.hops ?? [] { hop.close() }
        jobs[id]?.hops = []
    }

    func fail(_ id: JobID, _ failure: ControlPlane.Failure) {
        guard let record = jobs[id] else { return }
        let waited = "no chain came free for it in time"
        let reported: GenerationFailure =
            switch failure {
            case .attemptsExhausted:
                .unavailable(
                    message: "the request was started \(control.configuration.maximumAttempts) times and lost"
                        + " its servers each time")
            case .notRetryable: .internal(message: "the request failed")
            case .deadline: .deadlineExceeded(message: "the request's time is up: \(waited)")
            case .drainDeadline: .unavailable(message: "the service stopped before the request's end")
            }
        journal?.add(.ended(job: id, JournalOutcome(kind: .failed, reason: failure.rawValue)))
        record.feed.yield(.failed(reported))
        record.feed.finish()
        forget(id)
    }

    func end(_ id: JobID, attempt: Int, _ outcome: AttemptOutcome) {
        guard let record = jobs[id], record.attempt?.number == attempt else { return }
        switch outcome {
        case .finished(let result, let tokens):
            let position = journal?.add(
                .ended(job: id, JournalOutcome(kind: .finished, result: result, tokens: tokens)))
            forget(id)
            // It may have finished in the very moment in which it was taken off a lost server.
            if case .running(attempt, _, _)? = control.state(of: id) {
                post(.jobCompleted(id, attempt: attempt))
            } else {
                post(.jobCancelled(id))
            }
            deliver(.finished(result), to: record.feed, after: position)
        case .lost(let server, let incarnation, let error):
            logger.warning(
                "an attempt was lost",
                metadata: [
                    "server": "\(configuration.cluster.servers[server.rawValue].name)", "reason": "\(error)",
                    "attempt": "\(attempt)",
                ])
            let failure = error.fault.map { AttemptFailure.server(server, incarnation, $0) } ?? .refused
            // Without a fault nobody says that it is abandoned before its place is given to another.
            if error.fault == nil { freeCaches(of: id) }
            if error.fault != nil { servers[server.rawValue].lastError = error.description }
            post(.jobFailed(id, attempt: attempt, failure))
            if jobs[id]?.attempt?.number == attempt { freeCaches(of: id) }
        case .failed(let message):
            journal?.add(.ended(job: id, JournalOutcome(kind: .failed, reason: message)))
            record.feed.yield(.failed(.internal(message: message)))
            record.feed.finish()
            forget(id)
            post(.jobFailed(id, attempt: attempt, .permanent))
        case .abandoned:
            break
        }
    }

    /// Says the last word once it is kept, so that nobody who has heard it can find the request unfinished.
    private func deliver(
        _ event: GenerationEvent, to feed: GenerationFeed,
        after position: UInt64?
    ) {
        guard let journal, let position, !journal.isKept(position) else {
            feed.yield(event)
            feed.finish()
            return
        }
        Task {
            _ = await journal.waitUntilKept(position)
            feed.yield(event)
            feed.finish()
        }
    }

    /// The name of an attempt on the servers.
    private static func engineJob(_ id: JobID, attempt: Int) -> EngineJobID {
        EngineJobID(id.rawValue << 8 | UInt64(attempt & 0xFF))
    }
}
