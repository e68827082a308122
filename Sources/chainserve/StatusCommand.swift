import ArgumentParser
import ChainOrchestrator
import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// `chainserve status`: what a running service is doing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the servers, chains, queue and response times of a running service.")

    @Option(help: "Where the service listens.")
    var url = "http://127.0.0.1:8000"

    @Flag(help: "Print the status as JSON.")
    var json = false

    @Flag(help: "Show it again every second, until stopped.")
    var watch = false

    @Option(
        help: "A file with an API key that may observe (also: the environment variable CHAINSERVE_API_KEY).")
    var keyFile: String?

    /// A service that does not answer within this time is taken for not running.
    private static let timeout = 10.0

    func validate() throws {
        if json, watch { throw ValidationError("--json prints once; leave --watch out") }
    }

    func run() async throws {
        guard let address = URL(string: url), ["http", "https"].contains(address.scheme), address.host != nil
        else {
            CommandFailure.warn("error: --url '\(url)' is not a URL such as http://127.0.0.1:8000")
            throw CommandFailure.invalidInput
        }
        // `up` and `serve` print the URL that clients want, which ends in /v1.
        let root = address.lastPathComponent == "v1" ? address.deletingLastPathComponent() : address
        let key = try CommandFailure.invalidInput { try readKey() }
        if json {
            let data = try await fetch(root.appendingPathComponent("status"), key)
            CommandFailure.say(String(decoding: data, as: UTF8.self) + "\n", toError: false)
            return
        }
        let console = Console()
        while true {
            let data = try await fetch(root.appendingPathComponent("dashboard/state"), key)
            guard let sight = try? JSONDecoder().decode(PoolSight.self, from: data) else {
                CommandFailure.warn("error: what answers at \(url) is not chainserve")
                throw ExitCode.failure
            }
            let text = StatusText(sight, width: CommandFailure.width).text
            guard watch else { return console.out(text) }
            // Home, the text, and nothing left of what was there before.
            console.out(isatty(STDOUT_FILENO) == 1 ? "\u{1B}[H\u{1B}[J\(text)" : text + "\n")
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func readKey() throws -> String? {
        if let keyFile {
            return try CommandFailure.read(keyFile).trimmingCharacters(in: .whitespacesAndNewlines)
        }
        return ProcessInfo.processInfo.environment["CHAINSERVE_API_KEY"]
    }

    private func fetch(_ url: URL, _ key: String?) async throws -> Data {
        var request = URLRequest(url: url)
        request.timeoutInterval = Self.timeout
        if let key { request.setValue("Bearer \(key)", forHTTPHeaderField: "Authorization") }
        let status: Int?
        do {
            let (body, response) = try await URLSession.shared.data(for: request)
            status = (response as? HTTPURLResponse)?.statusCode
            if status == 200 { return body }
        } catch {
            CommandFailure.warn(
                "error: no chainserve answers at \(self.url); is it running, and is --url right?")
            throw ExitCode.failure
        }
        switch status {
        case 401: CommandFailure.warn("error: this service wants an API key; give --key-file")
        case 403:
            CommandFailure.warn(
                "error: this key may not observe; make one with `chainserve key add --may observe`")
        default: CommandFailure.warn("error: what answers at \(self.url) is not chainserve, or is not well")
        }
        throw ExitCode.failure
    }
}
