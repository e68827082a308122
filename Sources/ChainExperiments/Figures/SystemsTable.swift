import ChainModel
import ChainPlanning
import ChainSimulation

/// Table 1 as an experiment: LLaMA-2-7B on nine slices, 1,000 requests of the trace.
struct SystemsTable: Experiment {
    let name = "table1"
    let title = "LLaMA-2-7B on nine slices, requests of the trace"
    let question =
        "What do PETALS, BPRR, JFFC over whole models and the proposed system make of the same 1,000 "
        + "requests of the "
        + "trace? The published table was measured on machines; this is the model of that set-up."
    let publishedClaim: String? =
        "against PETALS mean response falls by 76.8 %, mean wait by 93.8 % (JFFC only) to 97.5 % (proposed)"
    let defaultRuns = Table1.publishedRuns
    let defaultJobs = 0
    let settings: [Setting] = [.published, .asCoded, .fair]
    let version = 1

    /// The variants of each setting: with the formulas' service times and with ones as long as the paper
    /// measured, and
    /// the programs at the rate in their code and at the one in its comment.
    private func variants(_ setting: Setting) -> [(name: String, compared: Table1.Setting)] {
        switch setting {
        case .published:
            [
                ("service by formula", Table1.Setting(.published)),
                ("service as measured", Table1.Setting.stretched(.published)),
            ]
        case .asCoded:
            [
                ("20.57 requests/s", Table1.Setting(.asCoded)),
                ("2.57 requests/s", Table1.Setting.codedAtTraceRate),
            ]
        case .fair:
            [
                ("service by formula", Table1.Setting(.fair)),
                ("service as measured", Table1.Setting.stretched(.fair)),
            ]
        }
    }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        let compared = variants(setting)[0].compared
        return [
            Field("model", "LLaMA-2-7B, 32 blocks"), Field("servers", .integer(Table1.serverCount)),
            Field("large_share", .number(compared.highShare)),
            Field("planned_rate_per_s", .number(compared.plannedRate)),
            Field(
                "requests",
                setting == .asCoded
                    ? "300, Poisson arrivals and exponential sizes"
                    : "the first 1000 of "
                        + "the trace"),
            Field("trace", options.sources.trace == nil ? "generated with its statistics" : "measured"),
            Field("variants", .text(variants(setting).map(\.name).joined(separator: "; "))),
            Field("systems", .text(compared.systems.map(\.title).joined(separator: "; "))),
            Field("petals_of_the_claim", .text(compared.petals.title)),
            Field("proposed_of_the_claim", .text(compared.proposed.title)),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            variants(setting).flatMap { variant in
                (0..<runs(options)).map {
                    Cell(setting, [Field("variant", .text(variant.name))], run: $0)
                }
            }
        }
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        guard let variant = variants(cell.setting).first(where: { .text($0.name) == cell["variant"] }) else {
            return []
        }
        let sample = try TraceSample(
            options.sources, requests: Table1.requestCount, seed: seed(cell, options))
        var time = 0.0
        let trace = zip([0] + sample.gaps, sample.tokens).prefix(Table1.requestCount).map { gap, tokens in
            time += gap
            return Table1.TraceRequest(
                arrival: time, inputTokens: tokens.input, outputTokens: tokens.output)
        }
        let outcomes = Table1.run(
            variant.compared, run: cell.run, seed: options.seed, trace: trace,
            on: try MeasuredData.roundTrips(options.sources))
        return outcomes.map { SystemsRows.row($0, isProposed: $0.system == variant.compared.proposed) }
    }

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").map { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            var data: [Row] = []
            for (group, cells) in rows.groups(by: "title", "variant") {
                guard let summary = Summary(cells.numbers("mean_response")) else { continue }
                data.append(
                    Row(
                        [Field("system", group[0]), Field("variant", group[1])] + summary.fields("response"))
                )
            }
            return Chart(
                "table1-\(setting.rawValue)",
                caption: "Mean response of the systems on the requests of table 1, parameters "
                    + "\(setting.title); whiskers: 95 "
                    + "% confidence over runs.",
                mark: .rows,
                horizontal: ChartAxis("response", "mean response (s, logarithmic)", scale: .logarithmic),
                vertical: ChartAxis("system", "", scale: .ordinal), series: ("variant", "variant"), rows: data
            ).plot
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting", "variant").flatMap { key, rows -> [Finding] in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            guard let variant = variants(setting).first(where: { .text($0.name) == key[1] }) else {
                return []
            }
            return findings(rows, setting, variant.name, variant.compared)
        }
    }

    private func findings(
        _ rows: Table, _ setting: Setting, _ variant: String, _ compared: Table1.Setting
    ) -> [Finding] {
        let place = "\(setting.title), \(variant)"
        func reduction(_ system: String, _ column: String) -> Double? {
            SystemsRows.reductions(
                rows, proposed: system, over: compared.petals.name, by: [], column: column
            ).first?.reduction
        }
        var findings: [Finding] = []
        if let response = reduction(compared.proposed.name, "mean_response") {
            findings.append(
                Finding(
                    "\(compared.proposed.title) has a mean response "
                        + "\(Wording.change(1 - response, "above", "below")) "
                        + "that of \(compared.petals.title) (\(place)).",
                    place: place, claim: "76.8 % below PETALS",
                    verdict: (response - 0.768).magnitude <= 0.1
                        ? .holds : response > 0 ? .holdsInPart : .fails))
        }
        let waits = [(compared.proposed.name, compared.proposed.title), ("jffc-only", "JFFC only")].compactMap
        {
            name, title in reduction(name, "mean_wait").map { (title: title, value: $0) }
        }
        if waits.count == 2 {
            let words = waits.map { "\(Wording.change(1 - $0.value, "above", "below")) for \($0.title)" }
            let isMet = waits.allSatisfy { $0.value >= 0.9 }
            findings.append(
                Finding(
                    "Beside PETALS' the mean wait is \(Wording.list(words)) (\(place)).",
                    place: place, claim: "93.8 % (JFFC only) to 97.5 % (proposed) less wait",
                    verdict: isMet ? .holds : waits.allSatisfy { $0.value > 0 } ? .holdsInPart : .fails))
        }
        return findings
    }
}
