import ArgumentParser
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import ChainSecurity
import Logging

/// Options of everything that serves.
struct ServiceArguments: ParsableArguments {
    @Option(help: "Address to serve HTTP at; beyond loopback with TLS or --insecure-plain-text only.")
    var host = "127.0.0.1"

    @Option(help: "Port to serve HTTP at; 0 takes any free one, which is printed.")
    var port: Int?

    @Option(name: [.short, .long], help: "A GGUF file to serve instead of the cluster file's model.")
    var model: String?

    @Option(help: "Requests that may wait in the central queue.")
    var queueLimit = 256

    @Option(help: "Times a request is started on a chain before it is given up.")
    var maximumAttempts = 3

    @Option(help: "Which chain a job starts on: jffc or jffc-wait.")
    var dispatch: DispatchRule = .jffc

    @Option(help: "Choose the reserved capacity by: exact, lower-bound, upper-bound or surrogate.")
    var tune: TuningCriterion = .exact

    @Option(help: "Compute threads of the embedding and the output head.")
    var headThreads = 1

    @OptionGroup var logging: LogArguments

    @OptionGroup(title: "Security") var door: DoorArguments

    static let defaultPort = 8000

    func validate() throws {
        if let port, !(0...65535).contains(port) { throw ValidationError("--port must be from 0 to 65535") }
        guard queueLimit >= 0 else { throw ValidationError("--queue-limit must not be negative") }
        guard (1...100).contains(maximumAttempts) else {
            throw ValidationError("--maximum-attempts must be from 1 to 100")
        }
        guard headThreads >= 1 else { throw ValidationError("--head-threads must be at least 1") }
    }

    var logger: Logger { logging.logger("chainserve", default: .warning) }

    /// - Throws: `KeyFileError`, `SecurityError`: files that cannot be used, or plain text where it is not allowed.
    func options(defaultPort: Int) throws -> ServiceOptions {
        var gateway = GatewayConfiguration(host: host, port: port ?? defaultPort)
        gateway.keys = try door.keyRing(logger: logger)
        gateway.tls = door.tlsFiles
        gateway.allowsPlainText = door.insecurePlainText
        gateway.logsPrompts = logging.logPrompts
        if gateway.tls == nil { try Loopback.require(host, unless: gateway.allowsPlainText) }
        return ServiceOptions(gateway: gateway, queueLimit: queueLimit, maximumAttempts: maximumAttempts)
    }

    /// `http` or `https`.
    var scheme: String { door.tlsFiles == nil ? "http" : "https" }

    var planning: PlanningOptions { PlanningOptions(capacity: .tuned(by: tune), dispatch: dispatch) }
}

struct ServiceOptions {
    var gateway: GatewayConfiguration
    var queueLimit: Int
    var maximumAttempts: Int
}
