import ChainSecurity
import Synchronization
import Tracing

/// One request as it is measured: told of its events in order, it records what metrics and spans say of it, each
/// thing once, and its end once, however it ends.
///
/// Times are given, not read, so that tests choose them.
final class RequestObservation: Sendable {
    typealias Time = ContinuousClock.Instant

    private struct State {
        var startedAt: Time?
        var firstTokenAt: Time?
        var lastTokenAt: Time?
        var tokens = 0
        var chain = ""
        var isOver = false
    }

    private let metrics: ServiceMetrics
    private let recent: RecentResponses
    private let operation: String
    private let promptTokens: Int
    private let arrivedAt: Time
    private let span: (any Span)?
    private let state = Mutex(State())

    init(
        metrics: ServiceMetrics, recent: RecentResponses, operation: String, promptTokens: Int,
        at arrival: Time,
        span: (any Span)?
    ) {
        self.metrics = metrics
        self.recent = recent
        self.operation = operation
        self.promptTokens = promptTokens
        arrivedAt = arrival
        self.span = span
    }

    deinit { abandoned(at: .now) }

    // MARK: Events

    func note(_ event: GenerationEvent, at now: Time) {
        switch event {
        case .queued: break
        case .started(let chain, let attempt): started(on: chain, attempt, now)
        case .token: token(now)
        case .finished(let result): end(.finished(result.reason == .stop ? "stop" : "length"), now)
        case .failed(.cancelled): end(.abandoned, now)
        case .failed(.deadlineExceeded): end(.failed(.deadline), now)
        case .failed(.unavailable): end(.failed(.unavailable), now)
        case .failed(.internal): end(.failed(.internal), now)
        }
    }

    /// The client has its whole answer although the job went on: a stop sequence was found in the text.
    func completed(at now: Time) { end(.finished("stop"), now) }

    /// Nobody waits for the answer any more.
    func abandoned(at now: Time) { end(.abandoned, now) }

    private func started(on chain: String, _ attempt: Int, _ now: Time) {
        let isFirst = state.withLock { state in
            state.chain = chain
            if state.startedAt != nil { return false }
            state.startedAt = now
            return true
        }
        if isFirst {
            metrics.queueing.record((now - arrivedAt).inSeconds)
        } else {
            metrics.restarts.increment()
            recent.restarted(on: chain)
            span?.addEvent("restarted on another chain")
        }
    }

    private func token(_ now: Time) {
        let (startedAt, previous) = state.withLock { state in
            defer {
                state.tokens += 1
                if state.firstTokenAt == nil { state.firstTokenAt = now }
                state.lastTokenAt = now
            }
            return (state.startedAt, state.lastTokenAt)
        }
        metrics.generatedTokens.increment()
        recent.tokenGenerated()
        if let previous {
            metrics.interToken.record((now - previous).inSeconds)
        } else {
            let wait = (now - arrivedAt).inSeconds
            metrics.promptTokens.increment(by: promptTokens)
            metrics.firstToken.record(wait)
            metrics.openTelemetry("gen_ai.server.time_to_first_token", operation: operation).record(wait)
            if let startedAt { metrics.prefill.record((now - startedAt).inSeconds) }
        }
    }

    // MARK: The end

    private enum End {
        case finished(String)
        case failed(ServiceMetrics.FailureReason)
        case abandoned
    }

    private func end(_ end: End, _ now: Time) {
        let last: State? = state.withLock { state in
            guard !state.isOver else { return nil }
            state.isOver = true
            return state
        }
        guard let last else { return }
        let duration = (now - arrivedAt).inSeconds
        var errorType: String?
        switch end {
        case .finished(let reason):
            metrics.succeeded(reason).increment()
            recordFinished(last, duration, now)
        case .abandoned:
            metrics.succeeded("abort").increment()
            errorType = "cancelled"
        case .failed(let reason):
            metrics.failed(reason).increment()
            errorType = reason.rawValue
        }
        metrics.openTelemetry("gen_ai.server.request.duration", operation: operation, errorType: errorType)
            .record(duration)
        guard let span else { return }
        span.attributes["gen_ai.usage.input_tokens"] = promptTokens
        span.attributes["gen_ai.usage.output_tokens"] = last.tokens
        if let errorType {
            span.attributes["error.type"] = errorType
            span.setStatus(SpanStatus(code: .error))
        }
        span.end()
    }

    private func recordFinished(_ state: State, _ duration: Double, _ now: Time) {
        metrics.response.record(duration)
        if let startedAt = state.startedAt {
            metrics.serviceTime(of: state.chain).record((now - startedAt).inSeconds)
        }
        if let first = state.firstTokenAt, let last = state.lastTokenAt {
            let decode = (last - first).inSeconds
            metrics.decode.record(decode)
            if state.tokens > 1 {
                metrics.openTelemetry("gen_ai.server.time_per_output_token", operation: operation)
                    .record(decode / Double(state.tokens - 1))
            }
        }
        recent.note(
            RecentResponses.Entry(
                endedAt: now, response: duration,
                wait: ((state.startedAt ?? now) - arrivedAt).inSeconds,
                firstToken: state.firstTokenAt.map { ($0 - arrivedAt).inSeconds },
                service: (now - (state.startedAt ?? now)).inSeconds, chain: state.chain))
    }
}
