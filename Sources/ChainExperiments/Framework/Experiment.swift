import ChainFormats

/// Whose parameters an experiment runs with.
package enum Setting: String, Hashable, Sendable, CaseIterable, Codable {
    /// As the paper states them.
    case published
    /// As the authors' programs have them.
    case asCoded = "as-coded"
    /// Baselines at their best.
    case fair

    package var title: String {
        switch self {
        case .published: "as published"
        case .asCoded: "as coded"
        case .fair: "fair"
        }
    }
}

/// What a person may change about a run.
package struct ExperimentOptions: Hashable, Sendable {
    /// Independent runs of every cell; `nil` takes the experiment's own number, the paper's where it states
    /// one.
    package var runs: Int?
    package var seed: UInt64
    /// Jobs of one simulation; `nil` takes the experiment's own number.
    package var jobs: Int?
    /// `nil`: all that the experiment has.
    package var setting: Setting?
    /// Measured data; what is left out is replaced by generators with the same statistics.
    package var sources: DataSources

    package init(
        runs: Int? = nil, seed: UInt64 = 1, jobs: Int? = nil, setting: Setting? = nil,
        sources: DataSources = DataSources()
    ) {
        self.runs = runs
        self.seed = seed
        self.jobs = jobs
        self.setting = setting
        self.sources = sources
    }
}

/// Files of measured data that an experiment can use.
package struct DataSources: Hashable, Sendable {
    /// Round trips between RIPE Atlas anchors, CSV.
    package var roundTrips: String?
    /// The Azure LLM inference trace, CSV.
    package var trace: String?

    package init(roundTrips: String? = nil, trace: String? = nil) {
        self.roundTrips = roundTrips
        self.trace = trace
    }
}

/// A piece of an experiment that is computed on its own and kept once it is done.
package struct Cell: Hashable, Sendable {
    package var setting: Setting
    /// What distinguishes it, in the order of the columns; part of its key.
    package var parameters: [Field]
    /// Which of the independent runs, from 0.
    package var run: Int

    package init(_ setting: Setting, _ parameters: [Field], run: Int) {
        self.setting = setting
        self.parameters = parameters
        self.run = run
    }

    package subscript(name: String) -> Value { parameters.first { $0.name == name }?.value ?? .none }
    package func integer(_ name: String) -> Int { Int(self[name].number ?? 0) }
    package func number(_ name: String) -> Double { self[name].number ?? 0 }

    /// Columns put before those of the rows it gives.
    var columns: [Field] {
        [Field("setting", .text(setting.rawValue))] + parameters + [Field("run", .integer(run))]
    }
}

/// One figure or table of the paper, or one of our own.
package protocol Experiment: Sendable {
    /// The name on the command line: `fig1`.
    var name: String { get }
    var title: String { get }
    /// What is asked, for people; a sentence or two.
    var question: String { get }
    /// What the paper says; `nil` for our own experiments.
    var publishedClaim: String? { get }
    /// Runs unless told otherwise.
    var defaultRuns: Int { get }
    /// Jobs of one simulation unless told otherwise; 0 without simulation.
    var defaultJobs: Int { get }
    var settings: [Setting] { get }
    /// Raised whenever the same cell would give other numbers, so that stored ones are not taken for them.
    var version: Int { get }
    /// Everything that is fixed in a setting.
    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field]
    func cells(_ options: ExperimentOptions) throws -> [Cell]
    /// - Throws: what cannot be computed, in words for people.
    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row]
    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot]
    /// What was found, worded by the numbers.
    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding]
}

extension Experiment {
    package func runs(_ options: ExperimentOptions) -> Int { options.runs ?? defaultRuns }
    package func jobs(_ options: ExperimentOptions) -> Int { options.jobs ?? defaultJobs }
    package func settings(_ options: ExperimentOptions) -> [Setting] {
        options.setting.map { setting in settings.filter { $0 == setting } } ?? settings
    }

    /// The seed of everything random in a run: the same networks, arrivals and sizes in every setting and
    /// cell of a run,
    /// so that what is compared meets the same luck.
    package func seed(_ cell: Cell, _ options: ExperimentOptions) -> UInt64 {
        options.seed &* 1_000_003 &+ UInt64(cell.run)
    }
}

/// A statement about an experiment's numbers beside what was claimed.
package struct Finding: Hashable, Sendable {
    package enum Verdict: String, Hashable, Sendable {
        case holds
        case holdsInPart = "holds in part"
        case fails = "does not hold"
        /// Nothing was claimed, or there is nothing to compare with.
        case own = "our own"
    }

    /// What was measured, with the numbers.
    package var statement: String
    /// Where it was measured, in the words of a table's cell: setting, variant, kind of pool. The same claim is
    /// compared in several places.
    package var place: String?
    /// The published claim it is compared with.
    package var claim: String?
    package var verdict: Verdict
    /// Whether the claim is not the paper's but what this project set out to reach.
    package var isAim: Bool

    package init(
        _ statement: String, place: String? = nil, claim: String? = nil, verdict: Verdict = .own,
        isAim: Bool = false
    ) {
        self.statement = statement
        self.place = place
        self.claim = claim
        self.verdict = verdict
        self.isAim = isAim
    }

    /// The claim with what it is: `Claimed: …` or `Aim: …`.
    package var labelledClaim: String? { claim.map { (isAim ? "Aim: " : "Claimed: ") + $0 } }

    /// One paragraph.
    package var text: String {
        guard let labelledClaim else { return statement }
        return "\(statement) \(labelledClaim). This \(verdict.rawValue) here."
    }
}

/// Why an experiment cannot run. The text says what and how to mend it.
package enum ExperimentError: Error, Hashable, Sendable, CustomStringConvertible {
    case unknownExperiment(String, known: [String])
    case noSuchSetting(Setting, experiment: String, known: [Setting])
    case invalidOption(String)
    case cannotWrite(String, reason: String)
    case damagedStore(String, line: Int)
    case cell(String, reason: String)

    package var description: String {
        switch self {
        case .unknownExperiment(let name, let known):
            "there is no experiment '\(name)': there are \(known.joined(separator: ", ")) and all"
        case .noSuchSetting(let setting, let experiment, let known):
            "\(experiment) has no setting '\(setting.rawValue)': it has "
                + known.map(\.rawValue).joined(separator: ", ")
        case .invalidOption(let what): what
        case .cannotWrite(let path, let reason): "\(path) cannot be written: \(reason)"
        case .damagedStore(let path, let line):
            "\(path), line \(line) is not a finished cell: delete the file, or start afresh with --restart"
        case .cell(let cell, let reason): "\(cell): \(reason)"
        }
    }
}
