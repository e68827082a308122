import ChainModel

/// A time's distribution over the counted jobs; seconds.
package struct TimeSummary: Hashable, Sendable {
    /// Mean and its interval.
    package var estimate: Estimate
    package var histogram: LogHistogram

    package var mean: Double { estimate.mean }
    package var standardDeviation: Double { histogram.standardDeviation }
    package var largest: Double { Double(histogram.largest) / 1e9 }
    /// Within 0.4 %.
    package func quantile(_ probability: Double) -> Double { histogram.quantile(probability) }
}

/// What was seen of a chain between the first and the last counted arrival.
package struct ChainUse: Hashable, Sendable {
    /// Mean share of the chain's slots that ran a job.
    package var utilisation: Double
    /// Counted jobs that ended there.
    package var jobs: Int
}

/// What was seen of a server.
package struct ServerUse: Hashable, Sendable {
    /// Mean share of the server's cache slots that jobs held; 0 for a server without any.
    package var cacheUse: Double
    /// Mean jobs that held cache slots there.
    package var meanJobs: Double
}

/// One counted request; times in seconds.
package struct RequestRecord: Hashable, Sendable {
    /// In order of arrival, from 0, uncounted jobs included.
    package var number: Int
    package var arrival: Double
    /// From arrival to its first start.
    package var wait: Double
    /// From its first start to its end; more than one attempt if servers were lost.
    package var service: Double
    /// From arrival to its first token; the wait where jobs have no tokens.
    package var firstToken: Double
    package var chain: ChainIndex
    package var attempts: Int
    /// `nil` where jobs have no tokens.
    package var tokens: TokenCounts?
}

/// What came of a simulation. All means are over the counted jobs that were completed.
package struct SimulationResult: Sendable {
    package var policy: String
    package var seed: UInt64
    package var replications: Int
    /// Counted jobs that were completed, given up, and refused at arrival.
    package var completed: Int
    package var failed: Int
    package var refused: Int
    /// Attempts beyond the first.
    package var retries: Int
    /// Events handled by the dispatcher, uncounted jobs included.
    package var events: Int
    /// Simulated time between the first and the last counted arrival, seconds; the sum over replications.
    package var duration: Double
    /// Counted arrivals per second.
    package var arrivalRate: Double

    package var response: TimeSummary
    package var wait: TimeSummary
    package var service: TimeSummary
    /// With sizes in tokens: time to first token, and mean time between tokens of requests of two or more.
    package var firstToken: TimeSummary?
    package var interToken: TimeSummary?
    /// Time between tokens, each gap counted once; those of a request are equal in the model.
    package var tokenGaps: TimeSummary?
    /// Share of the jobs that waited at all.
    package var waitProbability: Estimate
    /// Degrees of freedom of the intervals.
    package var degrees: Int
    package var inputTokens: Int
    package var outputTokens: Int

    package var chains: [ChainUse]
    package var servers: [ServerUse]
    /// Time-average number of jobs in the system between the first and the last counted arrival.
    package var meanJobs: Double
    /// `E[N]` against `λ·E[T]` (Little's law), relative; tends to 0 as the run grows.
    package var littleDifference: Double
    /// Whether the time-integral of the number of jobs equals the sum of all times in the system to the nanosecond.
    package var littleHolds: Bool
    /// Of the first replication.
    package var timeline: OccupancyTimeline
    /// Set when the system has, or showed, no steady state: why.
    package var unstable: String?
    /// Whether the means mean something: the system has a steady state, or the arrivals are a trace, which ends.
    package var hasMeans: Bool
    /// Whether the precision asked for was met; `nil` when none was.
    package var precisionMet: Bool?
    /// Empty unless asked for; of all replications, in order.
    package var requests: [RequestRecord]
}
