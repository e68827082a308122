import ArgumentParser
import Foundation

@main
struct ChainServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chainserve",
        abstract: "Composes unequal servers into chains and serves a model over them.",
        subcommands: [
            UpCommand.self, ServeCommand.self, NodeCommand.self, PlanCommand.self, CheckCommand.self,
            OptimumCommand.self, DevicesCommand.self, SimulateCommand.self, ExperimentGroup.self,
            ProfileCommand.self, BenchCommand.self, StatusCommand.self, RestartCommand.self,
            JournalCommand.self, ReplayCommand.self, KeyCommand.self, PKICommand.self, FetchCommand.self,
        ])

    /// Runs the command; wrong usage ends with status 2, as everywhere in ChainServe (the parser's own is 64).
    static func main() async {
        do {
            var command = try parseAsRoot()
            if var asynchronous = command as? AsyncParsableCommand {
                try await asynchronous.run()
            } else {
                try command.run()
            }
        } catch {
            guard exitCode(for: error) == .validationFailure else { exit(withError: error) }
            CommandFailure.warn(fullMessage(for: error))
            exit(withError: CommandFailure.invalidInput)
        }
    }
}
