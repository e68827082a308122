import ChainEngine
import ChainModel
import ChainSecurity
import ChainWire
import Foundation
import Logging
import NIOCore

/// What all sessions of a server share.
struct NodeService: Sendable {
    var configuration: BlockServerConfiguration
    var queue: ComputeQueue
    var board: HealthBoard
    var logger: Logger
    var onRestart: @Sendable () -> Void
}

/// The server's end of one connection, on its event loop: who may say what, bounds, and the pieces of steps.
/// What needs the engine goes to its loop (`ComputeQueue`), whose answers pass through `write`.
final class NodeSession: ChannelDuplexHandler {
    typealias InboundIn = Message
    typealias OutboundIn = WireOutput
    typealias OutboundOut = WireOutput

    private enum Phase {
        case awaitingHello
        case active
        case ended
    }

    let service: NodeService
    var logger: Logger
    var bounds: BlockServerBounds { service.configuration.bounds }
    var jobs = SessionJobs()
    private(set) var lastHeard = NIODeadline.now()
    private(set) var isReadingPaused = false
    private(set) var peerDescription = "?"

    private let seat: OrchestratorSeat
    private var phase = Phase.awaitingHello
    private var context: ChannelHandlerContext?
    private var watch: Scheduled<Void>?
    private var pausedHealth: Scheduled<Void>?

    init(service: NodeService, seat: OrchestratorSeat) {
        self.service = service
        self.seat = seat
        logger = service.logger
    }

    var hasJobs: Bool { !jobs.isEmpty }

    // MARK: Connection

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        peerDescription = context.remoteAddress?.description ?? "?"
        logger[metadataKey: "peer"] = "\(peerDescription)"
        seat.connected(context.channel)
        guard seat.connectionCount <= bounds.connections else {
            logger.warning("connection refused", metadata: ["reason": "too many connections"])
            end(with: Goodbye(.seatTaken, "this server has \(bounds.connections) connections already"))
            return
        }
        scheduleWatch(in: TimeAmount(bounds.helloTimeout), context: context)
        context.fireChannelActive()
    }

    func channelInactive(context: ChannelHandlerContext) {
        leave()
        seat.disconnected(context.channel)
        watch?.cancel()
        pausedHealth?.cancel()
        self.context = nil
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? WireError {
            logger.warning("connection closed: bad frame", metadata: ["reason": "\(error)"])
            end(with: Goodbye(.protocolViolation, error.description))
        } else if let error = error as? SecurityError {
            logger.warning("connection refused", metadata: ["reason": "\(error)"])
            end(with: Goodbye(.other, error.description))
        } else {
            logger.info("connection lost", metadata: ["reason": "\(ConnectionProblem.text(error))"])
            end(with: nil)
        }
    }

    /// Ends the session: says why, closes, frees the jobs.
    func end(with goodbye: Goodbye?) {
        leave()
        guard let context else { return }
        if let goodbye { context.writeAndFlush(wrapOutboundOut(.message(.goodbye(goodbye))), promise: nil) }
        context.close(promise: nil)
    }

    /// Gives up the seat, and with it all jobs; once.
    private func leave() {
        let wasActive = phase == .active
        phase = .ended
        guard wasActive else { return }
        jobs = SessionJobs()
        service.board.setQueueDepth(0)
        service.queue.add(.sessionEnded)
        logger.info("orchestrator left")
        seat.leave(self)
    }

    func violation(_ text: String) {
        logger.warning("connection closed: protocol violation", metadata: ["reason": "\(text)"])
        end(with: Goodbye(.protocolViolation, text))
    }

    func announceDraining() {
        send(.goodbye(Goodbye(.draining, "this server finishes its jobs and takes no new ones")))
    }

    func send(_ message: Message) {
        guard let context else { return }
        context.writeAndFlush(wrapOutboundOut(.message(message)), promise: nil)
    }

    // MARK: Silence

    private func scheduleWatch(in delay: TimeAmount, context: ChannelHandlerContext) {
        watch = context.eventLoop.assumeIsolated().scheduleTask(in: delay) { self.checkSilence() }
    }

    private func checkSilence() {
        guard let context else { return }
        let limit = TimeAmount(phase == .active ? bounds.silenceLimit : bounds.helloTimeout)
        let silence = NIODeadline.now() - lastHeard
        if phase == .active, isReadingPaused || silence < limit {
            scheduleWatch(in: isReadingPaused ? limit : limit - silence, context: context)
            return
        }
        logger.warning("connection closed", metadata: ["reason": "nothing heard for \(silence)"])
        end(with: Goodbye(.silent, "nothing heard for \(silence.nanoseconds / 1_000_000) ms"))
    }

    // MARK: Messages

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let message = unwrapInboundIn(data)
        lastHeard = .now()
        switch phase {
        case .ended: break
        case .awaitingHello:
            guard case .hello(let hello) = message else {
                return violation("a \(message.type) came before the hello")
            }
            receive(hello, context: context)
        case .active: receive(message)
        }
    }

    private func receive(_ hello: Hello, context: ChannelHandlerContext) {
        guard hello.version == wireProtocolVersion else {
            let text =
                "this server speaks version \(wireProtocolVersion) of the protocol, the orchestrator"
                + " version \(hello.version); run the same release on both"
            logger.warning("connection refused", metadata: ["reason": "\(text)"])
            return end(with: Goodbye(.versionMismatch, text))
        }
        peerDescription = "\(hello.name) at \(peerDescription)"
        logger[metadataKey: "orchestrator"] = "\(hello.name)"
        switch seat.take(self, now: .now(), takeoverSilence: TimeAmount(bounds.takeoverSilence)) {
        case .refused(let goodbye):
            logger.warning("orchestrator refused", metadata: ["reason": "\(goodbye.text)"])
            end(with: goodbye)
        case .taken:
            phase = .active
            watch?.cancel()
            scheduleWatch(in: TimeAmount(bounds.silenceLimit), context: context)
            service.queue.add(.sessionBegan(SessionReply(channel: context.channel)))
            logger.info("orchestrator connected")
            let configuration = service.configuration
            send(
                .helloReply(
                    HelloReply(
                        name: configuration.name, memory: configuration.memory,
                        isEmulated: configuration.engineKind == .emulated,
                        processID: ProcessInfo.processInfo.processIdentifier, stepTokens: bounds.stepTokens)))
        }
    }

    private func receive(_ message: Message) {
        switch message {
        case .ping(let id): send(.pong(id: id, health: service.board.current))
        case .load(let request): service.queue.add(.load(request))
        case .rangePiece(let piece): service.queue.add(.rangePiece(piece))
        case .open(let job, let firstBlock, let blockCount):
            open(job: job, firstBlock: firstBlock, blockCount: blockCount)
        case .step(let piece): receive(piece)
        case .close(let job):
            jobs.close(job)
            service.queue.add(.close(job: EngineJobID(job)))
            jobsChanged()
            seat.jobsChanged()
        case .goodbye(let goodbye):
            logger.info("orchestrator said goodbye", metadata: ["reason": "\(goodbye.text)"])
            if goodbye.code == .restart { service.onRestart() }
            end(with: nil)
        case .hello: violation("a second hello came")
        case .helloReply, .pong, .loadProgress, .loaded, .loadRefused, .rangeRequest, .opened, .openRefused,
            .stepResult, .stepFailed, .closed:
            violation("a \(message.type) came, which only a block server sends")
        }
    }

    private func open(job: UInt64, firstBlock: Int, blockCount: Int) {
        if seat.isDraining {
            send(.openRefused(job: job, Refusal(.draining, "this server is shutting down")))
        } else if let refusal = jobs.open(job, limit: bounds.openJobs) {
            send(.openRefused(job: job, refusal))
        } else {
            service.queue.add(.open(job: EngineJobID(job), firstBlock: firstBlock, blockCount: blockCount))
        }
    }

    private func receive(_ piece: StepPiece) {
        switch jobs.receive(piece, assemblingLimit: bounds.assemblingBytes) {
        case .incomplete: break
        case .refused(let refusal): send(.stepFailed(job: piece.job, step: piece.step, refusal))
        case .violation(let text): violation(text)
        case .complete(let assembly):
            let step = EngineStep(
                job: EngineJobID(assembly.job), position: assembly.position, tokenCount: assembly.tokenCount,
                hidden: assembly.values)
            service.queue.add(.step(id: assembly.step, step))
            jobsChanged()
        }
    }

    // MARK: Answers

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let output = unwrapOutboundIn(data)
        guard phase == .active else {
            promise?.fail(ChannelError.ioOnClosedChannel)
            return
        }
        jobs.note(output)
        context.write(data, promise: promise)
        jobsChanged()
        seat.jobsChanged()
    }

    /// Stops reading while too much waits to be computed, and meanwhile tells the health unasked: a ping
    /// would not be read, and a busy server is not a dead one.
    private func jobsChanged() {
        service.board.setQueueDepth(jobs.queuedSteps)
        guard let context else { return }
        if !isReadingPaused, jobs.queuedBytes > bounds.queuedBytes {
            isReadingPaused = true
            context.triggerUserOutboundEvent(WireFlow.pauseReading, promise: nil)
            tellHealthWhilePaused()
        } else if isReadingPaused, jobs.queuedBytes <= bounds.queuedBytes / 2 {
            isReadingPaused = false
            lastHeard = .now()
            pausedHealth?.cancel()
            pausedHealth = nil
            context.triggerUserOutboundEvent(WireFlow.resumeReading, promise: nil)
        }
    }

    private func tellHealthWhilePaused() {
        guard let context, isReadingPaused else { return }
        let interval = TimeAmount(bounds.pausedHealthInterval)
        pausedHealth = context.eventLoop.assumeIsolated().scheduleTask(in: interval) {
            self.send(.pong(id: 0, health: self.service.board.current))
            self.tellHealthWhilePaused()
        }
    }
}
