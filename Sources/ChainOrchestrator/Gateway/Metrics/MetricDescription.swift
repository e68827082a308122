/// What is known of a metric before anything is measured: the one list of names, kinds, helps and buckets.
package struct MetricDescription: Hashable, Sendable {
    package enum Kind: String, Hashable, Sendable, CustomStringConvertible {
        case counter, gauge, histogram
        package var description: String { rawValue }
    }

    /// The instrument's name for swift-metrics and its backends.
    package var label: String
    /// The name that Prometheus sees.
    package var name: String
    package var kind: Kind
    package var help: String
    /// Upper bounds of a histogram's buckets, ascending, without `+Inf`.
    package var buckets: [Double]

    init(_ label: String, _ kind: Kind, _ help: String, name: String? = nil, buckets: [Double] = []) {
        self.label = label
        self.name = name ?? label
        self.kind = kind
        self.help = help
        self.buckets = buckets
    }

    /// An instrument that something else in the process made.
    init(unknown label: String, _ kind: Kind) {
        var name = PrometheusText.validName(label, allowingColons: true)
        if kind == .counter, !name.hasSuffix("_total") { name += "_total" }
        self.init(
            label, kind, "From \(label).", name: name, buckets: kind == .histogram ? Self.requestBuckets : [])
    }

    /// Names that the text format gives to a metric's samples.
    package var sampleNames: [String] {
        kind == .histogram ? [name + "_bucket", name + "_sum", name + "_count"] : [name]
    }
}

extension MetricDescription {
    /// Seconds of a whole request or a large part of it; vLLM's.
    static let requestBuckets: [Double] = [
        0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
    ]
    /// Seconds to the first token; vLLM's.
    static let firstTokenBuckets: [Double] = [
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160,
        640, 2560,
    ]
    /// Seconds between two tokens; vLLM's.
    static let tokenBuckets: [Double] = [
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
    ]
    /// Seconds of a request, as OpenTelemetry's conventions for generative AI advise.
    static let openTelemetryRequestBuckets: [Double] = [
        0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
    ]
    static let openTelemetryFirstTokenBuckets: [Double] = [
        0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
    ]
    static let openTelemetryTokenBuckets: [Double] = [
        0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5,
    ]

    /// Every metric of ChainServe.
    package static let all = vllm + requests + pool + predictions + openTelemetry

    /// The names of vLLM's metrics, so that dashboards made for it work.
    static let vllm: [MetricDescription] = [
        MetricDescription("vllm:num_requests_running", .gauge, "Requests on a chain now."),
        MetricDescription("vllm:num_requests_waiting", .gauge, "Requests in the central queue now."),
        MetricDescription(
            "vllm:kv_cache_usage_perc", .gauge, "Cache units in use over those there are, from 0 to 1."),
        MetricDescription("vllm:prompt_tokens_total", .counter, "Prompt tokens computed."),
        MetricDescription("vllm:generation_tokens_total", .counter, "Tokens generated."),
        MetricDescription(
            "vllm:request_success_total", .counter,
            "Requests that ended, by finished_reason: stop, length or abort."),
        MetricDescription(
            "vllm:time_to_first_token_seconds", .histogram, "From a request's arrival to its first token.",
            buckets: firstTokenBuckets),
        MetricDescription(
            "vllm:inter_token_latency_seconds", .histogram, "Between two tokens of a request.",
            buckets: tokenBuckets),
        MetricDescription(
            "vllm:e2e_request_latency_seconds", .histogram, "From a request's arrival to its last token.",
            buckets: requestBuckets),
        MetricDescription(
            "vllm:request_queue_time_seconds", .histogram,
            "From a request's arrival to its start on a chain.",
            buckets: requestBuckets),
        MetricDescription(
            "vllm:request_prefill_time_seconds", .histogram, "From a request's start to its first token.",
            buckets: requestBuckets),
        MetricDescription(
            "vllm:request_decode_time_seconds", .histogram, "From a request's first token to its last.",
            buckets: requestBuckets),
    ]

    static let requests: [MetricDescription] = [
        MetricDescription(
            "chainserve_requests_total", .counter, "Generation requests that arrived, refused ones included."),
        MetricDescription(
            "chainserve_requests_refused_total", .counter, "Requests refused at arrival, by reason."),
        MetricDescription(
            "chainserve_requests_failed_total", .counter,
            "Accepted requests that ended in an error, by reason: deadline, unavailable or internal."),
        MetricDescription(
            "chainserve_restarts_total", .counter,
            "Times that a request began again on another chain because a server was lost."),
        MetricDescription(
            "chainserve_http_responses_total", .counter, "HTTP responses, by status code."),
        MetricDescription(
            "chainserve_keys_rejected_total", .counter,
            "Requests turned away at the door, by reason: missing, unknown, forbidden, rate or concurrency."),
        MetricDescription(
            "chainserve_start_time_seconds", .gauge, "When the service started, seconds since 1970."),
    ]

    static let pool: [MetricDescription] = [
        MetricDescription("chainserve_queue_length", .gauge, "Requests in the central queue now."),
        MetricDescription("chainserve_chain_capacity", .gauge, "Jobs that a chain takes at once: c_k."),
        MetricDescription("chainserve_chain_running", .gauge, "Jobs on a chain now."),
        MetricDescription(
            "chainserve_chain_predicted_service_time_seconds", .gauge,
            "Mean time of a job on a chain as planned: T_k."),
        MetricDescription(
            "chainserve_chain_service_time_seconds", .histogram,
            "Time of a job on a chain as observed, by the chain that finished it.", buckets: requestBuckets),
        MetricDescription("chainserve_server_cache_slots_used", .gauge, "Cache units in use on a server."),
        MetricDescription("chainserve_server_cache_slots", .gauge, "Cache units of a server."),
        MetricDescription("chainserve_server_blocks", .gauge, "Blocks that a server hosts: m_j."),
        MetricDescription(
            "chainserve_server_first_block", .gauge, "First block of a server: a_j; 0 for none."),
        MetricDescription(
            "chainserve_server_state", .gauge,
            "1 for the state in which a server is, 0 for the others."),
        MetricDescription("chainserve_ready", .gauge, "1 when some chain can serve, else 0."),
    ]

    static let predictions: [MetricDescription] = [
        MetricDescription("chainserve_plan_number", .gauge, "The plan in service, from 1."),
        MetricDescription(
            "chainserve_planned_arrival_rate", .gauge, "Requests per second that were planned for: lambda."),
        MetricDescription(
            "chainserve_service_rate", .gauge, "Requests per second that all chains carry: nu (eq. 4)."),
        MetricDescription("chainserve_load_factor", .gauge, "Planned load: rho = lambda / nu."),
        MetricDescription(
            "chainserve_predicted_response_time_seconds", .gauge,
            "Mean response time as planned, by bound: lower, upper (theorem 4) or exact."),
        MetricDescription(
            "chainserve_predicted_waiting_time_seconds", .gauge, "Mean wait in the queue as planned, exact."),
        MetricDescription(
            "chainserve_predicted_wait_probability", .gauge, "Probability that a request waits, as planned."),
    ]

    /// Under their own names for other backends; Prometheus sees them as OpenTelemetry's exporters write them.
    static let openTelemetry: [MetricDescription] = [
        MetricDescription(
            "gen_ai.server.request.duration", .histogram, "Duration of a generation request.",
            name: "gen_ai_server_request_duration_seconds", buckets: openTelemetryRequestBuckets),
        MetricDescription(
            "gen_ai.server.time_to_first_token", .histogram, "Time to generate the first token.",
            name: "gen_ai_server_time_to_first_token_seconds", buckets: openTelemetryFirstTokenBuckets),
        MetricDescription(
            "gen_ai.server.time_per_output_token", .histogram,
            "Time per output token after the first, of requests that ended well.",
            name: "gen_ai_server_time_per_output_token_seconds", buckets: openTelemetryTokenBuckets),
    ]
}
