import ChainEngine
import ChainModel
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// Serves a plan: keeps the block servers, takes requests in, and answers through the chains.
package final class Orchestrator: GenerationService {
    package let modelCard: ModelCard
    package let configuration: OrchestratorConfiguration
    private let frontend: any ModelFrontend
    private let conductor: Conductor
    private let keepers: [ServerKeeper]
    private let tickets = Atomic<UInt64>(0)

    /// - Parameter progress: told what each server does while it is made ready.
    package init(
        configuration: OrchestratorConfiguration, frontend: any ModelFrontend, source: RangeSource,
        group: any EventLoopGroup, logger: Logger,
        progress: @escaping @Sendable (ServerIndex, String) -> Void = { _, _ in }
    ) throws(EngineError) {
        self.configuration = configuration
        self.frontend = frontend
        let cluster = configuration.cluster
        modelCard = ModelCard(
            id: cluster.model.name, created: Int(Date().timeIntervalSince1970), root: configuration.modelRoot,
            maximumModelLength: configuration.sequenceLength, isEmulated: frontend.isEmulated)
        let conductor = Conductor(configuration: configuration, frontend: frontend, logger: logger)
        self.conductor = conductor
        var keepers: [ServerKeeper] = []
        for (index, server) in cluster.servers.enumerated() {
            let position = ServerIndex(index)
            var assignment: LoadAssignment?
            if let range = configuration.plan.placement[position] {
                assignment = LoadAssignment(
                    manifest: try source.manifest(modelName: cluster.model.name, range: range),
                    unitCount: cluster.cacheSlots(of: position, hosting: range.count),
                    sequenceLength: configuration.sequenceLength, stepTokens: EngineMemory.stepTokens,
                    computeSize: cluster.model.computeSize,
                    threads: configuration.threads[index] > 0 ? configuration.threads[index] : nil)
            }
            keepers.append(
                ServerKeeper(
                    server: position, name: server.name, address: configuration.addresses[index],
                    assignment: assignment, source: source, configuration: configuration,
                    conductor: conductor,
                    group: group, logger: logger, progress: progress))
        }
        self.keepers = keepers
    }

    // MARK: - Life

    /// Keeps the servers until the task is cancelled.
    package func run() async {
        await withTaskGroup(of: Void.self) { group in
            for keeper in keepers { group.addTask { await keeper.run() } }
            await group.waitForAll()
        }
    }

    /// Waits until every server of the plan is ready.
    /// - Throws: `StartError` when one cannot be: at once when trying again will not help, else after
    ///   `startLimit` without a connection.
    package func waitUntilReady() async throws {
        let deadline = ContinuousClock.now + .seconds(configuration.startLimit.seconds)
        while true {
            let records = await conductor.serverRecords()
            var waiting: [(name: String, address: ServerAddress, record: Conductor.ServerRecord)] = []
            for (index, record) in records.enumerated() where record.state != .ready {
                guard configuration.plan.placement[ServerIndex(index)] != nil else { continue }
                waiting.append(
                    (configuration.cluster.servers[index].name, configuration.addresses[index], record))
            }
            if waiting.isEmpty { return }
            if let hopeless = waiting.first(where: \.record.isHopeless) {
                throw StartError.refused(server: hopeless.name, reason: hopeless.record.lastError ?? "")
            }
            // One that answered with an error first: the others may merely be slow.
            let stuck = waiting.filter { $0.record.state != .loading }
            if ContinuousClock.now > deadline,
                let first = stuck.first(where: { $0.record.lastError != nil }) ?? stuck.first
            {
                throw StartError.unreachable(
                    server: first.name, address: first.address, reason: first.record.lastError ?? "no answer")
            }
            try await Task.sleep(for: .milliseconds(20))
        }
    }

    /// Takes no more requests; returns when those accepted have ended.
    package func drain() async { await conductor.drain() }

    /// Gives up all requests.
    package func cancelAll() async { await conductor.cancelAll() }

    // MARK: - GenerationService

    package func readiness() async -> Readiness { await conductor.readiness() }

    package func submit(_ request: GenerationRequest) async throws(GenerationRefusal) -> GenerationStream {
        guard request.model == modelCard.id else { throw .unknownModel(request.model) }
        let prompt = try tokens(of: request.input)
        guard !prompt.isEmpty else {
            throw .invalid(
                message: "the prompt is empty; give at least one token", parameter: "prompt", code: nil)
        }
        let room = configuration.sequenceLength - prompt.count
        guard room >= 1 else {
            throw .promptTooLong(tokens: prompt.count, limit: configuration.sequenceLength)
        }
        let wanted = request.maximumTokens ?? frontend.defaultOutputTokens ?? room
        let seed =
            request.sampling.seed.map { UInt32(truncatingIfNeeded: $0 ^ ($0 >> 32)) }
            ?? UInt32.random(in: 0...(.max))
        let ticket = tickets.add(1, ordering: .relaxed).newValue
        let (stream, events) = GenerationStream.makeStream(promptTokens: prompt.count) { [conductor] in
            Task { await conductor.cancel(ticket: ticket) }
        }
        let job = GenerationJob(
            prompt: prompt, tokenLimit: min(wanted, room),
            clampedFrom: request.maximumTokens.flatMap { $0 > room ? $0 : nil }, request: request, seed: seed,
            frontend: frontend, events: events)
        try await conductor.submit(job, requestID: request.requestID, ticket: ticket, events: events)
        return stream
    }

    private func tokens(of input: GenerationInput) throws(GenerationRefusal) -> [Int32] {
        switch input {
        case .text(let text): return frontend.tokenize(text, addSpecial: true)
        case .tokens(let tokens):
            if let bad = tokens.first(where: { $0 < 0 || Int($0) >= frontend.vocabularySize }) {
                throw .invalid(
                    message: "token \(bad) is not in the vocabulary of \(frontend.vocabularySize) tokens",
                    parameter: "prompt", code: nil)
            }
            return tokens
        case .chat(let messages):
            guard let tokens = frontend.tokenize(messages) else {
                throw .invalid(
                    message: "this model has no chat template that is known; use /v1/completions",
                    parameter: "messages", code: "chat_template_missing")
            }
            return tokens
        }
    }

    package func cancel(requestID: String) async -> Bool { await conductor.cancel(requestID: requestID) }

    package func tokenize(_ text: String, addSpecial: Bool) throws -> [Int32] {
        frontend.tokenize(text, addSpecial: addSpecial)
    }

    package func tokenize(_ messages: [ChatMessage]) throws -> [Int32] { try tokens(of: .chat(messages)) }

    package func detokenize(_ tokens: [Int32]) throws -> String {
        _ = try self.tokens(of: .tokens(tokens))
        return String(decoding: tokens.flatMap(frontend.bytes(of:)), as: UTF8.self)
    }

    package func status() async -> PoolStatus {
        let records = await conductor.serverRecords()
        let cluster = configuration.cluster
        var servers: [PoolStatus.Server] = []
        for (index, record) in records.enumerated() {
            let range = configuration.plan.placement[ServerIndex(index)]
            let health = try? await record.link?.ping()
            servers.append(
                PoolStatus.Server(
                    name: cluster.servers[index].name, address: configuration.addresses[index].description,
                    pid: record.link.flatMap(localProcess), state: record.state,
                    firstBlock: range?.first ?? 0,
                    blockCount: range?.count ?? 0, slotsUsed: health?.unitsUsed ?? 0,
                    slotsTotal: range.map { cluster.cacheSlots(of: ServerIndex(index), hosting: $0.count) }
                        ?? 0))
        }
        var chains: [PoolStatus.Chain] = []
        for (index, chain) in configuration.plan.chains.enumerated() {
            chains.append(
                PoolStatus.Chain(
                    servers: chain.hops.map { cluster.servers[$0.server.rawValue].name },
                    blocks: chain.hops.map(\.blockCount), capacity: chain.capacity,
                    running: await conductor.running(on: ChainIndex(index))))
        }
        return PoolStatus(
            model: modelCard.id, engine: frontend.isEmulated ? "emulated" : configuration.engineName,
            emulated: frontend.isEmulated,
            servers: servers, chains: chains, queueLength: await conductor.queueLength)
    }

    /// The server's process, when it runs on this machine: when its address is a loopback address.
    private func localProcess(_ link: NodeLink) -> Int? {
        let isLocal = ["127.", "localhost:", "[::1]", "::1"].contains { link.address.hasPrefix($0) }
        return isLocal ? Int(link.processID) : nil
    }
}

/// Why a pool could not be put in service.
package enum StartError: Error, Hashable, Sendable, CustomStringConvertible {
    case refused(server: String, reason: String)
    case unreachable(server: String, address: ServerAddress, reason: String)

    package var description: String {
        switch self {
        case .refused(let server, let reason): "server \(server) cannot host its blocks: \(reason)"
        case .unreachable(let server, let address, let reason):
            "server \(server) cannot be reached at \(address) (\(reason)); start it there with"
                + " `chainserve node --listen \(address)`, or correct its address in the cluster file"
        }
    }
}
