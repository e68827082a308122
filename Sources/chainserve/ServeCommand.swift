import ArgumentParser
import ChainFormats
import ChainOrchestrator
import ChainPlanning
import Foundation

/// `chainserve serve`: the orchestrator over block servers that are running.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve",
        abstract: "Compose running block servers and serve the OpenAI API over them, until stopped.")

    @Argument(help: "The cluster file; every server needs an address and times.")
    var file: String

    @OptionGroup var service: ServiceArguments

    func run() async throws {
        let console = Console()
        let signals = SignalWaiter([SIGTERM, SIGINT])
        try await CommandFailure.reporting {
            let pool = try ServicePool(
                try ClusterFile.parse(try CommandFailure.read(file), file: file), model: service.model)
            let worker =
                pool.isPetals
                ? try PetalsWorker(pool, logLevel: service.logging.level(default: .warning), console: console)
                : nil
            let stop = StopRequest()
            let result = await stop.run(signals, Task { try await serve(pool, worker, console, stop) })
            await worker?.stop()
            do { try result.get() } catch is CancellationError { console.say("stopped") }
        }
    }

    private func serve(
        _ pool: ServicePool, _ worker: PetalsWorker?, _ console: Console, _ stop: StopRequest
    ) async throws {
        let given = worker == nil ? try pool.addresses() : []
        guard pool.hasTimes else { throw ServiceError.noTimes(file) }
        let options = try service.options(defaultPort: ServiceArguments.defaultPort, pool: pool)
        try await PoolService.checkPort(options.gateway)
        let addresses = try await worker?.start() ?? given
        let cluster = try pool.cluster()
        for note in pool.file.notes(for: cluster) + pool.petalsNotes { console.say("note: \(note)") }
        let plan = try Planner.plan(cluster, options: service.planning)
        console.out(PlanReport.text(plan, cluster: cluster, width: CommandFailure.width) + "\n")
        for warning in PlanReport.warnings(plan) { console.say("warning: \(warning)") }
        let running = try PoolService(
            pool: pool, cluster: cluster, plan: plan, addresses: addresses,
            service: options,
            protection: worker == nil ? try service.door.pool.protection(towards: addresses) : .none,
            threads: service.headThreads,
            logger: service.logger, console: console)
        let (host, scheme) = (service.host, service.scheme)
        try await running.run(drains: true) { port in
            console.say(
                "serving \(pool.announcement) at \(scheme)://\(ServerAddress(host: host, port: port))/v1")
            try await stop.wait()
        }
    }
}

extension ServicePool {
    /// The model's name, and that it is emulated where it is.
    var announcement: String { shape.name + (isEmulated ? " (EMULATED: no model is computed)" : "") }
}
