import Foundation
import Testing

/// Clients that others wrote, against a service: the official `openai` package for Python, the `llm` tool, and curl.
enum OfficialClient {
    private static let folder = Program.packageRoot.appendingPathComponent("Tests/Compatibility")

    /// Runs their checks against a service; says so where one is not installed.
    /// - Parameter modules: of Python, each with its script; `llm` takes seconds for each of its starts.
    static func check(
        _ running: RunningService, model: String, modules: [String] = ["openai"], in place: Place
    ) async throws {
        let url = "http://127.0.0.1:\(running.service.port)/v1"
        for module in modules {
            let script = module == "llm" ? "llm_tool.py" : "openai_client.py"
            guard let python = try await interpreter(with: module, place) else {
                print("Python has no '\(module)' (Scripts/clients.sh installs it): its checks were left out")
                continue
            }
            try await expect([python, folder.appendingPathComponent(script).path, url, model], place)
        }
        if try await succeeds(["curl", "--version"], place) {
            try await expect(["bash", folder.appendingPathComponent("curl.sh").path, url, model], place)
        } else {
            print("curl is not installed: its checks were left out")
        }
    }

    private static func expect(_ command: [String], _ place: Place) async throws {
        let outcome = try await RunningCommand(
            command, executable: "/usr/bin/env", in: place, environment: environment
        ).ended(within: 180)
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    private static func succeeds(_ command: [String], _ place: Place) async throws -> Bool {
        try await RunningCommand(command, executable: "/usr/bin/env", in: place, environment: environment)
            .ended(within: 60).status == 0
    }

    /// The Python of `Scripts/clients.sh`, or the system's, whichever has the module.
    private static func interpreter(with module: String, _ place: Place) async throws -> String? {
        for python in [cache + "/clients/bin/python", "python3"] {
            if try await succeeds([python, "-c", "import \(module)"], place) { return python }
        }
        return nil
    }

    private static var cache: String {
        let values = ProcessInfo.processInfo.environment
        let shared = values["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache"
        return values["CHAINSERVE_CACHE"] ?? shared + "/chainserve"
    }

    /// Python finds what its user installed through the true home folder.
    private static var environment: [String: String] {
        ["HOME": NSHomeDirectory(), "PYTHONDONTWRITEBYTECODE": "1"]
    }
}
