import CoreMetrics
import Testing

@testable import ChainOrchestrator

@Suite("Sight: what is measured of a request")
struct ObservationTests {
    private let registry = PrometheusRegistry()
    private let recent = RecentResponses()
    private let metrics: ServiceMetrics
    private let start = ContinuousClock.now

    init() { metrics = ServiceMetrics(modelName: "m", engine: "ggml", factory: registry) }

    /// The value of a sample by the beginning of its line.
    private func value(_ sample: String) -> Double? {
        for line in String(decoding: registry.exposition(), as: UTF8.self).split(separator: "\n")
        where line.hasPrefix(sample) {
            return line.split(separator: " ").last.flatMap { Double($0) }
        }
        return nil
    }

    private func observation() -> RequestObservation {
        RequestObservation(
            metrics: metrics, recent: recent, operation: "chat", promptTokens: 7, at: start, span: nil)
    }

    private func at(_ milliseconds: Int) -> ContinuousClock.Instant { start + .milliseconds(milliseconds) }

    private static let token = GenerationEvent.token(GeneratedToken(id: 1, text: "x"))
    private static let finished = GenerationEvent.finished(
        GenerationResult(reason: .length, promptTokens: 7, completionTokens: 3, chain: "a"))
    private static let labels = #"{engine="ggml",model_name="m"}"#

    @Test("a server that is lost and back between two looks is told of, once")
    func lostForAMoment() async {
        let service = ScriptedService()
        let observer = PoolObserver(service: service, metrics: metrics, recent: recent)
        let before = await observer.look().events
        service.loseServerForAMoment()
        let after = await observer.look().events
        // The latest first.
        #expect(after.dropLast(before.count).map(\.text) == ["server a is ready", "server a is lost"])
        #expect(await observer.look().events.count == after.count)
    }

    @Test("a request that waits, loses its chain and ends: each time once, from the right moment")
    func wholeLife() {
        let one = observation()
        one.note(.queued(position: 2), at: at(0))
        one.note(.started(chain: "a", attempt: 1), at: at(2000))
        one.note(Self.token, at: at(3000))
        one.note(Self.token, at: at(3250))
        one.note(.started(chain: "b", attempt: 2), at: at(3300))
        one.note(Self.token, at: at(4250))
        one.note(Self.finished, at: at(4500))
        one.abandoned(at: at(9000))
        #expect(value("vllm:request_queue_time_seconds_sum") == 2)
        #expect(value("vllm:request_queue_time_seconds_count") == 1, "the second start is no second wait")
        #expect(value("vllm:time_to_first_token_seconds_sum") == 3)
        #expect(value("vllm:request_prefill_time_seconds_sum") == 1)
        #expect(value("vllm:inter_token_latency_seconds_sum") == 1.25)
        #expect(value("vllm:inter_token_latency_seconds_count") == 2)
        #expect(value("vllm:request_decode_time_seconds_sum") == 1.25)
        #expect(value("vllm:e2e_request_latency_seconds_sum") == 4.5)
        #expect(value("vllm:generation_tokens_total") == 3)
        #expect(value("vllm:prompt_tokens_total") == 7)
        #expect(value("chainserve_restarts_total") == 1)
        #expect(value(#"chainserve_chain_service_time_seconds_sum{chain="b""#) == 2.5)
        #expect(value(#"vllm:request_success_total{engine="ggml",finished_reason="length""#) == 1)
        #expect(value(#"vllm:request_success_total{engine="ggml",finished_reason="abort""#) == 0)
        #expect(value("gen_ai_server_time_per_output_token_seconds_sum") == 0.625)
        #expect(value("gen_ai_server_request_duration_seconds_sum") == 4.5)
        let summary = recent.summary(at: at(5000))
        #expect(summary.response == Quantiles([4.5]) && summary.wait == Quantiles([2]))
        #expect(recent.takeRestarts() == ["b"] && recent.takeRestarts().isEmpty)
    }

    @Test("one that is given up, lets go of, or fails counts as that and leaves the times alone")
    func badEnds() {
        observation().note(.failed(.cancelled), at: at(10))
        do { _ = observation() }
        observation().note(.failed(.unavailable(message: "")), at: at(10))
        observation().note(.failed(.deadlineExceeded(message: "")), at: at(10))
        #expect(value(#"vllm:request_success_total{engine="ggml",finished_reason="abort""#) == 2)
        for reason in ["unavailable", "deadline"] {
            #expect(
                value(#"chainserve_requests_failed_total{engine="ggml",model_name="m",reason="\#(reason)""#)
                    == 1)
        }
        #expect(value("vllm:e2e_request_latency_seconds_count") == 0)
    }

    @Test(
        "quantiles by the nearest rank; the oldest responses go first and those past the window do not count")
    func quantiles() {
        let sample = Quantiles((1...100).map(Double.init).shuffled())
        #expect(sample?.p50 == 50 && sample?.p95 == 95 && sample?.p99 == 99 && sample?.mean == 50.5)
        #expect(Quantiles([]) == nil)
        for index in 0..<(RecentResponses.limit + 10) {
            recent.note(
                .init(
                    endedAt: at(index), response: Double(index), wait: 0, firstToken: nil, service: 1,
                    chain: "a"))
        }
        let all = recent.summary(at: at(RecentResponses.limit)).all
        #expect(all.count == RecentResponses.limit && all.map(\.response).min() == 10)
        #expect(recent.summary(at: at(0) + .seconds(3600)).all.isEmpty)
    }
}
