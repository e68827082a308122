import Foundation

/// The tables and findings of the live experiment.
package struct LiveReport: Sendable {
    package let systems: LiveSystems
    /// A row for each run that was made, in the order of the workloads, repetitions and systems.
    package let all: Table
    /// Those that are not set aside for the machine's lateness.
    package let table: Table
    /// What the gaps of the trace were multiplied by, least and most.
    let gapFactors: (least: Double, most: Double)?

    package init(_ systems: LiveSystems, requests: LiveRequests, results: LiveResults) {
        self.systems = systems
        let setting = systems.pool.setting
        let prediction = LivePrediction(systems, results: results)
        var rows: [Row] = []
        var factors: [Double] = []
        for workload in setting.workloads {
            for number in 0..<setting.runs {
                let drawn = requests.run(workload, number)
                var isUsed = false
                for system in setting.systems {
                    let run = LiveRun(workload: workload, number: number, system: system)
                    guard let result = results.runs[run.id] else { continue }
                    let predicted = prediction.means(system, drawn.requests)
                    rows.append(
                        Row(
                            [
                                Field("workload", workload.rawValue), Field("run", .integer(number + 1)),
                                Field("system", system.rawValue),
                            ] + result.fields + [
                                Field("predicted_response", Value(predicted?.response)),
                                Field("predicted_wait", Value(predicted?.wait)),
                                Field("predicted_service", Value(predicted?.service)),
                            ]))
                    isUsed = true
                }
                if isUsed, let factor = drawn.factor { factors.append(factor) }
            }
        }
        all = Table(rows)
        table = all.filtered("set_aside", false)
        gapFactors = factors.min().flatMap { least in factors.max().map { (least, $0) } }
    }

    // MARK: Comparisons

    /// A figure of one run; `nil` when the run was not made or was set aside.
    private func figure(
        _ workload: LiveWorkload, _ number: Int, _ system: LiveSystem, _ column: String
    ) -> Double? {
        table.filtered("workload", .text(workload.rawValue)).filtered("run", .integer(number))
            .filtered("system", .text(system.rawValue)).numbers(column).first
    }

    /// The two systems' figures of the same requests, in the runs that both made.
    func pairs(
        _ workload: LiveWorkload, _ first: LiveSystem, _ second: LiveSystem, _ column: String
    ) -> [(first: Double, second: Double)] {
        (1...max(1, systems.pool.setting.runs)).compactMap { number in
            guard let one = figure(workload, number, first, column),
                let other = figure(workload, number, second, column)
            else { return nil }
            return (one, other)
        }
    }

    /// `1 − second/first` of the sums over the runs that both made; `nil` without any.
    func reduction(
        _ workload: LiveWorkload, from first: LiveSystem, to second: LiveSystem, _ column: String
    ) -> Double? {
        let pairs = pairs(workload, first, second, column)
        let sum = pairs.reduce(0) { $0 + $1.first }
        guard sum > 0 else { return nil }
        return 1 - pairs.reduce(0) { $0 + $1.second } / sum
    }

    /// From stock PETALS to our own system, one thing changed at a time.
    static let steps: [(name: String, from: LiveSystem, to: LiveSystem)] = [
        ("dispatch: JFFC over whole models", .petals, .jffcOnly),
        ("placement: our plan for whole models", .jffcOnly, .proposedPetals),
        ("engine: ours for PETALS'", .proposedPetals, .proposed),
    ]

    /// Seconds of mean response that a step takes off, by repetition; only repetitions in which all systems
    /// ran.
    func gains(_ workload: LiveWorkload) -> [[Double]] {
        let responses = (1...max(1, systems.pool.setting.runs)).compactMap { number in
            let all = LiveSystem.allCases.compactMap { figure(workload, number, $0, "mean_response") }
            return all.count == LiveSystem.allCases.count ? all : nil
        }
        guard !responses.isEmpty else { return [] }
        // The systems are in the order of the steps.
        return Self.steps.indices.map { step in responses.map { $0[step] - $0[step + 1] } }
    }

    // MARK: Findings

    /// The measurements beside the paper's claims.
    package var findings: [Finding] {
        systems.pool.setting.workloads.flatMap { workload in
            [
                finding(
                    workload, .proposedPetals, "mean_response", "mean response",
                    claim: 0.768, "76.8 % less mean response than PETALS (proposed)"),
                finding(
                    workload, .proposedPetals, "mean_wait", "mean wait", claim: 0.975,
                    "97.5 % less mean wait (proposed)"),
                finding(
                    workload, .jffcOnly, "mean_response", "mean response", claim: 0.682,
                    "68.2 % less mean response (JFFC only)"),
                finding(
                    workload, .jffcOnly, "mean_wait", "mean wait", claim: 0.938,
                    "93.8 % less mean wait (JFFC only)"),
            ].compactMap { $0 }
        }
    }

    /// Holds when there is no less than claimed, in part when there is less.
    private func finding(
        _ workload: LiveWorkload, _ system: LiveSystem, _ column: String, _ what: String, claim: Double,
        _ words: String
    ) -> Finding? {
        guard let found = reduction(workload, from: .petals, to: system, column) else { return nil }
        let verdict: Finding.Verdict = found >= claim ? .holds : found > 0 ? .holdsInPart : .fails
        let repetitions = pairs(workload, .petals, system, column).count
        return Finding(
            "\(system.title): \(what) \(Wording.change(1 - found, "above", "below")) PETALS'"
                + " (\(workload.title), \(repetitions) of \(systems.pool.setting.runs) repetitions).",
            claim: words, verdict: verdict)
    }

    // MARK: Plot

    package var plot: Plot {
        var rows: [Row] = []
        for workload in systems.pool.setting.workloads {
            for system in systems.pool.setting.systems {
                let cells = table.filtered("workload", .text(workload.rawValue))
                    .filtered("system", .text(system.rawValue))
                for (name, column) in [("measured", "mean_response"), ("predicted", "predicted_response")] {
                    guard let summary = Summary(cells.numbers(column)) else { continue }
                    rows.append(
                        Row(
                            [
                                Field("system", .text(system.title)), Field("what", .text(name)),
                                Field("workload", .text(workload.rawValue)),
                            ] + summary.fields("response")))
                }
            }
        }
        return Chart(
            "live-response",
            caption:
                "Mean response of the systems, measured and as the simulator predicts it for the same requests; "
                + "whiskers: 95 % confidence over repetitions.",
            mark: .rows, horizontal: ChartAxis("response", "mean response (s)"),
            vertical: ChartAxis("system", "", scale: .ordinal), series: ("what", "what"),
            panels: systems.pool.setting.workloads.count > 1 ? ("workload", "workload") : nil, rows: rows
        ).plot
    }
}
