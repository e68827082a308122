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

    private var isOld = false

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .head(var head) = unwrapInboundIn(data), !isOld else {
            return context.fireChannelRead(data)
        }
        isOld = head.version == .http1_0
        guard isOld else {
            context.fireChannelRead(data)
            return context.pipeline.syncOperations.removeHandler(context: context, promise: nil)
        }
        head.headers.replaceOrAdd(name: "connection", value: "close")
        head.headers.remove(name: "expect")
        context.fireChannelRead(wrapInboundOut(.head(head)))
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        guard isOld, case .head(var head) = unwrapOutboundIn(data) else {
            return context.write(data, promise: promise)
        }
        head.version = .http1_0
        context.write(wrapOutboundOut(.head(head)), promise: promise)
    }
}
