import Foundation
import Testing

/// The official `openai` client for Python, where it is installed.
enum OfficialClient {
    private static let script = Program.packageRoot.appendingPathComponent(
        "Tests/Compatibility/openai_client.py")

    /// Runs the client's checks against a service; says so when it is not installed.
    static func check(_ running: RunningService, model: String, in place: Place) async throws {
        guard try await isInstalled(place) else {
            print("the openai client for Python is not installed: its checks were left out")
            return
        }
        let outcome = try await RunningCommand(
            ["python3", script.path, "http://127.0.0.1:\(running.service.port)/v1", model],
            executable: "/usr/bin/env", in: place, environment: environment
        ).ended(within: 60)
        #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
    }

    private static func isInstalled(_ place: Place) async throws -> Bool {
        try await RunningCommand(
            ["python3", "-c", "import openai"], executable: "/usr/bin/env", in: place,
            environment: environment
        ).ended(within: 30).status == 0
    }

    /// Python finds what its user installed through the true home folder.
    private static var environment: [String: String] {
        ["HOME": NSHomeDirectory(), "PYTHONDONTWRITEBYTECODE": "1"]
    }
}
