import ArgumentParser
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import Logging

/// Options of everything that serves.
struct ServiceArguments: ParsableArguments {
    @Option(help: "Address to serve HTTP at. Anything but loopback is open to the network, in plain text.")
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

    @Option(help: "How much to log: trace, debug, info, notice, warning, error.")
    var logLevel = LogLevel.warning

    static let defaultPort = 8000

    func validate() throws {
        if let port, !(0...65535).contains(port) { throw ValidationError("--port must be from 0 to 65535") }
        guard queueLimit >= 0 else { throw ValidationError("--queue-limit must not be negative") }
        guard (1...100).contains(maximumAttempts) else {
            throw ValidationError("--maximum-attempts must be from 1 to 100")
        }
        guard headThreads >= 1 else { throw ValidationError("--head-threads must be at least 1") }
    }

    var logger: Logger {
        var logger = Logger(label: "chainserve") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = logLevel.level
        return logger
    }

    func options(defaultPort: Int) -> ServiceOptions {
        ServiceOptions(
            gateway: GatewayConfiguration(host: host, port: port ?? defaultPort), queueLimit: queueLimit,
            maximumAttempts: maximumAttempts)
    }

    var planning: PlanningOptions { PlanningOptions(capacity: .tuned(by: tune), dispatch: dispatch) }
}

struct ServiceOptions {
    var gateway: GatewayConfiguration
    var queueLimit: Int
    var maximumAttempts: Int
}
