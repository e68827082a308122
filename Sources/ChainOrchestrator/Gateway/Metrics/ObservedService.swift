import CoreMetrics
import Tracing

/// A generation service whose requests are measured on their way through. Everything else is the service's own.
struct ObservedService: GenerationService {
    let base: any GenerationService
    let metrics: ServiceMetrics
    let recent: RecentResponses

    var modelCard: ModelCard { base.modelCard }
    func readiness() async -> Readiness { await base.readiness() }
    func cancel(requestID: String) async -> Bool { await base.cancel(requestID: requestID) }
    func tokenize(_ text: String, addSpecial: Bool) throws -> [Int32] {
        try base.tokenize(text, addSpecial: addSpecial)
    }
    func tokenize(_ messages: [ChatMessage]) throws -> [Int32] { try base.tokenize(messages) }
    func detokenize(_ tokens: [Int32]) throws -> String { try base.detokenize(tokens) }
    func status() async -> PoolStatus { await base.status() }
    func glance() async -> PoolStatus { await base.glance() }
    func outlook() async -> PoolOutlook? { await base.outlook() }
    func restart(servers names: [String]) async throws(GenerationRefusal) -> RestartOutcome {
        try await base.restart(servers: names)
    }

    /// What was answered before the service was cut off is not measured again.
    func reopen(requestID: String, of client: String?) async throws(ReopeningRefusal) -> ReopenedRequest {
        try await base.reopen(requestID: requestID, of: client)
    }

    func submit(
        _ request: GenerationRequest,
        done: @escaping @Sendable (Result<GenerationStream, GenerationRefusal>) -> Void
    ) {
        let arrival = ContinuousClock.now
        let (operation, model) = (request.input.operationName, request.model)
        metrics.arrivals.increment()
        recent.arrived()
        let context = ServiceContext.current ?? .topLevel
        base.submit(request) { result in
            switch result {
            case .failure(let refusal):
                metrics.refused(refusal.reasonWord).increment()
                if refusal.isForCapacity { recent.refused() }
                done(result)
            case .success(let stream):
                let span = Self.span(operation, model, context)
                let observation = RequestObservation(
                    metrics: metrics, recent: recent, operation: operation,
                    promptTokens: stream.promptTokens, at: arrival, span: span)
                done(.success(stream.observed(by: observation)))
            }
        }
    }

    /// - Returns: `nil` where nobody records it.
    private static func span(
        _ operation: String, _ model: String, _ context: ServiceContext
    ) -> (any Span)? {
        // The one that does nothing is the rule.
        if InstrumentationSystem.instrument is NoOpInstrument { return nil }
        let span = startSpan("\(operation) \(model)", context: context, ofKind: .server)
        guard span.isRecording else { return nil }
        span.attributes["gen_ai.operation.name"] = operation
        span.attributes["gen_ai.provider.name"] = "chainserve"
        span.attributes["gen_ai.request.model"] = model
        return span
    }
}

extension GenerationInput {
    /// OpenTelemetry's `gen_ai.operation.name`.
    var operationName: String {
        if case .chat = self { "chat" } else { "text_completion" }
    }
}

extension GenerationRefusal {
    /// For a metric's label: always one of a few words of the service's own.
    var reasonWord: String {
        switch self {
        case .invalid: "invalid"
        case .unknownModel: "unknown-model"
        case .promptTooLong: "prompt-too-long"
        case .overloaded(_, let reason, _), .unavailable(_, let reason): reason
        case .internal: "internal"
        }
    }

    /// The pool, not the request, is the reason.
    var isForCapacity: Bool {
        switch self {
        case .overloaded, .unavailable: true
        case .invalid, .unknownModel, .promptTooLong, .internal: false
        }
    }
}
