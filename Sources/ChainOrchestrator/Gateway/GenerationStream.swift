/// An accepted job, seen from the client's side: what happens to it, in order, ending with exactly one
/// `.finished` or `.failed`, after which the stream ends.
///
/// The job is given up, and its caches freed, when whoever reads the stream goes away: by `cancel()`, by
/// cancelling the task that iterates, or by letting go of the stream. All three call the `onCancel` given to
/// `makeStream`.
package struct GenerationStream: Sendable {
    /// Tokens of the prompt, known since submission.
    package let promptTokens: Int
    fileprivate let source: Source
    /// Told of each event as it is read, with the moment at which it happened.
    fileprivate var observation: RequestObservation?

    /// What the copies of a stream share.
    fileprivate final class Source: Sendable {
        let feed = GenerationFeed()
        let onCancel: @Sendable () -> Void

        init(onCancel: @escaping @Sendable () -> Void) { self.onCancel = onCancel }

        deinit { if !feed.isFinished { onCancel() } }

        func cancel() {
            onCancel()
            feed.finish()
        }
    }

    /// Makes a stream and what feeds it: yield the events, then call `finish()`.
    ///
    /// - Parameter onCancel: gives the job up. May be called more than once, on any thread, also after the
    ///   job ended, and must not wait: post an event and return.
    package static func makeStream(
        promptTokens: Int, onCancel: @escaping @Sendable () -> Void
    ) -> (stream: GenerationStream, feed: GenerationFeed) {
        let stream = GenerationStream(promptTokens: promptTokens, source: Source(onCancel: onCancel))
        return (stream, stream.source.feed)
    }

    /// For one reader.
    package var events: GenerationEvents { GenerationEvents(stream: self) }

    /// The same stream, told to `observation` as it is read.
    func observed(by observation: RequestObservation) -> GenerationStream {
        var stream = self
        stream.observation = observation
        return stream
    }

    /// The next event, for readers that are no tasks; see `onNews`.
    func take() -> GenerationFeed.Taken {
        let taken = source.feed.take()
        if case .event(let event, let time) = taken { observation?.note(event, at: time) }
        return taken
    }

    /// See `GenerationFeed.onNews`. `tell` must not hold the stream, which is given up when it is let go.
    func onNews(_ news: GenerationFeed.News, _ tell: @escaping @Sendable () -> Void) {
        source.feed.onNews(news, tell)
    }

    /// Gives the job up and ends the stream at once, whatever the service does. Harmless when the job has
    /// ended, or has been given up, before.
    package func cancel() {
        observation?.abandoned(at: .now)
        source.cancel()
    }

    /// As `cancel()`, for a job whose client has its whole answer: a stop sequence was found in the text.
    package func complete() {
        observation?.completed(at: .now)
        source.cancel()
    }
}

/// A job's events as they are read, by one reader.
package struct GenerationEvents: AsyncSequence, Sendable {
    package typealias Element = GenerationEvent
    package typealias Failure = Never

    fileprivate let stream: GenerationStream

    package struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate let stream: GenerationStream

        package mutating func next(isolation actor: isolated (any Actor)?) async -> GenerationEvent? {
            let source = stream.source
            let next = await withTaskCancellationHandler {
                await source.feed.next()
            } onCancel: {
                source.cancel()
            }
            guard let (event, time) = next else { return nil }
            stream.observation?.note(event, at: time)
            return event
        }

        package mutating func next() async -> GenerationEvent? { await next(isolation: nil) }
    }

    package func makeAsyncIterator() -> AsyncIterator { AsyncIterator(stream: stream) }
}

package enum GenerationEvent: Hashable, Sendable {
    /// Waiting; `position` requests, this one included, are to be started before the next one. At least 1.
    case queued(position: Int)
    /// On a chain now. `attempt` counts from 1 and grows when the job moves to another chain after a loss.
    case started(chain: String, attempt: Int)
    case token(GeneratedToken)
    case finished(GenerationResult)
    case failed(GenerationFailure)
}

package struct GeneratedToken: Hashable, Sendable {
    package var id: Int32
    /// What the token adds to the text: only whole characters, so it is empty while a UTF-8 sequence is
    /// incomplete.
    package var text: String
    /// The token's own bytes, complete characters or not.
    package var bytes: [UInt8]
    /// Natural logarithm of the probability, when asked for.
    package var logprob: Double?
    /// The likeliest tokens at this place, the likeliest first; as many as asked for.
    package var topLogprobs: [TokenLogprob]

    /// - Parameter bytes: `nil` takes the bytes of `text`.
    package init(
        id: Int32, text: String, bytes: [UInt8]? = nil, logprob: Double? = nil,
        topLogprobs: [TokenLogprob] = []
    ) {
        self.id = id
        self.text = text
        self.bytes = bytes ?? Array(text.utf8)
        self.logprob = logprob
        self.topLogprobs = topLogprobs
    }
}

package struct TokenLogprob: Hashable, Sendable {
    package var id: Int32
    package var bytes: [UInt8]
    package var logprob: Double

    package init(id: Int32, bytes: [UInt8], logprob: Double) {
        self.id = id
        self.bytes = bytes
        self.logprob = logprob
    }
}

package enum FinishReason: String, Hashable, Codable, Sendable {
    /// The model ended its answer.
    case stop
    /// `maximumTokens` or the model's length was reached.
    case length
}

/// How a job ended well.
package struct GenerationResult: Hashable, Codable, Sendable {
    package var reason: FinishReason
    package var promptTokens: Int
    /// All tokens generated.
    package var completionTokens: Int
    /// The `maximumTokens` that was asked for, when the model's length allowed fewer.
    package var clampedFrom: Int?
    /// The chain that finished it, as people read it: `paris-1 > lyon-2`.
    package var chain: String
    /// How often it was started: 1 when nothing was lost.
    package var attempts: Int
    /// Text still held back when the job ended: an incomplete UTF-8 sequence, as U+FFFD. Usually empty.
    package var trailingText: String

    package init(
        reason: FinishReason, promptTokens: Int, completionTokens: Int, clampedFrom: Int? = nil,
        chain: String,
        attempts: Int = 1, trailingText: String = ""
    ) {
        self.reason = reason
        self.promptTokens = promptTokens
        self.completionTokens = completionTokens
        self.clampedFrom = clampedFrom
        self.chain = chain
        self.attempts = attempts
        self.trailingText = trailingText
    }
}

/// How an accepted job ended badly. `message` is for people: what happened and what to do.
package enum GenerationFailure: Error, Hashable, Sendable {
    /// Given up on request: 499.
    case cancelled
    /// It waited or ran longer than it may: 504.
    case deadlineExceeded(message: String)
    /// Servers were lost and no other path exists: 503.
    case unavailable(message: String)
    /// 500.
    case `internal`(message: String)
}

/// Why a request was not accepted. Each case becomes one HTTP status; `retryAfter` is the expected time in
/// seconds until it is worth asking again, and `reason` a short machine-readable word such as `queue-full`.
package enum GenerationRefusal: Error, Hashable, Sendable {
    /// 400. `parameter` is the JSON field to mend, `code` OpenAI's word for what is wrong.
    case invalid(message: String, parameter: String?, code: String?)
    /// 404.
    case unknownModel(String)
    /// 400 with code `context_length_exceeded`.
    case promptTooLong(tokens: Int, limit: Int)
    /// 429: capacity exists but is taken. `ticket`: a place is kept for whoever comes back with it, or with the same
    /// request, after `retryAfter`.
    case overloaded(retryAfter: Double, reason: String, ticket: UInt64? = nil)
    /// 503: no chain can serve.
    case unavailable(retryAfter: Double, reason: String)
    /// 500.
    case `internal`(message: String)
}
