import ChainModel
import ChainPlanning
import ChainSimulation

/// Figures 4 and 5: the effect of the required capacity `c`, and the best `c` over the rate for every
/// criterion.
///
/// Both are about the same compositions: for each `c`, what every criterion says of it and what simulation
/// gives.
struct CapacityEffect {
    let cluster: Cluster
    let loadTarget: Double
    /// Whether all servers are placed whatever the rate, as the authors' programs do.
    let placesAll: Bool

    /// What one `c` gives at a rate.
    struct Entry {
        var capacity: Int
        var chains: ParallelChains
        var system: SimulatedSystem
        /// `c·K(c)`; `nil` when the reserved chains do not reach the rate.
        var surrogate: Int?
        var lower: Double?
        var upper: Double?
        var exact: Double?
        var meetsTarget: Bool
    }

    /// - Returns: `nil` for a `c` with which nothing can be composed.
    func entry(capacity: Int, rate: Double) -> Entry? {
        var cluster = cluster
        cluster.demand = Demand(arrivalRate: placesAll ? 1e9 : rate, loadTarget: loadTarget)
        guard
            let plan = try? Planner.plan(cluster, options: PlanningOptions(capacity: .fixed(capacity)))
        else { return nil }
        var sequence = SequentialPlacement(cluster, capacity: capacity)
        sequence.place(sequence.greedyOrder)
        let needed =
            placesAll
            ? sequence.accumulatedRates.count
            : sequence.chains(reaching: rate / (loadTarget * Double(capacity)))
        let chains = ParallelChains(plan.chains)
        return Entry(
            capacity: capacity, chains: chains, system: SimulatedSystem(plan, cluster: cluster),
            surrogate: needed.map { $0 * capacity },
            lower: ResponseBounds.lower(chains, arrivalRate: rate),
            upper: ResponseBounds.upper(chains, arrivalRate: rate),
            exact: ExactAnalysis(chains, arrivalRate: rate)?.meanResponseTime,
            meetsTarget: rate <= loadTarget * chains.totalRate * (1 + 1e-12))
    }

    /// All `c` up to the largest with which anything can be composed.
    func entries(rate: Double, most: Int) -> [Entry] {
        var entries: [Entry] = []
        for capacity in 1...most {
            guard let entry = entry(capacity: capacity, rate: rate) else { break }
            entries.append(entry)
        }
        return entries
    }
}

/// Figure 4: what every criterion and simulation say of each `c`.
struct Figure4: Experiment {
    let name = "fig4"
    let title = "Effect of the required capacity c"
    let question =
        "How do the reserved slots, the bounds, the exact mean and the simulated mean response change with "
        + "the "
        + "capacity c that every reserved chain must hold?"
    let publishedClaim: String? =
        "the mean response has its least value at a moderate c; the lower bound follows the simulated "
        + "mean, the "
        + "upper bound and the surrogate c·K(c) do not"
    let defaultRuns = 20
    let defaultJobs = 10_000
    let settings: [Setting] = [.published, .asCoded]
    let version = 1

    static let most = 45

    func loadTarget(_ setting: Setting) -> Double { setting == .asCoded ? 0.8 : 0.7 }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        DrawnPools.parameters(setting, options) + [
            Field("servers", 20), Field("large_share", 0.2),
            Field("load_target", .number(loadTarget(setting))),
            Field("capacities", .text("1 to \(Self.most)")),
            Field(
                "arrival_rate",
                "0.8 of what the c with the fewest reserved slots carries at the load "
                    + "target"),
            Field(
                "placement",
                setting == .asCoded
                    ? "all servers whatever the rate, one network"
                    : "Algorithm 1 for the "
                        + "rate"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            (0..<runs(options)).map { Cell(setting, [], run: $0) }
        }
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let seed = seed(cell, options)
        // The programs keep to one network and change the arrivals alone.
        let network = cell.setting == .asCoded ? options.seed &* 1_000_003 : seed
        let target = loadTarget(cell.setting)
        let cluster = try DrawnPools(cell.setting, options, seed: network)
            .bloom(arrivalRate: 1, loadTarget: target)
        let all = CapacityEffect(cluster: cluster, loadTarget: target, placesAll: true)
        let full = all.entries(rate: 1, most: Self.most)
        guard let least = full.min(by: { ($0.surrogate ?? .max) < ($1.surrogate ?? .max) }) else { return [] }
        let rate = 0.8 * target * least.chains.totalRate
        let effect = CapacityEffect(
            cluster: cluster, loadTarget: target, placesAll: cell.setting == .asCoded)
        return effect.entries(rate: rate, most: Self.most).map { entry in
            let result =
                entry.exact == nil
                ? nil
                : Simulation(
                    entry.system, arrivals: .poisson(rate: rate), length: RunLength(jobs: jobs(options)),
                    seed: seed
                ).run()
            return Row([
                Field("capacity", .integer(entry.capacity)), Field("arrival_rate_per_s", .number(rate)),
                Field("surrogate_slots", entry.surrogate.map { .integer($0) } ?? .none),
                Field("surrogate_s", Value(entry.surrogate.map { Double($0) / rate })),
                Field("lower_bound_s", Value(entry.lower)), Field("upper_bound_s", Value(entry.upper)),
                Field("exact_s", Value(entry.exact)), Field("simulated_s", Value(result?.response.mean)),
                Field("meets_target", .bool(entry.meetsTarget)),
                Field("total_service_rate_per_s", .number(entry.chains.totalRate)),
            ])
        }
    }

    static let curves = [
        ("simulated_s", "simulated"), ("exact_s", "exact"), ("lower_bound_s", "lower bound"),
        ("upper_bound_s", "upper bound"), ("surrogate_s", "surrogate c·K(c)/λ"),
    ]

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").map { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            var data: [Row] = []
            for (column, title) in Self.curves {
                for (group, cells) in rows.groups(by: "capacity") {
                    // Where one network has no mean the others' would be another average.
                    let values = cells.numbers(column)
                    guard values.count == cells.rows.count, let summary = Summary(values) else { continue }
                    data.append(
                        Row(
                            [Field("c", group[0]), Field("value", .text(title))]
                                + [Field("seconds", .number(summary.mean))]))
                }
            }
            return Chart(
                "fig4-\(setting.rawValue)",
                caption: "Mean response, bounds and surrogate over c, parameters \(setting.title); "
                    + "averages over runs, for "
                    + "those c that give all of them a mean.",
                mark: .curves, horizontal: ChartAxis("c", "required capacity c (jobs)", fromZero: false),
                vertical: ChartAxis(
                    "seconds",
                    "response or c·K(c)/λ (s, "
                        + "logarithmic)", scale: .logarithmic),
                series: ("value", "value"),
                rows: data
            ).plot
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting").compactMap { key, rows in
            Self.finding(rows, Setting(rawValue: key[0].plain) ?? .published)
        }
    }

    /// What choosing `c` by each criterion costs in exact mean response.
    private static func finding(_ rows: Table, _ setting: Setting) -> Finding? {
        var regrets: [String: [Double]] = [:]
        var best: [Double] = []
        for (_, run) in rows.groups(by: "run") {
            let met = run.filtered("meets_target", true)
            guard let least = met.rows.min(by: { value($0, "exact_s") < value($1, "exact_s") }),
                let exact = least.number("exact_s"), let capacity = least.number("capacity")
            else { continue }
            best.append(capacity)
            for column in ["lower_bound_s", "upper_bound_s", "surrogate_s"] {
                guard let choice = met.rows.min(by: { value($0, column) < value($1, column) }),
                    let mean = choice.number("exact_s")
                else { continue }
                regrets[column, default: []].append(mean / exact - 1)
            }
        }
        guard let capacities = Summary(best), let lower = Summary(regrets["lower_bound_s"] ?? []),
            let upper = Summary(regrets["upper_bound_s"] ?? []),
            let surrogate = Summary(regrets["surrogate_s"] ?? [])
        else { return nil }
        let isBest = lower.mean <= upper.mean && lower.mean <= surrogate.mean
        return Finding(
            "The least exact mean lies at c = \(Wording.number(capacities.median)) in the median network "
                + "(\(Int(capacities.least)) to \(Int(capacities.most))). Choosing c by the lower bound "
                + "costs "
                + "\(Wording.percent(lower.mean)) of mean response on average, by the upper bound "
                + "\(Wording.percent(upper.mean)), by the surrogate \(Wording.percent(surrogate.mean)) "
                + "(\(setting.title)).",
            place: setting.title, claim: "the lower bound picks the best c",
            verdict: isBest ? (lower.mean < 0.02 ? .holds : .holdsInPart) : .fails)
    }

    private static func value(_ row: Row, _ column: String) -> Double { row.number(column) ?? .infinity }
}
