import ChainSimulation

/// One value of a row.
package enum PaperValue: Hashable, Sendable {
    /// NaN where there is none.
    case number(Double)
    case text(String)
}

/// What one system did in one run.
package struct ComparedRow: Sendable {
    package var columns: [(name: String, value: PaperValue)] {
        zip(Self.names, values).map { ($0, $1) }
    }
    private var values: [PaperValue]

    /// Times in seconds. `unstable` is 1 where means depend on how many requests were counted.
    package static let names = [
        "system", "family", "infeasible", "unstable", "unserved", "requests", "mean_response",
        "median_response", "p95_response", "p99_response", "mean_wait", "median_wait", "p95_wait", "max_wait",
        "mean_service", "median_service", "p95_service", "min_service", "max_service", "wait_growth", "c",
        "chains", "load",
    ]

    package init(_ run: ComparedRun) {
        let times = run.times
        func quantile(_ values: [Double], _ share: Double) -> PaperValue {
            .number(RequestTimes.quantile(values, share))
        }
        values = [
            .text(run.system.name), .text(run.system.family), .text(run.infeasible ?? ""),
            .number(run.isUnstable ? 1 : 0), .number(Double(run.unserved)), .number(Double(times.count)),
            .number(times.meanResponse), quantile(times.responses, 0.5), quantile(times.responses, 0.95),
            quantile(times.responses, 0.99), .number(times.meanWait), quantile(times.waits, 0.5),
            quantile(times.waits, 0.95), quantile(times.waits, 1), .number(times.meanService),
            quantile(times.services, 0.5), quantile(times.services, 0.95), quantile(times.services, 0),
            quantile(times.services, 1), .number(run.infeasible == nil ? times.waitGrowth : .nan),
            .number(run.capacityParameter.map { Double($0) } ?? .nan),
            .number(run.chainCount.map { Double($0) } ?? .nan), .number(run.load ?? .nan),
        ]
    }
}

/// What one system did over the runs of a cell.
///
/// Infeasible runs are counted and named, not averaged. Runs whose means depend on how many requests were counted
/// are in the averages, as they are in the published ones, and counted.
package struct ComparedSummary: Hashable, Sendable {
    package var system: ComparedSystem
    package var runs: Int
    package var infeasibleRuns: Int
    package var unstableRuns: Int
    /// Of the runs served: mean, standard deviation and median of the runs' mean response times, seconds.
    package var meanResponse: Double
    package var deviation: Double
    package var medianResponse: Double
    package var meanWait: Double
    package var meanService: Double
    /// Mean `c`, or `|R|`; NaN where there is none.
    package var meanCapacity: Double
    /// `1 − proposed/this` of the mean response times over the runs that both served.
    package var reduction: Double

    /// Whether half of the runs served or more are unstable: then the mean is no property of the system.
    package var isUnstable: Bool { unstableRuns > 0 && 2 * unstableRuns >= runs - infeasibleRuns }

    /// - Parameter runs: by run, then by system, as `Figure6.run` gives them.
    package static func summarise(_ runs: [[ComparedRun]], proposed: ComparedSystem) -> [ComparedSummary] {
        guard let first = runs.first else { return [] }
        let best = first.firstIndex { $0.system == proposed }
        return first.indices.map { position in
            let all = runs.map { $0[position] }
            let served = all.filter { $0.infeasible == nil }
            let means = served.map(\.times.meanResponse)
            let mean = RequestTimes.mean(means)
            let squares = means.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
            let capacities = served.compactMap { $0.capacityParameter.map { Double($0) } }
            var pairs: (this: Double, proposed: Double) = (0, 0)
            if let best {
                for run in runs where run[position].infeasible == nil && run[best].infeasible == nil {
                    pairs.this += run[position].times.meanResponse
                    pairs.proposed += run[best].times.meanResponse
                }
            }
            return ComparedSummary(
                system: first[position].system, runs: runs.count, infeasibleRuns: all.count - served.count,
                unstableRuns: served.count { $0.isUnstable }, meanResponse: mean,
                deviation: means.count > 1 ? (squares / Double(means.count - 1)).squareRoot() : .nan,
                medianResponse: RequestTimes.quantile(means, 0.5),
                meanWait: RequestTimes.mean(served.map(\.times.meanWait)),
                meanService: RequestTimes.mean(served.map(\.times.meanService)),
                meanCapacity: RequestTimes.mean(capacities), reduction: 1 - pairs.proposed / pairs.this)
        }
    }

    package var columns: [(name: String, value: PaperValue)] {
        [
            ("system", .text(system.name)), ("family", .text(system.family)), ("title", .text(system.title)),
            ("runs", .number(Double(runs))), ("infeasible_runs", .number(Double(infeasibleRuns))),
            ("unstable_runs", .number(Double(unstableRuns))), ("unstable", .number(isUnstable ? 1 : 0)),
            ("mean_response", .number(meanResponse)), ("sd_response", .number(deviation)),
            ("median_response", .number(medianResponse)), ("mean_wait", .number(meanWait)),
            ("mean_service", .number(meanService)), ("mean_c", .number(meanCapacity)),
            ("reduction", .number(reduction)),
        ]
    }
}
