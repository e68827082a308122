import ArgumentParser
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import Foundation

/// `chainserve up`: a whole service on this machine.
struct UpCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up",
        abstract: "Start a pool of block servers on this machine and serve a model over it.",
        discussion: """
            Without FILE: five unequal servers and SmolLM2-135M-Instruct, which is fetched when it is not there.
            On a terminal it takes prompts until Ctrl-C; otherwise it answers one prompt and ends.
            """)

    @Argument(help: "A cluster file; its servers are started here, whatever addresses it gives.")
    var file: String?

    @OptionGroup var service: ServiceArguments

    @Option(help: "Answer this prompt and end (also: the environment variable PROMPT).")
    var prompt: String?

    @Flag(help: "Serve in the foreground until SIGTERM or SIGINT.")
    var noPrompt = false

    @Flag(help: "Measure the servers again even when an earlier measurement is kept.")
    var reprofile = false

    @Option(help: "Most tokens of an answer to a prompt given here.")
    var maxTokens = 128

    private static let defaultPrompt = "In two sentences, what is a server?"

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1") }
    }

    func run() async throws {
        let console = Console()
        let signals = SignalWaiter([SIGTERM, SIGINT])
        try await CommandFailure.reporting {
            let pool = try openPool(console)
            let servers: any PoolServers =
                pool.isPetals
                ? try PetalsWorker(pool, logLevel: service.logLevel.rawValue, console: console)
                : LocalServers(try specifications(pool), console: console)
            let work = Task { try await serve(pool, servers, signals, console) }
            let interruption = Task {
                await signals.wait()
                work.cancel()
            }
            let result = await work.result
            interruption.cancel()
            await servers.stop()
            do { try result.get() } catch is CancellationError { console.say("stopped") }
        }
    }

    private func openPool(_ console: Console) throws -> ServicePool {
        if let file {
            return try ServicePool(
                try ClusterFile.parse(try CommandFailure.read(file), file: file), model: service.model)
        }
        let path = try service.model.map(absolutePath) ?? DefaultModel.fetch { console.say($0) }
        let text = DefaultPool.text(modelPath: path)
        var pool = try ServicePool(
            try ClusterFile.parse(text, file: "the default pool"), model: service.model)
        pool.demandFollowsSpeed = true
        return pool
    }

    private func specifications(_ pool: ServicePool) throws -> [LocalServers.Specification] {
        let cluster = try pool.cluster(defaultTimes: ServerTimes(communicationTime: 1, blockTime: 1))
        return cluster.servers.enumerated().map { index, server in
            LocalServers.Specification(
                name: server.name, memory: server.memory,
                modelPath: pool.file.servers[index].gguf.map(pool.file.path) ?? pool.modelPath,
                threads: pool.file.servers[index].threads,
                emulate: pool.isEmulated ? pool.emulatedProfile(of: server) : nil)
        }
    }

    private func serve(
        _ given: ServicePool, _ servers: any PoolServers, _ signals: SignalWaiter, _ console: Console
    ) async throws {
        var pool = given
        let prompt = prompt ?? ProcessInfo.processInfo.environment["PROMPT"].flatMap { $0.isEmpty ? nil : $0 }
        let answersOnce = !noPrompt && (prompt != nil || !console.isInteractive)
        // A single answer needs no port of its own: any free one will do.
        let options = service.options(defaultPort: answersOnce ? 0 : ServiceArguments.defaultPort)
        try await PoolService.checkPort(options.gateway)
        console.say("starting \(pool.file.servers.count) block servers")
        var addresses = try await servers.start()
        if !pool.hasTimes || reprofile {
            pool.file = try await ProfileStore.profiled(
                pool, addresses: addresses, afresh: reprofile, headThreads: service.headThreads,
                logger: service.logger, console: console)
            // PETALS servers that hosted other blocks to be measured are replaced.
            if pool.isPetals { addresses = try await servers.start() }
        }
        let cluster = try pool.cluster()
        for note in pool.file.notes(for: cluster) + pool.petalsNotes { console.say("note: \(note)") }
        let plan = try Planner.plan(cluster, options: service.planning)
        console.out(PlanReport.text(plan, cluster: cluster, width: CommandFailure.width) + "\n")
        for warning in PlanReport.warnings(plan) { console.say("warning: \(warning)") }
        let running = try PoolService(
            pool: pool, cluster: cluster, plan: plan, addresses: addresses,
            service: options,
            threads: service.headThreads, logger: service.logger, console: console)
        let conversation = Conversation(
            orchestrator: running.orchestrator, cluster: cluster, plan: plan, maximumTokens: maxTokens,
            console: console)
        let (host, noPrompt, announcement) = (service.host, noPrompt, pool.announcement)
        try await running.run { port in
            console.say("serving \(announcement) at http://\(ServerAddress(host: host, port: port))/v1")
            if noPrompt {
                while !Task.isCancelled { try await Task.sleep(for: .seconds(3600)) }
            } else if answersOnce {
                try await conversation.answer(prompt ?? Self.defaultPrompt, showingPrompt: true)
            } else {
                console.say("type a prompt and press return; Ctrl-C or Ctrl-D stops")
                try await conversation.readAndAnswer()
            }
        }
    }
}
