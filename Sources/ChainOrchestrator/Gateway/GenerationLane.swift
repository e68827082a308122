import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes
import NIOPosix

/// Takes the requests that generate out of a connection's way to Hummingbird and answers them, from the body's last byte to
/// the answer's, in callbacks on the connection's event loop: with a task for each, and the changes of executor that come
/// with it, a request takes a third more of the processor. Requests of all other kinds pass.
///
/// Requests of one connection are answered one after another, whichever way they take: those that come meanwhile are
/// held, and as long as some are held nothing more is read.
///
/// Sits next to Hummingbird's own handler, behind those that keep times and bounds. All state belongs to the event loop.
final class GenerationLane: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    private let responder: GatewayResponder
    private let bodyLimit: Int
    /// What goes in at `codec` passes it by.
    private let watch: ConnectionGuard
    private var context: ChannelHandlerContext?
    /// Where HTTP/1's own types go in: the handlers in between look at the ends of responses and at the parts of streams.
    private var codec: ChannelHandlerContext?

    // The request under way.
    private var reading: (request: IncomingGeneration, body: ByteBuffer)?
    /// The rest of a request that is answered already is dropped.
    private var isSkipping = false
    private var isAnswering = false
    private var delivery: AnswerDelivery?
    /// The request was the last of the connection.
    private var isLast = false
    private var requestID = ""

    /// Requests passed on whose responses are not complete.
    private var passed = 0
    private var held = CircularBuffer<HTTPRequestPart>()
    private var isProceeding = false
    private var wantsRead = false
    private var heldError: (any Error)?

    /// - Parameter codec: the place of `HTTP1ToHTTPServerCodec` in the channel's pipeline.
    init(responder: GatewayResponder, codec: ChannelHandlerContext, watch: ConnectionGuard) {
        self.responder = responder
        self.watch = watch
        self.codec = codec
        bodyLimit = responder.configuration.bodyLimit
    }

    func handlerAdded(context: ChannelHandlerContext) { self.context = context }

    /// The connection is gone, which Hummingbird closes, too, as soon as the client sends no more: its job is given up.
    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        held.removeAll()
        defer { codec = nil }
        guard let delivery else { return }
        self.delivery = nil
        delivery.cancel()
        say(delivery.end(.cancelled), context)
    }

    // MARK: What comes in

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let part = unwrapInboundIn(data)
        if held.isEmpty, !mustWait(part) { _ = receive(part, context) } else { held.append(part) }
    }

    func read(context: ChannelHandlerContext) {
        if held.isEmpty { context.read() } else { wantsRead = true }
    }

    /// Whether the answer to an earlier request comes first.
    private func mustWait(_ part: HTTPRequestPart) -> Bool {
        if reading != nil || isSkipping { return false }
        if isAnswering { return true }
        guard passed > 0, case .head(let head) = part else { return false }
        return GenerationRoute(head) != nil
    }

    /// - Returns: whether it was passed on.
    private func receive(_ part: HTTPRequestPart, _ context: ChannelHandlerContext) -> Bool {
        switch part {
        case .head(let head):
            guard let route = GenerationRoute(head) else {
                passed += 1
                break
            }
            begin(head, route, context)
            return false
        case .body(let bytes) where reading != nil:
            add(bytes, context)
            return false
        case .end:
            guard let (request, body) = reading else { break }
            reading = nil
            generate(request, body, context)
            return false
        case .body: break
        }
        guard isSkipping else {
            context.fireChannelRead(wrapInboundOut(part))
            return true
        }
        if case .end = part {
            isSkipping = false
            proceed(context)
        }
        return false
    }

    /// Goes on with what was held, as far as it need not wait any more.
    private func proceed(_ context: ChannelHandlerContext) {
        guard !isProceeding else { return }
        isProceeding = true
        var hasPassedSome = false
        while let part = held.first, !mustWait(part) {
            held.removeFirst()
            hasPassedSome = receive(part, context) || hasPassedSome
        }
        isProceeding = false
        if hasPassedSome { context.fireChannelReadComplete() }
        guard held.isEmpty else { return }
        if let error = heldError, !isAnswering {
            heldError = nil
            context.fireErrorCaught(error)
        }
        if wantsRead {
            wantsRead = false
            context.read()
        }
    }

    /// Hummingbird answers what it is told of at once, which would end up within the answer under way.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // Of a request that is cut off there is nothing to begin.
        while let part = held.last {
            if case .end = part { break }
            held.removeLast()
        }
        if !held.isEmpty || (isAnswering && reading == nil && !isSkipping) {
            heldError = error
        } else {
            context.fireErrorCaught(error)
        }
    }

    // MARK: One request

    private func begin(_ head: HTTPRequest, _ route: GenerationRoute, _ context: ChannelHandlerContext) {
        isAnswering = true
        isLast = head.headerFields[.connection] == "close"
        let (id, begun) = responder.begin(head, route)
        requestID = id
        switch begun {
        case .success(let request): reading = (request, ByteBuffer())
        case .failure(let error): refuse(error, context)
        }
    }

    private func add(_ bytes: ByteBuffer, _ context: ChannelHandlerContext) {
        guard case (let request, var body)? = reading else { return }
        reading = nil
        guard body.readableBytes + bytes.readableBytes <= bodyLimit else {
            return refuse(.bodyTooLarge(limit: bodyLimit), context)
        }
        if body.readableBytes == 0 { body = bytes } else { body.writeImmutableBuffer(bytes) }
        reading = (request, body)
    }

    /// Answers before the request has come to its end.
    private func refuse(_ error: APIError, _ context: ChannelHandlerContext) {
        isSkipping = true
        say(.failed(error), context)
    }

    private func generate(
        _ request: IncomingGeneration, _ body: ByteBuffer, _ context: ChannelHandlerContext
    ) {
        let eventLoop = context.eventLoop
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        @Sendable func take(_ result: Result<AnswerDelivery, APIError>) {
            if eventLoop.inEventLoop { return bound.value.accepted(result) }
            eventLoop.execute { bound.value.accepted(result) }
        }
        if body.readableBytes <= Self.longestAtOnce {
            return responder.generate(request, body, context.channel, done: take)
        }
        NIOThreadPool.singleton.submit { [responder, channel = context.channel] _ in
            responder.generate(request, body, channel, done: take)
        }
    }

    /// Bytes of a body that is read, and its prompt tokenized, on the event loop: a fraction of a millisecond. Longer ones
    /// would hold up everything else that happens there.
    private static let longestAtOnce = 4 << 10

    private func accepted(_ result: Result<AnswerDelivery, APIError>) {
        guard let context else { return }
        switch result {
        case .failure(let error): say(.failed(error), context)
        case .success(let delivery):
            self.delivery = delivery
            if delivery.isStreamed { beginStream(context) }
            let eventLoop = context.eventLoop
            let bound = NIOLoopBound(self, eventLoop: eventLoop)
            delivery.onNews { eventLoop.execute { bound.value.deliver() } }
        }
    }

    /// Sends what there is, as long as the client takes it.
    private func deliver() {
        guard let context else { return }
        var hasSaidSomething = false
        while delivery?.isStreamed == false || context.channel.isWritable, let output = delivery?.next() {
            say(output, context)
            hasSaidSomething = true
        }
        if hasSaidSomething { context.flush() }
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable, delivery?.isStreamed == true { deliver() }
        context.fireChannelWritabilityChanged()
    }

    // MARK: What goes out

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        context.write(data, promise: promise)
        guard case .end = unwrapOutboundIn(data) else { return }
        passed = max(0, passed - 1)
        if passed == 0 { proceed(context) }
    }

    private func beginStream(_ context: ChannelHandlerContext) {
        let watch = ConnectionGuard.Watch(
            pingInterval: TimeAmount(responder.configuration.pingInterval), ping: AnswerWriter.ping,
            onDisconnect: {})
        write(head: responder.streamHead(requestID))
        context.flush()
        context.triggerUserOutboundEvent(watch, promise: nil)
    }

    private func say(_ output: AnswerDelivery.Output, _ context: ChannelHandlerContext) {
        switch output {
        case .parts(let parts, let isLast):
            for part in parts { context.write(wrapOutboundOut(.body(part)), promise: nil) }
            if isLast { end(context) }
        case .whole(let body, let ending):
            say(responder.wholeHead(ending, length: body.count, requestID), body, context)
        case .failed(let error):
            let body = JSONWriter.object(error.write)
            say(responder.errorHead(error, length: body.count, requestID), body, context)
        }
    }

    private func say(_ head: HTTPResponseHead, _ body: [UInt8], _ context: ChannelHandlerContext) {
        write(head: head)
        write(.body(.byteBuffer(ByteBuffer(bytes: body))))
        end(context)
    }

    private func write(head: HTTPResponseHead) {
        var head = head
        if isLast { head.headers.add(name: HTTPField.Name.connection.rawName, value: "close") }
        write(.head(head))
    }

    private func write(_ part: HTTPServerResponsePart) {
        if !watch.hasRefused { codec?.write(NIOAny(part), promise: nil) }
    }

    private func end(_ context: ChannelHandlerContext) {
        delivery = nil
        isAnswering = false
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
        if isLast {
            close(context)
        } else if !isSkipping {
            proceed(context)
        }
    }

    /// Leaves the client time to read what was sent: what it may still be sending would make a closed socket throw that away.
    private func close(_ context: ChannelHandlerContext) {
        context.close(mode: .output, promise: nil)
        context.eventLoop.assumeIsolated().scheduleTask(in: Self.farewell) {
            self.context?.close(promise: nil)
        }
    }

    private static let farewell = TimeAmount.seconds(2)
}
