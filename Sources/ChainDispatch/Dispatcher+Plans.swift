import ChainModel

/// What the control plane does to a dispatcher beside reporting events: servers at rest, new plans, jobs of an
/// earlier life.
extension Dispatcher {
    /// Chains through the server start nothing more; what runs on them goes on. O(K).
    mutating func rest(_ server: ServerIndex) {
        if isResting[server.rawValue] { return }
        isResting[server.rawValue] = true
        for position in firstChain[server.rawValue]..<firstChain[server.rawValue + 1] {
            let chain = chainsByServer[position]
            if occupancy[chain].isAvailable {
                open.remove(chain)
                availableCount -= 1
            }
            occupancy[chain].resting += 1
        }
        sumAvailable()
        assert(passesSampledCheck())
    }

    /// Ends the server's rest; its chains take waiting jobs. O(K) and what starts.
    mutating func endRest(_ server: ServerIndex, at now: Instant, into actions: inout [Action]) {
        if !isResting[server.rawValue] { return }
        isResting[server.rawValue] = false
        for position in firstChain[server.rawValue]..<firstChain[server.rawValue + 1] {
            let chain = chainsByServer[position]
            occupancy[chain].resting -= 1
            if occupancy[chain].isAvailable {
                availableCount += 1
                if occupancy[chain].hasFreeSlot { open.insert(chain) }
            }
        }
        sumAvailable()
        startWaiting(at: now, into: &actions)
        assert(passesSampledCheck())
    }

    /// Jobs that run on chains through the server. O(K).
    func running(through server: ServerIndex) -> Int {
        var count = 0
        for position in firstChain[server.rawValue]..<firstChain[server.rawValue + 1] {
            count += occupancy[chainsByServer[position]].running
        }
        return count
    }

    /// Moves every job off the chains through a server at rest: to other chains, or to the head of the queue. The
    /// attempt does not count against the job. O(K + n log n).
    mutating func displace(from server: ServerIndex, at now: Instant, into actions: inout [Action]) {
        precondition(isResting[server.rawValue], "Jobs would start there again.")
        let chains = chainsByServer[firstChain[server.rawValue]..<firstChain[server.rawValue + 1]]
        let displaced = jobs.runningSlots { chains.contains($0) }
        let ids = displaced.map { jobs[$0].id }
        for slot in displaced { jobs.records[slot.index].excused += 1 }
        abandon(displaced, at: now, into: &actions)
        startWaiting(at: now, into: &actions)
        announceRequeued(ids, into: &actions)
        assert(passesSampledCheck())
    }

    /// Takes in a job accepted in an earlier life of the service; the queue limit does not apply. Its `attempts` so
    /// far name what may still run somewhere, and do not count against it.
    /// - Precondition: the job's number is above that of every job before it.
    mutating func restore(_ job: JobID, attempts: Int, at now: Instant, into actions: inout [Action]) {
        precondition(lastArrival.map { job > $0 } ?? true, "Jobs are restored in order of arrival.")
        lastArrival = job
        let slot = jobs.insert(job, at: now)
        // At least one, so that the job counts as one that ran, outside the limit.
        jobs.records[slot.index].attempts = Int32(max(attempts, 1))
        jobs.records[slot.index].excused = Int32(max(attempts, 1))
        jobs.append(slot, to: &queue)
        startWaiting(at: now, into: &actions)
        announceRequeued([job], into: &actions)
        assert(passesSampledCheck())
    }

    /// Replaces the chains. Jobs of a chain that goes on under another index run on; the others, and those beyond a
    /// capacity that shrank (youngest first), go to the head of the queue and start on what is free. No attempt
    /// interrupted here counts against its job. O(K·H + n log n).
    ///
    /// - Parameters:
    ///   - successors: for each old chain, its index among the new ones, or nil if it ends.
    ///   - unready: servers that have other blocks to load first; their states become `lost(returning: true)`.
    mutating func install(
        _ chains: [DispatchChain], rule: DispatchPolicy, successors: [Int?], unready: [ServerIndex],
        at now: Instant, into actions: inout [Action]
    ) {
        var configuration = configuration
        configuration.rule = rule
        var next = Dispatcher(configuration: configuration, chains: chains, serverCount: servers.count)
        next.adoptServers(of: self, unready: unready)
        let running = jobs.runningSlots { _ in true }
        var displaced: [JobSlot] = []
        for slot in running {
            let old = Int(jobs[slot].chain)
            if let new = successors[old], next.occupancy[new].isIntact, next.occupancy[new].hasFreeSlot {
                next.occupancy[new].running += 1
                jobs.records[slot.index].chain = Int32(new)
            } else {
                actions.append(.abandon(jobs[slot].id, attempt: Int(jobs[slot].attempts), ChainIndex(old)))
                jobs.records[slot.index].chain = JobRecord.waits
                jobs.records[slot.index].excused += 1
                displaced.append(slot)
            }
        }
        next.adoptJobs(of: self)
        self = next
        var successor = queue.first
        for slot in displaced { requeue(slot, after: &successor, at: now) }
        for chain in chains.indices where occupancy[chain].isAvailable && occupancy[chain].hasFreeSlot {
            open.insert(chain)
        }
        startWaiting(at: now, into: &actions)
        announceRequeued(displaced.map { jobs[$0].id }, into: &actions)
        assert(passesSampledCheck())
    }

    /// Takes over what is known of servers, and counts it for the new chains.
    private mutating func adoptServers(of old: Dispatcher, unready: [ServerIndex]) {
        servers = old.servers
        isResting = old.isResting
        for server in unready { servers[server.rawValue] = .lost(returning: true) }
        recoverableCount = 0
        for chain in chains.indices {
            let through = chains[chain].servers
            occupancy[chain].missing = through.count { servers[$0.rawValue] != .ready }
            occupancy[chain].gone = through.count { servers[$0.rawValue] == .lost(returning: false) }
            occupancy[chain].resting = through.count { isResting[$0.rawValue] }
            if occupancy[chain].isRecoverable { recoverableCount += 1 }
            if occupancy[chain].isAvailable { availableCount += 1 }
        }
        sumAvailable()
    }

    private mutating func adoptJobs(of old: Dispatcher) {
        jobs = old.jobs
        queue = old.queue
        newcomerCount = old.newcomerCount
        lastArrival = old.lastArrival
        phase = old.phase
    }
}
