import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypesHTTP1

/// A client's connection. Requests that generate take the lane; those of other kinds are handled by tasks, away from the
/// event loops.
struct ClientChannel: ServerChildChannel {
    let base: HTTP1Channel
    let responder: GatewayResponder

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        base.setup(channel: channel, logger: logger).flatMapThrowing { value in
            let pipeline = channel.pipeline.syncOperations
            let place = try pipeline.handler(type: HTTPConnectionStateHandler.self)
            let codec = try pipeline.context(handlerType: HTTP1ToHTTPServerCodec.self)
            try pipeline.addHandler(OldClientHandler(), position: .before(codec.handler))
            try pipeline.addHandler(
                GenerationLane(
                    responder: responder, codec: codec,
                    watch: try pipeline.handler(type: ConnectionGuard.self)), position: .after(place))
            return value
        }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
