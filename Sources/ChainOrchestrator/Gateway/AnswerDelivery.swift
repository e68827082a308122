import ChainModel
import Hummingbird
import NIOCore
import Synchronization

/// Carries one job's events to its client, and gives the job up when the client goes away.
struct AnswerDelivery: Sendable {
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
    var events = EventNumbering()
    /// Started when the request arrived; `nil` for an answer that is given again, whose times are not this delivery's.
    var clock: MonotonicClock?

    /// Time since the request arrived, read when asked for.
    private var elapsed: (@Sendable () -> Duration)? {
        guard let clock else { return nil }
        return { clock.now - Instant.origin }
    }

    /// Waits for the whole answer.
    /// - Throws: `GenerationFailure`; `.cancelled` when the client went away.
    nonisolated(nonsending) func whole() async throws -> Whole {
        var progress = AnswerProgress(promptTokens: stream.promptTokens, stop: stop, elapsed: elapsed)
        var text = ""
        var tokens: [GeneratedToken] = []
        defer { entry.leave() }
        return try await follow(pingInterval: nil) { event in
            switch progress.advance(event) {
            case .nothing: return nil
            case .token(let token, let piece):
                text += piece
                tokens.append(token)
                return nil
            case .ended(let token, let piece, let ending):
                text += piece
                if let token { tokens.append(token) }
                return Whole(
                    body: writer.whole(text: text, tokens: tokens, ending: ending), ending: ending)
            case .failed(let failure): throw failure
            }
        }
    }

    /// Sends the answer as server-sent events. Returns when all is said or the client is gone.
    func stream(to output: inout any ResponseBodyWriter) async throws {
        var answer = StreamedAnswer(
            writer: writer,
            progress: AnswerProgress(promptTokens: stream.promptTokens, stop: stop, elapsed: elapsed))
        var lastParts: [ByteBuffer]
        var events = events
        do {
            lastParts = try await follow(pingInterval: pingInterval) { event in
                let parts = answer.advance(event)
                if answer.isComplete { return parts }
                for part in parts {
                    if let part = events.next(part) { try await output.write(part) }
                }
                return nil
            }
        } catch let failure as GenerationFailure {
            lastParts = [writer.errorEvent(APIError(failure))]
        }
        // By now the job is over and its identifier free, also after a stop sequence.
        entry.leave()
        try await output.write(contentsOf: lastParts.compactMap { events.next($0) })
    }

    /// Hands the job's events to `handle` until it has a result. However this ends, the job is given up
    /// unless it has ended by itself.
    private nonisolated(nonsending) func follow<Result>(
        pingInterval: Swift.Duration?, _ handle: (GenerationEvent) async throws -> Result?
    ) async throws -> Result {
        let client = ClientPresence()
        let stream = stream
        channel.onClientDisconnect(pingInterval: pingInterval.map { TimeAmount($0) }, ping: AnswerWriter.ping)
        {
            // At once, even while a write to the client waits for it to read.
            client.leave()
            stream.cancel()
        }
        var hasEnded = false
        defer { if !hasEnded { stream.cancel() } }
        for await event in stream.events {
            if client.isGone { break }
            hasEnded = event.isLast
            if let result = try await handle(event) {
                if !hasEnded { stream.complete() }
                return result
            }
        }
        if client.isGone { throw GenerationFailure.cancelled }
        throw Task.isCancelled
            ? GenerationFailure.unavailable(message: "the service is stopping")
            : GenerationFailure.internal(message: "the answer ended without a result")
    }
}

/// Whether the client is still there; told by the connection, read by the delivery.
private final class ClientPresence: Sendable {
    private let hasLeft = Atomic(false)

    var isGone: Bool { hasLeft.load(ordering: .relaxed) }
    func leave() { hasLeft.store(true, ordering: .relaxed) }
}

extension GenerationEvent {
    fileprivate var isLast: Bool {
        switch self {
        case .finished, .failed: true
        case .queued, .started, .token: false
        }
    }
}
