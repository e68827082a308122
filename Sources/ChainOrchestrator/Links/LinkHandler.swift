import ChainEngine
import ChainModel
import ChainSecurity
import ChainWire
import Logging
import NIOCore

/// The orchestrator's end of one connection, on its event loop: which calls wait for which answers.
final class LinkHandler: ChannelInboundHandler {
    typealias InboundIn = Message
    typealias OutboundOut = WireOutput

    /// Calls of one kind that may wait at once.
    static let maximumPendingCalls = 1 << 16
    /// What a message that nobody waits for may wait for company.
    static let patience = ChainModel.Duration.milliseconds(10)

    let timeouts: LinkTimeouts
    let status = LinkStatus()
    let events: AsyncStream<LinkEvent>.Continuation
    var logger: Logger
    private(set) var context: ChannelHandlerContext?

    private let introduction: EventLoopPromise<HelloReply>
    private let name: String
    private var isIntroduced = false
    private var opens: [UInt64: PendingCall<Int>] = [:]
    /// Jobs whose opening nobody waits for and that are not known to be open: why they were refused, once they were.
    private var openedAhead: [UInt64: LinkError?] = [:]
    private var pings: [UInt64: PendingCall<NodeHealth>] = [:]
    private var steps: [UInt64: PendingStep] = [:]
    /// When the next of them may be late.
    private var stepWatch: Scheduled<Void>?
    var load: LinkLoad?
    var width = 0
    /// The server hosts the model's last block: its results are one row.
    var returnsLastRowOnly = false
    private var hasHeard = true
    private var missedBeats = 0
    private var beat: Scheduled<Void>?
    /// A flush is due at the end of this turn of the event loop.
    private var willFlush = false
    /// A step has gone out in this turn.
    private var hasSentStep = false
    /// One is due for what may wait.
    private var willFlushLater = false

    init(
        name: String, timeouts: LinkTimeouts, logger: Logger, introduction: EventLoopPromise<HelloReply>,
        events: AsyncStream<LinkEvent>.Continuation
    ) {
        self.name = name
        self.timeouts = timeouts
        self.logger = logger
        self.introduction = introduction
        self.events = events
    }

    // MARK: Connection

    func channelActive(context: ChannelHandlerContext) {
        self.context = context
        send(.hello(Hello(name: name)))
        after(timeouts.connect) { handler in
            guard !handler.isIntroduced else { return }
            handler.close(with: .timedOut("the server did not introduce itself"))
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        close(with: .closed("the server closed the connection"))
        self.context = nil
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? WireError {
            logger.warning("link closed: bad frame", metadata: ["reason": "\(error)"])
            if case .badChecksum = error {
                close(with: .badChecksum(error.description))
            } else {
                close(with: .malformed(error.description))
            }
        } else {
            close(with: .closed(ConnectionProblem.text(error)))
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) { load?.sendRange(context: context) }

    /// Closes the link; every waiting call fails at once. Only the first reason counts.
    func close(with reason: LinkError) {
        guard status.closed == nil else { return }
        status.noteClosed(reason)
        beat?.cancel()
        stepWatch?.cancel()
        context?.flush()
        context?.close(promise: nil)
        logger.info("link closed", metadata: ["reason": "\(reason)"])
        if !isIntroduced { introduction.fail(reason) }
        isIntroduced = true
        let (opens, pings, steps, load) = (opens, pings, steps, load)
        (self.opens, self.pings, self.steps, self.load) = ([:], [:], [:], nil)
        openedAhead = [:]
        for call in opens.values { call.fail(reason) }
        for call in pings.values { call.fail(reason) }
        for step in steps.values { step.call.fail(reason) }
        load?.call.fail(reason)
        events.yield(.closed(reason))
        events.finish()
    }

    /// What is sent within one turn of the event loop goes out in one write, but for its first step, which goes at once: the
    /// server computes it while the turn goes on.
    func send(_ output: WireOutput) {
        guard let context else { return }
        context.write(wrapOutboundOut(output), promise: nil)
        if case .transfer = output, !hasSentStep {
            hasSentStep = true
            context.flush()
        }
        guard !willFlush else { return }
        willFlush = true
        context.eventLoop.assumeIsolated().execute {
            self.willFlush = false
            self.hasSentStep = false
            self.context?.flush()
        }
    }
    func send(_ message: Message) { send(.message(message)) }

    /// Sends what nobody waits for with whatever is sent next, and by itself after `patience`: a job's close goes out with
    /// the opening of the one that takes its place, which saves both ends a turn.
    private func sendLater(_ message: Message) {
        guard let context else { return }
        context.write(wrapOutboundOut(.message(message)), promise: nil)
        guard !willFlush, !willFlushLater else { return }
        willFlushLater = true
        after(Self.patience) {
            $0.willFlushLater = false
            $0.context?.flush()
        }
    }

    @discardableResult
    func after(_ delay: ChainModel.Duration, do action: @escaping (LinkHandler) -> Void) -> Scheduled<Void>? {
        context?.eventLoop.assumeIsolated().scheduleTask(in: .nanoseconds(delay.nanoseconds)) { action(self) }
    }

    // MARK: Heartbeat

    private func scheduleBeat() {
        guard timeouts.heartbeat > .zero else { return }
        beat = after(timeouts.heartbeat) { $0.checkPulse() }
    }

    /// Counts beats without a sign of life rather than reading the clock: after a pause of this process
    /// itself, what came meanwhile is read before the next beat.
    private func checkPulse() {
        guard status.closed == nil else { return }
        missedBeats = hasHeard ? 0 : missedBeats + 1
        hasHeard = false
        let periods = timeouts.silenceLimit.nanoseconds / max(1, timeouts.heartbeat.nanoseconds)
        guard missedBeats < max(1, periods - 1) else {
            close(with: .closed("no sign of life for \(timeouts.silenceLimit.seconds) s"))
            return
        }
        send(.ping(id: 0))
        scheduleBeat()
    }

    // MARK: Messages

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard status.closed == nil else { return }
        hasHeard = true
        let message = unwrapInboundIn(data)
        switch message {
        case .helloReply(let reply): receive(reply)
        case .goodbye(let goodbye): receive(goodbye)
        case .pong(let id, let health):
            status.note(health)
            events.yield(.heard)
            pings.removeValue(forKey: id)?.succeed(health)
        case .opened(let job, let unitsFree):
            openedAhead[job] = nil
            opens.removeValue(forKey: job)?.succeed(unitsFree)
        case .openRefused(let job, let refusal): refuseOpen(job, .refused(refusal.code, refusal.text))
        case .stepResult(let piece): receive(piece)
        case .stepFailed(_, let step, let refusal):
            steps.removeValue(forKey: step)?.call.fail(LinkError.refused(refusal.code, refusal.text))
        case .closed: break
        case .loadProgress, .loaded, .loadRefused, .rangeRequest: receiveForLoad(message)
        case .hello, .ping, .load, .rangePiece, .open, .step, .close:
            close(with: .malformed("a \(message.type) came, which only an orchestrator sends"))
        }
    }

    private func receive(_ reply: HelloReply) {
        guard !isIntroduced else { return close(with: .malformed("a second helloReply came")) }
        guard reply.version == wireProtocolVersion else {
            return close(with: .versionMismatch(ours: wireProtocolVersion, theirs: reply.version))
        }
        isIntroduced = true
        logger[metadataKey: "server"] = "\(reply.name)"
        introduction.succeed(reply)
        scheduleBeat()
    }

    private func receive(_ goodbye: Goodbye) {
        switch goodbye.code {
        case .draining:
            status.noteDraining()
            events.yield(.draining(goodbye.text))
        case .versionMismatch:
            close(with: .versionMismatch(ours: wireProtocolVersion, theirs: goodbye.version))
        case .seatTaken: close(with: .refused(.busy, goodbye.text))
        case .other, .shuttingDown, .protocolViolation, .silent, .restart: close(with: .closed(goodbye.text))
        }
    }

    // MARK: Jobs

    /// An open that is given up is taken back, lest the server keep a job that nobody knows.
    func open(
        job: UInt64, firstBlock: Int, blockCount: Int, _ continuation: CheckedContinuation<Int, any Error>
    ) {
        guard
            let call = begin(
                continuation, opens, timeout: timeouts.open,
                onTimeout: { $0.giveUpOpen(job, .timedOut("open")) })
        else { return }
        if let earlier = opens.updateValue(call, forKey: job) {
            earlier.fail(LinkError.refused(.jobAlreadyOpen, "job \(job) was opened again meanwhile"))
        }
        send(.open(job: job, firstBlock: firstBlock, blockCount: blockCount))
    }

    func openAhead(job: UInt64, firstBlock: Int, blockCount: Int) {
        guard status.closed == nil, openedAhead.count < Self.maximumPendingCalls else { return }
        openedAhead.updateValue(nil, forKey: job)
        send(.open(job: job, firstBlock: firstBlock, blockCount: blockCount))
    }

    /// Tells whoever waits, or the job's step: the one under way, else the next.
    private func refuseOpen(_ job: UInt64, _ error: LinkError) {
        if let call = opens.removeValue(forKey: job) { return call.fail(error) }
        guard openedAhead[job] != nil else { return }
        openedAhead.updateValue(error, forKey: job)
        for (id, step) in steps where step.job == job { steps.removeValue(forKey: id)?.call.fail(error) }
    }

    func cancelOpen(job: UInt64) { giveUpOpen(job, nil) }

    private func giveUpOpen(_ job: UInt64, _ error: LinkError?) {
        guard let call = opens.removeValue(forKey: job) else { return }
        call.fail(error ?? CancellationError())
        send(.close(job: job))
    }

    func step(_ transfer: StepTransfer, _ continuation: CheckedContinuation<[Float], any Error>) {
        let step = transfer.step
        if case .some(.some(let refusal)) = openedAhead[transfer.job] {
            return continuation.resume(throwing: refusal)
        }
        guard width > 0 else {
            continuation.resume(throwing: LinkError.refused(.notLoaded, "the server was not told its blocks"))
            return
        }
        guard transfer.hidden.readableBytes == transfer.tokenCount * width * HiddenStates.valueSize else {
            continuation.resume(
                throwing: LinkError.refused(
                    .wrongShape,
                    "\(transfer.tokenCount) tokens of \(width) values were to be sent, not"
                        + " \(transfer.hidden.readableBytes) bytes"))
            return
        }
        guard let call = begin(continuation, steps) else { return }
        steps[step] = PendingStep(
            call: call, job: transfer.job, position: transfer.position,
            tokenCount: returnsLastRowOnly ? 1 : transfer.tokenCount,
            deadline: .now() + .nanoseconds(timeouts.step.nanoseconds))
        if stepWatch == nil { watchSteps(for: timeouts.step) }
        send(.transfer(transfer))
    }

    /// One timer for all steps: they are many and nearly none of them times out.
    private func watchSteps(for time: ChainModel.Duration) {
        stepWatch = after(time) { $0.checkSteps() }
    }

    private func checkSteps() {
        stepWatch = nil
        let now = NIODeadline.now()
        for (id, step) in steps where step.deadline <= now {
            steps[id] = nil
            step.call.fail(LinkError.timedOut("step of job \(step.job)"))
        }
        guard let next = steps.values.map(\.deadline).min() else { return }
        watchSteps(for: ChainModel.Duration(nanoseconds: (next - now).nanoseconds))
    }

    func cancelStep(_ step: UInt64) { steps.removeValue(forKey: step)?.call.fail(CancellationError()) }

    /// What waits for an answer about the job fails.
    func closeJob(_ job: UInt64) {
        openedAhead[job] = nil
        let closed = LinkError.refused(.jobUnknown, "job \(job) was closed")
        opens.removeValue(forKey: job)?.fail(closed)
        // A job has one step at a time.
        if let step = steps.first(where: { $0.value.job == job })?.key {
            steps.removeValue(forKey: step)?.call.fail(closed)
        }
        sendLater(.close(job: job))
    }

    private func receive(_ piece: StepPiece) {
        guard var step = steps.removeValue(forKey: piece.step) else { return }
        guard step.add(piece, width: width) else {
            step.call.fail(
                LinkError.malformed("the result of job \(step.job)'s step does not have its shape"))
            return
        }
        if let assembly = step.assembly, assembly.isComplete {
            step.call.succeed(assembly.values)
        } else {
            steps[piece.step] = step
        }
    }

    func ping(id: UInt64, _ continuation: CheckedContinuation<NodeHealth, any Error>) {
        let onTimeout: (LinkHandler) -> Void = {
            $0.pings.removeValue(forKey: id)?.fail(LinkError.timedOut("ping"))
        }
        guard let call = begin(continuation, pings, timeout: timeouts.ping, onTimeout: onTimeout) else {
            return
        }
        pings[id] = call
        send(.ping(id: id))
    }

    func cancelPing(id: UInt64) { pings.removeValue(forKey: id)?.fail(CancellationError()) }

    /// As the other, with a timer of its own.
    func begin<Value, Pending>(
        _ continuation: CheckedContinuation<Value, any Error>, _ pending: [UInt64: Pending],
        timeout: ChainModel.Duration, onTimeout: @escaping (LinkHandler) -> Void
    ) -> PendingCall<Value>? {
        let call = begin(continuation, pending)
        call?.timeout = after(timeout, do: onTimeout)
        return call
    }

    /// Makes a pending call; fails it instead when the link is closed or too many wait.
    private func begin<Value, Pending>(
        _ continuation: CheckedContinuation<Value, any Error>, _ pending: [UInt64: Pending]
    ) -> PendingCall<Value>? {
        if let reason = status.closed {
            continuation.resume(throwing: reason)
            return nil
        }
        guard pending.count < Self.maximumPendingCalls else {
            continuation.resume(
                throwing: LinkError.refused(.overloaded, "\(pending.count) calls are waiting"))
            return nil
        }
        return PendingCall(continuation: continuation)
    }
}
