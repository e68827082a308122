import ChainModel
import ChainPlanning
import ChainSimulation

/// Figure 6 as an experiment: the proposed system beside PETALS and BPRR over `J` and `η`.
struct SystemsFigure: Experiment {
    let name = "fig6"
    let title = "The proposed system beside PETALS and BPRR"
    let question =
        "How much lower is the mean response of composed chains under JFFC than that of PETALS and BPRR, "
        + "on the same pools "
        + "with the same requests?"
    let publishedClaim: String? = "8 % to 83 % lower mean response than the state of the art"
    let defaultRuns = Figure6.publishedRuns
    /// Requests of one run, from an empty system.
    let defaultJobs = Figure6.publishedRequests
    let settings: [Setting] = [.published, .asCoded, .fair]
    let version = 1

    private func compared(_ setting: Setting) -> Figure6.Setting {
        switch setting {
        case .published: Figure6.Setting(.published)
        // With every peculiarity of the programs undone one at a time.
        case .asCoded: Figure6.Setting.dissected()
        case .fair: Figure6.Setting(.fair)
        }
    }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        let compared = compared(setting)
        return DrawnPools.parameters(setting, options).filter { $0.name != "cache_of_block_and_job_gb" } + [
            Field("cache_of_block_and_job_gb", compared.profile == .code ? 0.11583488 : 0.11),
            Field("servers", "10, 20, 30, 40"), Field("large_share", "0.1, 0.2, 0.3, 0.4"),
            Field("arrival_rate_per_s", .number(Figure6.publishedRate)),
            Field("requests", .integer(jobs(options))),
            Field("systems", .text(compared.systems.map(\.title).joined(separator: "; "))),
            Field("claim_is_about", .text(compared.proposed.title)),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            Figure6.grid().flatMap { place in
                (0..<runs(options)).map {
                    Cell(
                        setting,
                        [
                            Field("J", .integer(place.serverCount)),
                            Field("eta", .number(place.highShare)),
                        ], run: $0)
                }
            }
        }
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let compared = compared(cell.setting)
        let place = Figure6.Cell(
            serverCount: cell.integer("J"), highShare: cell.number("eta"), requestCount: jobs(options))
        let outcomes = Figure6.run(
            compared, place, run: cell.run, seed: options.seed,
            on: try MeasuredData.roundTrips(options.sources))
        return outcomes.map { SystemsRows.row($0, isProposed: $0.system == compared.proposed) }
    }

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").map { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            // Of the dissected programs only what they are published with.
            let shown =
                setting == .asCoded
                ? ["petals-sum-cap4", "bprr-coded-load-load-share", "proposed-as-coded"] : nil
            var data: [Row] = []
            for (group, cells) in rows.groups(by: "eta", "title", "J") {
                if let shown, let name = cells.rows.first?.text("system"), !shown.contains(name) { continue }
                guard let summary = Summary(cells.numbers("mean_response")) else { continue }
                data.append(
                    Row(
                        [
                            Field("eta", .text("η = \(group[0].plain)")), Field("system", group[1]),
                            Field("J", group[2]),
                        ] + summary.fields("response")))
            }
            return Chart(
                "fig6-\(setting.rawValue)",
                caption: "Mean response of the systems over the number of servers J and the share η of "
                    + "large ones, "
                    + "parameters \(setting.title); infeasible runs are left out, whiskers: 95 % "
                    + "confidence over runs.",
                mark: .lines, horizontal: ChartAxis("J", "servers J", scale: .ordinal),
                vertical: ChartAxis("response", "mean response (s, logarithmic)", scale: .logarithmic),
                series: ("system", "system"), panels: ("eta", "share of large servers"), rows: data
            ).plot
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting").flatMap { key, rows -> [Finding] in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            let proposed = compared(setting).proposed.name
            var findings = [reductions(rows, setting, proposed: proposed)].compactMap { $0 }
            if setting == .asCoded { findings += Self.peculiarities(rows) }
            return findings
        }
    }

    /// Reductions of the mean response by place of the grid, over the runs that both systems served.
    private func reductions(_ rows: Table, _ setting: Setting, proposed: String) -> Finding? {
        var all: [Double] = []
        var words: [String] = []
        for (key, cells) in rows.groups(by: "system") {
            let name = key[0].plain
            let isBaseline =
                cells.rows[0].text("family") == "petals" || cells.rows[0].text("family") == "bprr"
            guard isBaseline else { continue }
            if setting == .asCoded, name != "petals-sum-cap4", name != "bprr-coded-load-load-share" {
                continue
            }
            let values = SystemsRows.reductions(rows, proposed: proposed, over: name, by: ["J", "eta"])
            guard let summary = Summary(values.map(\.reduction)) else { continue }
            let unstable = values.filter(\.isUnstable).count
            all += values.map(\.reduction)
            words.append(
                "\(Wording.reductions(from: summary.least, to: summary.most)) "
                    + "\(cells.rows[0].text("title")) "
                    + "(median \(Wording.percent(summary.median))"
                    + (unstable > 0 ? "; \(unstable) of \(values.count) places unstable" : "") + ")")
        }
        guard let summary = Summary(all) else { return nil }
        let lower = Double(all.filter { $0 > 0 }.count) / Double(all.count)
        let isInside = summary.least >= 0.075 && summary.most <= 0.835
        return Finding(
            "Over the grid of J and η the proposed system's mean response is \(Wording.list(words)); it is "
                + "the lower one in "
                + "\(all.filter { $0 > 0 }.count) of \(all.count) comparisons (\(setting.title)).",
            place: "\(setting.title), all J and η", claim: "8 % to 83 % lower than the state of the art",
            verdict: isInside ? .holds : lower >= 0.9 ? .holdsInPart : .fails)
    }

    /// What the peculiarities of the programs are worth, at `J` = 20 and `η` = 0.2 where it was there.
    private static func peculiarities(_ rows: Table) -> [Finding] {
        func median(_ system: String) -> Double? {
            Summary(
                rows.filtered("system", .text(system)).filtered("J", 20).filtered("eta", 0.2)
                    .numbers("mean_response"))?.median
        }
        guard let capped = median("petals-sum-cap4"), let free = median("petals-sum"),
            let coded = median("bprr-coded-load-load-share"), let release = median("bprr-coded-load")
        else { return [] }
        return [
            Finding(
                "With 20 servers and η = 0.2 the programs' limit of four blocks on small PETALS servers "
                    + "accounts for "
                    + "\(Wording.seconds(capped)) instead of \(Wording.seconds(free)) (medians over runs), "
                    + "and their estimate "
                    + "of BPRR's waits for \(Wording.seconds(coded)) instead of "
                    + "\(Wording.seconds(release)) with the published one.")
        ]
    }
}

/// Rows of compared systems as experiments keep them.
enum SystemsRows {
    static func row(_ run: ComparedRun, isProposed: Bool) -> Row {
        let columns = ComparedRow(run).columns.map { name, value -> Field in
            switch value {
            case .number(let number): Field(name, Value(number))
            case .text(let text): Field(name, .text(text))
            }
        }
        return Row(
            columns + [Field("title", .text(run.system.title)), Field("proposed", .bool(isProposed))])
    }

    /// `1 − proposed/other` of a column's mean for each group of cells, over the runs that have both.
    static func reductions(
        _ rows: Table, proposed: String, over other: String, by columns: [String],
        column: String = "mean_response"
    ) -> [(reduction: Double, isUnstable: Bool)] {
        var groups: [[Value]: (own: Double, other: Double, unstable: Int, runs: Int)] = [:]
        var order: [[Value]] = []
        let own = rows.filtered("system", .text(proposed))
        var mates: [[Value]: Double] = [:]
        for row in own.rows { mates[columns.map { row[$0] } + [row["run"]]] = row.number(column) }
        for row in rows.filtered("system", .text(other)).rows {
            let key = columns.map { row[$0] }
            guard let its = row.number(column), let mine = mates[key + [row["run"]]] else { continue }
            if groups[key] == nil { order.append(key) }
            var group = groups[key] ?? (0, 0, 0, 0)
            group.own += mine
            group.other += its
            group.runs += 1
            if row.number("unstable") == 1 { group.unstable += 1 }
            groups[key] = group
        }
        return order.compactMap { key in
            groups[key].map { (1 - $0.own / $0.other, 2 * $0.unstable >= $0.runs) }
        }
    }
}
