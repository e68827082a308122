import ArgumentParser
import ChainBench
import Foundation
import NIOCore

/// Where a running service is and how it is asked: the same options in every command that asks one.
struct ClientArguments: ParsableArguments {
    @Option(help: "Where the service listens.")
    var url = "http://127.0.0.1:8000"

    @Option(
        help: """
            Certificates, PEM, that an https service's must be from, such as a pool's ca.crt (default: those that the \
            system trusts).
            """)
    var tlsAuthority: String?

    @Option(help: "A file with an API key (also: the environment variable CHAINSERVE_API_KEY).")
    var keyFile: String?

    func validate() throws {
        if tlsAuthority != nil, !url.lowercased().hasPrefix("https:") {
            throw ValidationError("--tls-authority is for a --url that starts with https://, not '\(url)'")
        }
    }

    /// - Throws: status 2, said, when URL, key or certificates cannot be used.
    func target(timeout seconds: Double) throws -> LoadTarget {
        try CommandFailure.invalidInput {
            var target = try LoadTarget(url: url, trusting: tlsAuthority)
            target.apiKey = try key()
            target.timeout = .nanoseconds(Int64(seconds * 1e9))
            return target
        }
    }

    func key() throws -> String? {
        if let keyFile {
            return try CommandFailure.read(keyFile).trimmingCharacters(in: .whitespacesAndNewlines)
        }
        return ProcessInfo.processInfo.environment["CHAINSERVE_API_KEY"]
    }

    /// Says why no service answered.
    func unreachable(_ error: any Error, _ target: LoadTarget) -> ExitCode {
        let reason = ServiceClient.problem(error, of: target)
        CommandFailure.warn(
            "error: no chainserve answers at \(url) (\(reason)); is it running, and is --url right?")
        return .failure
    }
}
