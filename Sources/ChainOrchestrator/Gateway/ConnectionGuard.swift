import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Watches one connection for what the request handler, waiting for tokens, cannot see: that the client went
/// away, sends its body too slowly, or does not read what it is sent. What is no HTTP it answers with 400 and a reason
/// instead of a closed connection.
///
/// Hummingbird's own way to notice a disconnect ends every request by closing the connection; this one keeps
/// it.
///
/// Sits between the HTTP codec and Hummingbird. All state belongs to the channel's event loop.
final class ConnectionGuard: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Travels outbound through the channel to set the watch for the request in progress.
    struct Watch: Sendable {
        /// How often to say `ping` while nothing else is said; `nil` for a response that is no stream.
        var pingInterval: TimeAmount?
        var ping: ByteBuffer
        var onDisconnect: @Sendable () -> Void
    }

    private let bodyTimeout: TimeAmount
    private let writeTimeout: TimeAmount
    private let bodyLimit: Int
    private var watch: Watch?
    private var nextPing: Scheduled<Void>?
    /// Nothing was sent since the last ping was due.
    private var isSilent = true
    private var isGone = false
    private var isReadingRequest = false
    /// The request that came last is the connection's last: nothing after it is answered.
    private var isLast = false
    /// The client sends its body when it is told to.
    private var isWaitingForWelcome = false
    private var bodyDeadline: Scheduled<Void>?
    /// Since when nothing more is read, and how long that has been so before, which the deadline does not count.
    private var pausedAt: NIODeadline?
    private var pause = TimeAmount.zero
    private var writeDeadline: Scheduled<Void>?
    /// Requests passed on that were not answered in full.
    private var unanswered = 0
    /// The head of an answer has gone out and its end has not.
    private var isAnswering = false
    /// What came last, and ends the connection.
    private var unreadable: HTTPParserError?
    /// With a 400, after which nothing more is sent.
    private(set) var hasRefused = false

    init(bodyTimeout: TimeAmount, writeTimeout: TimeAmount, bodyLimit: Int) {
        self.bodyTimeout = bodyTimeout
        self.writeTimeout = writeTimeout
        self.bodyLimit = bodyLimit
    }

    func handlerAdded(context: ChannelHandlerContext) {
        // A client whose machine vanished is noticed in the end, even when nothing is sent to it.
        try? context.channel.syncOptions?.setOption(.socketOption(.so_keepalive), value: 1)
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        disconnected()
        bodyDeadline?.cancel()
        writeDeadline?.cancel()
    }

    // MARK: The client goes away

    func triggerUserOutboundEvent(
        context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
    ) {
        guard let watch = event as? Watch else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        if isGone {
            watch.onDisconnect()
        } else {
            self.watch = watch
            isSilent = true
            nextPing?.cancel()
            schedulePing(context)
        }
        promise?.succeed()
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        // A client that closed its socket and one that closed only its sending side look alike from here. No
        // client of an HTTP interface does the latter while it waits; nginx, too, takes it for gone.
        if case ChannelEvent.inputClosed? = event as? ChannelEvent { disconnected() }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        disconnected()
        context.fireChannelInactive()
    }

    private func disconnected() {
        isGone = true
        let watch = self.watch
        endWatch()
        watch?.onDisconnect()
    }

    private func endWatch() {
        watch = nil
        nextPing?.cancel()
        nextPing = nil
    }

    // MARK: Nothing to say

    private func schedulePing(_ context: ChannelHandlerContext) {
        guard let watch, let interval = watch.pingInterval else { return }
        nextPing = context.eventLoop.assumeIsolated().scheduleTask(in: interval) {
            // A client that does not read needs no more to read.
            if self.isSilent, context.channel.isWritable {
                context.writeAndFlush(self.wrapOutboundOut(.body(watch.ping)), promise: nil)
            }
            self.isSilent = true
            self.schedulePing(context)
        }
    }

    // MARK: The client sends slowly

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch unwrapInboundIn(data) {
        case .head(let head):
            isReadingRequest = true
            unanswered += 1
            isLast = head.isLast
            isWaitingForWelcome = head.waitsForWelcome(bodyLimit: bodyLimit)
            welcomeBody(context)
            if isLast, head.headerFields[.connection] != "close" {
                var head = head
                // As Hummingbird knows it.
                head.headerFields[.connection] = "close"
                return context.fireChannelRead(wrapInboundOut(.head(head)))
            }
        case .body: isWaitingForWelcome = false
        case .end:
            isWaitingForWelcome = false
            isReadingRequest = false
            bodyDeadline?.cancel()
            bodyDeadline = nil
            pausedAt = nil
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Most requests arrive whole in one read and need no timer.
        if isReadingRequest {
            if bodyDeadline == nil {
                pause = .zero
                awaitBody(in: bodyTimeout, context)
            }
            pausedAt = .now()
        }
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        endPause()
        context.read()
    }

    private func endPause() {
        guard let begun = pausedAt else { return }
        pausedAt = nil
        pause = pause + (.now() - begun)
    }

    /// The client cannot help it when nothing is read because an earlier answer comes first: such pauses are given on top.
    private func awaitBody(in time: TimeAmount, _ context: ChannelHandlerContext) {
        bodyDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: time) {
            if self.pausedAt != nil {
                self.endPause()
                self.pausedAt = .now()
            }
            let more = self.pause
            self.pause = .zero
            if more > .zero { self.awaitBody(in: more, context) } else { context.close(promise: nil) }
        }
    }

    /// When it is this request's turn: in the midst of another's response it would be taken for a part of that one.
    private func welcomeBody(_ context: ChannelHandlerContext) {
        guard isWaitingForWelcome, unanswered == 1 else { return }
        isWaitingForWelcome = false
        context.writeAndFlush(wrapOutboundOut(.head(HTTPResponse(status: .continue))), promise: nil)
    }

    // MARK: The client sends no HTTP

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if let error = error as? HTTPParserError, !hasRefused, isReadingRequest || !isLast {
            unreadable = error
            refuseWhatIsUnreadable(context)
        }
        context.fireErrorCaught(error)
    }

    /// Once the requests before it are answered: in the midst of a response its bytes would be taken for that one's.
    private func refuseWhatIsUnreadable(_ context: ChannelHandlerContext) {
        let own = isReadingRequest ? 1 : 0
        guard let error = unreadable, !isAnswering, unanswered <= own else { return }
        unreadable = nil
        hasRefused = true
        // A request may have its answer before it has come to its end.
        if unanswered == own { refuse(error, context) }
    }

    private func refuse(_ error: HTTPParserError, _ context: ChannelHandlerContext) {
        let problem = APIError.unreadable(error)
        let body = JSONWriter.object(problem.write)
        var head = HTTPResponse(status: problem.status)
        head.headerFields[.contentType] = "application/json"
        head.headerFields[.contentLength] = "\(body.count)"
        head.headerFields[.connection] = "close"
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(ByteBuffer(bytes: body))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }

    // MARK: The client does not read

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // Hummingbird answers such errors too, without a reason; all is said already.
        guard !hasRefused else {
            promise?.succeed()
            return
        }
        isSilent = false
        context.write(data, promise: promise)
        switch unwrapOutboundIn(data) {
        case .head, .body: isAnswering = true
        case .end:
            isAnswering = false
            unanswered = max(0, unanswered - 1)
            // Once answered, whether the client stays no longer matters to the request.
            endWatch()
            welcomeBody(context)
            refuseWhatIsUnreadable(context)
        }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        writeDeadline?.cancel()
        writeDeadline = nil
        if !context.channel.isWritable {
            writeDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: writeTimeout) {
                context.close(promise: nil)
            }
        }
        context.fireChannelWritabilityChanged()
    }
}

extension HTTPRequest {
    /// Clients with long bodies ask first. One that is too long gets its 413 instead.
    fileprivate func waitsForWelcome(bodyLimit: Int) -> Bool {
        headerFields[.expect]?.lowercased() == "100-continue"
            && headerFields[.contentLength].flatMap { Int($0) } ?? 0 <= bodyLimit
    }

    /// The client sends no more after it: `Connection` is a list of options in any case (RFC 9110, section 7.6.1).
    fileprivate var isLast: Bool {
        guard let connection = headerFields[.connection] else { return false }
        return connection == "close"
            || connection.lowercased().split(whereSeparator: { ", \t".contains($0) }).contains("close")
    }
}

extension Channel {
    /// Has `action` called, on any thread and at most a few times, when the client goes away before the
    /// response to the request in progress is complete; at once when it is gone already.
    ///
    /// - Parameter pingInterval: for a stream whose head has been sent: how often to send `ping` until the
    ///   response is complete, whenever nothing else was sent for so long.
    func onClientDisconnect(
        pingInterval: TimeAmount?, ping: ByteBuffer, _ action: @escaping @Sendable () -> Void
    ) {
        let isWatching = eventLoop.makePromise(of: Void.self)
        isWatching.futureResult.whenFailure { _ in action() }
        let watch = ConnectionGuard.Watch(pingInterval: pingInterval, ping: ping, onDisconnect: action)
        triggerUserOutboundEvent(watch, promise: isWatching)
    }
}

/// Keeps the server accepting after an `accept` that failed for the moment: a connection reset while it
/// waited, or no file descriptor free. The listening socket stays open after these; only the error must not
/// reach Hummingbird, which stops at any.
final class AcceptErrorFilter: ChannelInboundHandler, Sendable {
    typealias InboundIn = Channel

    private let onError: @Sendable (any Error) -> Void

    init(onError: @escaping @Sendable (any Error) -> Void) { self.onError = onError }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if context.channel.isActive { onError(error) } else { context.fireErrorCaught(error) }
    }
}
