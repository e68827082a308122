import ChainModel

@testable import ChainDispatch

/// The dispatcher as one would write it with no thought of speed: a dictionary of jobs, searched and sorted
/// anew for every question. The reference for randomised runs.
struct NaiveDispatcher {
    let configuration: DispatcherConfiguration
    let chains: [DispatchChain]
    var ready: [Bool]
    var returning: [Bool]
    /// Starts so far, and the chain of a running job.
    var jobs: [JobID: (attempts: Int, chain: Int?)] = [:]
    var lastArrival: JobID?
    var draining = false
    var drained = false

    init(configuration: DispatcherConfiguration, chains: [DispatchChain], serverCount: Int) {
        self.configuration = configuration
        self.chains = chains
        ready = Array(repeating: false, count: serverCount)
        returning = Array(repeating: true, count: serverCount)
    }

    var queue: [JobID] { jobs.filter { $0.value.chain == nil }.keys.sorted() }

    var available: [Int] { chains.indices.filter { chains[$0].servers.allSatisfy { ready[$0.rawValue] } } }

    var hope: Bool {
        chains.contains { $0.servers.allSatisfy { ready[$0.rawValue] || returning[$0.rawValue] } }
    }

    func chainForHead(_ length: Int) -> Int? {
        for chain in available where jobs.values.count(where: { $0.chain == chain }) < chains[chain].capacity
        {
            if chain == available.first { return chain }
            switch configuration.rule {
            case .jffc: return chain
            case .jffcWait(let thresholds):
                if length >= min(thresholds[chain], configuration.queueLimit + 1) { return chain }
            }
        }
        return nil
    }

    mutating func handle(_ event: Dispatcher.Event) -> [Dispatcher.Action] {
        var actions: [Dispatcher.Action] = []
        /// Jobs to be told their place in the queue.
        var told: [JobID] = []
        switch event {
        case .jobArrived(let job):
            if let last = lastArrival, job <= last { return [.refuse(job, .duplicate)] }
            lastArrival = job
            if draining { return [.refuse(job, .draining)] }
            if !hope { return [.refuse(job, .noChain)] }
            let newcomers = queue.count { jobs[$0]!.attempts == 0 }
            if newcomers >= configuration.queueLimit && chainForHead(queue.count + 1) == nil {
                return [.refuse(job, .queueFull)]
            }
            jobs[job] = (0, nil)
            told = [job]
        case .jobCompleted(let job, let attempt):
            if runs(job, attempt) { jobs[job] = nil }
        case .jobFailed(let job, let attempt, let retryable):
            if runs(job, attempt) {
                if retryable && attempt < configuration.maximumAttempts {
                    jobs[job]!.chain = nil
                    told = [job]
                } else {
                    jobs[job] = nil
                    actions.append(.fail(job, retryable ? .attemptsExhausted : .notRetryable))
                }
            }
        case .jobCancelled(let job):
            if let state = jobs[job], let chain = state.chain {
                actions.append(.abandon(job, attempt: state.attempts, ChainIndex(chain)))
            }
            jobs[job] = nil
        case .serverReady(let server): ready[server.rawValue] = true
        case .serverLost(let server, let isReturning):
            ready[server.rawValue] = false
            returning[server.rawValue] = isReturning
            told = abandonLost(&actions)
        case .drainStarted: draining = true
        }
        while let head = queue.first, let chain = chainForHead(queue.count) {
            jobs[head] = (jobs[head]!.attempts + 1, chain)
            actions.append(.start(head, attempt: jobs[head]!.attempts, ChainIndex(chain)))
        }
        if !hope {
            actions += queue.map { .fail($0, .noChain) }
            for job in queue { jobs[job] = nil }
        }
        for (ahead, job) in queue.enumerated() where told.contains(job) {
            actions.append(.queue(job, ahead: ahead))
        }
        if draining && !drained && jobs.isEmpty {
            drained = true
            actions.append(.drained)
        }
        return actions
    }

    private func runs(_ job: JobID, _ attempt: Int) -> Bool {
        jobs[job].map { $0.chain != nil && $0.attempts == attempt } ?? false
    }

    private mutating func abandonLost(_ actions: inout [Dispatcher.Action]) -> [JobID] {
        let lost = jobs.keys.sorted().filter { jobs[$0]!.chain.map { !available.contains($0) } ?? false }
        for job in lost {
            actions.append(.abandon(job, attempt: jobs[job]!.attempts, ChainIndex(jobs[job]!.chain!)))
            jobs[job]!.chain = nil
        }
        for job in lost where jobs[job]!.attempts == configuration.maximumAttempts {
            actions.append(.fail(job, .attemptsExhausted))
            jobs[job] = nil
        }
        return lost
    }
}
