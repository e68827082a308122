import NIOCore

/// Turns one job's events, as they come, into what is sent to its client. Given up with its job when it is let go before
/// the job's end.
///
/// `@unchecked Sendable`: belongs to the connection's event loop as soon as whoever makes it has handed it over.
final class AnswerDelivery: @unchecked Sendable {
    /// What is to be sent next.
    enum Output {
        /// The whole answer.
        case whole([UInt8], AnswerWriter.Ending)
        /// The next parts of a stream; `isLast`: nothing comes after them.
        case parts([ByteBuffer], isLast: Bool)
        /// There is no whole answer.
        case failed(APIError)
    }

    /// A whole answer in the making.
    private struct Whole {
        var progress: AnswerProgress
        var text = ""
        var tokens: [GeneratedToken] = []
    }

    private let stream: GenerationStream
    private let writer: AnswerWriter
    /// Left when the answer is complete, before its last bytes are sent.
    private let entry: RequestRegistry.Entry
    /// Each event is wanted at once: it may be sent, or a stop sequence may end in it.
    private let isWantedAtOnce: Bool
    private var numbering: EventNumbering
    /// One of the two.
    private var streamed: StreamedAnswer?
    private var whole: Whole?
    private var hasEnded = false

    /// - Parameters:
    ///   - arrival: when the request arrived; `nil` for an answer that is given again, whose times are not this delivery's.
    init(
        of stream: GenerationStream, writer: AnswerWriter, stop: [String], entry: RequestRegistry.Entry,
        numbering: EventNumbering, arrival: GenerationFeed.Time?
    ) {
        self.stream = stream
        self.writer = writer
        self.entry = entry
        self.numbering = numbering
        isWantedAtOnce = writer.options.isStreamed || !stop.isEmpty
        let progress = AnswerProgress(promptTokens: stream.promptTokens, stop: stop, arrival: arrival)
        if writer.options.isStreamed {
            streamed = StreamedAnswer(writer: writer, progress: progress)
        } else {
            whole = Whole(progress: progress)
        }
    }

    var isStreamed: Bool { writer.options.isStreamed }

    /// Has `tell` called when `next` has found nothing and may find more.
    func onNews(_ tell: @escaping @Sendable () -> Void) {
        stream.onNews(isWantedAtOnce ? .anyEvent : .end, tell)
    }

    /// The client is gone: gives the job up.
    func cancel() { stream.cancel() }

    /// - Returns: `nil` when all events so far are taken.
    func next() -> Output? {
        while true {
            switch stream.take() {
            case .nothing: return nil
            case .end: return end(.internal(message: "the answer ended without a result"))
            case .event(let event, let time):
                hasEnded = event.isLast
                if let output = advance(event, at: time) { return output }
            }
        }
    }

    /// Ends the answer badly.
    func end(_ failure: GenerationFailure) -> Output {
        entry.leave()
        let error = APIError(failure)
        guard isStreamed else { return .failed(error) }
        return .parts([numbering.next(writer.errorEvent(error))].compactMap { $0 }, isLast: true)
    }

    private func advance(_ event: GenerationEvent, at time: GenerationFeed.Time) -> Output? {
        if let parts = streamed?.advance(event, at: time) {
            let isLast = streamed?.isComplete == true
            if isLast { isOver() }
            let numbered = parts.compactMap { numbering.next($0) }
            return numbered.isEmpty && !isLast ? nil : .parts(numbered, isLast: isLast)
        }
        switch whole?.progress.advance(event, at: time) {
        case .nothing, nil: return nil
        case .token(let token, let piece):
            whole?.text += piece
            whole?.tokens.append(token)
            return nil
        case .ended(let token, let piece, let ending):
            whole?.text += piece
            if let token { whole?.tokens.append(token) }
            isOver()
            return .whole(
                writer.whole(text: whole?.text ?? "", tokens: whole?.tokens ?? [], ending: ending), ending)
        case .failed(let failure): return end(failure)
        }
    }

    /// By now the job is over and its identifier free, also after a stop sequence.
    private func isOver() {
        if !hasEnded { stream.complete() }
        entry.leave()
    }
}
