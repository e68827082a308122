import ArgumentParser

@main
struct ChainServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chainserve",
        abstract: "Composes unequal servers into chains and serves a model over them.",
        subcommands: [PlanCommand.self, CheckCommand.self])
}
