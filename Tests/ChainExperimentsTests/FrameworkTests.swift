import Foundation
import Testing

@testable import ChainExperiments

/// Cells that count how often they are computed.
private struct Counting: Experiment {
    let name = "counting"
    let title = "Counting"
    let question = "?"
    let publishedClaim: String? = nil
    let defaultRuns = 2
    let defaultJobs = 0
    let settings: [Setting] = [.published, .fair]
    let version: Int
    let evaluate: @Sendable (Cell) throws -> [Row]

    init(version: Int = 1, _ evaluate: @escaping @Sendable (Cell) throws -> [Row]) {
        self.version = version
        self.evaluate = evaluate
    }

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] { [Field("x", "1, 2, 3")] }
    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            (1...3).flatMap { x in
                (0..<runs(options)).map { Cell(setting, [Field("x", .integer(x))], run: $0) }
            }
        }
    }
    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] { try evaluate(cell) }
    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] { [] }
    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] { [] }
}

private final class Calls: @unchecked Sendable {
    // Guarded by `lock`.
    private var counted = 0
    private let lock = NSLock()
    func add() { lock.withLock { counted += 1 } }
    var count: Int { lock.withLock { counted } }
}

@Suite struct FrameworkTests {
    private func folder() throws -> String {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("experiments-\(UUID())").path
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
        return path
    }

    private func counting(_ calls: Calls, version: Int = 1) -> Counting {
        Counting(version: version) { cell in
            calls.add()
            let x = cell.number("x")
            return [Row([Field("third", .number(x / 3)), Field("none", Value(Double.nan))])]
        }
    }

    @Test func resumedCellsAreNotComputedAgainAndGiveTheSameTable() async throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let calls = Calls()
        let run = ExperimentRun(directory: folder, isQuiet: true)
        let first = try await run(counting(calls), ExperimentOptions())
        #expect(calls.count == 12)
        #expect(first.table.rows.count == 12)
        // As after an interruption: the last line was cut short.
        let path = folder + "/cells/counting.jsonl"
        let text = try String(contentsOfFile: path, encoding: .utf8)
        try String(text.dropLast(10)).write(toFile: path, atomically: true, encoding: .utf8)
        let second = try await run(counting(calls), ExperimentOptions())
        #expect(calls.count == 13)
        #expect(second.resumedCells == 11)
        #expect(second.table == first.table)
        // Another seed, version or --restart: nothing that is stored fits.
        _ = try await run(counting(calls), ExperimentOptions(seed: 2))
        #expect(calls.count == 25)
        _ = try await run(counting(calls, version: 2), ExperimentOptions())
        #expect(calls.count == 37)
        _ = try await ExperimentRun(directory: folder, restart: true, isQuiet: true)(
            counting(calls), ExperimentOptions())
        #expect(calls.count == 49)
    }

    @Test func aDamagedStoreIsAnError() async throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try FileManager.default.createDirectory(
            atPath: folder + "/cells", withIntermediateDirectories: true)
        try "{}\n".write(toFile: folder + "/cells/counting.jsonl", atomically: true, encoding: .utf8)
        let run = ExperimentRun(directory: folder, isQuiet: true)
        await #expect(throws: ExperimentError.damagedStore(folder + "/cells/counting.jsonl", line: 1)) {
            _ = try await run(self.counting(Calls()), ExperimentOptions())
        }
    }

    @Test func badOptionsAndFailingCellsSaySo() async throws {
        let folder = try folder()
        defer { try? FileManager.default.removeItem(atPath: folder) }
        let run = ExperimentRun(directory: folder, isQuiet: true)
        for options in [
            ExperimentOptions(runs: 0), ExperimentOptions(jobs: 5), ExperimentOptions(setting: .asCoded),
        ] {
            await #expect(throws: ExperimentError.self) { _ = try await run(self.counting(Calls()), options) }
        }
        struct Broken: Error {}
        await #expect(throws: ExperimentError.self) {
            _ = try await run(Counting { _ in throw Broken() }, ExperimentOptions())
        }
        #expect(throws: ExperimentError.self) { try Catalogue.named("fig9") }
    }

    @Test func tablesAsCSVAndJSON() throws {
        let table = Table([
            Row([Field("a", "x, \"y\""), Field("b", 0.1)]), Row([Field("b", 2), Field("c", Value(nil))]),
        ])
        #expect(ResultFiles.csv(table) == "a,b,c\n\"x, \"\"y\"\"\",0.1,\n,2,\n")
        let result = ExperimentResult(
            experiment: counting(Calls()), options: ExperimentOptions(seed: UInt64.max), table: table,
            plots: [],
            findings: [
                Finding("found", claim: "claimed", verdict: .fails),
                Finding("own", claim: "less", isAim: true),
            ], seconds: 0, resumedCells: 0)
        let json = try #require(
            JSONSerialization.jsonObject(with: Data(ResultFiles.json(result).utf8)) as? [String: Any])
        #expect(json["seed"] as? String == "18446744073709551615")
        #expect((json["rows"] as? [[String: Any]])?.count == 2)
        #expect(((json["settings"] as? [[String: Any]])?.first)?["x"] as? String == "1, 2, 3")
        let findings = try #require(json["findings"] as? [[String: Any]])
        #expect(findings[0]["verdict"] as? String == "does not hold")
        // What we set out to reach is not what the paper claims.
        #expect(findings.map { $0["published_claim"] as? String } == ["claimed", nil])
        #expect(findings.map { $0["aim"] as? String } == [nil, "less"])
    }

    @Test func summariesAgainstHandCalculation() throws {
        let summary = try #require(Summary([1, 2, 3, 4]))
        #expect(summary.mean == 2.5 && summary.median == 2.5 && summary.least == 1 && summary.most == 4)
        #expect(abs(summary.standardDeviation - (5.0 / 3).squareRoot()) < 1e-15)
        // Student's 97.5 % quantile with 3 degrees of freedom is 3.182 (any table).
        #expect(abs(summary.halfWidth - 3.182 * (5.0 / 3).squareRoot() / 2) < 1e-12)
        #expect(Summary([]) == nil)
        #expect(Summary([7])?.halfWidth == 0)
    }

    @Test func numbersAsWords() {
        #expect(Wording.percent(0.9997) == "99.97 %" && Wording.percent(0.123) == "12 %")
        #expect(Wording.percent(0.0213) == "2.1 %" && Wording.percent(0) == "0 %")
        #expect(Wording.change(1.25) == "25 % more" && Wording.change(0.5) == "50 % less")
        #expect(Wording.number(8) == "8" && Wording.number(0.9) == "0.9" && Wording.number(12.34) == "12.3")
        #expect(Wording.reductions(from: 0.1, to: 0.5) == "10 % to 50 % below")
        #expect(Wording.reductions(from: -0.1, to: 0.5) == "from 10 % above to 50 % below")
        #expect(Wording.reductions(from: -0.5, to: -0.1) == "10 % to 50 % above")
        #expect(Value.number(1.0 / 3).readable == "0.333" && Value.text("a").readable == "a")
        #expect(Wording.list(["a", "b", "c"]) == "a, b and c" && Wording.list(["a"]) == "a")
    }

    @Test func thePageLoadsNothingFromElsewhereAndEscapes() {
        let result = ExperimentResult(
            experiment: counting(Calls()), options: ExperimentOptions(), table: Table(), plots: [],
            findings: [Finding("1 < 2 & \"3\"", place: "fair", claim: "c", verdict: .holds)], seconds: 1,
            resumedCells: 0)
        let html = ReportPage(results: [result], pictures: [:], notice: "no <plots>").html
        #expect(html.contains("1 &lt; 2 &amp; &quot;3&quot;") && html.contains("no &lt;plots&gt;"))
        #expect(!html.contains("src=\"http") && !html.contains("href=\"http") && !html.contains("@import"))
        let markdown = ReproductionPage(results: [result], figures: nil, command: "run").markdown
        #expect(markdown.contains("| [counting](#counting-counting) | fair | holds | c |"))
    }
}
