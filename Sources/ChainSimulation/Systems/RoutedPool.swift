import ChainModel

/// A pool as the systems see it that route every request for itself.
package struct RoutedPool: Sendable {
    /// Servers, their mean times `τc` and `τp`, model and demand. Ranges fixed by hand are kept.
    package var cluster: Cluster
    /// Round trips in seconds, `(J + 1) × (J + 1)` row by row; row and column 0 are the client's.
    package var roundTrips: [Double]
    /// Mean tokens of an answer: `l_out`.
    package var outputTokens: Double
    /// By server, its times by tokens; empty where all requests are multiples of the mean.
    package var tokenTimes: [ServerTokenTimes]
    /// Delay of every request before its first hop, seconds.
    package var initialDelay: Double

    /// Delay that the published comparison adds to every request.
    package static let publishedInitialDelay = 0.07

    /// - Precondition: round trips for every pair; token times for every server or none.
    package init(
        _ cluster: Cluster, roundTrips: [Double], outputTokens: Double, tokenTimes: [ServerTokenTimes] = [],
        initialDelay: Double = publishedInitialDelay
    ) {
        let sites = cluster.servers.count + 1
        precondition(roundTrips.count == sites * sites)
        precondition(tokenTimes.isEmpty || tokenTimes.count == cluster.servers.count)
        precondition(outputTokens > 0)
        self.cluster = cluster
        self.roundTrips = roundTrips
        self.outputTokens = outputTokens
        self.tokenTimes = tokenTimes
        self.initialDelay = initialDelay
    }

    /// `RTT_0j`, seconds.
    func roundTrip(toClientFrom server: Int) -> Double { roundTrips[server + 1] }

    /// `RTT_ij`, seconds.
    func roundTrip(from first: Int, to second: Int) -> Double {
        roundTrips[(first + 1) * (cluster.servers.count + 1) + second + 1]
    }

    /// Mean service time on a path: `S_p = Σ (τc_j + τp_j·m_ij)`, seconds.
    package func meanService(_ hops: [ChainHop]) -> Double {
        hops.reduce(0) { sum, hop in
            let server = cluster[hop.server]
            return sum + server.communicationTimeSeconds + server.blockTimeSeconds * Double(hop.blockCount)
        }
    }

    /// Service time of one request on a path, seconds.
    /// - Precondition: sizes in tokens only where the servers' times by tokens are known.
    package func service(of size: RequestSize, on hops: [ChainHop]) -> Double {
        switch size {
        case .multiple(let factor):
            return meanService(hops) * factor
        case .tokens(let input, let output):
            return hops.reduce(0) { sum, hop in
                let times = tokenTimes[hop.server.rawValue]
                return sum + times.communication(input: Double(input), output: Double(output))
                    + times.block(input: Double(input), output: Double(output)) * Double(hop.blockCount)
            }
        }
    }
}

/// How much there is to do for a request.
package enum RequestSize: Hashable, Sendable {
    /// So many times the mean: `X_r`; communication and computation alike.
    case multiple(Double)
    /// Tokens of its input and output.
    case tokens(input: Int, output: Int)
}

/// A request and when it comes.
package struct RoutedRequest: Hashable, Sendable {
    /// Seconds from the beginning.
    package var arrival: Double
    package var size: RequestSize

    package init(arrival: Double, size: RequestSize) {
        self.arrival = arrival
        self.size = size
    }
}

/// What became of one request, times in seconds.
package struct RoutedOutcome: Hashable, Sendable {
    /// Its path; empty for a request that was given up.
    package var hops: [ChainHop]
    /// Mean service time of the path: `S_p`.
    package var meanService: Double
    /// Time in service.
    package var service: Double
    /// Wait that the router counted on: `W_p`; 0 for PETALS, which counts on none.
    package var plannedWait: Double
    /// Wait until the slots are free indeed: `W_s`.
    package var surpriseWait: Double
    /// Wait from arrival to the start: `W`.
    package var wait: Double
    /// `initial delay + W + service`; infinite for a request that was given up.
    package var response: Double
}

/// A complete run of a system that routes per request.
package struct RoutedRun: Hashable, Sendable {
    /// In order of arrival.
    package var outcomes: [RoutedOutcome]

    /// Arrivals, waits, service and response times, of the requests that were served.
    package func times(_ requests: [RoutedRequest]) -> RequestTimes {
        var times = RequestTimes()
        for (request, outcome) in zip(requests, outcomes) where outcome.response < .infinity {
            times.append(
                arrival: request.arrival, wait: outcome.wait, service: outcome.service,
                response: outcome.response)
        }
        return times
    }

    /// Requests that were given up.
    package var unserved: Int { outcomes.count { $0.response == .infinity } }
}
