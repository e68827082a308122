import ArgumentParser
import ChainSecurity
import Foundation

/// `chainserve pki`: a certificate authority for one pool.
struct PKICommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pki", abstract: "Make a small certificate authority for a pool, and its certificates.",
        discussion: """
            Keep ca.key where no server is; give each machine its own .crt and .key and ca.crt. A block server accepts
            only the orchestrator's certificate, the orchestrator only block servers' for the hosts it connects to.
            """,
        subcommands: [Init.self, Issue.self, Renew.self, List.self])

    struct FolderArgument: ParsableArguments {
        @Option(help: "The folder of the authority.")
        var folder = "pki"
    }

    enum Validity {
        static func check(_ days: Int) throws {
            guard (1...3650).contains(days) else { throw ValidationError("--days must be from 1 to 3650") }
        }
    }

    struct Init: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make the authority: ca.crt and ca.key.")

        @Argument(help: "The pool's name.")
        var pool: String

        @OptionGroup var place: FolderArgument

        func run() throws {
            try CommandFailure.invalidInput {
                #if TLS
                    _ = try PoolAuthority.make(pool: pool, folder: place.folder)
                    CommandFailure.warn("\(place.folder)/ca.crt and ca.key are made; keep ca.key to yourself")
                #else
                    throw SecurityError.withoutTLS
                #endif
            }
        }
    }

    struct Issue: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Make a certificate and its key.")

        @Argument(help: "What for: orchestrator, server (a block server) or gateway (HTTPS for clients).")
        var role: String

        @Argument(help: "A block server's name.")
        var name: String?

        @Option(help: "A host name or address under which it is reached; may be given several times.")
        var host: [String] = []

        @Option(help: "Days that the certificate is valid.")
        var days = 365

        @OptionGroup var place: FolderArgument

        func validate() throws {
            guard ["orchestrator", "server", "gateway"].contains(role) else {
                throw ValidationError("'\(role)' is no role: use orchestrator, server or gateway")
            }
            guard (role == "server") == (name != nil) else {
                throw ValidationError("a name is needed for a server, and for a server only")
            }
            guard role == "orchestrator" || !host.isEmpty else {
                throw ValidationError("give --host: the name or address that its clients connect to")
            }
            try Validity.check(days)
        }

        func run() throws {
            try CommandFailure.invalidInput {
                #if TLS
                    let role = PoolRole(rawValue: role) ?? .server
                    let file = try PoolAuthority.open(folder: place.folder)
                        .issue(role, name: name, hosts: host, days: days)
                    CommandFailure.say("\(file).crt\n\(file).key\n", toError: false)
                #else
                    throw SecurityError.withoutTLS
                #endif
            }
        }
    }

    struct Renew: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make new certificates and keys in the place of old ones, with the same names.")

        @Argument(help: "Which, such as server-paris-1; none renews all.")
        var files: [String] = []

        @Option(help: "Days that the new certificates are valid.")
        var days = 365

        @OptionGroup var place: FolderArgument

        func validate() throws { try Validity.check(days) }

        func run() throws {
            try CommandFailure.invalidInput {
                #if TLS
                    let authority = try PoolAuthority.open(folder: place.folder)
                    let all = try authority.parties().map(\.file).filter { $0 != "ca" }
                    for file in files.isEmpty ? all : files {
                        try authority.renew(file: file, days: days)
                        CommandFailure.say("\(place.folder)/\(file).crt\n", toError: false)
                    }
                #else
                    throw SecurityError.withoutTLS
                #endif
            }
        }
    }

    struct List: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Show the certificates and their ends.")

        @OptionGroup var place: FolderArgument

        func run() throws {
            try CommandFailure.invalidInput {
                #if TLS
                    for party in try PoolAuthority.open(folder: place.folder).parties() {
                        let end = party.notAfter.formatted(.iso8601)
                        CommandFailure.say("\(party.file)  until \(end)  \(party.subject)\n", toError: false)
                    }
                #else
                    throw SecurityError.withoutTLS
                #endif
            }
        }
    }
}
