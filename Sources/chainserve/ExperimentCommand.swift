import ArgumentParser
import ChainExperiments
import Foundation

extension Setting: ExpressibleByArgument {}

/// `chainserve experiment`: reproduces figures and tables of the paper.
struct ExperimentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "paper",
        abstract: "Reproduce a figure or table of the paper: data, plot, and what was found beside what "
            + "was claimed.",
        discussion: """
            Experiments: \(Catalogue.experiments.map { "\($0.name) (\($0.title))" }.joined(separator: ", ")), and all.
            Finished parts are kept in DIR/cells, and a run that was interrupted goes on where it stopped.
            """)

    @Argument(help: "fig1 … fig7, table1, assumptions, or all.")
    var name: String

    @Option(name: .long, help: "Folder for the results.")
    var out: String

    @Option(
        name: .long,
        help: "Independent runs (default: each experiment's own, the paper's).")
    var runs: Int?

    @Option(name: .long, help: "Seed of all random numbers.")
    var seed: UInt64 = 1

    @Option(name: .long, help: "Jobs of one simulation (default: each experiment's own).")
    var jobs: Int?

    @Option(name: .long, help: "Only this setting: published, as-coded or fair.")
    var setting: Setting?

    @Option(name: .long, help: "Measured round trips (RIPE Atlas, CSV) instead of generated ones.")
    var roundTrips: String?

    @Option(name: .long, help: "The Azure LLM inference trace (CSV) instead of a generated one.")
    var trace: String?

    @Flag(name: .long, help: "Forget finished parts and start afresh.")
    var restart = false

    @Flag(name: .long, help: "Do not draw plots; CSV, JSON and Vega-Lite files are written all the same.")
    var noPlots = false

    @Option(
        name: .long,
        help: "With all: also write this Markdown page, with figures beside it.")
    var docs: String?

    func run() async throws {
        let experiments = try CommandFailure.invalidInput { try Catalogue.named(name) }
        let options = ExperimentOptions(
            runs: runs, seed: seed, jobs: jobs, setting: name == "all" ? nil : setting,
            sources: DataSources(roundTrips: roundTrips, trace: trace))
        if name == "all", setting != nil {
            CommandFailure.warn("error: --setting goes with one experiment, not with all")
            throw CommandFailure.invalidInput
        }
        if docs != nil, name != "all" {
            CommandFailure.warn("error: --docs goes with `experiment all`")
            throw CommandFailure.invalidInput
        }
        CommandFailure.warn("seed \(seed)")
        try await CommandFailure.reporting {
            let run = ExperimentRun(directory: out, restart: restart)
            var results: [ExperimentResult] = []
            for experiment in experiments { results.append(try await run(experiment, options)) }
            try write(results)
        }
    }

    private func write(_ results: [ExperimentResult]) throws {
        let files = ResultFiles(directory: out)
        let renderer = noPlots ? nil : PlotRenderer()
        if let missing = renderer?.missing { CommandFailure.warn("note: \(missing)") }
        let pictures = try renderer?.render(results.flatMap(\.plots)) ?? [:]
        for result in results {
            try files.write(result, pictures: pictures)
            for finding in result.findings {
                CommandFailure.say("\(result.experiment.name): \(finding.text)\n", toError: false)
            }
        }
        guard name == "all" else { return }
        let notice = noPlots ? "Plots were not asked for." : renderer?.missing
        let page = ReportPage(results: results, pictures: pictures, notice: notice)
        try files.write(Data(page.html.utf8), to: "report.html")
        CommandFailure.warn("report: \(out)/report.html")
        if let docs { try write(results, pictures: pictures, to: docs) }
    }

    private func write(
        _ results: [ExperimentResult], pictures: [String: PlotRenderer.Picture], to path: String
    ) throws {
        let url = URL(fileURLWithPath: path)
        let folder = ResultFiles(directory: url.deletingLastPathComponent().path)
        var command = "chainserve experiment all --out DIR --seed \(seed) --docs \(path)"
        if let runs { command += " --runs \(runs)" }
        if let jobs { command += " --jobs \(jobs)" }
        if roundTrips != nil { command += " --round-trips RTT.csv" }
        if trace != nil { command += " --trace TRACE.csv" }
        let page = ReproductionPage(
            results: results, figures: pictures.isEmpty ? nil : "figures", command: command)
        var text = page.markdown
        // Another command's part of the page stays.
        if let old = try? String(contentsOf: url, encoding: .utf8),
            let live = MarkedSection.live.content(in: old)
        {
            text = MarkedSection.live.replacing(with: live, in: text)
        }
        try folder.write(Data(text.utf8), to: url.lastPathComponent)
        let figures = ResultFiles(directory: folder.directory + "/figures")
        for plot in results.flatMap(\.plots) {
            guard let picture = pictures[plot.name] else { continue }
            try figures.write(picture.lightSVG, to: "\(plot.name).svg")
        }
    }
}
