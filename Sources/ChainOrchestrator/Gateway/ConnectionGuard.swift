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
    /// Nothing holds back what the client sends.
    private var isReading = true
    private var bodyDeadline: Scheduled<Void>?
    private var writeDeadline: Scheduled<Void>?
    /// Requests passed on that were not answered in full.
    private var unanswered = 0
    /// The head of an answer has gone out and its end has not.
    private var isAnswering = false
    /// What came last, and ends the connection.
    private var unreadable: HTTPParserError?
    /// With a 400, after which nothing more is sent.
    private var hasRefused = false

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
            if head.headerFields[.expect]?.lowercased() == "100-continue" { welcomeBody(head, context) }
            isLast = head.isLast
            if isLast, head.headerFields[.connection] != "close" {
                var head = head
                // As Hummingbird knows it.
                head.headerFields[.connection] = "close"
                return context.fireChannelRead(wrapInboundOut(.head(head)))
            }
        case .body: break
        case .end:
            isReadingRequest = false
            bodyDeadline?.cancel()
            bodyDeadline = nil
        }
        context.fireChannelRead(data)
    }

    func channelReadComplete(context: ChannelHandlerContext) {
        // Most requests arrive whole in one read and need no timer.
        if isReadingRequest, bodyDeadline == nil { awaitBody(context) }
        // Whoever wants more says so.
        isReading = false
        context.fireChannelReadComplete()
    }

    func read(context: ChannelHandlerContext) {
        isReading = true
        context.read()
    }

    private func awaitBody(_ context: ChannelHandlerContext) {
        bodyDeadline = context.eventLoop.assumeIsolated().scheduleTask(in: bodyTimeout) {
            // The client cannot help it when an earlier answer comes first.
            if self.isReading { context.close(promise: nil) } else { self.awaitBody(context) }
        }
    }

    /// Clients with long bodies ask first. One that is too long gets its 413 instead.
    private func welcomeBody(_ head: HTTPRequest, _ context: ChannelHandlerContext) {
        guard head.headerFields[.contentLength].flatMap({ Int($0) }) ?? 0 <= bodyLimit else { return }
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
        guard let error = unreadable, !isAnswering, unanswered <= (isReadingRequest ? 1 : 0) else { return }
        unreadable = nil
        hasRefused = true
        refuse(error, context)
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
