import HTTPTypes
import NIOCore
import NIOHTTP1
import NIOHTTPTypes

/// Answers what is no HTTP with 400 and a reason instead of a closed connection. All state belongs to the event loop.
final class BadRequestAnswer: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPRequestPart
    typealias InboundOut = HTTPRequestPart
    typealias OutboundIn = HTTPResponsePart
    typealias OutboundOut = HTTPResponsePart

    /// Requests passed on that were not answered in full.
    private var unanswered = 0
    private var hasAnswered = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        if case .head = unwrapInboundIn(data) { unanswered += 1 }
        context.fireChannelRead(data)
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // Hummingbird answers such errors too, without a reason; all is said already.
        guard !hasAnswered else {
            promise?.succeed()
            return
        }
        if case .end = unwrapOutboundIn(data) { unanswered = max(0, unanswered - 1) }
        context.write(data, promise: promise)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        // While a response is under way its bytes must not be mixed with others; the connection is closed.
        if let error = error as? HTTPParserError, unanswered == 0, !hasAnswered {
            hasAnswered = true
            answer(error, context)
        }
        context.fireErrorCaught(error)
    }

    private func answer(_ error: HTTPParserError, _ context: ChannelHandlerContext) {
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
}

extension APIError {
    fileprivate static func unreadable(_ error: HTTPParserError) -> APIError {
        if error == .headerOverflow {
            return APIError(
                .requestHeaderFieldsTooLarge,
                "the head of the request is too long; send fewer or shorter headers",
                code: "headers_too_large")
        }
        return APIError(.badRequest, "this is not valid HTTP/1.1 (\(error))", code: "invalid_http")
    }
}
