import ArgumentParser
import ChainBench
import Foundation

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

    @OptionGroup var client: ClientArguments

    /// A server may take as long as its jobs, its start and its loading; a hundred of them an hour and more.
    private static let timeout = 6.0 * 3600

    func validate() throws {
        guard all == servers.isEmpty else {
            throw ValidationError("give the servers' names, or --all")
        }
    }

    func run() async throws {
        let target = try client.target(timeout: Self.timeout)
        let body = String(decoding: try JSONEncoder().encode(["servers": servers]), as: UTF8.self)
        let reply: ServiceClient.Answer
        do {
            reply = try await ServiceClient.with(target) {
                try await $0.ask(.POST, "/admin/restart", body: body)
            }
        } catch {
            throw client.unreachable(error, target)
        }
        let data = Data(reply.body.utf8)
        if reply.status == 200, let answer = try? JSONDecoder().decode(Answer.self, from: data) {
            for name in answer.restarted { print("restarted \(name)") }
            for name in answer.skipped { print("skipped \(name)") }
            if !answer.skipped.isEmpty { throw ExitCode.failure }
            return
        }
        let problem = try? JSONDecoder().decode(Problem.self, from: data)
        CommandFailure.warn("error: \(problem?.error.message ?? "the service answered \(reply.status)")")
        throw reply.status == 400 ? CommandFailure.invalidInput : ExitCode.failure
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
