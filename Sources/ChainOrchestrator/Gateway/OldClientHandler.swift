import NIOCore
import NIOHTTP1

/// What clients of HTTP/1.0 need, such as ApacheBench and probes of load balancers: a connection carries one request, and
/// its end is the end of an answer whose length is not known beforehand, for they know no chunks (RFC 9112, sections 6.3
/// and 9.3) and wait for no 100 (RFC 9110, section 10.1.1).
///
/// Sits before the codec, after which the version is forgotten. Leaves connections whose first request is of HTTP/1.1.
final class OldClientHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias InboundOut = HTTPServerRequestPart
    typealias OutboundIn = HTTPServerResponsePart
    typealias OutboundOut = HTTPServerResponsePart

    private enum State { case fresh, old, ended }
    private var state = State.fresh

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch (state, unwrapInboundIn(data)) {
        case (.fresh, .head(var head)) where head.version == .http1_0:
            state = .old
            head.headers.replaceOrAdd(name: "connection", value: "close")
            head.headers.remove(name: "expect")
            context.fireChannelRead(wrapInboundOut(.head(head)))
        case (.fresh, _):
            context.fireChannelRead(data)
            context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        case (.old, .end):
            state = .ended
            context.fireChannelRead(data)
        case (.old, _): context.fireChannelRead(data)
        // A client that asked for `keep-alive` is told otherwise.
        case (.ended, _): break
        }
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard state != .fresh, case .head(var head) = unwrapOutboundIn(data) else {
            return context.write(data, promise: promise)
        }
        head.version = .http1_0
        context.write(wrapOutboundOut(.head(head)), promise: promise)
    }
}
