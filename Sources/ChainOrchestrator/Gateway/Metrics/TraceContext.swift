import HTTPTypes
import Tracing

extension GatewayResponder {
    /// Runs `body` within the trace that the client began, when an instrument of swift-distributed-tracing reads its
    /// headers.
    static func withTraceContext(of head: HTTPRequest, _ body: () -> Void) {
        let instrument = InstrumentationSystem.instrument
        // The one that does nothing is the rule.
        if instrument is NoOpInstrument { return body() }
        var context = ServiceContext.current ?? .topLevel
        instrument.extract(head.headerFields, into: &context, using: HeaderExtractor())
        ServiceContext.withValue(context, operation: body)
    }
}

private struct HeaderExtractor: Extractor {
    func extract(key: String, from headers: HTTPFields) -> String? {
        HTTPField.Name(key).flatMap { headers[$0] }
    }
}
