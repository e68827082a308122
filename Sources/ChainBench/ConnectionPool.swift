import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Connections to one service, opened as they are needed and kept for the next request.
final class ConnectionPool: Sendable {
    let target: LoadTarget
    private let group: MultiThreadedEventLoopGroup
    private let idle = Mutex<[any Channel]>([])

    init(target: LoadTarget, group: MultiThreadedEventLoopGroup) {
        self.target = target
        self.group = group
    }

    /// Sends one request and waits for its whole answer.
    ///
    /// A connection that was kept and turns out to be closed is replaced once: the service may close idle ones.
    func perform(head: HTTPRequestHead, body: ByteBuffer) async throws -> Exchange.Answer {
        if let channel = idle.withLock({ $0.popLast() }), channel.isActive {
            do {
                return try await perform(head: head, body: body, on: channel)
            } catch ExchangeFailure.closed {
            } catch ChannelError.ioOnClosedChannel {
            }
        }
        let early = EarlyFailure()
        let channel = try await connect(noting: early)
        do {
            return try await perform(head: head, body: body, on: channel)
        } catch ChannelError.ioOnClosedChannel {
            throw early.error ?? ExchangeFailure.closed
        }
    }

    private func perform(head: HTTPRequestHead, body: ByteBuffer, on channel: any Channel) async throws
        -> Exchange.Answer
    {
        let promise = channel.eventLoop.makePromise(of: Exchange.Answer.self)
        let exchange = Exchange(
            head: head, body: body, timeout: target.timeout, largestAnswer: target.largestAnswer,
            answer: promise)
        channel.writeAndFlush(exchange).cascadeFailure(to: promise)
        let answer = try await promise.futureResult.get()
        if answer.keepsConnection {
            idle.withLock { $0.append(channel) }
        } else {
            channel.close(promise: nil)
        }
        return answer
    }

    private func connect(noting early: EarlyFailure) async throws -> any Channel {
        let target = target
        return try await ClientBootstrap(group: group)
            .connectTimeout(target.connectTimeout)
            .channelOption(ChannelOptions.socketOption(.so_reuseaddr), value: 1)
            .channelOption(ChannelOptions.tcpOption(.tcp_nodelay), value: 1)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try target.protection.install(on: channel, host: target.host)
                    try channel.pipeline.syncOperations.addHTTPClientHandlers()
                    try channel.pipeline.syncOperations.addHandler(ExchangeHandler(early: early))
                }
            }
            .connect(host: target.host, port: target.port).get()
    }

    func close() async {
        let channels = idle.withLock { idle in
            defer { idle = [] }
            return idle
        }
        for channel in channels { try? await channel.close() }
    }
}
