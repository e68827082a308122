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
    private let counters = Mutex<[String: Counter]>([:])
    private let openTelemetry = Mutex<[String: Recorder]>([:])

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
        counter("vllm:request_success_total", ("finished_reason", reason))
    }

    func failed(_ reason: FailureReason) -> Counter {
        counter("chainserve_requests_failed_total", ("reason", reason.rawValue))
    }

    /// - Parameter reason: a word of the service's own, never of a client's.
    func refused(_ reason: String) -> Counter {
        counter("chainserve_requests_refused_total", ("reason", reason))
    }

    func responded(_ status: Int) -> Counter {
        counter("chainserve_http_responses_total", ("code", "\(status)"))
    }

    func rejected(_ reason: String) -> Counter {
        counter("chainserve_keys_rejected_total", ("reason", reason))
    }

    private func counter(_ label: String, _ more: (String, String)) -> Counter {
        counters.withLock { counters in
            let key = label + " " + more.1
            if let known = counters[key] { return known }
            let made = Counter(label: label, dimensions: labels + [more], factory: factory)
            counters[key] = made
            return made
        }
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
        openTelemetry.withLock { instruments in
            let key = "\(label) \(operation) \(errorType ?? "")"
            if let known = instruments[key] { return known }
            var dimensions = [
                ("gen_ai.operation.name", operation), ("gen_ai.provider.name", "chainserve"),
                ("gen_ai.request.model", labels[0].1), ("gen_ai.response.model", labels[0].1),
            ]
            if let errorType { dimensions.append(("error.type", errorType)) }
            let made = Recorder(label: label, dimensions: dimensions, aggregate: true, factory: factory)
            instruments[key] = made
            return made
        }
    }
}
