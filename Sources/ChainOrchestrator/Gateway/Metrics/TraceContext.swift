import HTTPTypes
import Hummingbird
import Tracing

extension GatewayResponder {
    /// Runs `body` within the trace that the client began, when an instrument of swift-distributed-tracing reads its
    /// headers.
    static nonisolated(nonsending) func withTraceContext<Result>(
        of request: Request, _ body: () async throws -> Result
    ) async throws -> Result {
        var context = ServiceContext.current ?? .topLevel
        InstrumentationSystem.instrument.extract(request.headers, into: &context, using: HeaderExtractor())
        return try await ServiceContext.withValue(context, operation: body)
    }
}

private struct HeaderExtractor: Extractor {
    func extract(key: String, from headers: HTTPFields) -> String? {
        HTTPField.Name(key).flatMap { headers[$0] }
    }
}
