import Foundation

/// `docs/reproduction.md`: findings, settings, parameters, command and seed, in Markdown.
package struct ReproductionPage: Sendable {
    package var results: [ExperimentResult]
    /// Folder of the pictures, relative to the page; `nil` without pictures.
    package var figures: String?
    package var command: String

    package init(results: [ExperimentResult], figures: String?, command: String) {
        self.results = results
        self.figures = figures
        self.command = command
    }

    package var markdown: String {
        var text = """
            # The paper's evaluation, run again

            Made by

                \(command)

            and not edited by hand: every number and verdict below is worded by the numbers of that run. The paper is Sun, He and
            Hou, *Serving Chain-structured Jobs with Large Memory Footprints with Application to Large Foundation Model
            Serving* (arXiv 2604.14993). "As published" takes the parameters that the paper states, "as coded" those of the authors'
            programs, "fair" gives the baselines their best. Intervals are 95 % confidence over runs.

            | experiment | setting | verdict | claim |
            | --- | --- | --- | --- |

            """
        for result in results {
            for finding in result.findings {
                guard let claim = finding.claim else { continue }
                let name = result.experiment.name
                let cells = [
                    "[\(name)](#\(Self.anchor(result)))", finding.place ?? "", finding.verdict.rawValue,
                    finding.isAim ? "our aim: \(claim)" : claim,
                ]
                text += "| \(cells.joined(separator: " | ")) |\n"
            }
        }
        return text + results.map(section).joined()
    }

    private static func title(_ result: ExperimentResult) -> String {
        "\(result.experiment.name): \(result.experiment.title)"
    }

    /// As code hosts make it of a heading.
    private static func anchor(_ result: ExperimentResult) -> String {
        let kept = title(result).lowercased().filter { $0.isLetter || $0.isNumber || $0 == " " || $0 == "-" }
        return kept.replacingOccurrences(of: " ", with: "-")
    }

    private func section(_ result: ExperimentResult) -> String {
        let (experiment, options) = (result.experiment, result.options)
        var text = "\n## \(Self.title(result))\n\n\(experiment.question)\n\n"
        if let claim = experiment.publishedClaim { text += "Published claim: \(claim).\n\n" }
        for finding in result.findings { text += "* \(finding.text)\n" }
        if let figures {
            for plot in result.plots { text += "\n![\(plot.caption)](\(figures)/\(plot.name).svg)\n" }
        }
        text += "\n    \(ResultFiles.command(result))\n\n"
        let settings = experiment.settings(options)
        text += "| parameter | \(settings.map(\.title).joined(separator: " | ")) |\n"
        text += "| --- |\(String(repeating: " --- |", count: settings.count))\n"
        let tables = settings.map { experiment.parameters($0, options) }
        for (position, field) in (tables.first ?? []).enumerated() {
            let cells = tables.map { position < $0.count ? $0[position].value.readable : "" }
            text +=
                "| \(field.name.replacingOccurrences(of: "_", with: " ")) | "
                + "\(cells.joined(separator: " | ")) |\n"
        }
        let runs =
            "\(experiment.runs(options)) runs of \(experiment.defaultRuns) by default, seed "
            + "\(options.seed)"
        let jobs = experiment.jobs(options)
        return text + "\n\(runs)\(jobs > 0 ? ", \(jobs) jobs a simulation" : ""); "
            + "\(result.table.rows.count) rows.\n"
    }
}
