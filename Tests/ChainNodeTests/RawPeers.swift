import ChainWire
import NIOCore
import NIOPosix
import Testing

/// Decodes what comes into a stream and lets bytes out as they are: a peer that keeps no rules.
private final class RawHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var decoder = FrameDecoder()
    private let messages: AsyncStream<Message>.Continuation
    private let answer: @Sendable (Message) -> [ByteBuffer]

    init(messages: AsyncStream<Message>.Continuation, answer: @escaping @Sendable (Message) -> [ByteBuffer]) {
        self.messages = messages
        self.answer = answer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        decoder.append(unwrapInboundIn(data))
        while let message = try? decoder.next() {
            messages.yield(message)
            for bytes in answer(message) { context.writeAndFlush(wrapOutboundOut(bytes), promise: nil) }
        }
    }

    func channelInactive(context: ChannelHandlerContext) { messages.finish() }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}

/// A client that sends any bytes and shows what comes back until the server closes.
struct RawClient: Sendable {
    let channel: any Channel
    let messages: AsyncStream<Message>

    static func connect(port: Int) async throws -> RawClient {
        let (stream, continuation) = AsyncStream.makeStream(of: Message.self)
        let channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        RawHandler(messages: continuation, answer: { _ in [] }))
                }
            }
            .connect(host: "127.0.0.1", port: port).get()
        return RawClient(channel: channel, messages: stream)
    }

    func send(_ bytes: ByteBuffer) { channel.writeAndFlush(bytes, promise: nil) }
    func send(_ message: Message) { send(FrameEncoder().bytes(of: message)) }

    /// What comes until the server closes.
    func remaining() async -> [Message] {
        var all: [Message] = []
        for await message in messages { all.append(message) }
        return all
    }

    /// The next message.
    func next() async -> Message? {
        for await message in messages { return message }
        return nil
    }

    func close() async { try? await channel.close().get() }
}

/// A server that answers each message with whatever it is told to.
struct RawServer: Sendable {
    let channel: any Channel
    let port: Int

    static func start(answer: @escaping @Sendable (Message) -> [ByteBuffer]) async throws -> RawServer {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    let (_, continuation) = AsyncStream.makeStream(of: Message.self)
                    try channel.pipeline.syncOperations.addHandler(
                        RawHandler(messages: continuation, answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let port = try #require(channel.localAddress?.port)
        return RawServer(channel: channel, port: port)
    }

    func stop() async { try? await channel.close().get() }
}
