/// What the plan in service predicts.
package struct PoolOutlook: Hashable, Sendable, Codable {
    /// Counts the plans that were in service, from 1.
    package var planNumber: Int
    /// `λ`, requests per second planned for.
    package var arrivalRate: Double
    /// `ν`, requests per second that all chains carry.
    package var serviceRate: Double
    /// `ρ = λ/ν`.
    package var load: Double
    /// `C = Σ c_k`.
    package var capacity: Int
    /// Mean response time: bounds of theorem 4 and the exact value, seconds; `nil` without a steady state.
    package var lowerResponse: Double?
    package var upperResponse: Double?
    package var exactResponse: Double?
    /// Exact mean wait, seconds.
    package var exactWait: Double?
    package var waitProbability: Double?
    /// Mean time of a job on each chain, in the order of the status: `T_k`, seconds.
    package var serviceTimes: [Double]
    /// What was found when demand last left the plan's: whether another plan would be worth the move; `nil` when nothing.
    package var advice: String?

    private enum CodingKeys: String, CodingKey {
        case planNumber = "plan_number"
        case arrivalRate = "arrival_rate"
        case serviceRate = "service_rate"
        case load, capacity
        case lowerResponse = "lower_response"
        case upperResponse = "upper_response"
        case exactResponse = "exact_response"
        case exactWait = "exact_wait"
        case waitProbability = "wait_probability"
        case serviceTimes = "service_times"
        case advice
    }
}

/// Everything the dashboard and `chainserve status` show, at one moment.
package struct PoolSight: Hashable, Sendable, Codable {
    package struct Observed: Hashable, Sendable, Codable {
        /// What `response`, `wait`, `firstToken` and `chainMeans` look back on, seconds.
        package var windowSeconds: Double
        /// Over the last minute, or since the start.
        package var arrivalsPerSecond: Double
        package var tokensPerSecond: Double
        /// Since the start.
        package var arrived: Int
        package var refused: Int
        package var response: Quantiles?
        package var wait: Quantiles?
        package var firstToken: Quantiles?
        /// Mean time of a job on each chain, in the order of the status, seconds; `null` where none ended.
        package var serviceTimes: [Double?]

        private enum CodingKeys: String, CodingKey {
            case windowSeconds = "window_seconds"
            case arrivalsPerSecond = "arrivals_per_second"
            case tokensPerSecond = "tokens_per_second"
            case arrived, refused, response, wait
            case firstToken = "first_token"
            case serviceTimes = "service_times"
        }
    }

    /// Something that happened, for people. Names servers and chains, never requests or their contents.
    package struct Event: Hashable, Sendable, Codable {
        package enum Kind: String, Hashable, Sendable, Codable {
            case good, notice, bad
        }
        /// Counts from 1.
        package var number: Int
        /// Seconds since 1970.
        package var at: Double
        package var kind: Kind
        package var text: String
    }

    /// Seconds since 1970.
    package var at: Double
    package var uptimeSeconds: Double
    package var readiness: String
    package var status: PoolStatus
    package var outlook: PoolOutlook?
    package var observed: Observed
    /// The newest first.
    package var events: [Event]

    private enum CodingKeys: String, CodingKey {
        case at
        case uptimeSeconds = "uptime_seconds"
        case readiness, status, outlook, observed, events
    }
}
