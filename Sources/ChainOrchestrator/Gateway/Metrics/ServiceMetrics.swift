import CoreMetrics
import Synchronization

/// The instruments of one service. Cheap to record into; made once, with the labels that never change.
final class ServiceMetrics: Sendable {
    typealias Labels = [(String, String)]

    /// Most chains that are told apart; those beyond are counted together as `other`.
    static let chainLimit = 256

    let factory: any MetricsFactory
    /// `model_name` and `engine`, on every metric of ours.
    let labels: Labels

    let arrivals: Counter
    let restarts: Counter
    let promptTokens: Counter
    let generatedTokens: Counter
    let firstToken: Recorder
    let interToken: Recorder
    let response: Recorder
    let queueing: Recorder
    let prefill: Recorder
    let decode: Recorder
    private let chains = Mutex<[String: Recorder]>([:])
    private let successes = Instruments<String, Counter>()
    private let failures = Instruments<FailureReason, Counter>()
    private let refusals = Instruments<String, Counter>()
    private let responses = Instruments<Int, Counter>()
    private let rejections = Instruments<String, Counter>()
    private let openTelemetry = Instruments<OpenTelemetryKey, Recorder>()

    /// Instruments that differ in a label which has few values: looking through them is quicker than a hash.
    private final class Instruments<Key: Equatable & Sendable, Instrument: Sendable>: Sendable {
        private let known = Mutex<[(key: Key, instrument: Instrument)]>([])

        func of(_ key: Key, make: () -> Instrument) -> Instrument {
            known.withLock { known in
                for entry in known where entry.key == key { return entry.instrument }
                let made = make()
                known.append((key, made))
                return made
            }
        }
    }

    private struct OpenTelemetryKey: Equatable {
        var label: String
        var operation: String
        var errorType: String?
    }

    init(modelName: String, engine: String, factory: any MetricsFactory) {
        let labels = [("model_name", modelName), ("engine", engine)]
        func counter(_ label: String) -> Counter {
            Counter(label: label, dimensions: labels, factory: factory)
        }
        func histogram(_ label: String) -> Recorder {
            Recorder(label: label, dimensions: labels, aggregate: true, factory: factory)
        }
        self.factory = factory
        self.labels = labels
        arrivals = counter("chainserve_requests_total")
        restarts = counter("chainserve_restarts_total")
        promptTokens = counter("vllm:prompt_tokens_total")
        generatedTokens = counter("vllm:generation_tokens_total")
        firstToken = histogram("vllm:time_to_first_token_seconds")
        interToken = histogram("vllm:inter_token_latency_seconds")
        response = histogram("vllm:e2e_request_latency_seconds")
        queueing = histogram("vllm:request_queue_time_seconds")
        prefill = histogram("vllm:request_prefill_time_seconds")
        decode = histogram("vllm:request_decode_time_seconds")
        // Rates need the zero before the first event.
        for reason in ["stop", "length", "abort"] { succeeded(reason).increment(by: 0) }
        for reason in FailureReason.allCases { failed(reason).increment(by: 0) }
        refused("queue-full").increment(by: 0)
    }

    enum FailureReason: String, CaseIterable {
        case deadline, unavailable, `internal`
    }

    func succeeded(_ reason: String) -> Counter {
        successes.of(reason) { counter("vllm:request_success_total", ("finished_reason", reason)) }
    }

    func failed(_ reason: FailureReason) -> Counter {
        failures.of(reason) { counter("chainserve_requests_failed_total", ("reason", reason.rawValue)) }
    }

    /// - Parameter reason: a word of the service's own, never of a client's.
    func refused(_ reason: String) -> Counter {
        refusals.of(reason) { counter("chainserve_requests_refused_total", ("reason", reason)) }
    }

    func responded(_ status: Int) -> Counter {
        responses.of(status) { counter("chainserve_http_responses_total", ("code", "\(status)")) }
    }

    func rejected(_ reason: String) -> Counter {
        rejections.of(reason) { counter("chainserve_keys_rejected_total", ("reason", reason)) }
    }

    private func counter(_ label: String, _ more: (String, String)) -> Counter {
        Counter(label: label, dimensions: labels + [more], factory: factory)
    }

    func serviceTime(of chain: String) -> Recorder {
        chains.withLock { chains in
            let name = chains[chain] == nil && chains.count >= Self.chainLimit ? "other" : chain
            if let known = chains[name] { return known }
            let made = Recorder(
                label: "chainserve_chain_service_time_seconds", dimensions: labels + [("chain", name)],
                aggregate: true, factory: factory)
            chains[name] = made
            return made
        }
    }

    /// An instrument of OpenTelemetry's conventions.
    /// - Parameter errorType: set when the request failed.
    func openTelemetry(_ label: String, operation: String, errorType: String? = nil) -> Recorder {
        openTelemetry.of(OpenTelemetryKey(label: label, operation: operation, errorType: errorType)) {
            var dimensions = [
                ("gen_ai.operation.name", operation), ("gen_ai.provider.name", "chainserve"),
                ("gen_ai.request.model", labels[0].1), ("gen_ai.response.model", labels[0].1),
            ]
            if let errorType { dimensions.append(("error.type", errorType)) }
            return Recorder(label: label, dimensions: dimensions, aggregate: true, factory: factory)
        }
    }
}
