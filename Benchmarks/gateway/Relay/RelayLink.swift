import ChainEngine
import ChainWire
import NIOCore
import NIOPosix

/// The relay's connection to its block server, on an event loop of its own, as our orchestrator's links are.
final class RelayLink: Sendable {
    private let eventLoop: any EventLoop
    private let handler: NIOLoopBound<Handler>

    private init(_ eventLoop: any EventLoop, _ handler: NIOLoopBound<Handler>) {
        self.eventLoop = eventLoop
        self.handler = handler
    }

    /// Connects, and has the block server host what `load` says.
    static func connect(port: Int, load: LoadRequest) async throws -> RelayLink {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let (link, isReady) = try await ClientBootstrap(group: group)
            .channelOption(.tcpOption(.tcp_nodelay), value: 1)
            .connect(host: "127.0.0.1", port: port) { channel in
                channel.eventLoop.makeCompletedFuture {
                    let isReady = channel.eventLoop.makePromise(of: Void.self)
                    let handler = Handler(load: load, isReady: isReady)
                    try channel.pipeline.syncOperations.addHandlers([FrameChannelHandler(), handler])
                    let bound = NIOLoopBound(handler, eventLoop: channel.eventLoop)
                    return (RelayLink(channel.eventLoop, bound), isReady.futureResult)
                }
            }
        try await isReady.get()
        return link
    }

    /// Opens a job and computes its first token, then closes it; `done` is called on the link's event loop.
    func step(_ done: @escaping @Sendable () -> Void) {
        eventLoop.execute { [handler] in handler.value.step(done) }
    }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = Message
        typealias OutboundOut = WireOutput

        private static let hidden = HiddenStates.bytes(
            of: [116] + Array(repeating: 0, count: EmulatedState.width - 1))
        private let load: LoadRequest
        private let isReady: EventLoopPromise<Void>
        private var context: ChannelHandlerContext?
        private var waiting: [UInt64: @Sendable () -> Void] = [:]
        private var last: UInt64 = 0
        private var willFlush = false

        init(load: LoadRequest, isReady: EventLoopPromise<Void>) {
            self.load = load
            self.isReady = isReady
        }

        func channelActive(context: ChannelHandlerContext) {
            self.context = context
            send(.message(.hello(Hello(name: "relay"))))
            beat(context)
        }

        /// The server takes a silent orchestrator for dead.
        private func beat(_ context: ChannelHandlerContext) {
            send(.message(.ping(id: 0)))
            context.eventLoop.assumeIsolated().scheduleTask(in: .milliseconds(500)) {
                if let context = self.context { self.beat(context) }
            }
        }

        func channelInactive(context: ChannelHandlerContext) {
            self.context = nil
            isReady.fail(RelayError.noBlockServer)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            switch unwrapInboundIn(data) {
            case .helloReply: send(.message(.load(load)))
            case .loaded: isReady.succeed()
            case .loadRefused: isReady.fail(RelayError.noBlockServer)
            case .stepResult(let piece):
                waiting.removeValue(forKey: piece.step)?()
                // Goes out with the next opening.
                context.write(wrapOutboundOut(.message(.close(job: piece.job))), promise: nil)
            default: break
            }
        }

        func step(_ done: @escaping @Sendable () -> Void) {
            last += 1
            waiting[last] = done
            send(.message(.open(job: last, firstBlock: 1, blockCount: 1)))
            send(
                .transfer(
                    StepTransfer(
                        .step, job: last, step: last, position: 0, tokenCount: 1, hidden: Self.hidden)))
        }

        /// What is sent within one turn of the event loop goes out in one write.
        private func send(_ output: WireOutput) {
            guard let context else { return }
            context.write(wrapOutboundOut(output), promise: nil)
            guard !willFlush else { return }
            willFlush = true
            context.eventLoop.assumeIsolated().execute {
                self.willFlush = false
                self.context?.flush()
            }
        }
    }
}
