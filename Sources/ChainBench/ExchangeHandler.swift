import NIOCore
import NIOHTTP1
import Synchronization

/// One request on a connection, and where its answer goes.
struct Exchange: Sendable {
    var head: HTTPRequestHead
    var body: ByteBuffer
    /// From the writing of the request to the end of the answer.
    var timeout: TimeAmount
    var largestAnswer: Int
    var answer: EventLoopPromise<Answer>

    /// What came back, with the times at which it came.
    struct Answer: Sendable {
        var status = 0
        var headers = HTTPHeaders()
        var sent = NIODeadline.now()
        var events: [(time: NIODeadline, data: String)] = []
        var body = ""
        var end = NIODeadline.now()
        /// The connection may carry another request.
        var keepsConnection = false
    }
}

enum ExchangeFailure: Error, CustomStringConvertible {
    case timedOut
    case closed
    case answerTooLarge(limit: Int)

    var description: String {
        switch self {
        case .timedOut: "no complete answer within the time limit"
        case .closed: "the connection was closed before the answer was complete"
        case .answerTooLarge(let limit): "the answer is larger than \(limit) bytes"
        }
    }
}

/// What ended a connection before anything was asked over it, a failed TLS handshake most often.
final class EarlyFailure: Sendable {
    private let first = Mutex<(any Error)?>(nil)

    var error: (any Error)? { first.withLock { $0 } }

    func note(_ error: any Error) { first.withLock { $0 = $0 ?? error } }
}

/// Carries one exchange after another over a connection and notes when each piece of an answer arrives, on the event
/// loop, before anything is parsed.
final class ExchangeHandler: ChannelDuplexHandler {
    typealias InboundIn = HTTPClientResponsePart
    typealias OutboundIn = Exchange
    typealias OutboundOut = HTTPClientRequestPart

    private var exchange: Exchange?
    private var answer = Exchange.Answer()
    private var parser = ServerSentEventParser()
    private var events: [ServerSentEventParser.Event] = []
    private var isEventStream = false
    private var body = ByteBuffer()
    private var timer: Scheduled<Void>?
    private let early: EarlyFailure

    init(early: EarlyFailure) { self.early = early }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        let exchange = unwrapOutboundIn(data)
        answer = Exchange.Answer()
        parser = ServerSentEventParser(largestEvent: exchange.largestAnswer)
        isEventStream = false
        body.clear()
        self.exchange = exchange
        let channel = context.channel
        let promiseOfAnswer = exchange.answer
        timer = context.eventLoop.scheduleTask(in: exchange.timeout) {
            promiseOfAnswer.fail(ExchangeFailure.timedOut)
            channel.close(promise: nil)
        }
        answer.sent = .now()
        context.write(wrapOutboundOut(.head(exchange.head)), promise: nil)
        context.write(wrapOutboundOut(.body(.byteBuffer(exchange.body))), promise: nil)
        context.write(wrapOutboundOut(.end(nil)), promise: promise)
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let now = NIODeadline.now()
        switch unwrapInboundIn(data) {
        case .head(let head):
            // 1xx answers come before the one that counts.
            guard head.status.code >= 200 else { return }
            answer.status = Int(head.status.code)
            answer.headers = head.headers
            answer.keepsConnection = head.isKeepAlive
            isEventStream =
                head.headers.first(name: "content-type")?.hasPrefix("text/event-stream") ?? false
        case .body(let piece): take(piece, at: now, context: context)
        case .end:
            answer.body = String(buffer: body)
            answer.end = now
            finish(with: .success(answer))
        }
    }

    private func take(_ piece: ByteBuffer, at now: NIODeadline, context: ChannelHandlerContext) {
        guard let exchange else { return }
        if isEventStream {
            events.removeAll(keepingCapacity: true)
            do {
                try parser.append(piece.readableBytesView, into: &events)
            } catch {
                finish(with: .failure(error))
                context.close(promise: nil)
            }
            for event in events { answer.events.append((now, event.data)) }
        } else if body.readableBytes + piece.readableBytes > exchange.largestAnswer {
            finish(with: .failure(ExchangeFailure.answerTooLarge(limit: exchange.largestAnswer)))
            context.close(promise: nil)
        } else {
            body.writeImmutableBuffer(piece)
        }
    }

    func channelInactive(context: ChannelHandlerContext) {
        finish(with: .failure(ExchangeFailure.closed))
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        if exchange == nil { early.note(error) }
        finish(with: .failure(error))
        context.close(promise: nil)
    }

    private func finish(with result: Result<Exchange.Answer, any Error>) {
        timer?.cancel()
        exchange?.answer.completeWith(result)
        exchange = nil
    }
}
