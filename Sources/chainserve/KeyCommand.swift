import ArgumentParser
import ChainSecurity
import Foundation

/// `chainserve key`: who may come in by HTTP.
struct KeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "key", abstract: "Add, list and remove the API keys of clients.",
        discussion: """
            The keys file holds hashes only; a key is shown once, when it is made. A running service sees changes within
            a second.
            """,
        subcommands: [Add.self, List.self, Remove.self, Token.self])

    struct FileArgument: ParsableArguments {
        @Option(help: "The keys file.")
        var keys = "keys.json"
    }

    struct Add: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a key for a client and print it.")

        @Argument(help: "The client's name; it is shown in logs, the key is not.")
        var name: String

        @OptionGroup var file: FileArgument

        @Option(help: "What it may: generate, observe (dashboard, metrics, status); may be given twice.")
        var may: [KeyFile.Right] = []

        @Option(help: "Most requests queued or running at once.")
        var requestsInFlight: Int?

        @Option(help: "Requests a minute, on average; as many may come at once.")
        var requestsPerMinute: Int?

        func validate() throws {
            guard requestsInFlight ?? 1 >= 1, requestsPerMinute ?? 1 >= 1 else {
                throw ValidationError("limits must be at least 1")
            }
        }

        func run() throws {
            try CommandFailure.invalidInput {
                let exists = FileManager.default.fileExists(atPath: file.keys)
                var keys = exists ? try KeyFile.read(file.keys) : KeyFile()
                let key = try keys.add(
                    name, rights: may.isEmpty ? [.generate] : may, requestsInFlight: requestsInFlight,
                    requestsPerMinute: requestsPerMinute)
                try keys.write(file.keys)
                CommandFailure.warn("the key of \(name); it is not shown again:")
                CommandFailure.say(key + "\n", toError: false)
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show the clients and their limits.")

        @OptionGroup var file: FileArgument

        func run() throws {
            try CommandFailure.invalidInput {
                for entry in try KeyFile.read(file.keys).keys {
                    var line = "\(entry.name): \(entry.rights.map(\.rawValue).joined(separator: ", "))"
                    if let limit = entry.requestsInFlight { line += "; \(limit) in flight" }
                    if let limit = entry.requestsPerMinute { line += "; \(limit) a minute" }
                    CommandFailure.say(line + "\n", toError: false)
                }
            }
        }
    }

    struct Remove: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Take a client's key away.")

        @Argument(help: "The client's name.")
        var name: String

        @OptionGroup var file: FileArgument

        func run() throws {
            try CommandFailure.invalidInput {
                var keys = try KeyFile.read(file.keys)
                try keys.remove(name)
                try keys.write(file.keys)
            }
        }
    }

    struct Token: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make the secret that an orchestrator and its block servers share (--token).")

        @Argument(help: "The file to write.")
        var file: String

        func run() throws {
            try CommandFailure.invalidInput {
                guard !FileManager.default.fileExists(atPath: file) else {
                    throw SecurityError.unusable(file: file, reason: "is there already; remove it first")
                }
                try PoolToken.make(file: file)
            }
        }
    }
}

extension KeyFile.Right: ExpressibleByArgument {}
