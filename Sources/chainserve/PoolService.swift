import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// A pool in service: orchestrator and gateway over running block servers. What `up` and `serve` have in common.
struct PoolService {
    let orchestrator: Orchestrator
    let gatewayConfiguration: GatewayConfiguration
    let logger: Logger
    let console: Console

    init(
        pool: ServicePool, cluster: Cluster, plan: Plan, addresses: [ServerAddress], service: ServiceOptions,
        threads: Int, logger: Logger, console: Console
    ) throws {
        var configuration = OrchestratorConfiguration(
            cluster: cluster, plan: plan, sequenceLength: pool.sequenceLength, addresses: addresses,
            threads: pool.file.servers.map(\.threads),
            modelRoot: pool.modelPath.map { ($0 as NSString).lastPathComponent } ?? pool.shape.name)
        configuration.engineName = pool.file.engine.rawValue
        configuration.queueLimit = service.queueLimit
        configuration.maximumAttempts = service.maximumAttempts
        let names = cluster.servers.map(\.name)
        let progress = LoadProgressLines(names: names, console: console)
        orchestrator = try Orchestrator(
            configuration: configuration, frontend: try pool.frontend(threads: threads),
            source: try pool.source,
            group: MultiThreadedEventLoopGroup.singleton, logger: logger
        ) { server, text in progress.show(server, text) }
        gatewayConfiguration = service.gateway
        self.logger = logger
        self.console = console
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

    /// Runs the servers' keepers and the gateway, and `body` once both are ready; then drains and stops everything.
    /// - Parameter body: given the port of the gateway. Its return ends the service.
    func run(_ body: @escaping @Sendable (_ port: Int) async throws -> Void) async throws {
        let orchestrator = orchestrator
        let gateway = Gateway(service: orchestrator, configuration: gatewayConfiguration, logger: logger)
        try await withThrowingTaskGroup(of: Void.self) { group in
            defer { group.cancelAll() }
            group.addTask { await orchestrator.run() }
            try await orchestrator.waitUntilReady()
            let (ports, announced) = AsyncStream.makeStream(of: Int.self)
            group.addTask {
                defer { announced.finish() }
                try await gateway.run { announced.yield($0) }
            }
            var found: Int?
            for await port in ports {
                found = port
                break
            }
            guard let port = found else {
                // The gateway ended before it listened: its error is the reason.
                try await group.next()
                try await group.next()
                return
            }
            try await body(port)
            await orchestrator.cancelAll()
        }
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
