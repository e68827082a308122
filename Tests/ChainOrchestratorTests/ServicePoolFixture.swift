import ChainDispatch
import ChainEngine
import ChainModel
import ChainNode
import ChainPlanning
import Foundation
import Logging
import NIOPosix
import Synchronization
import Testing

@testable import ChainOrchestrator

/// A whole service in one process: block servers on loopback, an orchestrator over a plan, no HTTP.
final class ServiceFixture: Sendable {
    let orchestrator: Orchestrator
    let cluster: Cluster
    let plan: Plan
    private let servers: Held<[BlockServer]>
    private let keeping: Task<Void, Never>
    private let makeServer: @Sendable (Int, Int) -> BlockServer
    let ports: [Int]
    /// Between the orchestrator and each server, where wished for.
    let proxies: [FaultyProxy]

    /// What a test wants of the pool.
    struct Wish {
        var cluster: Cluster
        /// Of the first servers; the others are spare.
        var placement: [BlockRange]
        var sequenceLength = 512
        var model: LlamaFile?
        /// Local files of the servers, by index; the model's own when absent.
        var localPaths: [Int: String] = [:]
        /// Servers that are sent their blocks.
        var withoutFile: Set<Int> = []
        var profile = EmulatedProfile.instant
        var queueLimit = 256
        var control = ControlConfiguration()
        var journal: JournalConfiguration?
        /// A proxy before every server.
        var hasProxies = false
        var recoveryLimit = Duration.seconds(60)
        var startLimit = Duration.seconds(20)
        var stepTimeout = Duration.seconds(120)
        var keptStates = KeptStatesBounds.standard
        /// Servers that are not started.
        var absent: Set<Int> = []
    }

    static func quietLogger() -> Logger { Logger(label: "test") { _ in SwiftLogNoOpLogHandler() } }

    init(_ wish: Wish) async throws {
        var cluster = wish.cluster
        cluster.manualPlacement = Placement(
            ranges: (0..<cluster.servers.count).map { $0 < wish.placement.count ? wish.placement[$0] : nil })
        let plan = try Planner.plan(cluster, options: PlanningOptions(placement: .manual))
        self.cluster = cluster
        self.plan = plan
        let model = wish.model
        let folder = FileManager.default.temporaryDirectory.path + "/chainserve-tests-\(UUID().uuidString)"
        let (localPaths, withoutFile, profile) = (wish.localPaths, wish.withoutFile, wish.profile)
        let names = cluster.servers.map(\.name)
        let memories = cluster.servers.map(\.memory)
        makeServer = { index, port in
            let path = withoutFile.contains(index) ? nil : localPaths[index] ?? model?.file.path
            return BlockServer(
                configuration: BlockServerConfiguration(
                    name: names[index], port: port, memory: memories[index],
                    modelPath: model == nil ? nil : path, cacheFolder: folder + "/\(index)",
                    engineKind: model == nil ? .emulated : .ggml),
                openLocalModel: { path throws(EngineError) in try LlamaFile(path: path) },
                makeEngine: { manifest, tensors, limits, options throws(EngineError) in
                    if model == nil { return EmulatedEngine(limits: limits, profile: profile) }
                    var options = options
                    options.device = "cpu"
                    return try GGMLEngine(
                        manifest: manifest, source: tensors, limits: limits, options: options)
                }, logger: Self.quietLogger())
        }
        var started: [BlockServer] = []
        var ports: [Int] = []
        for index in names.indices {
            let server = makeServer(index, 0)
            let port = try await server.start()
            if wish.absent.contains(index) { await server.shutdown() }
            started.append(server)
            ports.append(port)
        }
        self.ports = ports
        var proxies: [FaultyProxy] = []
        if wish.hasProxies {
            for port in ports { proxies.append(try await FaultyProxy.start(before: port)) }
        }
        self.proxies = proxies
        servers = Held(started)
        let recomposed = cluster
        var configuration = OrchestratorConfiguration(
            cluster: cluster, plan: plan, sequenceLength: wish.sequenceLength,
            addresses: (proxies.isEmpty ? ports : proxies.map(\.port)).map {
                ServerAddress(host: "127.0.0.1", port: $0)
            },
            threads: names.map { _ in 0 }, modelRoot: "test")
        configuration.control = wish.control
        configuration.control.queueLimit = wish.queueLimit
        configuration.control.recoveryLimit = wish.recoveryLimit
        configuration.recomposition = { present, lost in
            Recomposition.plan(recomposed, present: present, excluding: lost, options: PlanningOptions())
        }
        configuration.startLimit = wish.startLimit
        configuration.stepTimeout = wish.stepTimeout
        configuration.keptStates = wish.keptStates
        let frontend: any ModelFrontend
        let source: RangeSource
        if let model {
            frontend = try LlamaFrontend(model: model, threads: 1)
            source = .file(model)
        } else {
            frontend = EmulatedFrontend(blockCount: cluster.model.blockCount, defaultOutputTokens: 32)
            source = .emulated(cluster.model, width: EmulatedFrontend.width)
        }
        let orchestrator = try Orchestrator(
            configuration: configuration, frontend: frontend, source: source,
            group: MultiThreadedEventLoopGroup.singleton, journal: wish.journal, logger: Self.quietLogger())
        self.orchestrator = orchestrator
        keeping = Task { await orchestrator.run() }
    }

    /// Runs `body` over the pool, checks that nothing is held afterwards, and takes the pool down.
    static func with(_ wish: Wish, _ body: (ServiceFixture) async throws -> Void) async throws {
        let fixture = try await ServiceFixture(wish)
        do {
            try await body(fixture)
            try await eventually("every cache unit is free again") {
                fixture.servers.value.allSatisfy { $0.health.unitsUsed == 0 && $0.health.openJobs == 0 }
            }
            let status = await fixture.orchestrator.status()
            #expect(status.chains.allSatisfy { $0.running == 0 })
            #expect(status.queueLength == 0)
        } catch {
            await fixture.stop()
            throw error
        }
        await fixture.stop()
    }

    /// Ends the orchestrator as a kill would: nothing is finished, nothing is said. Its servers go on.
    func abandonOrchestrator() async {
        keeping.cancel()
        await keeping.value
    }

    private func stop() async {
        keeping.cancel()
        await keeping.value
        orchestrator.closeJournal()
        for server in servers.value { await server.shutdown(drainingFor: .zero) }
        for proxy in proxies { await proxy.stop() }
    }

    /// Ends a server as if its machine had gone.
    func lose(_ index: Int) async { await servers.value[index].shutdown(drainingFor: .zero) }

    /// Starts a lost server again, at its old port.
    func bringBack(_ index: Int) async throws {
        let server = makeServer(index, ports[index])
        _ = try await server.start()
        servers.replace(index, server)
    }

    /// Steps that a server has computed.
    func stepsRun(_ index: Int) -> UInt64 { servers.value[index].health.stepsRun }

    func unitsUsed(_ index: Int) -> Int { servers.value[index].health.unitsUsed }

    /// Submits and reads to the end.
    func generate(_ request: GenerationRequest) async throws -> (
        tokens: [Int32], text: String, end: GenerationEvent?
    ) {
        let stream = try await orchestrator.submit(request)
        var tokens: [Int32] = []
        var text = ""
        var end: GenerationEvent?
        for await event in stream.events {
            switch event {
            case .token(let token):
                tokens.append(token.id)
                text += token.text
            case .finished(let result):
                text += result.trailingText
                end = event
            case .failed: end = event
            case .queued, .started: break
            }
        }
        return (tokens, text, end)
    }

    func request(_ id: String, _ input: GenerationInput, tokens: Int?, temperature: Double = 0)
        -> GenerationRequest
    {
        GenerationRequest(
            requestID: id, model: cluster.model.name, input: input, maximumTokens: tokens,
            sampling: SamplingParameters(temperature: temperature, seed: 7), ignoreEndOfSequence: true)
    }
}

/// A value that tests replace from several tasks.
final class Held<Value: Sendable>: Sendable {
    private let box: Mutex<Value>
    init(_ value: Value) { box = Mutex(value) }
    var value: Value { box.withLock { $0 } }
    func set(_ value: Value) { box.withLock { $0 = value } }
}

extension Held where Value == [BlockServer] {
    func replace(_ index: Int, _ server: BlockServer) { box.withLock { $0[index] = server } }
}

/// Waits until `condition` holds; an issue is recorded when it does not within ten seconds.
func eventually(_ what: Comment, _ condition: () async throws -> Bool) async throws {
    let deadline = ContinuousClock.now + .seconds(10)
    while ContinuousClock.now < deadline {
        if try await condition() { return }
        try await Task.sleep(for: .milliseconds(5))
    }
    Issue.record("\(what): not within ten seconds")
}
