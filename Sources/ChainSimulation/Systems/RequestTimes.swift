/// Times of the requests of one run, in seconds and in order of arrival.
package struct RequestTimes: Hashable, Sendable {
    package private(set) var arrivals: [Double] = []
    package private(set) var waits: [Double] = []
    package private(set) var services: [Double] = []
    package private(set) var responses: [Double] = []

    package init() {}

    package mutating func append(arrival: Double, wait: Double, service: Double, response: Double) {
        arrivals.append(arrival)
        waits.append(wait)
        services.append(service)
        responses.append(response)
    }

    package var count: Int { arrivals.count }
    package var meanResponse: Double { Self.mean(responses) }
    package var meanWait: Double { Self.mean(waits) }
    package var meanService: Double { Self.mean(services) }

    /// NaN of nothing.
    package static func mean(_ values: some Collection<Double>) -> Double {
        values.reduce(0, +) / Double(values.count)
    }

    /// Linear interpolation between the closest values, as most tools have it; NaN of nothing.
    package static func quantile(_ values: [Double], _ probability: Double) -> Double {
        guard !values.isEmpty else { return .nan }
        let sorted = values.sorted()
        let position = min(max(probability, 0), 1) * Double(sorted.count - 1)
        let below = Int(position)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (position - Double(below))
    }

    /// How much longer requests of the second half wait than those of the first, in mean service times.
    ///
    /// A queue that is served faster than it fills levels off, and this stays small; one that fills faster grows
    /// by `(load − 1)` every second, so that its mean response time says how long was measured, not how the
    /// system is.
    package var waitGrowth: Double {
        guard count >= 2 else { return 0 }
        let half = count / 2
        return (Self.mean(waits[half...]) - Self.mean(waits[..<half])) / meanService
    }

    /// Share of the requests that still wait when the last one arrives: so much slower than they came were they
    /// served.
    package var backlog: Double {
        guard let last = arrivals.last else { return 0 }
        return Double(arrivals.indices.count { arrivals[$0] + waits[$0] > last }) / Double(count)
    }

    /// Whether the mean response time had better not be read as one: it would be another for more requests.
    ///
    /// Either the second half waits at least twice as long as the first, and longer by at least `growth` mean
    /// service times; or more than a share `backlog` still waits at the end.
    package func isUnstable(growth: Double = unstableGrowth, backlog: Double = unstableBacklog) -> Bool {
        let half = count / 2
        guard half >= 1 else { return false }
        if self.backlog > backlog { return true }
        return waitGrowth >= growth && Self.mean(waits[half...]) >= 2 * Self.mean(waits[..<half])
    }

    /// Growth from which on a run counts as unstable.
    package static let unstableGrowth = 1.0
    /// Backlog above which a run counts as unstable.
    package static let unstableBacklog = 0.05
}
