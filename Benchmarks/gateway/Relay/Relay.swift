import ChainEngine
import ChainModel
import ChainOrchestrator
import ChainWire
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix

/// What any gateway of SwiftNIO before one block server costs: takes HTTP requests, has the block server compute one step
/// for each, and answers with a fixed text. No routes, no JSON, no dispatch, no journal, no metrics, and no task for a
/// request: what is left is what our gateway can be compared with.
///
/// `benchmark-relay PORT` takes the emulated block server at that port (`chainserve node --emulate`), prints its own port
/// and serves until it is killed.
@main
enum Relay {
    private static let jobs = 256

    static func main() async throws {
        guard let port = CommandLine.arguments.dropFirst().first.flatMap({ Int($0) }) else {
            print("usage: benchmark-relay PORT")
            exit(2)
        }
        let link = try await RelayLink.connect(port: port, load: try Self.load())
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.backlog, value: 256)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(RelayHandler(link: link))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        print(listener.localAddress?.port ?? 0)
        fflush(nil)
        try await listener.closeFuture.get()
    }

    /// One block.
    private static func load() throws -> LoadRequest {
        let shape = ModelShape(
            name: "trivial", blockCount: 1, blockSize: ByteCount(1 << 20), cacheSize: ByteCount(1 << 20))
        let source = RangeSource.emulated(shape, width: EmulatedState.width)
        let manifest = try source.manifest(modelName: shape.name, range: BlockRange(first: 1, count: 1))
        return LoadRequest(
            load: 1, unitCount: jobs, sequenceLength: 16, stepTokens: 16, computeSize: .zero, threads: 0,
            manifest: ByteBuffer(bytes: try manifest.encoded()))
    }
}

enum RelayError: Error {
    case noBlockServer
}

/// One client's connection.
private final class RelayHandler: ChannelInboundHandler {
    typealias InboundIn = HTTPServerRequestPart
    typealias OutboundOut = HTTPServerResponsePart

    private static let answer = ByteBuffer(
        string:
            #"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"trivial","choices":[{"index":0,"#
            + #""message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"#
            + #""usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}"#)
    private let link: RelayLink

    init(link: RelayLink) { self.link = link }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard case .end = unwrapInboundIn(data) else { return }
        let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
        let eventLoop = context.eventLoop
        link.step {
            eventLoop.execute {
                let (handler, context) = bound.value
                handler.answer(context)
            }
        }
    }

    private func answer(_ context: ChannelHandlerContext) {
        let headers: HTTPHeaders = [
            "content-type": "application/json", "content-length": "\(Self.answer.readableBytes)",
        ]
        let head = HTTPResponseHead(version: .http1_1, status: .ok, headers: headers)
        context.write(wrapOutboundOut(.head(head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(Self.answer))), promise: nil)
        context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
    }
}
