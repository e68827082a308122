import ChainModel

/// What happens to one job: arrival, start, completion, failure, cancellation.
extension Dispatcher {
    /// Arrival (Algorithm 3): start on the fastest free chain, else join the queue, else be refused.
    mutating func admit(_ job: JobID, at now: Instant, into actions: inout [Action]) {
        if let lastArrival, job <= lastArrival {
            actions.append(.refuse(job, .duplicate))
            return
        }
        lastArrival = job
        // The rule is asked only where it can refuse: a question copies the whole dispatcher, which is large.
        if phase != .serving || recoverableCount == 0 || newcomerCount >= configuration.queueLimit,
            let refusal = refusalOfArrival
        {
            actions.append(.refuse(job, refusal))
            return
        }
        let slot = jobs.insert(job, at: now)
        if queue.isEmpty, let chain = chainForHead(waiting: 1) {
            start(slot, on: chain, at: now, into: &actions)
            return
        }
        jobs.append(slot, to: &queue)
        newcomerCount += 1
        startWaiting(at: now, into: &actions)
        // Should the arrival have been the one that the rule waited for, it was an older job that started.
        actions.append(.queue(job, ahead: queue.count - 1))
    }

    /// Why an arrival would be refused now.
    public var refusalOfArrival: Refusal? {
        if phase != .serving { return .draining }
        if recoverableCount == 0 { return .noChain }
        if newcomerCount >= configuration.queueLimit && chainForHead(waiting: queue.count + 1) == nil {
            return .queueFull
        }
        return nil
    }

    /// The chain that takes the head of a queue of `waiting` jobs: the fastest free one, if enough jobs
    /// wait for it.
    ///
    /// Thresholds do not decrease, so when the fastest free chain's is not met, no slower one's is.
    @inline(__always)
    func chainForHead(waiting: Int) -> Int? {
        guard let chain = open.first else { return nil }
        return waiting >= thresholds[chain] || chain == fastestAvailable ? chain : nil
    }

    /// Starts jobs from the head of the queue as long as the rule gives them a chain.
    mutating func startWaiting(at now: Instant, into actions: inout [Action]) {
        while !queue.isEmpty, let chain = chainForHead(waiting: queue.count) {
            let slot = jobs.removeFirst(from: &queue)
            if jobs[slot].attempts == 0 { newcomerCount -= 1 }
            start(slot, on: chain, at: now, into: &actions)
        }
    }

    /// Starts a job that is on no list on a chain that has a free slot.
    mutating func start(_ slot: JobSlot, on chain: Int, at now: Instant, into actions: inout [Action]) {
        occupancy[chain].running += 1
        if !occupancy[chain].hasFreeSlot { open.remove(chain) }
        let (job, attempt) = jobs.start(slot, on: chain, at: now)
        actions.append(.start(job, attempt: attempt, ChainIndex(chain)))
    }

    /// Completion: the slot goes to the head of the queue, if there is one.
    mutating func complete(_ job: JobID, attempt: Int, at now: Instant, into actions: inout [Action]) {
        let slot = current(job, attempt: attempt)
        if slot == .none { return }
        freePlace(on: Int(jobs[slot].chain))
        jobs.remove(slot)
        startWaiting(at: now, into: &actions)
    }

    /// Failure of the current attempt: wait for another, or give up.
    mutating func endFailed(
        _ job: JobID, attempt: Int, retryable: Bool, at now: Instant, into actions: inout [Action]
    ) {
        let slot = current(job, attempt: attempt)
        if slot == .none { return }
        leaveChain(slot)
        if retryable && jobs[slot].spent < configuration.maximumAttempts {
            var successor = queue.first
            requeue(slot, after: &successor, at: now)
            startWaiting(at: now, into: &actions)
            announceRequeued([job], into: &actions)
        } else {
            actions.append(.fail(job, retryable ? .attemptsExhausted : .notRetryable))
            jobs.remove(slot)
            startWaiting(at: now, into: &actions)
        }
    }

    /// Cancellation, wherever the job is; nothing if it is nowhere.
    mutating func cancel(_ job: JobID, at now: Instant, into actions: inout [Action]) {
        let slot = jobs.find(job)
        if slot == .none { return }
        let record = jobs[slot]
        if record.chain < 0 {
            leaveQueue(slot)
        } else {
            actions.append(.abandon(job, attempt: Int(record.attempts), ChainIndex(Int(record.chain))))
            leaveChain(slot)
        }
        jobs.remove(slot)
        startWaiting(at: now, into: &actions)
    }

    /// The job's slot if it runs its attempt of that number; none for anything stale.
    @inline(__always)
    private func current(_ job: JobID, attempt: Int) -> JobSlot {
        let slot = jobs.find(job)
        if slot == .none { return .none }
        let record = jobs[slot]
        return record.chain >= 0 && Int(record.attempts) == attempt ? slot : .none
    }

    /// Takes a waiting job off the queue.
    mutating func leaveQueue(_ slot: JobSlot) {
        jobs.remove(slot, from: &queue)
        if jobs[slot].attempts == 0 { newcomerCount -= 1 }
    }

    /// Takes a running job off its chain and frees its place there.
    mutating func leaveChain(_ slot: JobSlot) {
        let chain = Int(jobs[slot].chain)
        jobs.records[slot.index].chain = JobRecord.waits
        freePlace(on: chain)
    }

    /// One job fewer runs on the chain; if it was full, it can take another.
    private mutating func freePlace(on chain: Int) {
        let before = occupancy[chain]
        occupancy[chain].running = before.running &- 1
        if !before.hasFreeSlot && before.isAvailable { open.insert(chain) }
    }

    /// Puts a job that ran back on the queue, in order of arrival: behind older jobs that also wait for a
    /// further attempt, before all others, since whoever never ran arrived after everybody who did.
    ///
    /// `successor` is where the search begins; further calls with younger jobs go on from there.
    mutating func requeue(_ slot: JobSlot, after successor: inout JobSlot, at now: Instant) {
        while successor != .none && jobs[successor].id < jobs[slot].id { successor = jobs[successor].next }
        jobs.insert(slot, before: successor, in: &queue)
        jobs.records[slot.index].since = now
    }

    /// Says of those of `ids` (in order of arrival) that still wait how many are ahead of them.
    func announceRequeued(_ ids: [JobID], into actions: inout [Action]) {
        var ahead = 0
        var slot = queue.first
        var next = ids.startIndex
        while slot != .none && next < ids.endIndex {
            let id = jobs[slot].id
            while next < ids.endIndex && ids[next] < id { next += 1 }
            if next < ids.endIndex && ids[next] == id { actions.append(.queue(id, ahead: ahead)) }
            ahead += 1
            slot = jobs[slot].next
        }
    }
}
