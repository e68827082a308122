import Hummingbird
import NIOCore

/// Carries one job's events to its client, and gives the job up when the client goes away.
struct AnswerDelivery: Sendable {
    /// What wakes a delivery.
    private enum Signal: Sendable {
        case event(GenerationEvent)
        /// The ping interval has passed again.
        case tick
        case disconnected
    }

    struct Whole: Sendable {
        var body: [UInt8]
        var ending: AnswerWriter.Ending
    }

    let stream: GenerationStream
    let writer: AnswerWriter
    let stop: [String]
    let channel: any Channel
    /// Left when the answer is complete, before its last bytes are sent.
    let entry: RequestRegistry.Entry
    let pingInterval: Swift.Duration

    /// Waits for the whole answer.
    /// - Throws: `GenerationFailure`; `.cancelled` when the client went away.
    func whole() async throws -> Whole {
        var progress = AnswerProgress(promptTokens: stream.promptTokens, stop: stop)
        var text = ""
        var tokens: [GeneratedToken] = []
        return try await withSignals(tickEvery: nil) { signals in
            for await signal in signals {
                guard case .event(let event) = signal else { throw GenerationFailure.cancelled }
                switch progress.advance(event) {
                case .nothing: break
                case .token(let token, let piece):
                    text += piece
                    tokens.append(token)
                case .ended(let token, let piece, let ending):
                    entry.leave()
                    text += piece
                    if let token { tokens.append(token) }
                    let body = writer.whole(text: text, tokens: tokens, ending: ending)
                    return Whole(body: body, ending: ending)
                case .failed(let failure): throw failure
                }
            }
            throw Self.endedEarly
        }
    }

    /// Sends the answer as server-sent events. Returns when all is said or the client is gone.
    func stream(to output: inout any ResponseBodyWriter) async throws {
        var answer = StreamedAnswer(
            writer: writer, progress: AnswerProgress(promptTokens: stream.promptTokens, stop: stop))
        // By the time the last parts are sent, the job is over and its identifier free.
        let lastParts: [ByteBuffer] = try await withSignals(tickEvery: pingInterval) { signals in
            var isSilent = true
            for await signal in signals {
                switch signal {
                case .disconnected: return []
                case .tick:
                    if isSilent { try await output.write(AnswerWriter.ping) }
                    isSilent = true
                case .event(let event):
                    let parts = answer.advance(event)
                    if answer.isComplete { return parts }
                    for part in parts {
                        try await output.write(part)
                        isSilent = false
                    }
                }
            }
            return [writer.errorEvent(APIError(Self.endedEarly))]
        }
        entry.leave()
        try await output.write(contentsOf: lastParts)
    }

    /// Why there is no next signal: the gateway stops, or the service did not say how the job ended.
    private static var endedEarly: GenerationFailure {
        Task.isCancelled
            ? .unavailable(message: "the service is stopping")
            : .internal(message: "the answer ended without a result")
    }

    /// Runs `body` over the job's events, ticks and the client's disconnect in one sequence. However `body`
    /// ends, the job is given up unless it has ended by itself.
    private func withSignals<Result>(
        tickEvery interval: Swift.Duration?, _ body: (AsyncStream<Signal>) async throws -> Result
    ) async throws -> Result {
        let (signals, continuation) = AsyncStream.makeStream(of: Signal.self)
        let stream = stream
        channel.onClientDisconnect {
            // At once, even while a write to the client waits for it to read.
            stream.cancel()
            continuation.yield(.disconnected)
        }
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                defer { continuation.finish() }
                for await event in stream.events {
                    continuation.yield(.event(event))
                    if event.isLast { return }
                }
                stream.cancel()
            }
            if let interval {
                group.addTask {
                    while true {
                        try await Task.sleep(for: interval)
                        continuation.yield(.tick)
                    }
                }
            }
            defer { group.cancelAll() }
            return try await body(signals)
        }
    }
}

extension GenerationEvent {
    fileprivate var isLast: Bool {
        switch self {
        case .finished, .failed: true
        case .queued, .started, .token: false
        }
    }
}
