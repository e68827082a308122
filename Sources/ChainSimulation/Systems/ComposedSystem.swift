import ChainDispatch
import ChainModel

/// A system that composes chains beforehand and dispatches requests to them: the proposed one, and, with chains
/// of one server each, "JFFC only".
///
/// It drives the dispatcher that serves. Requests come from a list; there is one queue without a limit, and no
/// server fails.
package struct ComposedSystem: Sendable {
    package let pool: RoutedPool
    /// Fastest first.
    package let chains: [ServerChain]

    /// - Precondition: at least one chain, fastest first, each of positive service time.
    package init(_ pool: RoutedPool, chains: [ServerChain]) {
        precondition(!chains.isEmpty)
        self.pool = pool
        self.chains = chains
    }

    /// Serves the requests, from empty. Times are kept in whole nanoseconds, as the dispatcher keeps them.
    ///
    /// - Precondition: arrivals do not decrease.
    /// - Complexity: O(log n) per request with `n` of them in service.
    package func run(_ requests: [RoutedRequest]) -> RoutedRun {
        var dispatcher = readyDispatcher(queueLimit: requests.count)
        var outcomes = [RoutedOutcome?](repeating: nil, count: requests.count)
        var calendar = TimedHeap<Instant, JobID>()
        var actions: [Dispatcher.Action] = []
        var next = 0
        while next < requests.count || !calendar.isEmpty {
            let arrival =
                next < requests.count ? Instant.origin + Duration(seconds: requests[next].arrival) : nil
            let completion = calendar.nextTime
            actions.removeAll(keepingCapacity: true)
            var now: Instant
            // A slot that becomes free at the moment of an arrival is free for it.
            if let arrival, completion.map({ arrival < $0 }) ?? true {
                now = arrival
                dispatcher.handle(.jobArrived(JobID(UInt64(next))), at: now, into: &actions)
                next += 1
            } else if let (time, job) = calendar.removeNext() {
                now = time
                dispatcher.handle(.jobCompleted(job, attempt: 1), at: now, into: &actions)
            } else {
                break
            }
            for action in actions {
                guard case .start(let job, _, let chain) = action else { continue }
                let number = Int(job.rawValue)
                let outcome = outcome(requests[number], on: chain, at: now)
                outcomes[number] = outcome
                calendar.insert(job, at: now + Duration(seconds: outcome.service))
            }
        }
        return RoutedRun(
            outcomes: outcomes.map { outcome in
                guard let outcome else { preconditionFailure("The dispatcher lost a request.") }
                return outcome
            })
    }

    private func readyDispatcher(queueLimit: Int) -> Dispatcher {
        var dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(queueLimit: queueLimit, maximumAttempts: 1, rule: .jffc),
            chains: chains.map { DispatchChain($0) }, serverCount: pool.cluster.servers.count)
        var actions: [Dispatcher.Action] = []
        for server in pool.cluster.servers.indices {
            dispatcher.handle(.serverReady(ServerIndex(server)), at: .origin, into: &actions)
        }
        return dispatcher
    }

    private func outcome(_ request: RoutedRequest, on chain: ChainIndex, at now: Instant) -> RoutedOutcome {
        let planned = chains[chain.rawValue]
        let service = pool.service(of: request.size, on: planned.hops)
        let arrived = Instant.origin + Duration(seconds: request.arrival)
        let wait = (now - arrived).seconds
        return RoutedOutcome(
            hops: planned.hops, meanService: planned.serviceTimeSeconds, service: service, plannedWait: 0,
            surpriseWait: wait, wait: wait, response: pool.initialDelay + service + wait)
    }
}
