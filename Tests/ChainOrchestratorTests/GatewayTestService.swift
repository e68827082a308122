import Logging
import NIOCore
import NIOPosix
import Synchronization

@testable import ChainOrchestrator

/// A generation service that does what a test tells it to.
final class ScriptedService: GenerationService {
    /// Where a job's events go. With the last one the job is over: who lets go of the stream then gives up nothing.
    struct Feed: Sendable {
        let events: GenerationFeed
        let onLast: @Sendable () -> Void

        func yield(_ event: GenerationEvent) {
            switch event {
            case .finished, .failed: onLast()
            case .queued, .started, .token: break
            }
            events.yield(event)
        }

        func finish() { events.finish() }
    }

    /// Feeds the events of one request; the stream is finished for it when it returns.
    typealias Script = @Sendable (GenerationRequest, Feed) async -> Void

    private struct State {
        var submitted: [GenerationRequest] = []
        var cancelled: [String] = []
        var open: [String: Feed] = [:]
        var readiness = Readiness.ready
        var refusal: GenerationRefusal?
        var refusals: [GenerationRefusal?] = []
        var losses = 0

        mutating func nextRefusal() -> GenerationRefusal? {
            refusals.isEmpty ? refusal : refusals.removeFirst()
        }
    }

    let modelCard: ModelCard
    private let script: Script
    private let promptTokens: Int
    /// Called on the thread that submits, before anything else.
    private let onSubmission: @Sendable (GenerationRequest) -> Void
    private let state = Mutex(State())

    convenience init(
        isEmulated: Bool = false, promptTokens: Int = 7, script: @escaping Script = ScriptedService.echo
    ) {
        self.init(isEmulated: isEmulated, promptTokens: promptTokens, script: script, onSubmission: { _ in })
    }

    init(
        isEmulated: Bool = false, promptTokens: Int = 7, script: @escaping Script = ScriptedService.echo,
        onSubmission: @escaping @Sendable (GenerationRequest) -> Void
    ) {
        self.onSubmission = onSubmission
        modelCard = ModelCard(
            id: "test/model", created: 1_700_000_000, root: "model.gguf", maximumModelLength: 128,
            isEmulated: isEmulated)
        self.promptTokens = promptTokens
        self.script = script
    }

    // MARK: For tests

    var submitted: [GenerationRequest] { state.withLock { $0.submitted } }
    var cancelled: [String] { state.withLock { $0.cancelled } }

    func set(_ readiness: Readiness) { state.withLock { $0.readiness = readiness } }
    func refuse(_ refusal: GenerationRefusal?) { state.withLock { $0.refusal = refusal } }

    /// Its first server was lost, and is back.
    func loseServerForAMoment() { state.withLock { $0.losses += 1 } }

    /// What the next submissions meet, in turn; `nil` accepts.
    func refuseNext(_ refusals: [GenerationRefusal?]) { state.withLock { $0.refusals = refusals } }

    /// Waits, for 20 seconds at most, until the jobs with these identifiers have been given up.
    func waitForCancellation(of ids: Set<String>) async throws -> Bool {
        for _ in 0..<2000 {
            if ids.isSubset(of: cancelled) { return true }
            try await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    /// Answers with these tokens at once.
    static func tokens(
        _ texts: [String], reason: FinishReason = .stop, chain: String = "a > b"
    ) -> Script {
        { _, feed in
            feed.yield(.started(chain: chain, attempt: 1))
            for (index, text) in texts.enumerated() {
                feed.yield(.token(GeneratedToken(id: Int32(index), text: text)))
            }
            feed.yield(
                .finished(
                    GenerationResult(
                        reason: reason, promptTokens: 7, completionTokens: texts.count, chain: chain)))
        }
    }

    static let echo: Script = tokens(["Hello", " world"])

    /// One token, then nothing until given up.
    static let hanging: Script = { _, feed in
        feed.yield(.started(chain: "a", attempt: 1))
        feed.yield(.token(GeneratedToken(id: 1, text: "x")))
        try? await Task.sleep(for: .seconds(60))
    }

    /// In the queue until given up.
    static let waiting: Script = { _, feed in
        feed.yield(.queued(position: 1))
        try? await Task.sleep(for: .seconds(60))
    }

    // MARK: GenerationService

    func readiness() async -> Readiness { state.withLock { $0.readiness } }

    private func accept(_ request: GenerationRequest) throws(GenerationRefusal) -> GenerationStream {
        if let refusal = state.withLock({ $0.nextRefusal() }) { throw refusal }
        let id = request.requestID
        let (stream, events) = GenerationStream.makeStream(promptTokens: promptTokens) { [weak self] in
            _ = self?.end(id)
        }
        let feed = Feed(events: events) { [weak self] in
            self?.state.withLock { _ = $0.open.removeValue(forKey: id) }
        }
        state.withLock {
            $0.submitted.append(request)
            $0.open[id] = feed
        }
        Task {
            await script(request, feed)
            state.withLock { _ = $0.open.removeValue(forKey: id) }
            feed.finish()
        }
        return stream
    }

    func submit(
        _ request: GenerationRequest,
        done: @escaping @Sendable (Result<GenerationStream, GenerationRefusal>) -> Void
    ) {
        onSubmission(request)
        Task {
            done(Result { () throws(GenerationRefusal) in try accept(request) })
        }
    }

    func cancel(requestID: String) async -> Bool { end(requestID) }

    private func end(_ id: String) -> Bool {
        let feed = state.withLock { state in
            let feed = state.open.removeValue(forKey: id)
            if feed != nil { state.cancelled.append(id) }
            return feed
        }
        feed?.yield(.failed(.cancelled))
        feed?.finish()
        return feed != nil
    }

    func tokenize(_ text: String, addSpecial: Bool) throws -> [Int32] {
        (addSpecial ? [1] : []) + text.unicodeScalars.map { Int32($0.value) }
    }

    func tokenize(_ messages: [ChatMessage]) throws -> [Int32] { messages.map { Int32($0.content.count) } }

    func detokenize(_ tokens: [Int32]) throws -> String {
        if let bad = tokens.first(where: { $0 > 0x10FFFF }) {
            throw GenerationRefusal.invalid(
                message: "token \(bad) is not in the vocabulary", parameter: "tokens", code: "invalid_value")
        }
        return String(tokens.compactMap { UnicodeScalar(UInt32($0)).map { Character($0) } })
    }

    func status() async -> PoolStatus {
        var first = PoolStatus.Server(
            name: "a", address: "127.0.0.1:7001", pid: 42, state: .ready, firstBlock: 1, blockCount: 10,
            slotsUsed: 3, slotsTotal: 40)
        first.losses = state.withLock { $0.losses }
        return PoolStatus(
            model: modelCard.id, engine: "scripted", emulated: modelCard.isEmulated,
            servers: [
                first,
                PoolStatus.Server(
                    name: "b", address: "10.0.0.2:7001", state: .lost, firstBlock: 11, blockCount: 20,
                    slotsUsed: 0, slotsTotal: 40),
            ],
            chains: [PoolStatus.Chain(servers: ["a", "b"], blocks: [10, 20], capacity: 4, running: 1)],
            queueLength: 2)
    }
}

/// Serves on a free port while `body` runs, then stops and waits for it.
func withGateway(
    _ service: ScriptedService, _ configuration: GatewayConfiguration = GatewayConfiguration(port: 0),
    eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
    _ body: (_ port: Int) async throws -> Void
) async throws {
    let gateway = Gateway(
        service: service, configuration: configuration,
        logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, eventLoops: eventLoops,
        now: { 1_800_000_000 })
    let (ports, continuation) = AsyncStream.makeStream(of: Int.self)
    try await withThrowingTaskGroup(of: Void.self) { group in
        group.addTask {
            defer { continuation.finish() }
            try await gateway.run(onReady: { continuation.yield($0) })
        }
        for await port in ports {
            do {
                try await body(port)
            } catch {
                group.cancelAll()
                throw error
            }
            group.cancelAll()
            break
        }
        try await group.waitForAll()
    }
}

func configured(_ change: (inout GatewayConfiguration) -> Void) -> GatewayConfiguration {
    var configuration = GatewayConfiguration(port: 0)
    change(&configuration)
    return configuration
}

/// A chat request's body, with more fields put in.
func chatBody(_ more: String = "", stream: Bool = false) -> String {
    #"{"model":"test/model","messages":[{"role":"user","content":"Hi"}]"#
        + (stream ? #","stream":true"# : "") + (more.isEmpty ? "" : "," + more) + "}"
}
