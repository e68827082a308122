import ArgumentParser
import ChainOrchestrator
import Foundation

#if canImport(FoundationNetworking)
    import FoundationNetworking
#endif

/// `chainserve status`: what a running service is doing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show the servers, chains and queue of a running service.")

    @Option(help: "Where the service listens.")
    var url = "http://127.0.0.1:8000"

    @Flag(help: "Print the status as JSON.")
    var json = false

    /// A service that does not answer within this time is taken for not running.
    private static let timeout = 10.0

    func run() async throws {
        guard let address = URL(string: url), address.scheme == "http", address.host != nil else {
            CommandFailure.warn("error: --url '\(url)' is not a URL such as http://127.0.0.1:8000")
            throw CommandFailure.invalidInput
        }
        // `up` and `serve` print the URL that clients want, which ends in /v1.
        let root = address.lastPathComponent == "v1" ? address.deletingLastPathComponent() : address
        var request = URLRequest(url: root.appendingPathComponent("status"))
        request.timeoutInterval = Self.timeout
        let data: Data
        do {
            let (body, response) = try await URLSession.shared.data(for: request)
            guard (response as? HTTPURLResponse)?.statusCode == 200 else {
                throw URLError(.badServerResponse)
            }
            data = body
        } catch {
            CommandFailure.warn("error: no chainserve answers at \(url); is it running, and is --url right?")
            throw ExitCode.failure
        }
        if json {
            CommandFailure.say(String(decoding: data, as: UTF8.self) + "\n", toError: false)
            return
        }
        guard let status = try? JSONDecoder().decode(PoolStatus.self, from: data) else {
            CommandFailure.warn("error: what answers at \(url) is not chainserve")
            throw ExitCode.failure
        }
        Console().out(StatusCommand.text(status))
    }

    static func text(_ status: PoolStatus) -> String {
        func left(_ text: String, _ width: Int) -> String {
            text + String(repeating: " ", count: max(0, width - text.count))
        }
        var text = "\(status.model) on the \(status.engine) engine"
        text += status.emulated ? " (EMULATED: no model is computed)\n\n" : "\n\n"
        let names = max(6, status.servers.map(\.name.count).max() ?? 0) + 2
        text +=
            left("server", names) + left("state", 10) + left("blocks", 10) + left("slots", 12) + "address\n"
        for server in status.servers {
            let blocks =
                server.blockCount > 0
                ? "\(server.firstBlock)–\(server.firstBlock + server.blockCount - 1)" : "–"
            text += left(server.name, names) + left(server.state.rawValue, 10) + left(blocks, 10)
            text += left("\(server.slotsUsed)/\(server.slotsTotal)", 12) + server.address
            text += server.pid.map { " (process \($0))\n" } ?? "\n"
        }
        text += "\n" + left("running", 10) + "chain\n"
        for chain in status.chains {
            text +=
                left("\(chain.running)/\(chain.capacity)", 10) + chain.servers.joined(separator: " > ") + "\n"
        }
        return text + "\n\(status.queueLength) waiting in the queue\n"
    }
}
