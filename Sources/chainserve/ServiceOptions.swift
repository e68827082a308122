import ArgumentParser
import ChainDispatch
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
    var maximumAttempts = ControlConfiguration().maximumAttempts

    @Option(help: "Seconds that a request may wait for a path when it does not say (X-Request-Timeout).")
    var requestTimeout = ControlConfiguration().defaultTimeout.seconds

    @Option(help: "Seconds of predicted wait beyond which the queue is taken to be full.")
    var waitLimit = ControlConfiguration().waitLimit.seconds

    @Option(help: "Requests of one client that may wait or run.")
    var clientLimit = ControlConfiguration().clientLimit

    @Option(
        help: "Seconds after which a lost server is taken to be gone for good and the pool composed anew.")
    var recoveryLimit = ControlConfiguration().recoveryLimit.seconds

    @Option(
        help: """
            MiB of hidden states kept of all requests, so that only the lost part of a chain is computed again; 0 \
            computes all of it, from the tokens.
            """)
    var recoveryMemory = KeptStatesBounds.standard.inAll.rawValue >> 20

    @Option(help: "MiB of hidden states kept of one request.")
    var recoveryMemoryPerRequest = KeptStatesBounds.standard.perJob.rawValue >> 20

    @Option(help: "Seconds that accepted requests may take to finish after SIGTERM.")
    var drainLimit = 25.0

    @Option(
        help: "File that accepted requests and events are kept in (default: in the cache folder, by model).")
    var journal: String?

    @Flag(help: "Keep no journal.")
    var noJournal = false

    @Flag(help: "Leave prompts and answers out of the journal.")
    var noJournalTexts = false

    @Option(
        help: """
            What an accepted request survives from before its first byte on: process (the service may be killed) or \
            power (the machine may lose power; each request waits for the disk).
            """)
    var journalDurability = JournalConfiguration.Durability.process

    @Option(help: "Which chain a job starts on: jffc or jffc-wait.")
    var dispatch: DispatchRule = .jffc

    @Option(help: "Choose the reserved capacity by: exact, lower-bound, upper-bound or surrogate.")
    var tune: TuningCriterion = .exact

    @Option(
        help: """
            When requests come at another rate than planned for: never look, advise (tell whether another plan would \
            be worth the move), or auto (move to it). Thresholds of jffc-wait follow the rate unless never.
            """)
    var replan: ReplanMode = .advise

    @Option(help: "Seconds over which requests are counted to tell their rate.")
    var replanWindow = DemandBounds().window.seconds

    @Option(help: "Seconds that a changed rate is taken to last, in which a move must pay for itself.")
    var replanHorizon = MoveBounds().horizonSeconds

    @Option(help: "Megabytes per second at which servers are taken to load other blocks, all together.")
    var replanLoadRate = MoveBounds().loadRate / 1e6

    @Option(help: "Compute threads of the embedding and the output head.")
    var headThreads = 1

    @Option(
        help: """
            Microseconds for which an event loop looks for events before it sleeps, as long as they come that close \
            (Linux); 0: it sleeps at once.
            """)
    var busyPoll = 1000

    @OptionGroup var logging: LogArguments

    @OptionGroup(title: "Security") var door: DoorArguments

    static let defaultPort = 8000

    func validate() throws {
        if let port, !(0...65535).contains(port) { throw ValidationError("--port must be from 0 to 65535") }
        guard queueLimit >= 0 else { throw ValidationError("--queue-limit must not be negative") }
        guard (1...100).contains(maximumAttempts) else {
            throw ValidationError("--maximum-attempts must be from 1 to 100")
        }
        for (name, value) in [
            ("request-timeout", requestTimeout), ("wait-limit", waitLimit), ("recovery-limit", recoveryLimit),
            ("replan-window", replanWindow), ("replan-horizon", replanHorizon),
        ] where !(value > 0 && value <= 86_400) {
            throw ValidationError("--\(name) must be seconds, above 0 and at most 86400")
        }
        guard replanWindow >= 1 else { throw ValidationError("--replan-window must be at least a second") }
        guard replanLoadRate > 0, replanLoadRate.isFinite else {
            throw ValidationError("--replan-load-rate must be positive megabytes per second")
        }
        guard (0...86_400).contains(drainLimit) else {
            throw ValidationError("--drain-limit must be seconds, from 0 to 86400")
        }
        for (name, value) in [
            ("recovery-memory", recoveryMemory), ("recovery-memory-per-request", recoveryMemoryPerRequest),
        ] where !(0...1 << 30).contains(value) {
            throw ValidationError("--\(name) must be MiB, from 0 to \(1 << 30)")
        }
        guard clientLimit >= 1 else { throw ValidationError("--client-limit must be at least 1") }
        guard !noJournal || (journal == nil && !noJournalTexts && journalDurability == .process) else {
            throw ValidationError(
                "--no-journal excludes --journal, --no-journal-texts and --journal-durability power")
        }
        guard headThreads >= 1 else { throw ValidationError("--head-threads must be at least 1") }
        guard (0...100_000).contains(busyPoll) else {
            throw ValidationError("--busy-poll must be microseconds, from 0 to 100000")
        }
    }

    var logger: Logger { logging.logger("chainserve", default: .warning) }

    /// - Throws: `KeyFileError`, `SecurityError`: files that cannot be used, or plain text where it is not allowed.
    private func gateway(defaultPort: Int) throws -> GatewayConfiguration {
        var gateway = GatewayConfiguration(host: host, port: port ?? defaultPort)
        gateway.keys = try door.keyRing(logger: logger)
        gateway.tls = door.tlsFiles
        gateway.allowsPlainText = door.insecurePlainText
        gateway.logsPrompts = logging.logPrompts
        if gateway.tls == nil { try Loopback.require(host, unless: gateway.allowsPlainText) }
        return gateway
    }

    func options(defaultPort: Int, pool: ServicePool, keepsJournal: Bool = true) throws -> ServiceOptions {
        var control = ControlConfiguration()
        control.queueLimit = queueLimit
        control.maximumAttempts = maximumAttempts
        control.defaultTimeout = .seconds(requestTimeout)
        control.waitLimit = .seconds(waitLimit)
        control.clientLimit = clientLimit
        control.recoveryLimit = .seconds(recoveryLimit)
        if replan != .never {
            var demand = DemandBounds()
            demand.window = .seconds(replanWindow)
            control.demand = demand
        }
        var kept: JournalConfiguration?
        let section = pool.file.journal
        let path = journal.map(absolutePath) ?? section.path.map { absolutePath(pool.file.path($0)) }
        if !noJournal, keepsJournal || path != nil {
            let name = String(
                pool.shape.name.map { $0.isLetter || $0.isNumber || "-._".contains($0) ? $0 : "_" })
            var configuration = JournalConfiguration(
                path: path ?? CacheFolder.path("journals/\(name).db"))
            configuration.keepsTexts = section.keepsTexts && !noJournalTexts
            configuration.durability = journalDurability
            if let limit = section.ageLimit { configuration.ageLimit = .seconds(limit) }
            if let limit = section.sizeLimit {
                configuration.sizeLimit = limit
                configuration.hardSizeLimit = max(configuration.hardSizeLimit, limit * 4)
            }
            kept = configuration
        }
        return ServiceOptions(
            gateway: try gateway(defaultPort: defaultPort), control: control,
            keptStates: KeptStatesBounds(
                perJob: ByteCount(recoveryMemoryPerRequest << 20), inAll: ByteCount(recoveryMemory << 20)),
            journal: kept, isJournalChosen: path != nil, drainLimit: drainLimit, planning: planning,
            replan: replan, move: move, busyPoll: Duration(nanoseconds: Int64(busyPoll) * 1000))
    }

    /// `http` or `https`.
    var scheme: String { door.tlsFiles == nil ? "http" : "https" }

    private var move: MoveBounds {
        var bounds = MoveBounds()
        bounds.horizonSeconds = replanHorizon
        bounds.loadRate = replanLoadRate * 1e6
        return bounds
    }

    var planning: PlanningOptions { PlanningOptions(capacity: .tuned(by: tune), dispatch: dispatch) }
}

struct ServiceOptions {
    var gateway: GatewayConfiguration
    var control: ControlConfiguration
    var keptStates: KeptStatesBounds
    var journal: JournalConfiguration?
    /// By the user, who is to be told when another service has it.
    var isJournalChosen: Bool
    /// Seconds.
    var drainLimit: Double
    var planning: PlanningOptions
    var replan: ReplanMode
    var move: MoveBounds
    /// How long an event loop looks for events before it sleeps.
    var busyPoll: Duration
}

/// What is done when requests come at another rate than planned for.
enum ReplanMode: String, ExpressibleByArgument, CaseIterable {
    case never, advise, auto
}

extension JournalConfiguration.Durability: ExpressibleByArgument {}
