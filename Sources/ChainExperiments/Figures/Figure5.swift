import ChainModel
import ChainPlanning
import ChainSimulation

/// Figure 5: the best `c` over the arrival rate, for every tuning criterion.
struct Figure5: Experiment {
    let name = "fig5"
    let title = "Best required capacity over the arrival rate"
    let question =
        "Which c does every tuning criterion choose as the rate grows, and what does its choice cost "
        + "against the "
        + "best c?"
    let publishedClaim: String? =
        "the surrogate chooses too small a c, the upper bound too large a one, the lower bound the best"
    let defaultRuns = 20
    let defaultJobs = 4_000
    let settings: [Setting] = [.published, .asCoded]
    let version = 1

    /// The rates of the authors' program, per second.
    static let rates = [0.0452, 0.112, 0.14, 0.223, 0.457, 0.915, 1.37, 1.6, 1.83]

    func loadTarget(_ setting: Setting) -> Double { setting == .asCoded ? 0.8 : 0.7 }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        DrawnPools.parameters(setting, options) + [
            Field("servers", 20), Field("large_share", 0.2),
            Field("load_target", .number(loadTarget(setting))),
            Field("arrival_rates_per_s", .text(Self.rates.map { "\($0)" }.joined(separator: " "))),
            Field("capacities", .text("1 to \(Figure4.most)")),
            Field(
                "compared",
                setting == .asCoded
                    ? "every c with λ < ν, all servers placed, one network"
                    : "every c that meets the load target, else every c with λ < ν"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            Self.rates.flatMap { rate in
                (0..<runs(options)).map {
                    Cell(setting, [Field("arrival_rate_per_s", .number(rate))], run: $0)
                }
            }
        }
    }

    static let criteria = ["exact", "simulated", "lower bound", "upper bound", "surrogate"]

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let seed = seed(cell, options)
        let network = cell.setting == .asCoded ? options.seed &* 1_000_003 : seed
        let target = loadTarget(cell.setting)
        let rate = cell.number("arrival_rate_per_s")
        let cluster = try DrawnPools(cell.setting, options, seed: network)
            .bloom(arrivalRate: 1, loadTarget: target)
        let effect = CapacityEffect(
            cluster: cluster, loadTarget: target, placesAll: cell.setting == .asCoded)
        let stable = effect.entries(rate: rate, most: Figure4.most).filter { $0.exact != nil }
        let met = stable.filter(\.meetsTarget)
        let entries = cell.setting == .asCoded || met.isEmpty ? stable : met
        guard let least = entries.compactMap(\.exact).min() else { return [] }
        let simulated = entries.map { entry in
            Simulation(
                entry.system, arrivals: .poisson(rate: rate), length: RunLength(jobs: jobs(options)),
                seed: seed
            ).run().response.mean
        }
        return Self.criteria.compactMap { criterion in
            let values: [Double?] =
                switch criterion {
                case "exact": entries.map(\.exact)
                case "simulated": simulated
                case "lower bound": entries.map(\.lower)
                case "upper bound": entries.map(\.upper)
                default: entries.map { $0.surrogate.map { Double($0) } }
                }
            // Ties: the smallest c.
            var best: Int?
            for (position, value) in values.enumerated() {
                guard let value else { continue }
                if let current = best.flatMap({ values[$0] }), value >= current * (1 - 1e-12) { continue }
                best = position
            }
            guard let best, let exact = entries[best].exact else { return nil }
            return Row([
                Field("criterion", .text(criterion)), Field("capacity", .integer(entries[best].capacity)),
                Field("exact_s", .number(exact)), Field("simulated_s", .number(simulated[best])),
                Field("cost", .number(exact / least - 1)), Field("meets_target", .bool(!met.isEmpty)),
            ])
        }
    }

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").flatMap { key, rows -> [Plot] in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            var data: [Row] = []
            for (group, cells) in rows.groups(by: "criterion", "arrival_rate_per_s") {
                guard let capacity = Summary(cells.numbers("capacity")),
                    let cost = Summary(cells.numbers("cost"))
                else { continue }
                data.append(
                    Row(
                        [
                            Field("criterion", group[0]), Field("rate", group[1]),
                            Field("cost", .number(100 * cost.mean)),
                        ] + capacity.fields("c")))
            }
            let horizontal = ChartAxis(
                "rate", "arrival rate λ (jobs/s, logarithmic)", scale: .logarithmic)
            return [
                Chart(
                    "fig5-\(setting.rawValue)",
                    caption: "The c that every criterion chooses over the rate, parameters "
                        + "\(setting.title); means over "
                        + "runs with 95 % confidence.",
                    mark: .lines, horizontal: horizontal,
                    vertical: ChartAxis("c", "chosen capacity c (jobs)"), series: ("criterion", "criterion"),
                    rows: data
                ).plot,
                Chart(
                    "fig5-cost-\(setting.rawValue)",
                    caption: "What the choice costs: exact mean response above that of the best c, "
                        + "parameters "
                        + "\(setting.title).",
                    mark: .curves, horizontal: horizontal,
                    vertical: ChartAxis("cost", "mean response above the best (%)"),
                    series: ("criterion", "criterion"), rows: data
                ).plot,
            ]
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting").compactMap { key, rows in
            finding(rows, Setting(rawValue: key[0].plain) ?? .published)
        }
    }

    private func finding(_ rows: Table, _ setting: Setting) -> Finding? {
        var words: [String] = []
        var costs: [String: Double] = [:]
        var shifts: [String: Double] = [:]
        let exact = rows.filtered("criterion", "exact")
        for criterion in Self.criteria where criterion != "exact" {
            let chosen = rows.filtered("criterion", .text(criterion))
            guard let cost = Summary(chosen.numbers("cost")) else { continue }
            var differences: [Double] = []
            for row in chosen.rows {
                let mate = exact.rows.first {
                    $0["run"] == row["run"] && $0["arrival_rate_per_s"] == row["arrival_rate_per_s"]
                }
                guard let own = row.number("capacity"), let best = mate?.number("capacity") else { continue }
                differences.append(own - best)
            }
            costs[criterion] = cost.mean
            shifts[criterion] = Summary(differences)?.mean ?? 0
            words.append(
                "the \(criterion == "simulated" ? "simulated mean" : criterion) "
                    + "\(Wording.percent(cost.mean)) (\(Wording.percent(cost.most)) at most)")
        }
        guard let lower = costs["lower bound"], let upper = costs["upper bound"],
            let surrogate = costs["surrogate"]
        else { return nil }
        let isLeast = lower <= upper && lower <= surrogate
        let isSmall = (shifts["surrogate"] ?? 0) < 0
        let isLarge = (shifts["upper bound"] ?? 0) > 0
        return Finding(
            "Cost of choosing c by a criterion, in exact mean response above the best c: "
                + "\(Wording.list(words)). The "
                + "surrogate's c is \(isSmall ? "smaller" : "larger") than the best on average, the upper "
                + "bound's "
                + "\(isLarge ? "larger" : "not larger") (\(setting.title)).",
            place: setting.title, claim: "surrogate too small, upper bound too large, lower bound best",
            verdict: isLeast && isSmall && isLarge ? .holds : isLeast ? .holdsInPart : .fails)
    }
}
