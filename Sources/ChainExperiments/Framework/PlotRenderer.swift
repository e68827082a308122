import ChainFormats
import Foundation

/// Renders plots through `vl-convert-python`, which `Scripts/plots.sh` installs into a cached environment.
package struct PlotRenderer: Sendable {
    /// The Python that has the library; `nil` when it is not there.
    private let python: String?
    /// Why it is not there.
    package let missing: String?

    static let version = "1.9.0"

    /// Looks for the environment, and makes it where it is missing and the script is found.
    /// - Parameter installs: Whether to run the script.
    package init(installs: Bool = true) {
        let environment = ProcessInfo.processInfo.environment
        let home = environment["HOME"] ?? "."
        let folder = environment["CHAINSERVE_PLOTS"] ?? "\(home)/.cache/chainserve/plots-\(Self.version)"
        let program = folder + "/bin/python"
        let marker = folder + "/ready"
        if FileManager.default.fileExists(atPath: marker) {
            (python, missing) = (program, nil)
            return
        }
        guard installs, environment["CHAINSERVE_PLOTS"] == nil, let script = Self.script() else {
            python = nil
            missing =
                "no plots: \(folder) is not there; run Scripts/plots.sh of the source tree once, which "
                + "installs "
                + "vl-convert-python from PyPI (CSV, JSON and Vega-Lite files are written all the same)"
            return
        }
        let outcome = Self.run("/bin/bash", [script], input: nil)
        if FileManager.default.fileExists(atPath: marker) {
            (python, missing) = (program, nil)
        } else {
            python = nil
            missing =
                "no plots: \(script) could not install vl-convert-python (\(outcome.errors.suffix(300)))"
        }
    }

    /// The script, from the working directory or beside the build folder that the program is in.
    private static func script() -> String? {
        let program = URL(fileURLWithPath: CommandLine.arguments.first ?? "").resolvingSymlinksInPath()
        var folders = [FileManager.default.currentDirectoryPath]
        var folder = program.deletingLastPathComponent()
        for _ in 0..<5 {
            folders.append(folder.path)
            folder = folder.deletingLastPathComponent()
        }
        return folders.map { $0 + "/Scripts/plots.sh" }
            .first { FileManager.default.fileExists(atPath: $0) }
    }

    /// What a plot became.
    package struct Picture: Sendable {
        package var lightSVG: Data
        package var darkSVG: Data
        package var png: Data
    }

    /// Reads `[{name, spec}]`, writes `NAME.light.svg`, `NAME.dark.svg` and `NAME.png` into the folder.
    private static let renderProgram = """
        import json, sys
        import vl_convert
        folder = sys.argv[1]
        def look(ink, faint, ground):
            axis = {"labelColor": ink, "titleColor": ink, "gridColor": faint, "domainColor": ink,
                    "tickColor": ink, "labelFontSize": 12, "titleFontSize": 13, "titleFontWeight": "normal"}
            return {"background": ground, "font": "sans-serif", "view": {"stroke": None}, "axis": axis,
                    "rule": {"color": ink},
                    # Labels are wider where the reader has other fonts than the library measured with.
                    "padding": {"left": 34, "top": 10, "right": 14, "bottom": 8},
                    "legend": {"labelColor": ink, "titleColor": ink, "labelFontSize": 12, "titleFontSize": 12,
                               "titleFontWeight": "normal", "orient": "bottom", "columnPadding": 26, "labelLimit": 420,
                               "symbolStrokeWidth": 2},
                    "header": {"labelColor": ink, "titleColor": ink, "titleFontWeight": "normal"},
                    "title": {"color": ink}}
        light, dark = look("#222", "#e4e4e4", None), look("#ddd", "#3a3d42", None)
        for plot in json.load(sys.stdin):
            base = folder + "/" + plot["name"]
            for name, theme in (("light", light), ("dark", dark)):
                with open(base + "." + name + ".svg", "w") as file:
                    file.write(vl_convert.vegalite_to_svg(plot["spec"], vl_version="5.21", config=theme))
            with open(base + ".png", "wb") as file:
                white = dict(light, background="white")
                file.write(vl_convert.vegalite_to_png(plot["spec"], vl_version="5.21", config=white, scale=2))
        """

    /// - Returns: pictures by name; empty when the library is missing.
    package func render(_ plots: [Plot]) throws -> [String: Picture] {
        guard let python, !plots.isEmpty else { return [:] }
        let folder = FileManager.default.temporaryDirectory
            .appendingPathComponent("chainserve-plots-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        let input = JSONText.list(
            plots.map { .object([("name", .text($0.name)), ("spec", $0.specification)]) })
        let outcome = Self.run(python, ["-c", Self.renderProgram, folder.path], input: input.rendered())
        guard outcome.status == 0 else { throw RenderFailure(reason: String(outcome.errors.suffix(600))) }
        var pictures: [String: Picture] = [:]
        for plot in plots {
            let base = folder.appendingPathComponent(plot.name).path
            pictures[plot.name] = Picture(
                lightSVG: try Data(contentsOf: URL(fileURLWithPath: base + ".light.svg")),
                darkSVG: try Data(contentsOf: URL(fileURLWithPath: base + ".dark.svg")),
                png: try Data(contentsOf: URL(fileURLWithPath: base + ".png")))
        }
        return pictures
    }

    struct RenderFailure: Error, CustomStringConvertible {
        var reason: String
        var description: String { "the plotting library failed: \(reason)" }
    }

    /// Runs a program to its end. Its input and output go through files, so that no pipe can fill up.
    private static func run(
        _ program: String, _ arguments: [String], input: String?
    ) -> (status: Int32, errors: String) {
        let base = FileManager.default.temporaryDirectory
            .appendingPathComponent("chainserve-\(UUID().uuidString)").path
        let (inputPath, errorPath) = (base + ".in", base + ".err")
        defer {
            try? FileManager.default.removeItem(atPath: inputPath)
            try? FileManager.default.removeItem(atPath: errorPath)
        }
        let manager = FileManager.default
        guard manager.createFile(atPath: inputPath, contents: Data((input ?? "").utf8)),
            manager.createFile(atPath: errorPath, contents: nil)
        else { return (-1, "no temporary files can be written") }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.standardInput = FileHandle(forReadingAtPath: inputPath)
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle(forWritingAtPath: errorPath)
        do { try process.run() } catch { return (-1, error.localizedDescription) }
        process.waitUntilExit()
        let errors = String(decoding: manager.contents(atPath: errorPath) ?? Data(), as: UTF8.self)
        return (process.terminationStatus, errors)
    }
}
