import ArgumentParser

@main
struct ChainServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chainserve",
        abstract: "Composes unequal servers into chains and serves a model over them.",
        subcommands: [
            UpCommand.self, ServeCommand.self, NodeCommand.self, PlanCommand.self, CheckCommand.self,
            ProfileCommand.self, StatusCommand.self, FetchCommand.self,
        ])
}
