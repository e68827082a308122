import ArgumentParser
import ChainEngine
import ChainExperiments
import ChainFormats
import ChainModel
import Foundation

extension LiveWorkload: ExpressibleByArgument {}
extension LiveSystem: ExpressibleByArgument {}

/// `chainserve experiment live`: the systems side by side on running servers.
struct LiveExperimentCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "live",
        abstract:
            "Run PETALS, JFFC over whole models, and our plan on PETALS and on our own engine side by side.",
        discussion: """
            Starts the systems' servers on this machine, each held to an emulated device behind an emulated network, and \
            gives all of them the same requests. Needs `make petals`; about 0.6 GB of memory for each PETALS server, of which \
            every system has its own. Finished runs are kept in DIR, and an interrupted experiment goes on where it stopped; \
            with all runs finished, tables and page are made again and nothing is started.
            """)

    @Option(help: "Folder for the results.")
    var out: String

    @Option(help: "Requests of a run.")
    var requests = LiveSetting().requests

    @Option(help: "Repetitions, each with requests of its own.")
    var runs = LiveSetting().runs

    @Option(help: "Seed of requests, places and order.")
    var seed: UInt64 = LiveSetting().seed

    @Option(help: "Arrivals per second.")
    var rate = LiveSetting().arrivalRate

    @Option(parsing: .upToNextOption, help: "Any of: trace, poisson, bursty.")
    var workloads: [LiveWorkload] = LiveSetting().workloads

    @Option(parsing: .upToNextOption, help: "Any of: petals, jffc-only, proposed-petals, proposed.")
    var systems: [LiveSystem] = LiveSetting().systems

    @Option(help: "Servers that hold the whole model.")
    var large = LiveSetting().largeServers

    @Option(help: "Servers that hold it together.")
    var small = LiveSetting().smallServers

    @Option(help: "Jobs at once that a server's memory has caches for, in the blocks it is meant for.")
    var jobs = LiveSetting().jobs

    @Option(help: "Tokens that every session reserves.")
    var sequenceLength = LiveSetting().sequenceLength

    @Option(help: "Seconds that a large server's device takes for a token in a block.")
    var largeBlockTime = LiveSetting().largeBlockSeconds

    @Option(help: "The same of a small server's.")
    var smallBlockTime = LiveSetting().smallBlockSeconds

    @Option(help: "Runs to make now; the others are left for a later call.")
    var atMost: Int?

    @Option(name: .long, help: "Measured round trips (RIPE Atlas, CSV) instead of generated ones.")
    var roundTrips: String?

    @Option(name: .long, help: "The Azure LLM inference trace (CSV) instead of a generated one.")
    var trace: String?

    @Option(help: "Also write this Markdown page, with its figure beside it.")
    var docs: String?

    @Option(
        help: "Also put the tables on this Markdown page, as its section 'live', linked to that of --docs.")
    var reproduction: String?

    @Option(help: "A sentence about this run for the page, such as what else the machine did.")
    var note: String?

    @Flag(name: .long, help: "Do not draw the plot.")
    var noPlots = false

    func run() async throws {
        try await CommandFailure.reporting {
            let setting = try setting()
            let sources = DataSources(roundTrips: roundTrips, trace: trace)
            let requests = try LiveRequests(setting, sources: sources)
            try checkPages()
            let prepared = try LivePreparation(setting, requests: requests, sources: sources, out: out)
            CommandFailure.warn("seed \(seed)")
            try await prepared.makeRuns(requests, atMost: atMost)
            try write(prepared, requests)
        }
    }

    private func setting() throws -> LiveSetting {
        var setting = LiveSetting()
        (setting.requests, setting.runs, setting.seed, setting.arrivalRate) = (requests, runs, seed, rate)
        // In their own order, and none twice.
        setting.workloads = LiveWorkload.allCases.filter { workloads.contains($0) }
        setting.systems = LiveSystem.allCases.filter { systems.contains($0) }
        (setting.largeServers, setting.smallServers, setting.jobs) = (large, small, jobs)
        setting.sequenceLength = sequenceLength
        (setting.largeBlockSeconds, setting.smallBlockSeconds) = (largeBlockTime, smallBlockTime)
        try setting.check()
        if let atMost, atMost < 0 {
            throw ExperimentError.invalidOption("--at-most is \(atMost): it must not be negative")
        }
        return setting
    }

    private func write(_ prepared: LivePreparation, _ requests: LiveRequests) throws {
        let report = LiveReport(prepared.systems, requests: requests, results: try prepared.results())
        let files = ResultFiles(directory: out)
        try files.write(Data(ResultFiles.csv(report.table).utf8), to: "live.csv")
        let plot = report.plot
        try files.write(Data(plot.specification.rendered().utf8), to: "\(plot.name).vl.json")
        let renderer = noPlots || report.table.rows.isEmpty ? nil : PlotRenderer()
        if let missing = renderer?.missing { CommandFailure.warn("note: \(missing)") }
        let picture = try renderer?.render([plot])[plot.name]
        if let picture { try files.write(picture.lightSVG, to: "\(plot.name).svg") }
        for finding in report.findings { CommandFailure.say("live: \(finding.text)\n", toError: false) }
        guard let docs else { return }
        let url = URL(fileURLWithPath: docs)
        let folder = url.deletingLastPathComponent().path
        if let picture {
            try ResultFiles(directory: folder + "/figures").write(picture.lightSVG, to: "\(plot.name).svg")
        }
        let page = LivePage(
            report: report, command: command, figure: picture.map { _ in "figures/\(plot.name).svg" },
            note: note, date: Self.date(prepared.places.results))
        try ResultFiles(directory: folder).write(Data(page.markdown.utf8), to: url.lastPathComponent)
        if let reproduction { try put(page, linked: url, on: URL(fileURLWithPath: reproduction)) }
    }

    /// The pages link to each other by name.
    private func checkPages() throws {
        guard let reproduction else { return }
        func folder(_ path: String) -> URL {
            URL(fileURLWithPath: path).deletingLastPathComponent().standardizedFileURL
        }
        guard let docs, folder(docs) == folder(reproduction) else {
            throw ExperimentError.invalidOption(
                "--reproduction goes with --docs, a page in the same folder, to which it links")
        }
    }

    private func put(_ page: LivePage, linked: URL, on other: URL) throws {
        let isThere = FileManager.default.fileExists(atPath: other.path)
        let old = isThere ? try CommandFailure.read(other.path) : ""
        let summary = page.summary(link: linked.lastPathComponent)
        try ResultFiles(directory: other.deletingLastPathComponent().path).write(
            Data(MarkedSection.live.replacing(with: summary, in: old).utf8), to: other.lastPathComponent)
    }

    /// The day of the last run.
    private static func date(_ path: String) -> String {
        let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        let date = attributes?[.modificationDate] as? Date ?? Date()
        return date.formatted(.iso8601.year().month().day())
    }

    /// As it can be given again; files by their kind.
    private var command: String {
        var words = [
            "chainserve experiment live --out DIR --requests \(requests) --runs \(runs) --seed \(seed)"
        ]
        words.append("--rate \(rate)")
        let setting = LiveSetting()
        if workloads != setting.workloads {
            words.append("--workloads " + workloads.map(\.rawValue).joined(separator: " "))
        }
        if systems != setting.systems {
            words.append("--systems " + systems.map(\.rawValue).joined(separator: " "))
        }
        if large != setting.largeServers { words.append("--large \(large)") }
        if small != setting.smallServers { words.append("--small \(small)") }
        if jobs != setting.jobs { words.append("--jobs \(jobs)") }
        if sequenceLength != setting.sequenceLength { words.append("--sequence-length \(sequenceLength)") }
        if largeBlockTime != setting.largeBlockSeconds {
            words.append("--large-block-time \(largeBlockTime)")
        }
        if smallBlockTime != setting.smallBlockSeconds {
            words.append("--small-block-time \(smallBlockTime)")
        }
        if roundTrips != nil { words.append("--round-trips RTT.csv") }
        if trace != nil { words.append("--trace TRACE.csv") }
        if let docs { words.append("--docs \(docs)") }
        if let reproduction { words.append("--reproduction \(reproduction)") }
        return words.joined(separator: " ")
    }
}

/// The experiment made ready on this machine: the converted model, the plans, and the runner.
struct LivePreparation {
    let systems: LiveSystems
    let places: LiveSystems.Places
    private let out: String
    /// Which data requests and round trips are from.
    private let source: String

    /// - Throws: `PetalsError` without what `make petals` sets up, and whatever makes the pool unusable.
    init(_ setting: LiveSetting, requests: LiveRequests, sources: DataSources, out: String) throws {
        // The runner is Python of the same environment, whichever systems run.
        try PetalsInstallation.check()
        let folder = PetalsInstallation.convertedModel(of: DefaultModel.path)
        let gguf =
            URL(fileURLWithPath: folder).deletingLastPathComponent().path
            + "/\(fileStem(DefaultModel.fileName)).f32.gguf"
        guard FileManager.default.fileExists(atPath: folder + "/config.json"),
            FileManager.default.fileExists(atPath: gguf)
        else { throw PetalsError.noModel(folder) }
        let file = try LlamaFile(path: gguf)
        var own = file.shape(name: "live", sequenceLength: setting.sequenceLength)
        own.hiddenSize = file.parameters.embeddingWidth
        let petals = file.petalsShape(name: "live", sequenceLength: setting.sequenceLength, valueSize: 4)
        let pool = try LivePool(
            setting, petalsShape: petals, ownShape: own, meanTokens: requests.meanTokens, sources: sources)
        systems = try LiveSystems(pool)
        self.out = absolutePath(out)
        source = "trace \(sources.trace ?? "generated"), round trips \(sources.roundTrips ?? "generated")"
        places = LiveSystems.Places(
            chainserve: Bundle.main.executablePath ?? CommandLine.arguments[0], model: folder, gguf: gguf,
            state: self.out + "/state", results: self.out + "/live.jsonl")
    }

    func results() throws -> LiveResults {
        guard FileManager.default.fileExists(atPath: places.results) else { return LiveResults() }
        return try LiveResults(try CommandFailure.read(places.results), path: places.results)
    }

    /// Results of other requests or servers would be taken for this experiment's.
    private func checkFolder() throws {
        let path = out + "/live-setting.txt"
        let text = systems.pool.setting.identity + "\n" + source + "\n"
        if FileManager.default.fileExists(atPath: path) {
            guard try CommandFailure.read(path) == text else { throw LiveError.otherExperiment(out) }
        } else {
            try ResultFiles(directory: out).write(Data(text.utf8), to: "live-setting.txt")
        }
    }

    /// Makes the runs that have no results yet, or only such as the machine was too late in.
    func makeRuns(_ requests: LiveRequests, atMost: Int?) async throws {
        try checkFolder()
        let known = try results().runs
        var left = systems.runs.filter { known[$0.id]?.isSetAside ?? true }
        let finished = systems.runs.count - left.count
        if let atMost { left = Array(left.prefix(atMost)) }
        CommandFailure.warn(
            "live: \(finished) of \(systems.runs.count) runs are there, \(left.count) to make now")
        guard !left.isEmpty else { return }
        let specification = systems.specification(left, requests: requests, places: places)
        let path = out + "/live-specification.json"
        try ResultFiles(directory: out).write(
            Data(specification.rendered().utf8), to: "live-specification.json")
        let status = try await Self.runner(path)
        guard status == 0 else { throw LiveError.runner(status, folder: places.state) }
    }

    /// The runner, told to end when this command is.
    private static func runner(_ path: String) async throws -> Int32 {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: PetalsInstallation.python)
        process.arguments = ["-m", "chainserve_petals.live", path, "--exit-with-parent"]
        // Held open until this process ends, however it does.
        let input = Pipe()
        process.standardInput = input
        var environment = ProcessInfo.processInfo.environment
        environment["PYTHONWARNINGS"] = "ignore"
        process.environment = environment
        let signals = SignalWaiter([SIGTERM, SIGINT])
        let (ends, continuation) = AsyncStream.makeStream(of: Int32.self)
        process.terminationHandler = { continuation.yield($0.terminationStatus) }
        try process.run()
        let number = process.processIdentifier
        let stopping = Task {
            await signals.wait()
            kill(number, SIGTERM)
        }
        let status = await ends.first { _ in true } ?? 1
        stopping.cancel()
        try? input.fileHandleForWriting.close()
        return status
    }
}

enum LiveError: Error, CustomStringConvertible {
    case runner(Int32, folder: String)
    case otherExperiment(String)

    var description: String {
        switch self {
        case .otherExperiment(let folder):
            "\(folder) holds runs of another setting (live-setting.txt says which): give another --out, or the same options"
                + " (--runs, --workloads and --systems may differ)"
        case .runner(let status, let folder):
            "the experiment's runner ended with status \(status); its message is above, the logs of what it started are"
                + " in \(folder); finished runs are kept, call again to go on"
        }
    }
}
