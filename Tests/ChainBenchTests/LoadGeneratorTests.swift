import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization
import Testing

@testable import ChainBench

/// A service that answers as it is told, on a free port.
private final class ScriptedService: Sendable {
    enum Answer: Sendable {
        /// So many chunks, one of usage, [DONE].
        case tokens(Int)
        case refusal(retryAfterMilliseconds: Int)
        /// A part of an answer, then the end of the connection.
        case cut
    }

    struct Counts: Sendable {
        var requests = 0
        var running = 0
        var mostRunning = 0
        var connections = 0
    }

    let counts = Mutex(Counts())
    private let channel: any Channel
    var port: Int { channel.localAddress?.port ?? 0 }

    /// - Parameter answer: for the request of that number, from 0, and the delay before it.
    init(_ answer: @escaping @Sendable (Int) -> (Answer, TimeAmount)) async throws {
        let box = Box()
        channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.configureHTTPServerPipeline()
                    try channel.pipeline.syncOperations.addHandler(Handler(box: box, answer: answer))
                }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        box.service.withLock { $0 = self }
    }

    func close() async throws { try await channel.close() }

    private final class Box: Sendable { let service = Mutex<ScriptedService?>(nil) }

    private final class Handler: ChannelInboundHandler {
        typealias InboundIn = HTTPServerRequestPart
        typealias OutboundOut = HTTPServerResponsePart
        let box: Box
        let answer: @Sendable (Int) -> (Answer, TimeAmount)

        init(box: Box, answer: @escaping @Sendable (Int) -> (Answer, TimeAmount)) {
            self.box = box
            self.answer = answer
        }

        private var service: ScriptedService? { box.service.withLock { $0 } }

        func channelActive(context: ChannelHandlerContext) {
            service?.counts.withLock { $0.connections += 1 }
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            guard case .end = unwrapInboundIn(data), let service else { return }
            let number = service.counts.withLock { counts in
                counts.requests += 1
                counts.running += 1
                counts.mostRunning = max(counts.mostRunning, counts.running)
                return counts.requests - 1
            }
            let (answer, delay) = answer(number)
            let bound = NIOLoopBound((self, context), eventLoop: context.eventLoop)
            context.eventLoop.scheduleTask(in: delay) {
                let (handler, context) = bound.value
                service.counts.withLock { $0.running -= 1 }
                handler.send(answer, context: context)
            }
        }

        private func send(_ answer: Answer, context: ChannelHandlerContext) {
            func head(_ status: HTTPResponseStatus, _ fields: HTTPHeaders) {
                let head = HTTPResponseHead(version: .http1_1, status: status, headers: fields)
                context.write(wrapOutboundOut(.head(head)), promise: nil)
            }
            func event(_ text: String) {
                let buffer = ByteBuffer(string: "data: \(text)\n\n")
                context.writeAndFlush(wrapOutboundOut(.body(.byteBuffer(buffer))), promise: nil)
            }
            switch answer {
            case .tokens(let count):
                head(.ok, ["content-type": "text/event-stream", "transfer-encoding": "chunked"])
                for _ in 0..<count { event(#"{"choices": [{"delta": {"content": "x"}}]}"#) }
                event(#"{"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": \#(count)}}"#)
                event("[DONE]")
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .refusal(let milliseconds):
                head(.tooManyRequests, ["content-length": "2", "retry-after-ms": "\(milliseconds)"])
                context.write(wrapOutboundOut(.body(.byteBuffer(ByteBuffer(string: "{}")))), promise: nil)
                context.writeAndFlush(wrapOutboundOut(.end(nil)), promise: nil)
            case .cut:
                head(.ok, ["content-type": "text/event-stream", "transfer-encoding": "chunked"])
                event(#"{"choices": [{"delta": {"content": "x"}}]}"#)
                context.close(promise: nil)
            }
        }
    }
}

@Suite("Load generator")
struct LoadGeneratorTests {
    private func generator(_ service: ScriptedService) throws -> LoadGenerator {
        LoadGenerator(target: try LoadTarget(url: "http://127.0.0.1:\(service.port)", model: "m"))
    }

    private func requests(_ count: Int, every gap: Double = 0) -> [ScheduledRequest] {
        (0..<count).map { ScheduledRequest(start: Double($0) * gap, inputTokens: 5, outputTokens: 3) }
    }

    @Test func closedLoopKeepsItsNumberOfClients() async throws {
        let service = try await ScriptedService { _ in (.tokens(3), .milliseconds(2)) }
        let records = try await generator(service).run(
            LoadSchedule(requests: requests(60), pace: .closed(clients: 4)))
        #expect(records.map(\.index) == Array(0..<60))
        #expect(records.allSatisfy { $0.isCompleted && $0.completionTokens == 3 && $0.pieces.count == 3 })
        let counts = service.counts.withLock { $0 }
        #expect(counts.requests == 60)
        #expect(counts.mostRunning == 4)
        #expect(counts.connections == 4, "connections are kept")
        try await service.close()
    }

    /// The second request is due while the first holds the only place; its latency counts from when it was due.
    @Test func latencyCountsFromTheIntendedStart() async throws {
        let service = try await ScriptedService { number in (.tokens(1), .milliseconds(number == 0 ? 300 : 0))
        }
        var generator = try generator(service)
        generator.options.maximumConcurrency = 1
        let records = try await generator.run(LoadSchedule(requests: requests(2, every: 0.05), pace: .open))
        #expect(records[1].intendedStart == 0.05)
        #expect(try #require(records[1].sent) >= 0.3)
        #expect(records[1].latency >= 0.25)
        try await service.close()
    }

    @Test func refusalsAreRetriedAsTold() async throws {
        let service = try await ScriptedService { number in
            number == 0 ? (.refusal(retryAfterMilliseconds: 40), .zero) : (.tokens(2), .zero)
        }
        var generator = try generator(service)
        let refused = try await generator.run(LoadSchedule(requests: requests(1), pace: .open))
        #expect(refused[0].status == 429)
        #expect(refused[0].retryAfter == 0.04)
        #expect(refused[0].error?.hasPrefix("HTTP 429") == true)
        try await service.close()

        let second = try await ScriptedService { number in
            number == 0 ? (.refusal(retryAfterMilliseconds: 40), .zero) : (.tokens(2), .zero)
        }
        generator = try self.generator(second)
        generator.options.retries = 1
        let records = try await generator.run(LoadSchedule(requests: requests(1), pace: .open))
        #expect(records[0].isCompleted)
        #expect(records[0].sendings == 2)
        #expect(records[0].latency >= 0.04, "waiting to be told again is part of the latency")
        try await second.close()
    }

    @Test func cutAnswersAndSilenceAreFailures() async throws {
        let service = try await ScriptedService { number in
            number == 0 ? (.cut, .zero) : (.tokens(1), .seconds(60))
        }
        var generator = try generator(service)
        generator.target.timeout = .milliseconds(200)
        let records = try await generator.run(
            LoadSchedule(requests: requests(2), pace: .closed(clients: 1)))
        #expect(records.allSatisfy { !$0.isCompleted })
        #expect(records[1].error == "no complete answer within the time limit")
        try await service.close()
        let nobody = try await generator.run(LoadSchedule(requests: requests(1), pace: .open))
        #expect(nobody[0].error != nil)
    }
}
