import Foundation

/// The report of several experiments: one HTML page that loads nothing from elsewhere.
package struct ReportPage: Sendable {
    package var results: [ExperimentResult]
    package var pictures: [String: PlotRenderer.Picture]
    /// Why there are no pictures, if so.
    package var notice: String?

    package init(
        results: [ExperimentResult], pictures: [String: PlotRenderer.Picture], notice: String?
    ) {
        self.results = results
        self.pictures = pictures
        self.notice = notice
    }

    package var html: String {
        let body = [header, verdicts, contents] + results.map(section) + [footer]
        return """
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <meta name="color-scheme" content="light dark">
            <title>ChainServe: the paper's evaluation</title>
            <style>
            \(ReportStyle.css)
            </style>
            </head>
            <body>
            <main>
            \(body.joined(separator: "\n"))
            </main>
            </body>
            </html>

            """
    }

    // MARK: Parts

    private var header: String {
        let seconds = results.reduce(0) { $0 + $1.seconds }
        let seeds = results.first.map { "\($0.options.seed)" } ?? ""
        let note = notice.map { "<p class=\"notice\">\(Self.escaped($0))</p>" } ?? ""
        return """
            <header>
            <h1>The paper's evaluation, run again</h1>
            <p>Every figure and table of <cite>Serving Chain-structured Jobs with Large Memory Footprints with Application to
            Large Foundation Model Serving</cite> (Sun, He, Hou; arXiv 2604.14993), computed by ChainServe's own planner and
            simulator, with what the paper claims beside it. Seed \(seeds); \(Int(seconds)) seconds of computing.</p>
            \(note)
            </header>
            """
    }

    /// Findings first: the statements beside the claims.
    private var verdicts: String {
        let rows = results.flatMap { result in
            result.findings.map { finding in
                let mark = Self.mark(finding.verdict)
                return "<tr><td class=\"name\"><a "
                    + "href=\"#\(result.experiment.name)\">\(result.experiment.name)</a></td>"
                    + "<td><span class=\"verdict \(mark.style)\">\(mark.text)</span></td>"
                    + "<td class=\"place\">\(Self.escaped(finding.place ?? ""))</td>"
                    + "<td>\(Self.escaped(finding.statement))"
                    + (finding.labelledClaim.map { "<br><span class=\"claim\">\(Self.escaped($0)).</span>" }
                        ?? "")
                    + "</td></tr>"
            }
        }
        return """
            <section id="findings">
            <h2>Findings</h2>
            <p>\(Self.escaped(tally))</p>
            <table class="findings">
            <thead><tr><th>Experiment</th><th>Verdict</th><th>Setting</th><th>What was found</th></tr></thead>
            <tbody>
            \(rows.joined(separator: "\n"))
            </tbody>
            </table>
            </section>
            """
    }

    /// How many claims hold.
    private var tally: String {
        let verdicts = results.flatMap(\.findings).map(\.verdict)
        func count(_ verdict: Finding.Verdict) -> Int { verdicts.filter { $0 == verdict }.count }
        let compared = verdicts.count - count(.own)
        return
            "Of \(compared) comparisons with a claim, \(count(.holds)) hold, \(count(.holdsInPart)) hold in part "
            + "and \(count(.fails)) do not hold."
    }

    private static func mark(_ verdict: Finding.Verdict) -> (text: String, style: String) {
        switch verdict {
        case .holds: ("✓ holds", "holds")
        case .holdsInPart: ("◐ in part", "part")
        case .fails: ("✗ does not hold", "fails")
        case .own: ("measured", "own")
        }
    }

    private var contents: String {
        let items = results.map {
            "<li><a href=\"#\($0.experiment.name)\">\($0.experiment.name): "
                + "\(Self.escaped($0.experiment.title))</a></li>"
        }
        return "<nav aria-label=\"Contents\"><h2>Contents</h2><ol>\(items.joined())</ol></nav>"
    }

    private func section(_ result: ExperimentResult) -> String {
        let experiment = result.experiment
        let findings = result.findings.map { "<p>\(Self.escaped($0.text))</p>" }.joined(separator: "\n")
        let plots = result.plots.map(figure).joined(separator: "\n")
        let claim = experiment.publishedClaim.map {
            "<p class=\"claim\"><strong>Published claim:</strong> \(Self.escaped($0)).</p>"
        }
        return """
            <section id="\(experiment.name)">
            <h2>\(experiment.name): \(Self.escaped(experiment.title))</h2>
            <p>\(Self.escaped(experiment.question))</p>
            \(claim ?? "")
            <h3>Found</h3>
            \(findings.isEmpty ? "<p>Nothing: no cell gave a row.</p>" : findings)
            \(plots)
            <details>
            <summary>Parameters and command</summary>
            <p><code>\(Self.escaped(ResultFiles.command(result)))</code></p>
            \(parameters(result))
            <p>Data: <code>\(experiment.name).csv</code>, <code>\(experiment.name).json</code> (\(result.table.rows.count) rows).</p>
            </details>
            </section>
            """
    }

    private func figure(_ plot: Plot) -> String {
        let caption = Self.escaped(plot.caption)
        guard let picture = pictures[plot.name] else {
            return "<p class=\"notice\">\(caption) (Not drawn: see \(plot.name).vl.json.)</p>"
        }
        let prefix = "data:image/svg+xml;base64,"
        return """
            <figure>
            <div class="scroll"><picture>
            <source media="(prefers-color-scheme: dark)" srcset="\(prefix)\(picture.darkSVG.base64EncodedString())">
            <img alt="\(caption)" src="\(prefix)\(picture.lightSVG.base64EncodedString())">
            </picture></div>
            <figcaption>\(caption)</figcaption>
            </figure>
            """
    }

    private func parameters(_ result: ExperimentResult) -> String {
        let settings = result.experiment.settings(result.options)
        let tables = settings.map { setting in
            result.experiment.parameters(setting, result.options)
        }
        guard let first = tables.first else { return "" }
        let head = settings.map { "<th>\($0.title)</th>" }.joined()
        let rows = first.enumerated().map { position, field in
            let cells = tables.map { table in
                "<td>\(Self.escaped(position < table.count ? table[position].value.readable : ""))</td>"
            }
            let name = field.name.replacingOccurrences(of: "_", with: " ")
            return "<tr><th scope=\"row\">\(Self.escaped(name))</th>\(cells.joined())</tr>"
        }
        let runs =
            "<tr><th scope=\"row\">runs</th><td colspan=\"\(settings.count)\">"
            + "\(result.experiment.runs(result.options))</td></tr>"
        return "<div class=\"scroll\"><table "
            + "class=\"parameters\"><thead><tr><td></td>\(head)</tr></thead><tbody>"
            + rows.joined() + runs + "</tbody></table></div>"
    }

    private var footer: String {
        """
        <footer><p>Verdicts are worded by the numbers of this run. “As published” takes the parameters that the paper states,
        “as coded” those of the authors' programs, “fair” gives the baselines their best. Whiskers are 95 % confidence intervals
        over runs.</p></footer>
        """
    }

    static func escaped(_ text: String) -> String {
        text.replacingOccurrences(of: "&", with: "&amp;").replacingOccurrences(of: "<", with: "&lt;")
            .replacingOccurrences(of: ">", with: "&gt;").replacingOccurrences(of: "\"", with: "&quot;")
            // A number stays with its sign.
            .replacingOccurrences(of: " %", with: "&nbsp;%").replacingOccurrences(
                of: "ρ = ", with: "ρ&nbsp;=&nbsp;")
    }
}

/// The look of the report: system fonts, light and dark, readable on a phone.
enum ReportStyle {
    static let css = """
        :root { --ink: #1d1f23; --soft: #5b6068; --ground: #ffffff; --panel: #f5f6f8; --line: #d9dce1; --link: #0b5cad;
          --good: #0a6b3d; --goodback: #e2f4ea; --bad: #a11a1a; --badback: #fbe6e4; --part: #7a5200; --partback: #fbf0d9; }
        @media (prefers-color-scheme: dark) {
          :root { --ink: #e4e6ea; --soft: #a3a9b3; --ground: #16181c; --panel: #1f2227; --line: #383c44; --link: #7ab7ff;
            --good: #7fd6a4; --goodback: #15342a; --bad: #ff9d94; --badback: #3d1d1d; --part: #f0c674; --partback: #3a2f16; } }
        * { box-sizing: border-box; }
        body { margin: 0; background: var(--ground); color: var(--ink);
          font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
        main { max-width: 54rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
        h1 { font-size: 1.7rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
        h2 { font-size: 1.25rem; margin: 2.5rem 0 0.6rem; border-bottom: 1px solid var(--line); padding-bottom: 0.3rem; }
        h3 { font-size: 1rem; margin: 1.2rem 0 0.3rem; }
        a { color: var(--link); }
        p { margin: 0.6rem 0; }
        code { font-size: 0.88em; overflow-wrap: anywhere; }
        nav ol { padding-left: 1.4rem; }
        nav li { margin: 0.25rem 0; }
        .claim, figcaption, footer { color: var(--soft); font-size: 0.92rem; }
        .notice { background: var(--partback); color: var(--part); padding: 0.6rem 0.8rem; border-radius: 6px; }
        figure { margin: 1.4rem 0; background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 0.8rem; }
        .scroll { overflow-x: auto; }
        figure img { display: block; max-width: none; margin: 0 auto; }
        figcaption { margin-top: 0.5rem; }
        table { border-collapse: collapse; width: 100%; font-size: 0.92rem; }
        th, td { text-align: left; vertical-align: top; padding: 0.45rem 0.6rem; border-bottom: 1px solid var(--line); }
        .parameters { width: auto; min-width: 60%; }
        .parameters th { font-weight: 500; }
        .verdict { display: inline-block; white-space: nowrap; border-radius: 999px; padding: 0.05rem 0.55rem; font-size: 0.85rem;
          background: var(--panel); color: var(--soft); }
        .place { color: var(--soft); min-width: 8rem; }
        .verdict.holds { background: var(--goodback); color: var(--good); }
        .verdict.fails { background: var(--badback); color: var(--bad); }
        .verdict.part { background: var(--partback); color: var(--part); }
        details { margin: 1rem 0; }
        summary { cursor: pointer; color: var(--link); }
        @media (max-width: 40rem) {
          main { padding: 1rem 0.8rem 3rem; }
          h1 { font-size: 1.4rem; }
          .findings thead { display: none; }
          .findings tr { display: block; border-bottom: 1px solid var(--line); padding: 0.6rem 0; }
          .findings td { display: block; border: 0; padding: 0.15rem 0; }
          .findings td.name { display: inline-block; font-weight: 600; margin-right: 0.5rem; }
          .findings td.name + td, .findings td.place { display: inline-block; }
          .findings td.place { margin-left: 0.5rem; }
          figure { padding: 0.5rem; }
        }
        """
}
