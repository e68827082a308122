import ArgumentParser
import ChainOrchestrator
import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// `chainserve restart`: block servers restarted one after another, under load.
struct RestartCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restart",
        abstract: "Restart block servers of a running service one after another; no request fails.",
        discussion: """
            Each server finishes or hands over its jobs, starts anew, proves its blocks and is in service again before the
            next one is taken. Only on the machine of the service.
            """)

    @Argument(help: "The servers' names.")
    var servers: [String] = []

    @Flag(help: "All servers of the plan.")
    var all = false

    @Option(help: "Where the service listens.")
    var url = "http://127.0.0.1:8000"

    /// A server may take as long as its jobs, its start and its loading; a hundred of them an hour and more.
    private static let timeout = 6.0 * 3600

    func validate() throws {
        guard all == servers.isEmpty else {
            throw ValidationError("give the servers' names, or --all")
        }
    }

    func run() async throws {
        guard let address = URL(string: url), address.scheme == "http", address.host != nil else {
            CommandFailure.warn("error: --url '\(url)' is not a URL such as http://127.0.0.1:8000")
            throw CommandFailure.invalidInput
        }
        let root = address.lastPathComponent == "v1" ? address.deletingLastPathComponent() : address
        var request = URLRequest(url: root.appendingPathComponent("admin/restart"))
        request.httpMethod = "POST"
        request.timeoutInterval = Self.timeout
        request.setValue("application/json", forHTTPHeaderField: "Content-Type")
        request.httpBody = try JSONEncoder().encode(["servers": servers])
        let data: Data
        let status: Int
        do {
            let (body, response) = try await URLSession.shared.data(for: request)
            (data, status) = (body, (response as? HTTPURLResponse)?.statusCode ?? 0)
        } catch {
            CommandFailure.warn("error: no chainserve answers at \(url); is it running, and is --url right?")
            throw ExitCode.failure
        }
        if status == 200, let answer = try? JSONDecoder().decode(Answer.self, from: data) {
            for name in answer.restarted { print("restarted \(name)") }
            for name in answer.skipped { print("skipped \(name)") }
            if !answer.skipped.isEmpty { throw ExitCode.failure }
            return
        }
        let problem = try? JSONDecoder().decode(Problem.self, from: data)
        CommandFailure.warn("error: \(problem?.error.message ?? "the service answered \(status)")")
        throw status == 400 ? CommandFailure.invalidInput : ExitCode.failure
    }

    private struct Answer: Decodable {
        var restarted: [String]
        var skipped: [String]
    }

    private struct Problem: Decodable {
        struct Inner: Decodable { var message: String }
        var error: Inner
    }
}
