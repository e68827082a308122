import ArgumentParser
import ChainSecurity

/// `chainserve pki`: a certificate authority for one pool.
struct PKICommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pki", abstract: "Make a small certificate authority for a pool, and its certificates.",
        subcommands: [])
}
