import ChainModel
import ChainPlanning
import ChainSimulation

/// Figure 3: dispatch rules over the load, and JFFC against its bounds and its exact mean.
struct Figure3: Experiment {
    let name = "fig3"
    let title = "Dispatch rules over the load"
    let question =
        "Which rule gives the least mean response on the same chains with the same arrivals and sizes, and "
        + "how "
        + "close are the bounds of Theorem 4 and the exact analysis to what JFFC does?"
    let publishedClaim: String? =
        "JFFC has the least mean response of all rules; over 85 % of it is service below load 0.7"
    let defaultRuns = 20
    let defaultJobs = 20_000
    let settings: [Setting] = [.published, .asCoded, .fair]
    let version = 1

    static let loads = [0.1, 0.3, 0.5, 0.7, 0.8, 0.9]

    static let policies: [(name: String, policy: SimulatedPolicy)] = [
        ("JFFC", .jffc), ("SA-JSQ", .dedicated(.saJSQ)), ("SED", .dedicated(.sed)),
        ("JSQ", .dedicated(.jsq)), ("JIQ", .dedicated(.jiq)),
    ]

    func capacity(_ setting: Setting) -> Int { setting == .asCoded ? 2 : 7 }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        DrawnPools.parameters(setting, options) + [
            Field("servers", 20), Field("large_share", 0.2), Field("capacity", .integer(capacity(setting))),
            Field("arrivals", "Poisson"), Field("sizes", "exponential"),
            Field(
                "jobs",
                setting == .asCoded
                    ? "those of a horizon of 500/ν (twice from load 0.7, three times from 0.9), none dropped"
                    : .text("\(jobs(options)) after a tenth more of warm-up")),
            Field(
                "rules",
                setting == .fair ? "the paper's and JFFC with exact thresholds (jffc-wait)" : "the paper's"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            Self.loads.flatMap { load in
                (0..<runs(options)).map { Cell(setting, [Field("load", .number(load))], run: $0) }
            }
        }
    }

    private func length(_ setting: Setting, load: Double, _ options: ExperimentOptions) -> RunLength {
        guard setting == .asCoded else { return RunLength(jobs: jobs(options)) }
        let horizon = 500 * (load >= 0.9 ? 3 : load >= 0.7 ? 2 : 1.0)
        let all = Int(load * horizon)
        return RunLength(jobs: all - all / 10, warmUp: all / 10)
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let seed = seed(cell, options)
        let pools = try DrawnPools(cell.setting, options, seed: seed)
        let cluster = pools.bloom(arrivalRate: 1)
        let plan = try Planner.fullPlan(cluster, capacity: capacity(cell.setting))
        let load = cell.number("load")
        let rate = load * plan.totalServiceRate
        let chains = ParallelChains(plan.chains)
        let exact = ExactAnalysis(chains, arrivalRate: rate)
        var policies = Self.policies
        if cell.setting == .fair, let exact {
            let thresholds = WaitThresholds.choose(chains, arrivalRate: rate, jffc: exact).thresholds
            policies.append(("JFFC with thresholds", .jffcWait(thresholds: thresholds)))
        }
        let system = SimulatedSystem(plan, cluster: cluster)
        return policies.map { name, policy in
            let result = Simulation(
                system, policy: policy, arrivals: .poisson(rate: rate),
                length: length(cell.setting, load: load, options), seed: seed
            ).run()
            let isJFFC = name == "JFFC"
            return Row([
                Field("policy", .text(name)), Field("arrival_rate_per_s", .number(rate)),
                Field("mean_response_s", .number(result.response.mean)),
                Field("mean_wait_s", .number(result.wait.mean)),
                Field("mean_service_s", .number(result.service.mean)),
                Field("p99_response_s", .number(result.response.quantile(0.99))),
                Field("wait_probability", .number(result.waitProbability.mean)),
                Field("unstable", .bool(result.unstable != nil)),
                Field(
                    "lower_bound_s", isJFFC ? Value(ResponseBounds.lower(chains, arrivalRate: rate)) : .none),
                Field(
                    "upper_bound_s", isJFFC ? Value(ResponseBounds.upper(chains, arrivalRate: rate)) : .none),
                Field("exact_s", isJFFC ? Value(exact?.meanResponseTime) : .none),
            ])
        }
    }

    // MARK: Plots

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").flatMap { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            return [policyPlot(rows, setting), boundsPlot(rows.filtered("policy", "JFFC"), setting)]
        }
    }

    private func policyPlot(_ rows: Table, _ setting: Setting) -> Plot {
        let data = rows.groups(by: "policy", "load").compactMap { key, cells -> Row? in
            Summary(cells.numbers("mean_response_s")).map {
                Row([Field("rule", key[0]), Field("load", key[1])] + $0.fields("response"))
            }
        }
        return Chart(
            "fig3-policies-\(setting.rawValue)",
            caption: "Mean response of the dispatch rules over the load, parameters \(setting.title); "
                + "whiskers: "
                + "95 % confidence over networks.",
            mark: .lines,
            horizontal: ChartAxis("load", "load ρ = λ/ν"),
            vertical: ChartAxis(
                "response",
                "mean response (s, "
                    + "logarithmic)", scale: .logarithmic), series: ("rule", "rule"),
            rows: data
        ).plot
    }

    private func boundsPlot(_ rows: Table, _ setting: Setting) -> Plot {
        let columns = [
            ("mean_response_s", "simulated"), ("exact_s", "exact"), ("lower_bound_s", "lower bound"),
            ("upper_bound_s", "upper bound"),
        ]
        var data: [Row] = []
        for (column, title) in columns {
            for (key, cells) in rows.groups(by: "load") {
                guard let summary = Summary(cells.numbers(column)) else { continue }
                data.append(
                    Row([Field("value", .text(title)), Field("load", key[0])] + summary.fields("response")))
            }
        }
        return Chart(
            "fig3-bounds-\(setting.rawValue)",
            caption: "JFFC: simulated mean response, the exact mean and the bounds of Theorem 4, parameters "
                + "\(setting.title).",
            mark: .lines,
            horizontal: ChartAxis("load", "load ρ = λ/ν"),
            vertical: ChartAxis("response", "mean response (s)", fromZero: false), series: ("value", "JFFC"),
            rows: data
        ).plot
    }

    // MARK: Findings

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting").flatMap { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            return [ranking(rows, setting), serviceShare(rows, setting), bounds(rows, setting)]
                .compactMap { $0 }
        }
    }

    /// Whether JFFC is the best of the paper's rules, by paired differences over networks.
    private func ranking(_ rows: Table, _ setting: Setting) -> Finding? {
        let jffc = rows.filtered("policy", "JFFC")
        var gains: [(name: String, most: Double, load: Double, isWorse: Bool)] = []
        var extra = ""
        for (key, others) in rows.groups(by: "policy") where key[0] != "JFFC" {
            var entry = (name: key[0].plain, most: -1.0, load: 0.0, isWorse: false)
            for (load, cells) in others.groups(by: "load") {
                let base = jffc.filtered("load", load[0])
                let pairs = cells.rows.compactMap { row -> Double? in
                    let mate = base.rows.first { $0["run"] == row["run"] }
                    guard let own = row.number("mean_response_s"), let its = mate?.number("mean_response_s")
                    else { return nil }
                    return own / its - 1
                }
                guard let summary = Summary(pairs) else { continue }
                if summary.mean > entry.most {
                    (entry.most, entry.load) = (summary.mean, load[0].number ?? 0)
                }
                if summary.mean + summary.halfWidth < -1e-3 { entry.isWorse = true }
            }
            if entry.name == "JFFC with thresholds" {
                let best = others.groups(by: "load").compactMap { load, cells -> Double? in
                    guard let own = Summary(cells.numbers("mean_response_s")),
                        let its = Summary(jffc.filtered("load", load[0]).numbers("mean_response_s"))
                    else { return nil }
                    return own.mean / its.mean
                }.min()
                if let best {
                    extra =
                        " Waiting for faster chains by exact thresholds takes up to "
                        + "\(Wording.percent(max(0, 1 - best))) off its mean."
                }
                continue
            }
            gains.append(entry)
        }
        guard !gains.isEmpty else { return nil }
        let better = gains.filter(\.isWorse).map(\.name)
        let words = gains.map {
            "\($0.name) up to \(Wording.change(1 + $0.most, "longer", "shorter")) (ρ = "
                + "\(Wording.number($0.load)))"
        }
        let isTied = gains.contains { $0.most <= 1e-3 }
        return Finding(
            "Mean response beside JFFC's (\(setting.title)): \(Wording.list(words)). "
                + (better.isEmpty
                    ? "No rule is significantly better than JFFC at any load."
                    : "\(Wording.list(better)) beat JFFC at some load.") + extra,
            place: setting.title, claim: "JFFC has the least mean response",
            verdict: better.isEmpty ? (isTied ? .holdsInPart : .holds) : .fails)
    }

    private func serviceShare(_ rows: Table, _ setting: Setting) -> Finding? {
        let jffc = rows.filtered("policy", "JFFC")
        let shares = jffc.groups(by: "load").compactMap { key, cells -> (load: Double, share: Double)? in
            guard let load = key[0].number, load < 0.7,
                let service = Summary(cells.numbers("mean_service_s")),
                let response = Summary(cells.numbers("mean_response_s"))
            else { return nil }
            return (load, service.mean / response.mean)
        }
        guard let least = shares.min(by: { $0.share < $1.share }) else { return nil }
        return Finding(
            "Below load 0.7 service makes up at least \(Wording.percent(least.share)) of JFFC's mean "
                + "response "
                + "(at ρ = \(Wording.number(least.load)), \(setting.title)).",
            place: "\(setting.title), loads below 0.7",
            claim: "over 85 % of JFFC's response is service below load 0.7",
            verdict: least.share > 0.85 ? .holds : .fails)
    }

    private func bounds(_ rows: Table, _ setting: Setting) -> Finding? {
        let jffc = rows.filtered("policy", "JFFC").rows
        func errors(_ column: String) -> [Double] {
            jffc.compactMap { row in
                guard let value = row.number(column), let exact = row.number("exact_s") else { return nil }
                return value / exact - 1
            }
        }
        guard let lower = Summary(errors("lower_bound_s")), let upper = Summary(errors("upper_bound_s"))
        else { return nil }
        var means: [Double] = []
        for (_, cells) in rows.filtered("policy", "JFFC").groups(by: "load") {
            guard let simulated = Summary(cells.numbers("mean_response_s")),
                let exact = Summary(cells.numbers("exact_s"))
            else { continue }
            means.append((simulated.mean / exact.mean - 1).magnitude)
        }
        let isBetween = lower.most <= 1e-9 && upper.least >= -1e-9
        return Finding(
            "The exact mean lies "
                + "\(isBetween ? "between the bounds in every case" : "outside the bounds in some case"): "
                + "the lower bound is \(Wording.percent(-lower.mean)) below it on average "
                + "(\(Wording.percent(-lower.least)) at "
                + "most), the upper \(Wording.percent(upper.mean)) above (\(Wording.percent(upper.most)) "
                + "at most). Simulated "
                + "means over all networks are within \(Wording.percent(means.max() ?? 0)) of it "
                + "(\(setting.title)).",
            place: setting.title, claim: "Theorem 4 bounds JFFC's mean response",
            verdict: isBetween ? .holds : .fails)
    }
}
