import ChainFormats
import Foundation

/// Writes what an experiment gave: `NAME.csv`, `NAME.json`, and each plot as a Vega-Lite file, SVG and PNG.
package struct ResultFiles: Sendable {
    package var directory: String

    package init(directory: String) { self.directory = directory }

    package func write(_ result: ExperimentResult, pictures: [String: PlotRenderer.Picture]) throws {
        let name = result.experiment.name
        try write(Data(Self.csv(result.table).utf8), to: "\(name).csv")
        try write(Data(Self.json(result).utf8), to: "\(name).json")
        for plot in result.plots {
            try write(Data(plot.specification.rendered().utf8), to: "\(plot.name).vl.json")
            guard let picture = pictures[plot.name] else { continue }
            try write(picture.lightSVG, to: "\(plot.name).svg")
            try write(picture.png, to: "\(plot.name).png")
        }
    }

    package func write(_ data: Data, to name: String) throws {
        let path = "\(directory)/\(name)"
        do {
            try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
            try data.write(to: URL(fileURLWithPath: path))
        } catch {
            throw ExperimentError.cannotWrite(path, reason: error.localizedDescription)
        }
    }

    /// RFC 4180, lines ended by a line feed; empty fields where a value is not known.
    package static func csv(_ table: Table) -> String {
        let columns = table.columns
        var text = columns.map(quoted).joined(separator: ",") + "\n"
        for row in table.rows {
            text += columns.map { quoted(row[$0].plain) }.joined(separator: ",") + "\n"
        }
        return text
    }

    private static func quoted(_ field: String) -> String {
        guard field.contains(where: { $0 == "," || $0 == "\"" || $0 == "\n" }) else { return field }
        return "\"" + field.replacingOccurrences(of: "\"", with: "\"\"") + "\""
    }

    /// Everything needed to make the numbers again, what was found, and the numbers.
    package static func json(_ result: ExperimentResult) -> String {
        let (experiment, options) = (result.experiment, result.options)
        let settings = experiment.settings(options).map { setting in
            let fields = experiment.parameters(setting, options).map { ($0.name, $0.value.json) }
            return JSONText.object(
                [("setting", .text(setting.rawValue))] + fields.map { (key: $0.0, value: $0.1) })
        }
        let findings = result.findings.map { finding in
            JSONText.object([
                ("statement", .text(finding.statement)),
                ("place", finding.place.map { .text($0) } ?? .null),
                ("published_claim", finding.isAim ? .null : finding.claim.map { .text($0) } ?? .null),
                ("aim", finding.isAim ? finding.claim.map { .text($0) } ?? .null : .null),
                ("verdict", .text(finding.verdict.rawValue)),
            ])
        }
        let rows = result.table.rows.map { row in
            JSONText.object(row.fields.map { ($0.name, $0.value.json) })
        }
        return JSONText.object([
            ("experiment", .text(experiment.name)), ("title", .text(experiment.title)),
            ("question", .text(experiment.question)), ("version", .integer(experiment.version)),
            ("command", .text(Self.command(result))),
            // As text: a JSON number holds no more than 53 bits everywhere.
            ("seed", .text("\(options.seed)")), ("runs", .integer(experiment.runs(options))),
            ("jobs_per_simulation", .integer(experiment.jobs(options))),
            ("round_trips", .text(options.sources.roundTrips == nil ? "generated" : "measured")),
            ("trace", .text(options.sources.trace == nil ? "generated" : "measured")),
            ("settings", .list(settings)), ("findings", .list(findings)), ("rows", .list(rows)),
        ]).rendered()
    }

    /// The command that gives this result again.
    package static func command(_ result: ExperimentResult) -> String {
        let options = result.options
        var words = ["chainserve experiment \(result.experiment.name)"]
        words.append("--runs \(result.experiment.runs(options)) --seed \(options.seed)")
        if let jobs = options.jobs { words.append("--jobs \(jobs)") }
        if let setting = options.setting { words.append("--setting \(setting.rawValue)") }
        if options.sources.roundTrips != nil { words.append("--round-trips RTT.csv") }
        if options.sources.trace != nil { words.append("--trace TRACE.csv") }
        return words.joined(separator: " ") + " --out DIR"
    }
}
