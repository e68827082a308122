import ArgumentParser
import ChainFormats

/// `chainserve devices`: what a cluster file's `device` can name.
struct DevicesCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "devices", abstract: "List the devices that a cluster file can name, with their sources."
    )

    @Flag(name: .long, help: "Print the list as JSON.")
    var json = false

    func run() {
        CommandFailure.say(json ? DeviceReport.json.rendered() : DeviceReport.text, toError: false)
    }
}
