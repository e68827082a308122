import ArgumentParser
import ChainBench
import ChainOrchestrator
import Foundation

/// `chainserve status`: what a running service is doing.
struct StatusCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status",
        abstract: "Show the servers, chains, queue and response times of a running service.")

    @OptionGroup var client: ClientArguments

    @Flag(help: "Print the status as JSON.")
    var json = false

    @Flag(help: "Show it again every second, until stopped.")
    var watch = false

    /// A service that does not answer within this time is taken for not running.
    private static let timeout = 10.0

    func validate() throws {
        if json, watch { throw ValidationError("--json prints once; leave --watch out") }
    }

    func run() async throws {
        let target = try client.target(timeout: Self.timeout)
        try await ServiceClient.with(target) { try await show($0, target) }
    }

    private func show(_ service: ServiceClient, _ target: LoadTarget) async throws {
        if json {
            let text = try await ask(service, target, "/status")
            CommandFailure.say(text + "\n", toError: false)
            return
        }
        let console = Console()
        while true {
            let answer = try await ask(service, target, "/dashboard/state")
            guard let sight = try? JSONDecoder().decode(PoolSight.self, from: Data(answer.utf8)) else {
                CommandFailure.warn("error: what answers at \(client.url) is not chainserve")
                throw ExitCode.failure
            }
            let text = StatusText(sight, width: CommandFailure.width).text
            guard watch else { return console.out(text) }
            // Home, the text, and nothing left of what was there before.
            console.out(isatty(STDOUT_FILENO) == 1 ? "\u{1B}[H\u{1B}[J\(text)" : text + "\n")
            try await Task.sleep(for: .seconds(1))
        }
    }

    private func ask(_ service: ServiceClient, _ target: LoadTarget, _ path: String) async throws -> String {
        let answer: ServiceClient.Answer
        do {
            answer = try await service.ask(.GET, path)
        } catch {
            throw client.unreachable(error, target)
        }
        switch answer.status {
        case 200: return answer.body
        case 401: CommandFailure.warn("error: this service wants an API key; give --key-file")
        case 403:
            CommandFailure.warn(
                "error: this key may not observe; make one with `chainserve key add --may observe`")
        default: CommandFailure.warn("error: what answers at \(client.url) is not chainserve, or is not well")
        }
        throw ExitCode.failure
    }
}
