import NIOCore

/// What becomes of one job's events on their way to the client: text held back for stop sequences, counts,
/// and how it ends. Pure: whole and streamed answers are driven by the same steps.
struct AnswerProgress {
    enum Step: Hashable {
        /// Nothing for the client yet.
        case nothing
        /// A token, with the text that may be shown now (perhaps none).
        case token(GeneratedToken, text: String)
        /// The last text, and how the answer ended. After a stop sequence the job is still running: cancel
        /// it.
        case ended(GeneratedToken?, text: String, AnswerWriter.Ending)
        case failed(GenerationFailure)
    }

    let promptTokens: Int
    private(set) var completionTokens = 0
    private var filter: StopSequenceFilter
    private var chain = ""
    private var attempts = 0
    /// When the request arrived; `nil` where nobody asks for times.
    private let arrival: GenerationFeed.Time?
    private var firstStart: GenerationFeed.Time?

    init(promptTokens: Int, stop: [String], arrival: GenerationFeed.Time? = nil) {
        self.promptTokens = promptTokens
        self.arrival = arrival
        filter = StopSequenceFilter(stop)
    }

    var usage: AnswerWriter.Usage {
        AnswerWriter.Usage(promptTokens: promptTokens, completionTokens: completionTokens)
    }

    /// From its arrival to its first start, and from there to its end.
    private func times(to end: GenerationFeed.Time) -> AnswerWriter.Times? {
        guard let arrival, let firstStart else { return nil }
        return AnswerWriter.Times(wait: firstStart - arrival, service: end - firstStart)
    }

    /// - Parameter time: when it happened.
    mutating func advance(_ event: GenerationEvent, at time: GenerationFeed.Time) -> Step {
        switch event {
        case .queued: return .nothing
        case .started(let chain, let attempt):
            self.chain = chain
            attempts = attempt
            firstStart = firstStart ?? time
            return .nothing
        case .token(let token):
            completionTokens += 1
            let text = filter.feed(token.text)
            guard filter.isStopped else { return .token(token, text: text) }
            let ending = AnswerWriter.Ending(
                reason: .stop, usage: usage, clampedFrom: nil, chain: chain, attempts: attempts,
                times: times(to: time))
            return .ended(token, text: text, ending)
        case .finished(let result):
            let text = filter.feed(result.trailingText)
            let ending = AnswerWriter.Ending(
                reason: filter.isStopped ? .stop : result.reason,
                usage: AnswerWriter.Usage(
                    promptTokens: result.promptTokens, completionTokens: result.completionTokens),
                clampedFrom: result.reason == .length && !filter.isStopped ? result.clampedFrom : nil,
                chain: result.chain, attempts: result.attempts, times: times(to: time))
            return .ended(nil, text: text + filter.finish(), ending)
        case .failed(let failure): return .failed(failure)
        }
    }
}

/// Turns one job's events into the chunks of a stream. Pure: events in, bytes out.
struct StreamedAnswer {
    private let writer: AnswerWriter
    private var progress: AnswerProgress
    private var isFirst = true
    /// Characters of the answer so far, those held back included.
    private var textOffset = 0
    /// All is said; nothing may be sent any more.
    private(set) var isComplete = false

    init(writer: AnswerWriter, progress: AnswerProgress) {
        self.writer = writer
        self.progress = progress
    }

    /// What is to be sent now.
    mutating func advance(_ event: GenerationEvent, at time: GenerationFeed.Time) -> [ByteBuffer] {
        switch progress.advance(event, at: time) {
        case .nothing: return []
        case .token(let token, let text): return [chunk(text, token, progress.usage)]
        case .ended(let token, let text, let ending):
            isComplete = true
            var parts: [ByteBuffer] = []
            if token != nil || !text.isEmpty { parts.append(chunk(text, token, ending.usage)) }
            parts.append(writer.lastChunk(ending, isFirst: isFirst))
            if let usage = writer.usageChunk(ending.usage) { parts.append(usage) }
            return parts + [AnswerWriter.done]
        case .failed(let failure):
            isComplete = true
            return [writer.errorEvent(APIError(failure))]
        }
    }

    private mutating func chunk(
        _ text: String, _ token: GeneratedToken?, _ usage: AnswerWriter.Usage
    ) -> ByteBuffer {
        defer {
            isFirst = false
            textOffset += token?.text.unicodeScalars.count ?? 0
        }
        return writer.chunk(text: text, token: token, isFirst: isFirst, textOffset: textOffset, usage: usage)
    }
}
