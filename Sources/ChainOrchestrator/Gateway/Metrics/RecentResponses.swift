import Synchronization

/// The responses of the last minutes, for quantiles that people look at (metrics have histograms), and counts of what
/// arrived and was generated.
final class RecentResponses: Sendable {
    struct Entry: Sendable {
        var endedAt: ContinuousClock.Instant
        /// Arrival to last token, seconds.
        var response: Double
        /// Arrival to start on a chain, seconds.
        var wait: Double
        /// Arrival to first token, seconds.
        var firstToken: Double?
        /// Start to last token, seconds.
        var service: Double
        var chain: String
    }

    /// Most responses remembered; the oldest go first.
    static let limit = 4096
    /// How far back a summary looks.
    static let window = Swift.Duration.seconds(600)

    private struct State {
        var entries: [Entry] = []
        /// Where the next entry goes once there are `limit`.
        var next = 0
        var totals = Totals()
        var restarts: [String] = []
    }

    struct Totals: Hashable, Sendable {
        var arrived = 0
        var refused = 0
        var tokens = 0
    }

    private let state = Mutex(State())

    func arrived() { state.withLock { $0.totals.arrived += 1 } }
    func refused() { state.withLock { $0.totals.refused += 1 } }
    func tokenGenerated() { state.withLock { $0.totals.tokens += 1 } }

    /// Most restarts kept until they are taken.
    private static let restartLimit = 64

    func restarted(on chain: String) {
        state.withLock { if $0.restarts.count < Self.restartLimit { $0.restarts.append(chain) } }
    }

    /// Chains on which requests began again since this was last asked.
    func takeRestarts() -> [String] {
        state.withLock { state in
            defer { state.restarts = [] }
            return state.restarts
        }
    }

    var totals: Totals { state.withLock { $0.totals } }

    func note(_ entry: Entry) {
        state.withLock { state in
            if state.entries.count < Self.limit {
                state.entries.append(entry)
            } else {
                state.entries[state.next] = entry
                state.next = (state.next + 1) % Self.limit
            }
        }
    }

    /// - Complexity: O(n log n) in the responses remembered.
    func summary(at now: ContinuousClock.Instant) -> (
        all: [Entry], response: Quantiles?, wait: Quantiles?,
        firstToken: Quantiles?
    ) {
        let recent = state.withLock { $0.entries }.filter { now - $0.endedAt <= Self.window }
        return (
            recent, Quantiles(recent.map(\.response)), Quantiles(recent.map(\.wait)),
            Quantiles(recent.compactMap(\.firstToken))
        )
    }
}

/// Mean and quantiles of a sample, seconds.
package struct Quantiles: Hashable, Sendable, Codable {
    package var count: Int
    package var mean: Double
    package var p50: Double
    package var p95: Double
    package var p99: Double

    /// Quantiles by the nearest rank: the smallest value that at least the fraction does not exceed.
    init?(_ values: [Double]) {
        guard !values.isEmpty else { return nil }
        let sorted = values.sorted()
        func quantile(_ fraction: Double) -> Double {
            sorted[max(0, Int((fraction * Double(sorted.count)).rounded(.up)) - 1)]
        }
        count = sorted.count
        mean = sorted.reduce(0, +) / Double(sorted.count)
        (p50, p95, p99) = (quantile(0.5), quantile(0.95), quantile(0.99))
    }
}
