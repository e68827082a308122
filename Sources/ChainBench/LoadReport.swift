import ChainFormats

/// Mean, spread and percentiles of a sample.
public struct SampleSummary: Hashable, Sendable {
    public var count: Int
    public var mean: Double
    /// Standard deviation of the sample, as a population's (numpy's default, which the field's scripts use).
    public var deviation: Double
    private let sorted: [Double]

    public init(_ sample: [Double]) {
        sorted = sample.sorted()
        count = sample.count
        mean = sample.isEmpty ? 0 : sample.reduce(0, +) / Double(sample.count)
        let mean = mean
        let squares = sample.reduce(0) { $0 + ($1 - mean) * ($1 - mean) }
        deviation = sample.isEmpty ? 0 : (squares / Double(sample.count)).squareRoot()
    }

    public var median: Double { percentile(50) }
    public var maximum: Double { sorted.last ?? 0 }

    /// Linear interpolation between order statistics (numpy's default); 0 for an empty sample.
    public func percentile(_ percent: Double) -> Double {
        guard let last = sorted.indices.last else { return 0 }
        let position = percent / 100 * Double(last)
        let lower = Int(position)
        if lower >= last { return sorted[last] }
        return sorted[lower] + (position - Double(lower)) * (sorted[lower + 1] - sorted[lower])
    }
}

/// A bound on a latency that a request must keep to count as good.
public struct ServiceObjective: Hashable, Sendable {
    public enum Measure: String, CaseIterable, Sendable {
        case ttft
        case tpot
        case e2el
    }

    public var measure: Measure
    public var milliseconds: Double

    public init(_ measure: Measure, milliseconds: Double) {
        self.measure = measure
        self.milliseconds = milliseconds
    }

    func isMet(by record: LoadRecord) -> Bool {
        switch measure {
        case .ttft: record.timeToFirstToken * 1000 <= milliseconds
        case .tpot: (record.timePerOutputToken ?? 0) * 1000 <= milliseconds
        case .e2el: record.latency * 1000 <= milliseconds
        }
    }
}

/// What a run of the load generator found, in the names of `vllm bench serve`.
public struct LoadReport: Sendable {
    public var records: [LoadRecord]
    public var objectives: [ServiceObjective]
    /// From the first intended start to the last end, seconds.
    public var duration: Double
    public let completed: [LoadRecord]

    /// - Parameter records: of the requests that count, without those of the warm-up.
    public init(records: [LoadRecord], objectives: [ServiceObjective] = []) {
        self.records = records
        self.objectives = objectives
        let start = records.map(\.intendedStart).min() ?? 0
        duration = max(1e-9, (records.map(\.end).max() ?? 0) - start)
        completed = records.filter(\.isCompleted)
    }

    public var failedCount: Int { records.count - completed.count }
    public var requestThroughput: Double { Double(completed.count) / duration }
    public var inputTokens: Int { completed.reduce(0) { $0 + $1.promptTokens } }
    public var outputTokens: Int { completed.reduce(0) { $0 + $1.completionTokens } }
    public var outputThroughput: Double { Double(outputTokens) / duration }
    public var goodput: Double {
        Double(completed.count { record in objectives.allSatisfy { $0.isMet(by: record) } }) / duration
    }
    public var timeToFirstToken: SampleSummary { SampleSummary(completed.map { $0.timeToFirstToken * 1000 }) }
    public var timePerOutputToken: SampleSummary {
        SampleSummary(completed.compactMap { $0.timePerOutputToken.map { $0 * 1000 } })
    }
    public var interTokenLatency: SampleSummary {
        SampleSummary(completed.flatMap { $0.interTokenLatencies.map { $0 * 1000 } })
    }
    public var latency: SampleSummary { SampleSummary(completed.map { $0.latency * 1000 }) }
    public var wait: SampleSummary { SampleSummary(completed.compactMap(\.waitMilliseconds)) }
    public var service: SampleSummary { SampleSummary(completed.compactMap(\.serviceMilliseconds)) }

    /// Errors and how many requests ended with each, most frequent first.
    public var failures: [(reason: String, count: Int)] {
        let reasons = records.compactMap(\.error).sorted()
        var counted: [(reason: String, count: Int)] = []
        for reason in reasons {
            if counted.last?.reason == reason {
                counted[counted.count - 1].count += 1
            } else {
                counted.append((reason, 1))
            }
        }
        return counted.sorted { ($1.count, $0.reason) < ($0.count, $1.reason) }
    }
}

extension LoadReport {
    /// The report as JSON; with `isDetailed`, arrays with an element per request that counts.
    /// - Parameter parameters: of the run, written first.
    public func json(parameters: [(key: String, value: JSONText)], isDetailed: Bool) -> JSONText {
        var fields = parameters
        func add(_ key: String, _ value: JSONText) { fields.append((key, value)) }
        add("completed", .integer(completed.count))
        add("failed", .integer(failedCount))
        add("duration", .number(duration))
        add("total_input_tokens", .integer(inputTokens))
        add("total_output_tokens", .integer(outputTokens))
        add("request_throughput", .number(requestThroughput))
        if !objectives.isEmpty { add("request_goodput", .number(goodput)) }
        add("output_throughput", .number(outputThroughput))
        add("total_token_throughput", .number(Double(inputTokens + outputTokens) / duration))
        for (name, summary) in [
            ("ttft", timeToFirstToken), ("tpot", timePerOutputToken), ("itl", interTokenLatency),
            ("e2el", latency),
        ] {
            add("mean_\(name)_ms", .number(summary.mean))
            add("median_\(name)_ms", .number(summary.median))
            add("std_\(name)_ms", .number(summary.deviation))
            for percent in [90, 95, 99] {
                add("p\(percent)_\(name)_ms", .number(summary.percentile(Double(percent))))
            }
        }
        for (name, summary) in [("wait", wait), ("service", service)] where summary.count > 0 {
            add("mean_\(name)_ms", .number(summary.mean))
            add("median_\(name)_ms", .number(summary.median))
            for percent in [95, 99] {
                add("p\(percent)_\(name)_ms", .number(summary.percentile(Double(percent))))
            }
            add("max_\(name)_ms", .number(summary.maximum))
        }
        if isDetailed { fields += details }
        return .object(fields)
    }

    private var details: [(key: String, value: JSONText)] {
        func list(_ value: (LoadRecord) -> JSONText) -> JSONText { .list(records.map(value)) }
        func orNull(_ value: Double?) -> JSONText { value.map { .number($0) } ?? .null }
        return [
            ("start_times", list { .number($0.intendedStart) }),
            ("ttfts", list { $0.isCompleted ? .number($0.timeToFirstToken) : .null }),
            ("itls", list { .list($0.interTokenLatencies.map { .number($0) }) }),
            ("latencies", list { $0.isCompleted ? .number($0.latency) : .null }),
            ("input_lens", list { .integer($0.promptTokens) }),
            ("output_lens", list { .integer($0.completionTokens) }),
            ("waits", list { orNull($0.waitMilliseconds.map { $0 / 1000 }) }),
            ("services", list { orNull($0.serviceMilliseconds.map { $0 / 1000 }) }),
            ("chains", list { $0.chain.map { .text($0) } ?? .null }),
            ("attempts", list { $0.attempts.map { .integer($0) } ?? .null }),
            ("sendings", list { .integer($0.sendings) }),
            ("errors", list { .text($0.error ?? "") }),
        ]
    }
}
