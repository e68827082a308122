import Foundation

/// What one experiment gave.
package struct ExperimentResult: Sendable {
    package let experiment: any Experiment
    package let options: ExperimentOptions
    package let table: Table
    package let plots: [Plot]
    package let findings: [Finding]
    /// Wall-clock seconds of this run; those of resumed cells are not in it.
    package let seconds: Double
    /// Cells that were taken from the store.
    package let resumedCells: Int
}

/// Runs the cells of experiments on all cores.
package struct ExperimentRun: Sendable {
    /// Where results and finished cells go.
    package var directory: String
    package var restart: Bool
    package var isQuiet: Bool

    package init(directory: String, restart: Bool = false, isQuiet: Bool = false) {
        self.directory = directory
        self.restart = restart
        self.isQuiet = isQuiet
    }

    /// Computes what is not stored yet, at most one cell per core at a time.
    ///
    /// The table has its rows in the order of the cells, whatever order they were finished in.
    package func callAsFunction(
        _ experiment: any Experiment, _ options: ExperimentOptions
    ) async throws -> ExperimentResult {
        try check(experiment, options)
        let start = ContinuousClock.now
        let store = try CellStore(path: try storePath(experiment), restart: restart)
        let cells = try experiment.cells(options)
        let keys = cells.map { Self.key($0, experiment, options) }
        let missing = cells.indices.filter { store.rows(keys[$0]) == nil }
        let progress = Progress(
            experiment.name, total: cells.count, finished: cells.count - missing.count, isQuiet: isQuiet)
        try await withThrowingTaskGroup(of: Void.self) { group in
            let width = max(1, ProcessInfo.processInfo.activeProcessorCount)
            for (turn, position) in missing.enumerated() {
                if turn >= width { try await group.next() }
                group.addTask {
                    let rows = try Self.evaluate(cells[position], experiment, options)
                    try store.keep(rows, key: keys[position])
                    progress.advance()
                }
            }
            try await group.waitForAll()
        }
        var rows: [Row] = []
        for (cell, key) in zip(cells, keys) {
            rows += (store.rows(key) ?? []).map { Row(cell.columns + $0.fields) }
        }
        let table = Table(rows)
        let elapsed = start.duration(to: .now).components
        return ExperimentResult(
            experiment: experiment, options: options, table: table,
            plots: experiment.plots(table, options), findings: experiment.findings(table, options),
            seconds: Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18,
            resumedCells: cells.count - missing.count)
    }

    private func check(_ experiment: any Experiment, _ options: ExperimentOptions) throws {
        if let runs = options.runs, runs < 1 {
            throw ExperimentError.invalidOption("--runs is \(runs): it must be at least 1")
        }
        if let jobs = options.jobs, jobs < 100 {
            throw ExperimentError.invalidOption("--jobs is \(jobs): it must be at least 100")
        }
        if let setting = options.setting, !experiment.settings.contains(setting) {
            throw ExperimentError.noSuchSetting(
                setting, experiment: experiment.name, known: experiment.settings)
        }
    }

    private func storePath(_ experiment: any Experiment) throws -> String {
        let folder = directory + "/cells"
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw ExperimentError.cannotWrite(folder, reason: error.localizedDescription)
        }
        return "\(folder)/\(experiment.name).jsonl"
    }

    private static func evaluate(
        _ cell: Cell, _ experiment: any Experiment, _ options: ExperimentOptions
    ) throws -> [Row] {
        do {
            return try experiment.evaluate(cell, options)
        } catch {
            throw ExperimentError.cell(describe(cell, experiment), reason: "\(error)")
        }
    }

    private static func describe(_ cell: Cell, _ experiment: any Experiment) -> String {
        let fields = cell.columns.map { "\($0.name)=\($0.value.plain)" }
        return "\(experiment.name) \(fields.joined(separator: " "))"
    }

    /// All that the rows of a cell depend on.
    static func key(_ cell: Cell, _ experiment: any Experiment, _ options: ExperimentOptions) -> String {
        var parts = [describe(cell, experiment), "version=\(experiment.version)", "seed=\(options.seed)"]
        parts.append("jobs=\(experiment.jobs(options))")
        parts.append("round-trips=\(options.sources.roundTrips ?? "")")
        parts.append("trace=\(options.sources.trace ?? "")")
        return parts.joined(separator: " ")
    }
}
