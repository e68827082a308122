import ArgumentParser

/// `chainserve experiment`: the paper's figures and tables by computation, and its comparison on running systems.
struct ExperimentGroup: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "experiment",
        abstract: "Reproduce a figure or table of the paper, or compare the systems on running servers.",
        subcommands: [ExperimentCommand.self, LiveExperimentCommand.self],
        defaultSubcommand: ExperimentCommand.self)
}
