import ChainFormats
import ChainSimulation

/// The fields of `vllm bench serve`, to which ours are added; times in milliseconds.
extension SimulationReport {
    /// One object for one policy; for several, an object with a list.
    var json: JSONText {
        if outcomes.count == 1 { return .object(fields(outcomes[0])) }
        return .object([("policies", .list(outcomes.map { .object(fields($0)) }))])
    }

    private func fields(_ outcome: SimulationOutcome) -> [(key: String, value: JSONText)] {
        let result = outcome.result
        let seconds = result.duration
        var fields: [(key: String, value: JSONText)] = [
            ("policy", .text(result.policy)), ("arrivals", .text(setting.arrivalsText)),
            ("sizes", .text(setting.sizesText)), ("seed", .integer(Int(truncatingIfNeeded: result.seed))),
            ("replications", .integer(result.replications)), ("completed", .integer(result.completed)),
            ("failed", .integer(result.failed)), ("refused", .integer(result.refused)),
            ("retries", .integer(result.retries)), ("duration", .number(seconds)),
            ("request_throughput", .number(seconds > 0 ? Double(result.completed) / seconds : 0)),
        ]
        if result.firstToken != nil {
            let (input, output) = (Double(result.inputTokens), Double(result.outputTokens))
            fields += [
                ("total_input_tokens", .integer(result.inputTokens)),
                ("total_output_tokens", .integer(result.outputTokens)),
                ("output_throughput", .number(seconds > 0 ? output / seconds : 0)),
                ("total_token_throughput", .number(seconds > 0 ? (input + output) / seconds : 0)),
            ]
        }
        func times(_ name: String, _ times: TimeSummary) -> [(key: String, value: JSONText)] {
            Self.times(name, times).map { ($0.key, result.hasMeans ? .number($0.value) : .null) }
        }
        fields += times("e2el", result.response)
        if let summary = result.firstToken { fields += times("ttft", summary) }
        if let summary = result.interToken { fields += times("tpot", summary) }
        if let summary = result.tokenGaps { fields += times("itl", summary) }
        fields += times("wait", result.wait) + times("service", result.service)
        let mean = result.response.estimate
        var interval = JSONText.null
        if result.hasMeans, let width = mean.halfWidth {
            interval = .list([.number((mean.mean - width) * 1e3), .number((mean.mean + width) * 1e3)])
        }
        fields += [
            ("confidence_interval_95", interval),
            ("wait_probability", result.hasMeans ? .number(result.waitProbability.mean) : .null),
            ("load", Self.optional(setting.simulation.load)),
            ("mean_jobs", result.hasMeans ? .number(result.meanJobs) : .null),
            ("little_difference", .number(result.littleDifference)),
            ("little_holds", .bool(result.littleHolds)),
            ("unstable", result.unstable.map { .text($0) } ?? .null),
            ("precision_met", result.precisionMet.map { .bool($0) } ?? .null),
            ("theory", theory(outcome)),
            ("chains", chains(outcome)), ("servers", servers(outcome)), ("timeline", timeline(outcome)),
            ("events", .integer(result.events)), ("cpu_seconds", .number(outcome.cpuSeconds)),
        ]
        return fields
    }

    /// Milliseconds.
    private static func times(_ name: String, _ times: TimeSummary) -> [(key: String, value: Double)] {
        [
            ("mean_\(name)_ms", times.mean * 1e3), ("median_\(name)_ms", times.quantile(0.5) * 1e3),
            ("std_\(name)_ms", times.standardDeviation * 1e3),
            ("p90_\(name)_ms", times.quantile(0.9) * 1e3), ("p95_\(name)_ms", times.quantile(0.95) * 1e3),
            ("p99_\(name)_ms", times.quantile(0.99) * 1e3),
            ("p999_\(name)_ms", times.quantile(0.999) * 1e3), ("max_\(name)_ms", times.largest * 1e3),
        ]
    }

    private static func optional(_ value: Double?) -> JSONText { value.map { .number($0) } ?? .null }

    private func theory(_ outcome: SimulationOutcome) -> JSONText {
        guard let prediction = outcome.prediction else { return .null }
        return .object([
            ("applies", .bool(setting.isAnalysed)), ("lower", .number(prediction.lower * 1e3)),
            ("exact", Self.optional(prediction.exact.map { $0.meanResponseTime * 1e3 })),
            ("upper", Self.optional(prediction.upper.map { $0 * 1e3 })),
            ("wait_probability", Self.optional(prediction.exact?.waitProbability)),
        ])
    }

    /// From fastest to slowest, as in the plan; for a system that routes per request, the paths that were taken.
    private func chains(_ outcome: SimulationOutcome) -> JSONText {
        .list(
            zip(outcome.result.chains, outcome.system.chains).map { use, chain in
                .object([
                    ("servers", .list(chain.servers.map { .text(setting.cluster[$0].name) })),
                    ("blocks", .list(chain.blocks.map { .integer($0) })),
                    ("capacity", .integer(chain.capacity)), ("service_time", .number(chain.serviceTime)),
                    ("jobs", .integer(use.jobs)), ("utilisation", .number(use.utilisation)),
                ])
            })
    }

    private func servers(_ outcome: SimulationOutcome) -> JSONText {
        let result = outcome.result
        let overTime = outcome.system.cacheUse(over: result.timeline)
        return .list(
            setting.cluster.servers.indices.map { server in
                .object([
                    ("name", .text(setting.cluster.servers[server].name)),
                    ("cache_use", .number(result.servers[server].cacheUse)),
                    ("mean_jobs", .number(result.servers[server].meanJobs)),
                    ("cache_use_over_time", .list(overTime[server].map { .number($0) })),
                ])
            })
    }

    /// Of the first replication: means over equal intervals.
    private func timeline(_ outcome: SimulationOutcome) -> JSONText {
        let result = outcome.result
        return .object([
            ("interval_seconds", .number(result.timeline.intervalSeconds)),
            ("running", .list(result.timeline.running.map { .number($0) })),
            ("waiting", .list(result.timeline.waiting.map { .number($0) })),
            (
                "cache_use",
                .list(outcome.system.poolCacheUse(over: result.timeline).map { .number($0) })
            ),
        ])
    }

    /// Every counted request, in order of completion; seconds, as `vllm bench serve` writes them.
    static func detailed(_ outcomes: [SimulationOutcome]) -> JSONText {
        let objects = outcomes.map { outcome -> JSONText in
            let requests = outcome.result.requests
            func list(_ value: (RequestRecord) -> Double) -> JSONText {
                .list(requests.map { .number(value($0)) })
            }
            var fields: [(key: String, value: JSONText)] = [
                ("policy", .text(outcome.result.policy)), ("start_times", list(\.arrival)),
                ("latencies", list { $0.wait + $0.service }), ("waits", list(\.wait)),
                ("services", list(\.service)),
                ("chains", .list(requests.map { .integer($0.chain.rawValue) })),
                ("attempts", .list(requests.map { .integer($0.attempts) })),
                ("errors", .list(requests.map { _ in .text("") })),
            ]
            if outcome.result.firstToken != nil {
                fields += [
                    ("ttfts", list(\.firstToken)),
                    ("input_lens", .list(requests.map { .integer($0.tokens?.input ?? 0) })),
                    ("output_lens", .list(requests.map { .integer($0.tokens?.output ?? 0) })),
                    (
                        "itls",
                        list { request in
                            let count = Double(max(1, (request.tokens?.output ?? 1) - 1))
                            return (request.wait + request.service - request.firstToken) / count
                        }
                    ),
                ]
            }
            return .object(fields)
        }
        return objects.count == 1 ? objects[0] : .list(objects)
    }
}
