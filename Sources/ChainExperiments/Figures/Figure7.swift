import ChainModel
import ChainPlanning
import ChainSimulation

/// Figure 7: gaps between arrivals and service times of the trace's requests against exponential ones.
struct Figure7: Experiment {
    let name = "fig7"
    let title = "Arrivals and service times against exponential"
    let question =
        "How far are the gaps between the requests of the trace, and the service times that their tokens "
        + "give on "
        + "every chain, from the exponential ones that the analysis assumes?"
    let publishedClaim: String? =
        "the gaps' standard deviation is 13.15 times that of exponential ones, the service times' 0.71 to "
        + "0.81 times"
    let defaultRuns = 20
    let defaultJobs = 0
    let settings: [Setting] = [.published, .asCoded]
    let version = 1

    private static let requests = 8819
    /// Time that the programs add to a server's work on a request, seconds.
    private static let addedTime = 2.2

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        [
            Field("model", "LLaMA-2-7B, 32 blocks"), Field("servers", 9), Field("large_share", 0.33),
            Field("requests", .integer(Self.requests)),
            Field("trace", options.sources.trace == nil ? "generated with its statistics" : "measured"),
            Field("time_added_per_server_s", .number(setting == .asCoded ? Self.addedTime : 0)),
            Field("placement", "Algorithm 1, c by the exact mean, at the trace's rate"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            (0..<runs(options)).map { Cell(setting, [], run: $0) }
        }
    }

    /// Shares of the requests at which the distributions are given.
    private static let shares: [Double] =
        [0.001, 0.005] + (1..<50).map { Double($0) / 50 } + [0.985, 0.99, 0.995, 0.999]

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let seed = seed(cell, options)
        let trace = try TraceSample(options.sources, requests: Self.requests, seed: seed)
        var rows = [Self.row(trace.gaps, what: "gaps", chain: nil)]
        let pools = try DrawnPools(cell.setting, options, seed: seed)
        var model = PaperModel.llama2x7B(.paper)
        if cell.setting == .asCoded { model.promptOverhead += Self.addedTime }
        var stream = PaperStream(seed: seed, .servers)
        let pool = PaperPool(
            model, count: 9, highShare: 0.33, arrivalRate: trace.rate, profile: .paper, draw: pools.draw,
            on: pools.map, using: &stream)
        let plan = try Planner.plan(pool.cluster)
        for (number, chain) in plan.chains.prefix(8).enumerated() {
            let times = trace.tokens.map { tokens in
                chain.hops.reduce(0.0) { sum, hop in
                    let server = pool.tokenTimes[hop.server.rawValue]
                    let (input, output) = (Double(tokens.input), Double(tokens.output))
                    return sum + server.communication(input: input, output: output)
                        + Double(hop.blockCount) * server.block(input: input, output: output)
                }
            }
            rows.append(Self.row(times, what: "service times", chain: number + 1))
        }
        return rows
    }

    private static func row(_ values: [Double], what: String, chain: Int?) -> Row {
        let summary = Summary(values)
        let sorted = values.sorted()
        var fields = [
            Field("what", .text(what)), Field("chain", chain.map { .integer($0) } ?? .none),
            Field("count", .integer(values.count)), Field("mean_s", Value(summary?.mean)),
            Field("variation", Value(summary.map { $0.standardDeviation / $0.mean })),
        ]
        fields += shares.map {
            Field("q\($0)", Value(sorted.isEmpty ? nil : Summary.quantile($0, ofSorted: sorted)))
        }
        return Row(fields)
    }

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        var plots: [Plot] = []
        let first = table.rows.first?["setting"] ?? .none
        let gaps = table.filtered("setting", first).filtered("what", "gaps").filtered("run", 0)
        if let row = gaps.rows.first {
            plots.append(
                chart(
                    "fig7-arrivals", "gap over its mean", [("trace", row)],
                    caption: "Gaps between the requests of the trace and exponential ones, distribution "
                        + "functions."
                ).plot)
        }
        for (key, rows) in table.filtered("what", "service times").groups(by: "setting") {
            let setting = Setting(rawValue: key[0].plain) ?? .published
            let chains = rows.filtered("run", 0).rows.prefix(4).map { ("chain \($0.text("chain"))", $0) }
            plots.append(
                chart(
                    "fig7-service-\(setting.rawValue)", "service time over its mean", Array(chains),
                    caption: "Service times of the trace's requests on the fastest chains of the first "
                        + "network and "
                        + "exponential ones, parameters \(setting.title)."
                ).plot)
        }
        return plots
    }

    private func chart(_ name: String, _ axis: String, _ curves: [(String, Row)], caption: String) -> Chart {
        var data: [Row] = []
        for share in Self.shares {
            for (title, row) in curves {
                guard let value = row.number("q\(share)"), let mean = row.number("mean_s"), value > 0 else {
                    continue
                }
                data.append(
                    Row([
                        Field("curve", .text(title)), Field("x", .number(value / mean)),
                        Field("share", .number(share)),
                    ]))
            }
        }
        for share in Self.shares {
            data.append(
                Row([
                    Field("curve", "exponential"), Field("x", .number(ExponentialLaw.quantile(share))),
                    Field("share", .number(share)),
                ]))
        }
        return Chart(
            name, caption: caption, mark: .curves,
            horizontal: ChartAxis("x", "\(axis) (logarithmic)", scale: .logarithmic, format: "~g"),
            vertical: ChartAxis("share", "share of requests below"), series: ("curve", "distribution"),
            rows: data)
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        var findings: [Finding] = []
        let first = table.rows.first?["setting"] ?? .none
        let gaps = table.filtered("setting", first).filtered("what", "gaps").numbers("variation")
        if let summary = Summary(gaps) {
            let isMeasured = options.sources.trace != nil
            findings.append(
                Finding(
                    "The standard deviation of the gaps is \(Wording.number(summary.mean)) times that of "
                        + "exponential ones "
                        + (isMeasured
                            ? "in the trace."
                            : "in generated traces of the same length (mean "
                                + "over runs)."),
                    place: isMeasured ? "the trace" : "generated traces", claim: "13.15 times",
                    verdict: (summary.mean / 13.15 - 1).magnitude < 0.1 ? .holds : .holdsInPart))
        }
        for (key, rows) in table.filtered("what", "service times").groups(by: "setting") {
            let setting = Setting(rawValue: key[0].plain) ?? .published
            guard let summary = Summary(rows.numbers("variation")) else { continue }
            let isInside = summary.least >= 0.66 && summary.most <= 0.86
            let isLess = summary.most < 1
            findings.append(
                Finding(
                    "The service times' standard deviation is \(Wording.number(summary.least)) to "
                        + "\(Wording.number(summary.most)) times that of exponential ones (\(setting.title)"
                        + (setting == .asCoded
                            ? ", \(Wording.number(Self.addedTime)) s added to every server's "
                                + "time" : "") + ").",
                    place: setting.title, claim: "0.71 to 0.81 times, less variable than exponential",
                    verdict: isInside ? .holds : isLess ? .holdsInPart : .fails))
        }
        return findings
    }
}
