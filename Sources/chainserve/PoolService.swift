import CPolling
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import ChainSecurity
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A pool in service: orchestrator and gateway over running block servers. What `up` and `serve` have in common.
struct PoolService {
    let orchestrator: Orchestrator
    let gateway: Gateway
    let drainLimit: Double
    let logger: Logger
    let console: Console

    init(
        pool: ServicePool, cluster: Cluster, plan: Plan, addresses: [ServerAddress], service: ServiceOptions,
        protection: LinkProtection, threads: Int, logger: Logger, console: Console
    ) throws {
        var configuration = OrchestratorConfiguration(
            cluster: cluster, plan: plan, sequenceLength: pool.sequenceLength, addresses: addresses,
            threads: pool.file.servers.map(\.threads),
            modelRoot: pool.modelPath.map { ($0 as NSString).lastPathComponent } ?? pool.shape.name)
        configuration.engineName = pool.file.engine.rawValue
        configuration.control = service.control
        configuration.keptStates = service.keptStates
        let planning = service.planning
        configuration.protection = protection
        configuration.recomposition = { present, lost in
            Recomposition.plan(cluster, present: present, excluding: lost, options: planning)
        }
        if service.replan != .never {
            let move = service.move
            configuration.movesByItself = service.replan == .auto
            configuration.replanning = { present, rate, lost in
                var left = cluster
                for server in lost { left.servers[server.rawValue].memory = .zero }
                return Replanning(
                    left, present: present, arrivalRate: rate, options: planning, bounds: move,
                    loop: concurrentLoop)
            }
        }
        let names = cluster.servers.map(\.name)
        let progress = LoadProgressLines(names: names, console: console)
        let frontend = try pool.frontend(threads: threads)
        let source = try pool.source
        func make(_ journal: JournalConfiguration?) throws -> Orchestrator {
            try Orchestrator(
                configuration: configuration, frontend: frontend, source: source,
                group: Self.eventLoops, journal: journal, logger: logger
            ) { server, text in progress.show(server, text) }
        }
        do {
            orchestrator = try make(service.journal)
        } catch JournalError.inUse(let path) where !service.isJournalChosen {
            console.say("note: another service has the journal \(path); this one keeps none (--journal FILE)")
            orchestrator = try make(nil)
        }
        drainLimit = service.drainLimit
        gateway = Gateway(
            service: orchestrator, configuration: service.gateway, logger: logger,
            eventLoops: Self.eventLoops)
        self.logger = logger
        self.console = console
        Self.poll(for: service.busyPoll)
    }

    /// Clients' connections and the servers' links share half as many event loops as there are processors: a request then
    /// goes its way with few changes of threads, or none. What takes long is done elsewhere (`GenerationLane`). As long as
    /// the process.
    private static let eventLoops = MultiThreadedEventLoopGroup(
        numberOfThreads: max(1, System.coreCount / 2))

    /// Has the event loops look for events before they sleep.
    private static func poll(for longest: ChainModel.Duration) {
        for eventLoop in eventLoops.makeIterator() {
            eventLoop.execute { chainserve_poll_before_sleep(longest.nanoseconds) }
        }
    }

    /// Finds out whether the gateway will be able to listen, before servers are started and measured.
    static func checkPort(_ configuration: GatewayConfiguration) async throws {
        guard configuration.port != 0 else { return }
        do {
            let probe = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
                .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                .bind(host: configuration.host, port: configuration.port).get()
            try await probe.close()
        } catch let error as IOError where error.errnoCode == EADDRINUSE {
            throw GatewayError.portInUse(port: configuration.port)
        } catch let error as IOError where error.errnoCode == EACCES {
            throw GatewayError.portNotPermitted(port: configuration.port)
        } catch {
            // Whatever else is wrong the gateway says when it listens.
        }
    }

    /// Runs the servers' links and the gateway, and `body` once both are ready; then drains and stops everything.
    /// - Parameter body: given the port of the gateway. Its return ends the service: accepted requests may finish within
    ///   the drain limit when `drains`, and are given up otherwise.
    func run(
        drains: Bool = false, _ body: @escaping @Sendable (_ port: Int) async throws -> Void
    ) async throws {
        let orchestrator = orchestrator
        defer { orchestrator.closeJournal() }
        let gateway = gateway
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask { await orchestrator.run() }
            try await orchestrator.waitUntilReady()
            let (ports, announced) = AsyncStream.makeStream(of: Int.self)
            group.addTask {
                defer { announced.finish() }
                try await gateway.run { announced.yield($0) }
            }
            guard let port = await ports.first(where: { _ in true }) else {
                // The gateway ended before it listened: its error is the reason.
                try await group.next()
                try await group.next()
                return
            }
            try await body(port)
            if drains { await drain(gateway) }
            await orchestrator.cancelAll()
        }
    }

    /// Answers what was accepted, to its last byte.
    private func drain(_ gateway: Gateway) async {
        let waiting = gateway.requestsInFlight
        if waiting > 0 {
            console.say("finishing \(waiting) requests, within \(drainLimit) s; once more stops at once")
        }
        await orchestrator.drain(within: .seconds(drainLimit))
        let end = ContinuousClock.now + Self.lastWords
        while gateway.requestsInFlight > 0, ContinuousClock.now < end, !Task.isCancelled {
            try? await Task.sleep(for: .milliseconds(10))
        }
    }

    /// How long answers that are complete may take to be sent.
    private static let lastWords = Swift.Duration.seconds(2)
}

/// A wish that the service stop, which it fulfils when what it has accepted is done.
final class StopRequest: Sendable {
    private let stream: AsyncStream<Void>
    private let continuation: AsyncStream<Void>.Continuation
    private let serving = Atomic(false)

    init() { (stream, continuation) = AsyncStream.makeStream(of: Void.self) }

    /// Returns when the service is to stop, or throws when it is to stop at once.
    func wait() async throws {
        serving.store(true, ordering: .relaxed)
        for await _ in stream { return }
        try Task.checkCancellation()
    }

    /// Runs `work`. The first SIGTERM while it serves asks it to stop; any other signal, and the second, cancels it.
    func run(_ signals: SignalWaiter, _ work: Task<Void, any Error>) async -> Result<Void, any Error> {
        let interruption = Task {
            let first = await signals.wait()
            if Task.isCancelled { return }
            if first == SIGTERM, serving.load(ordering: .relaxed) {
                continuation.yield()
                await signals.wait()
            }
            work.cancel()
        }
        let result = await work.result
        interruption.cancel()
        return result
    }
}

/// Prints what servers do until they are ready, when it takes long: a line for a server at most every two seconds, and
/// none that says the same again.
final class LoadProgressLines: Sendable {
    private let names: [String]
    private let console: Console
    private let shown: Mutex<[(at: ContinuousClock.Instant, text: String)]>
    private static let interval = Swift.Duration.seconds(2)

    init(names: [String], console: Console) {
        self.names = names
        self.console = console
        shown = Mutex(
            [(at: ContinuousClock.Instant, text: String)](repeating: (.now, ""), count: names.count))
    }

    func show(_ server: ServerIndex, _ text: String) {
        let isDue = shown.withLock { lines in
            let last = lines[server.rawValue]
            guard ContinuousClock.now - last.at > Self.interval, text != last.text else { return false }
            lines[server.rawValue] = (.now, text)
            return true
        }
        if isDue { console.say("  \(names[server.rawValue]): \(text)") }
    }
}
