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
        case ended(GeneratedToken?, text: String, AnswerWriter.Ending, isCutShort: Bool)
        case failed(GenerationFailure)
    }

    let promptTokens: Int
    private(set) var completionTokens = 0
    private var filter: StopSequenceFilter
    private var chain = ""
    private var attempts = 0

    init(promptTokens: Int, stop: [String]) {
        self.promptTokens = promptTokens
        filter = StopSequenceFilter(stop)
    }

    var usage: AnswerWriter.Usage {
        AnswerWriter.Usage(promptTokens: promptTokens, completionTokens: completionTokens)
    }

    mutating func advance(_ event: GenerationEvent) -> Step {
        switch event {
        case .queued: return .nothing
        case .started(let chain, let attempt):
            self.chain = chain
            attempts = attempt
            return .nothing
        case .token(let token):
            completionTokens += 1
            let text = filter.feed(token.text)
            guard filter.isStopped else { return .token(token, text: text) }
            let ending = AnswerWriter.Ending(
                reason: .stop, usage: usage, clampedFrom: nil, chain: chain, attempts: attempts)
            return .ended(token, text: text, ending, isCutShort: true)
        case .finished(let result):
            let text = filter.feed(result.trailingText)
            let ending = AnswerWriter.Ending(
                reason: filter.isStopped ? .stop : result.reason,
                usage: AnswerWriter.Usage(
                    promptTokens: result.promptTokens, completionTokens: result.completionTokens),
                clampedFrom: result.reason == .length && !filter.isStopped ? result.clampedFrom : nil,
                chain: result.chain, attempts: result.attempts)
            return .ended(nil, text: text + filter.finish(), ending, isCutShort: false)
        case .failed(let failure): return .failed(failure)
        }
    }
}
