import ArgumentParser

/// `chainserve fetch`: the default model, for machines that are prepared before they serve.
struct FetchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fetch", abstract: "Fetch the default model, unless it is there, and print its path.")

    func run() throws {
        let path = try CommandFailure.invalidInput { try DefaultModel.fetch { CommandFailure.warn($0) } }
        CommandFailure.say(path + "\n", toError: false)
    }
}
