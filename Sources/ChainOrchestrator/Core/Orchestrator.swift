import ChainDispatch
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
    let frontend: any ModelFrontend
    let conductor: Conductor
    let journal: Journal?
    private let tickets = Atomic<UInt64>(0)
    private let statesBudget: KeptStatesBudget
    /// What earlier runs left unfinished and nobody has come back for yet, by request identifier.
    let unfinished: Mutex<[String: JournalRequest]>

    /// - Parameters:
    ///   - journal: where requests and events are kept; none are without it.
    ///   - progress: told what each server does while it is made ready.
    /// - Throws: `EngineError` when the model does not suit the plan; `JournalError`.
    package init(
        configuration: OrchestratorConfiguration, frontend: any ModelFrontend, source: RangeSource,
        group: any EventLoopGroup, journal: JournalConfiguration? = nil, logger: Logger,
        progress: @escaping @Sendable (ServerIndex, String) -> Void = { _, _ in }
    ) throws {
        self.configuration = configuration
        self.frontend = frontend
        statesBudget = KeptStatesBudget(configuration.keptStates)
        let cluster = configuration.cluster
        modelCard = ModelCard(
            id: cluster.model.name, created: Int(Date().timeIntervalSince1970), root: configuration.modelRoot,
            maximumModelLength: configuration.sequenceLength, isEmulated: frontend.isEmulated)
        let assignments = try configuration.assignments(of: configuration.plan, source: source)
        let opened = try journal.map { journal in
            try Journal(
                journal,
                run: JournalRun(
                    configuration: configuration.control, servers: cluster.servers.map(\.name),
                    model: cluster.model.name), logger: logger)
        }
        self.journal = opened
        var left: [String: JournalRequest] = [:]
        // The latest of an identifier comes first.
        for request in try opened?.unfinished() ?? [] where left[request.requestID] == nil {
            left[request.requestID] = request
        }
        unfinished = Mutex(left)
        conductor = Conductor(
            configuration: configuration,
            control: ControlPlane(
                configuration: configuration.control, serverCount: cluster.servers.count),
            assignments: assignments, frontend: frontend, source: source, group: group, journal: opened,
            logger: logger, progress: progress)
    }

    // MARK: - Life

    /// Keeps the servers until the task is cancelled.
    package func run() async {
        await conductor.begin()
        let window = journal?.configuration.resumeWindow ?? .zero
        try? await Task.sleep(for: .nanoseconds(window.nanoseconds))
        if !Task.isCancelled { interruptUnfinished() }
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
        await conductor.close()
    }

    /// Notes that nobody came back for what an earlier run left unfinished.
    private func interruptUnfinished() {
        let left = unfinished.withLock { unfinished in
            defer { unfinished = [:] }
            return unfinished
        }
        for request in left.values.sorted(by: { $0.requestID < $1.requestID }) {
            journal?.add(.interrupted(request.key))
        }
    }

    /// Writes the rest of the journal and closes it. After this nothing may be submitted.
    package func closeJournal() { journal?.close() }

    /// Waits until every server of the plan is ready.
    /// - Throws: `StartError` when one cannot be: at once when trying again will not help, else after
    ///   `startLimit` without a connection.
    package func waitUntilReady() async throws {
        let deadline = ContinuousClock.now + .seconds(configuration.startLimit.seconds)
        while true {
            let records = await conductor.serverShells()
            var waiting: [(name: String, address: ServerAddress, record: ServerShell)] = []
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

    /// Takes no more requests; returns when those accepted have ended, or failed because they did not end in time.
    package func drain(within limit: ChainModel.Duration? = nil) async {
        await conductor.drain(within: limit)
    }

    /// Gives up all requests.
    package func cancelAll() async { await conductor.cancelAll() }

    // MARK: - GenerationService

    package func readiness() async -> Readiness { await conductor.readiness() }

    package func submit(
        _ request: GenerationRequest,
        done: @escaping @Sendable (Result<GenerationStream, GenerationRefusal>) -> Void
    ) {
        // Whoever uses an identifier again has given up what was cut off under it.
        if let left = unfinished.withLock({ $0.removeValue(forKey: request.requestID) }) {
            journal?.add(.interrupted(left.key))
        }
        submit(request, resumes: nil, done: done)
    }

    /// - Parameter done: called once, at once when there is nothing to be waited for.
    func submit(
        _ request: GenerationRequest, resumes: JournalKey?,
        done: @escaping @Sendable (Result<GenerationStream, GenerationRefusal>) -> Void
    ) {
        do throws(GenerationRefusal) {
            let (stream, position) = try accept(request, resumes: resumes)
            guard let journal, let position, !journal.isKept(position) else {
                return done(.success(stream))
            }
            Task {
                guard let problem = await journal.waitUntilKept(position) else {
                    return done(.success(stream))
                }
                stream.cancel()
                done(.failure(.unavailable(retryAfter: 5, reason: problem.reasonWord)))
            }
        } catch {
            done(.failure(error))
        }
    }

    /// Takes a request in, or refuses it.
    /// - Returns: its place in the journal, too; the client may be told once that is kept.
    private func accept(
        _ request: GenerationRequest, resumes: JournalKey?
    ) throws(GenerationRefusal) -> (GenerationStream, UInt64?) {
        guard request.model == modelCard.id else { throw .unknownModel(request.model) }
        let holder = Conductor.holder(of: request)
        if resumes == nil, conductor.isCrowded.load(ordering: .relaxed) {
            try conductor.now { conductor throws(GenerationRefusal) in
                try conductor.turnAway(request, holder)
            }
        }
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
        let seed = request.sampling.seed ?? UInt64(UInt32.random(in: 0...(.max)))
        let ticket = tickets.add(1, ordering: .relaxed).newValue
        let (stream, feed) = GenerationStream.makeStream(promptTokens: prompt.count) { [conductor] in
            Task { await conductor.cancel(ticket: ticket) }
        }
        let job = GenerationJob(
            prompt: prompt, tokenLimit: min(wanted, room),
            clampedFrom: request.maximumTokens.flatMap { $0 > room ? $0 : nil }, request: request,
            seed: UInt32(truncatingIfNeeded: seed ^ (seed >> 32)), frontend: frontend,
            statesBudget: statesBudget, feed: feed)
        let submission = Conductor.Submission(
            request: request, job: job, feed: feed, ticket: ticket, seed: seed,
            promptTokens: prompt.count, holder: holder, resumes: resumes)
        let position = try conductor.now { conductor throws(GenerationRefusal) in
            try conductor.submit(submission)
        }
        return (stream, position)
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

    package func status() async -> PoolStatus { await status(askingServers: true) }
    package func glance() async -> PoolStatus { await status(askingServers: false) }

    private func status(askingServers: Bool) async -> PoolStatus {
        let records = await conductor.serverShells()
        let plan = await conductor.planInForce().plan
        let cluster = configuration.cluster
        var servers: [PoolStatus.Server] = []
        for (index, record) in records.enumerated() {
            let range = plan.placement[ServerIndex(index)]
            let health = askingServers ? try? await record.link?.ping() : record.link?.latestHealth
            var server = PoolStatus.Server(
                name: cluster.servers[index].name, address: configuration.addresses[index].description,
                pid: record.link.flatMap(localProcess), state: record.state, firstBlock: range?.first ?? 0,
                blockCount: range?.count ?? 0, slotsUsed: health?.unitsUsed ?? 0,
                slotsTotal: range.map { cluster.cacheSlots(of: ServerIndex(index), hosting: $0.count) } ?? 0)
            server.losses = record.losses
            servers.append(server)
        }
        var chains: [PoolStatus.Chain] = []
        for (index, chain) in plan.chains.enumerated() {
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
