import ArgumentParser
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainPlanning
import ChainSecurity
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

    @Flag(help: "Emulate the servers of FILE: their times and memory are kept, no model is computed.")
    var emulated = false

    @Option(help: "Multiply the times of an emulated pool by this; below 1 it runs faster.")
    var timeScale = 1.0

    @Flag(help: "Measure the servers again even when an earlier measurement is kept.")
    var reprofile = false

    @Option(help: "Most tokens of an answer to a prompt given here.")
    var maxTokens = 128

    private static let defaultPrompt = "In two sentences, what is a server?"

    func validate() throws {
        guard maxTokens >= 1 else { throw ValidationError("--max-tokens must be at least 1") }
        guard timeScale > 0, timeScale <= 1000 else {
            throw ValidationError("--time-scale must be above 0 and at most 1000")
        }
        guard !emulated || file != nil else {
            throw ValidationError("--emulated needs the cluster file of the pool to emulate")
        }
    }

    func run() async throws {
        let console = Console()
        let signals = SignalWaiter([SIGTERM, SIGINT])
        try await CommandFailure.reporting {
            let pool = try openPool(console)
            let token = try LocalToken()
            defer { token.remove() }
            let servers: any PoolServers =
                pool.isPetals
                ? try PetalsWorker(pool, logLevel: service.logging.level(default: .warning), console: console)
                : LocalServers(try specifications(pool), tokenPath: token.path, console: console)
            let stop = StopRequest()
            let result = await stop.run(
                signals, Task { try await serve(pool, servers, token, stop, console) })
            await servers.stop()
            do { try result.get() } catch is CancellationError { console.say("stopped") }
        }
    }

    private func openPool(_ console: Console) throws -> ServicePool {
        if let file {
            var parsed = try ClusterFile.parse(try CommandFailure.read(file), file: file)
            if emulated { parsed.engine = .emulated }
            var pool = try ServicePool(parsed, model: service.model)
            guard pool.isEmulated || timeScale == 1 else { throw ServiceError.timeScaleOfRealPool }
            pool.timeScale = timeScale
            return pool
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
        _ given: ServicePool, _ servers: any PoolServers, _ token: LocalToken, _ stop: StopRequest,
        _ console: Console
    ) async throws {
        var pool = given
        let prompt = prompt ?? ProcessInfo.processInfo.environment["PROMPT"].flatMap { $0.isEmpty ? nil : $0 }
        let answersOnce = !noPrompt && (prompt != nil || !console.isInteractive)
        // A single answer needs no port of its own: any free one will do.
        let options = try service.options(
            defaultPort: answersOnce ? 0 : ServiceArguments.defaultPort, pool: pool,
            keepsJournal: noPrompt)
        try await PoolService.checkPort(options.gateway)
        console.say("starting \(pool.file.servers.count) block servers")
        var addresses = try await servers.start()
        // The worker of a PETALS swarm listens on loopback only and knows no token.
        let protection =
            pool.isPetals
            ? LinkProtection.none : try LinkProtection.client(.token(try PoolToken(file: token.path)))
        if !pool.hasTimes || reprofile {
            pool.file = try await ProfileStore.profiled(
                pool, addresses: addresses, afresh: reprofile, protection: protection,
                headThreads: service.headThreads,
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
            service: options, protection: protection,
            threads: service.headThreads, logger: service.logger, console: console)
        let conversation = Conversation(
            service: running.gateway.service, cluster: cluster, plan: plan, maximumTokens: maxTokens,
            console: console)
        let (host, scheme) = (service.host, service.scheme)
        let (noPrompt, announcement) = (noPrompt, pool.announcement)
        try await running.run(drains: noPrompt) { port in
            console.say("serving \(announcement) at \(scheme)://\(ServerAddress(host: host, port: port))/v1")
            if noPrompt {
                try await stop.wait()
            } else if answersOnce {
                try await conversation.answer(prompt ?? Self.defaultPrompt, showingPrompt: true)
            } else {
                console.say("type a prompt and press return; Ctrl-C or Ctrl-D stops")
                try await conversation.readAndAnswer()
            }
        }
    }
}
