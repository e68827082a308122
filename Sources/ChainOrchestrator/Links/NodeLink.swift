import ChainEngine
import ChainModel
import ChainSecurity
import ChainWire
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// The orchestrator's connection to one block server.
///
/// Calls may be made from any task, many at once. They throw `LinkError`, or `CancellationError` at once
/// when their task is cancelled. When the connection closes, every waiting call fails that moment. A link
/// that is let go closes. The event loop group must outlive it.
package final class NodeLink: Sendable {
    package let address: String
    package let name: String
    /// Memory the server declares for ChainServe.
    package let memory: ByteCount
    /// The server's engine does not compute the model. To be shown wherever the server is named.
    package let isEmulated: Bool
    package let processID: Int32
    /// Most tokens in one step that the server accepts.
    package let stepTokens: Int
    /// What happens unasked; ends with `.closed`. For one reader.
    package let events: AsyncStream<LinkEvent>

    /// Runs tasks where the link's messages come and go.
    let executor: EventLoopExecutor
    private let channel: any Channel
    private let handler: NIOLoopBound<LinkHandler>
    private let status: LinkStatus
    private let nextIdentifier = Atomic<UInt64>(1)

    private init(
        address: String, reply: HelloReply, channel: any Channel, handler: NIOLoopBound<LinkHandler>,
        status: LinkStatus, events: AsyncStream<LinkEvent>
    ) {
        self.address = address
        name = reply.name
        memory = reply.memory
        isEmulated = reply.isEmulated
        processID = reply.processID
        stepTokens = reply.stepTokens
        self.channel = channel
        executor = EventLoopExecutor(channel.eventLoop)
        self.handler = handler
        self.status = status
        self.events = events
    }

    deinit { channel.close(promise: nil) }

    /// Why the link is closed; `nil` while it is not.
    package var closed: LinkError? { status.closed }
    /// The server finishes its jobs and takes no new ones.
    package var isDraining: Bool { status.isDraining }
    /// As of the last heartbeat.
    package var latestHealth: NodeHealth? { status.latestHealth }

    // MARK: Connecting

    private struct Connection: Sendable {
        var channel: any Channel
        var handler: NIOLoopBound<LinkHandler>
        var status: LinkStatus
        var introduction: EventLoopFuture<HelloReply>
        var events: AsyncStream<LinkEvent>
    }

    /// Connects and is introduced.
    /// - Parameters:
    ///   - name: the orchestrator's, for the server's log.
    ///   - protection: how both make sure of each other.
    /// - Throws: `LinkError.unreachable`, `.versionMismatch`, `.refused` when another orchestrator holds the
    ///   server, `.timedOut`, `.malformed` when something else answers there.
    package static func connect(
        host: String, port: Int, name: String = "orchestrator", on group: any EventLoopGroup,
        timeouts: LinkTimeouts = LinkTimeouts(), protection: LinkProtection = .none, logger: Logger
    ) async throws -> NodeLink {
        let connection: Connection
        do {
            connection = try await ClientBootstrap(group: group)
                .connectTimeout(.nanoseconds(timeouts.connect.nanoseconds))
                .channelOption(.tcpOption(.tcp_nodelay), value: 1)
                .channelOption(.writeBufferWaterMark, value: WireChannel.writeBufferWaterMark)
                .channelOption(.recvAllocator, value: WireChannel.receiveAllocator)
                .connect(host: host, port: port) { channel in
                    channel.eventLoop.makeCompletedFuture {
                        // More than one channel may be tried, where a name has several addresses.
                        let introduction = channel.eventLoop.makePromise(of: HelloReply.self)
                        let (events, continuation) = AsyncStream.makeStream(of: LinkEvent.self)
                        let handler = LinkHandler(
                            name: name, timeouts: timeouts, logger: logger, introduction: introduction,
                            events: continuation)
                        channel.closeFuture.assumeIsolated().whenComplete { _ in
                            handler.close(with: .unreachable("the connection failed"))
                        }
                        try protection.install(on: channel, host: host)
                        try channel.pipeline.syncOperations.addHandlers([FrameChannelHandler(), handler])
                        return Connection(
                            channel: channel, handler: NIOLoopBound(handler, eventLoop: channel.eventLoop),
                            status: handler.status, introduction: introduction.futureResult, events: events)
                    }
                }
        } catch {
            throw LinkError.unreachable(connectionProblem(error))
        }
        do {
            let reply = try await connection.introduction.get()
            return NodeLink(
                address: "\(host):\(port)", reply: reply, channel: connection.channel,
                handler: connection.handler,
                status: connection.status, events: connection.events)
        } catch {
            connection.channel.close(promise: nil)
            throw error
        }
    }

    /// Says goodbye and closes; returns when closed.
    package func shutdown() async {
        let handler = handler
        channel.eventLoop.execute {
            handler.value.send(.goodbye(Goodbye(.shuttingDown, "the orchestrator leaves")))
            handler.value.close(with: .closed("the orchestrator closed the link"))
        }
        try? await channel.closeFuture.get()
    }

    /// Returns when the link is closed, with the reason.
    package func waitUntilClosed() async -> LinkError {
        try? await channel.closeFuture.get()
        return closed ?? .closed("the connection ended")
    }

    // MARK: Loading

    /// Tells the server its blocks, sends it what it lacks of them, and waits until it hosts them.
    ///
    /// Answered at once when the server hosts exactly this already. A load that is cancelled or makes no
    /// progress ends the link; what the server received it keeps, and the next load goes on from there.
    /// - Parameter progress: called on the event loop; must not block.
    /// - Throws: `LinkError.refused` with the exact figures when the declared memory is too small;
    ///   `.wrongModel`.
    package func load(
        _ assignment: LoadAssignment, rangeSource: any TensorSource & Sendable,
        progress: @escaping @Sendable (LoadProgress) -> Void = { _ in }
    ) async throws -> LoadReport {
        try assignment.manifest.validate()
        let json = try assignment.manifest.encoded()
        guard json.count <= WireLimits().maximumManifestSize else {
            throw LinkError.refused(
                .badManifest, "the manifest of \(json.count) bytes is too long to be sent")
        }
        let request = LoadRequest(
            load: makeIdentifier(), unitCount: assignment.unitCount,
            sequenceLength: assignment.sequenceLength,
            stepTokens: assignment.stepTokens, computeSize: assignment.computeSize,
            threads: assignment.threads ?? 0, manifest: ByteBuffer(bytes: json))
        let reader = RangeReader(manifest: assignment.manifest, source: rangeSource)
        let report: LoadedReport = try await call { handler, continuation in
            handler.load(request, reader: reader, progress: progress, continuation)
        } cancel: {
            $0.cancelLoad()
        }
        let limits = EngineLimits(
            range: BlockRange(first: report.firstBlock, count: report.blockCount), width: report.width,
            unitCount: report.unitCount, sequenceLength: report.sequenceLength, stepTokens: report.stepTokens)
        return LoadReport(
            limits: limits, memoryUsed: report.memoryUsed, isEmulated: report.isEmulated,
            wasLoaded: report.wasLoaded, checksum: report.checksum)
    }

    // MARK: Jobs

    /// Reserves cache units for a job that computes `blockCount` blocks from `firstBlock` to the end of the
    /// range. When it throws for want of time or because it was cancelled, the job is closed again.
    /// - Returns: cache units left free.
    @discardableResult
    package func open(job: EngineJobID, firstBlock: Int, blockCount: Int) async throws -> Int {
        try await call { handler, continuation in
            handler.open(job: job.rawValue, firstBlock: firstBlock, blockCount: blockCount, continuation)
        } cancel: {
            $0.cancelOpen(job: job.rawValue)
        }
    }

    /// As `open`, but does not wait: should the server refuse, the job's step fails with that. A step may follow at once,
    /// which saves a round trip.
    package func openAhead(job: EngineJobID, firstBlock: Int, blockCount: Int) {
        tell { $0.openAhead(job: job.rawValue, firstBlock: firstBlock, blockCount: blockCount) }
    }

    /// Carries `tokenCount` hidden states through the job's blocks. One step of a job at a time.
    /// - Parameter hidden: row-major `[tokenCount][width]`.
    /// - Returns: the same shape, or `[1][width]`, the last token's, from a server that hosts the model's last block;
    ///   every value finite.
    package nonisolated(nonsending) func step(
        job: EngineJobID, position: Int, tokenCount: Int, hidden: [Float]
    ) async throws -> [Float] {
        guard tokenCount > 0 else { throw LinkError.refused(.wrongShape, "a step needs a token") }
        let step = makeIdentifier()
        let transfer = StepTransfer(
            .step, job: job.rawValue, step: step, position: position, tokenCount: tokenCount,
            hidden: HiddenStates.bytes(of: hidden, allocator: channel.allocator))
        let result: [Float] = try await call { handler, continuation in
            handler.step(transfer, continuation)
        } cancel: {
            $0.cancelStep(step)
        }
        guard result.allFinite else {
            throw LinkError.notFinite("the result of job \(job.rawValue)'s step is not finite")
        }
        return result
    }

    /// Frees the job's units. Does not wait; closing an unknown job does nothing.
    package func close(job: EngineJobID) { tell { $0.closeJob(job.rawValue) } }

    package func ping() async throws -> NodeHealth {
        let id = makeIdentifier()
        return try await call { handler, continuation in
            handler.ping(id: id, continuation)
        } cancel: {
            $0.cancelPing(id: id)
        }
    }

    /// Asks for a sign of life; it comes as `LinkEvent.heard`.
    package func beat() { tell { $0.send(.ping(id: 0)) } }

    /// Tells the server to stop and start again; the link closes with it.
    package func restart() {
        tell { $0.send(.goodbye(Goodbye(.restart, "the orchestrator restarts its servers"))) }
    }

    // MARK: Calls

    private func makeIdentifier() -> UInt64 { nextIdentifier.add(1, ordering: .relaxed).newValue }

    /// Has something done on the event loop: at once by whoever is there.
    private func tell(_ action: @escaping @Sendable (LinkHandler) -> Void) {
        let handler = handler
        if channel.eventLoop.inEventLoop { return action(handler.value) }
        channel.eventLoop.execute { action(handler.value) }
    }

    /// Starts a call on the event loop and waits for it. A cancellation that overtakes the start is seen
    /// there.
    private nonisolated(nonsending) func call<Value: Sendable>(
        _ start: @escaping @Sendable (LinkHandler, CheckedContinuation<Value, any Error>) -> Void,
        cancel: @escaping @Sendable (LinkHandler) -> Void
    ) async throws -> Value {
        let handler = handler
        let eventLoop = channel.eventLoop
        let cancellation = Cancellation()
        return try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                tell { handler in
                    guard !cancellation.isRequested.load(ordering: .acquiring) else {
                        continuation.resume(throwing: CancellationError())
                        return
                    }
                    start(handler, continuation)
                }
            }
        } onCancel: {
            cancellation.isRequested.store(true, ordering: .releasing)
            // Never at once: a call that was cancelled before is only about to start.
            eventLoop.execute { cancel(handler.value) }
        }
    }

    private final class Cancellation: Sendable {
        let isRequested = Atomic<Bool>(false)
    }
}

/// Why no connection could be made, in a person's words.
private func connectionProblem(_ error: any Error) -> String {
    switch error {
    case let error as NIOConnectionError:
        guard let cause = error.connectionErrors.first?.error else {
            return "the name \(error.host) is unknown"
        }
        return connectionProblem(cause)
    case let error as IOError: return String(cString: strerror(error.errnoCode))
    case ChannelError.connectTimeout: return "no answer in time"
    default: return "\(error)"
    }
}
