import ChainModel
import ChainSecurity
import ChainWire
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization

/// One block server: hosts the blocks that its orchestrator tells it, carries hidden states through them.
///
/// Network on one event loop, the engine on one thread of its own, unless it never blocks. A server starts once and stops
/// once.
public final class BlockServer: Sendable {
    public let configuration: BlockServerConfiguration

    private let openLocalModel: LocalModelOpener
    private let makeEngine: EngineFactory
    private let logger: Logger
    private let givenGroup: (any EventLoopGroup)?
    private let board = HealthBoard()
    private let state = Mutex(State.created)
    private let stopped = Latch()
    private let restart = Latch()

    private enum State {
        case created
        case starting
        case running(Running)
        case stopping
        case failed

        var isStopping: Bool { if case .stopping = self { true } else { false } }
    }

    private struct Running: Sendable {
        var listener: any Channel
        var eventLoop: any EventLoop
        var ownGroup: MultiThreadedEventLoopGroup?
        var seat: NIOLoopBoundBox<OrchestratorSeat>
        var queue: ComputeQueue
        var computeEnded: EventLoopFuture<Void>
    }

    /// - Parameters:
    ///   - openLocalModel: opens `configuration.modelPath`, when there is one.
    ///   - makeEngine: makes the engine of the kind that `configuration` names.
    ///   - eventLoopGroup: one of its loops is used; without it the server has a loop of its own.
    public init(
        configuration: BlockServerConfiguration, openLocalModel: @escaping LocalModelOpener,
        makeEngine: @escaping EngineFactory, logger: Logger, eventLoopGroup: (any EventLoopGroup)? = nil
    ) {
        self.configuration = configuration
        self.openLocalModel = openLocalModel
        self.makeEngine = makeEngine
        var logger = logger
        logger[metadataKey: "server"] = "\(configuration.name)"
        self.logger = logger
        givenGroup = eventLoopGroup
    }

    /// What `ping` tells an orchestrator.
    package var health: NodeHealth { board.current }

    // MARK: Starting

    /// Begins to listen.
    /// - Returns: the port.
    /// - Throws: `BlockServerError`; `SecurityError` when its files cannot be used, or when it would listen beyond
    ///   loopback in plain text.
    public func start() async throws -> Int {
        if case .tls = configuration.security {
        } else {
            try Loopback.require(configuration.host, unless: configuration.allowsPlainText)
        }
        let protection = try LinkProtection.server(configuration.security)
        let isFirst = state.withLock { state in
            guard case .created = state else { return false }
            state = .starting
            return true
        }
        guard isFirst else { throw BlockServerError.startedTwice }

        let ownGroup = givenGroup == nil ? MultiThreadedEventLoopGroup(numberOfThreads: 1) : nil
        let eventLoop = givenGroup?.next() ?? ownGroup?.next() ?? MultiThreadedEventLoopGroup.singleton.next()
        let seat = NIOLoopBoundBox.makeBoxSendingValue(OrchestratorSeat(), eventLoop: eventLoop)
        let (queue, computeEnded) = startComputing(on: eventLoop)
        let listener: any Channel
        do {
            listener = try await bind(on: eventLoop, queue: queue, seat: seat, protection: protection)
        } catch {
            state.withLock { $0 = .failed }
            queue.add(.stop)
            try? await computeEnded.get()
            try? await ownGroup?.shutdownGracefully()
            throw BlockServerError.cannotListen(
                host: configuration.host, port: configuration.port, reason: listeningProblem(error))
        }
        let running = Running(
            listener: listener, eventLoop: eventLoop, ownGroup: ownGroup, seat: seat, queue: queue,
            computeEnded: computeEnded)
        state.withLock { $0 = .running(running) }
        let port = listener.localAddress?.port ?? configuration.port
        logger.info("listening", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
        return port
    }

    private func bind(
        on eventLoop: any EventLoop, queue: ComputeQueue, seat: NIOLoopBoundBox<OrchestratorSeat>,
        protection: LinkProtection
    ) async throws -> any Channel {
        let service = NodeService(
            configuration: configuration, queue: queue, board: board, logger: logger,
            onRestart: { [restart] in restart.open() })
        return try await ServerBootstrap(group: eventLoop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.writeBufferWaterMark, value: WireChannel.writeBufferWaterMark)
            .childChannelOption(.recvAllocator, value: WireChannel.receiveAllocator)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try protection.install(on: channel)
                    try channel.pipeline.syncOperations.addHandlers([
                        FrameChannelHandler(readsOnlyWhileWritable: true),
                        NodeSession(service: service, seat: seat.value),
                    ])
                }
            }
            .bind(host: configuration.host, port: configuration.port)
            .get()
    }

    /// - Returns: the way to the engine, and what completes when that was let go.
    private func startComputing(
        on eventLoop: any EventLoop
    ) -> (queue: ComputeQueue, ended: EventLoopFuture<Void>) {
        let (configuration, openLocalModel, makeEngine) = (configuration, openLocalModel, makeEngine)
        let (board, logger) = (board, logger)
        let makeLoop: @Sendable () -> ComputeLoop = {
            ComputeLoop(
                configuration: configuration, openLocalModel: openLocalModel, makeEngine: makeEngine,
                board: board, logger: logger)
        }
        return configuration.neverBlocks
            ? ComputeDriver.onEventLoop(makeLoop, eventLoop)
            : ComputeDriver.onThread(makeLoop, endingOn: eventLoop)
    }

    // MARK: Stopping

    /// Returns when a server that was started has stopped.
    public func waitUntilStopped() async { await stopped.wait() }

    /// Returns when the orchestrator has asked for a restart. Whoever runs the server shuts it down and starts another.
    public func waitUntilToldToRestart() async { await restart.wait() }

    /// Stops: no new connections or jobs, open jobs may finish until the deadline, then everything is
    /// closed. Returns when all is done. A second call waits for the first.
    public func shutdown(drainingFor deadline: ChainModel.Duration = .seconds(10)) async {
        let running: Running? = state.withLock { state in
            guard case .running(let running) = state else { return nil }
            state = .stopping
            return running
        }
        guard let running else {
            if state.withLock({ $0.isStopping }) { await stopped.wait() }
            return
        }
        board.setDraining()
        logger.info("stopping", metadata: ["open_jobs": "\(board.current.openJobs)"])
        try? await running.listener.close().get()
        await drain(running, deadline: deadline)
        await closeConnections(running)
        running.queue.add(.stop)
        try? await running.computeEnded.get()
        try? await running.ownGroup?.shutdownGracefully()
        logger.info("stopped")
        stopped.open()
    }

    private func drain(_ running: Running, deadline: ChainModel.Duration) async {
        let seat = running.seat
        let eventLoop = running.eventLoop
        let drained = eventLoop.flatSubmit {
            let timeout = eventLoop.scheduleTask(in: TimeAmount(deadline)) { seat.value.stopWaiting() }
            let drained = seat.value.drain(on: eventLoop)
            drained.whenComplete { _ in timeout.cancel() }
            return drained
        }
        try? await drained.get()
    }

    private func closeConnections(_ running: Running) async {
        let seat = running.seat
        let eventLoop = running.eventLoop
        let closed = eventLoop.flatSubmit {
            EventLoopFuture.andAllComplete(seat.value.closeAll(), on: eventLoop)
        }
        try? await closed.get()
    }
}

/// Why an address cannot be listened at, in a person's words.
private func listeningProblem(_ error: any Error) -> String {
    switch error {
    case let error as IOError: String(cString: strerror(error.errnoCode))
    case is SocketAddressError.UnknownHost: "the name is unknown"
    default: "\(error)"
    }
}

/// Opens once; whoever waits goes on then. Unlike a future it needs no event loop, which may be gone by
/// then.
private final class Latch: Sendable {
    private let state = Mutex<(isOpen: Bool, waiting: [CheckedContinuation<Void, Never>])>((false, []))

    func open() {
        let waiting = state.withLock { state in
            defer { state = (true, []) }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func wait() async {
        await withCheckedContinuation { continuation in
            let isOpen = state.withLock { state in
                if !state.isOpen { state.waiting.append(continuation) }
                return state.isOpen
            }
            if isOpen { continuation.resume() }
        }
    }
}
