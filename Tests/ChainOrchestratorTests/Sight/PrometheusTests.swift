import CoreMetrics
import Foundation
import Testing

@testable import ChainOrchestrator

@Suite("Sight: Prometheus's text format")
struct PrometheusTests {
    private static let descriptions = [
        MetricDescription(
            "test_latency_seconds", .histogram, "A \\ help\nof two lines.", buckets: [0.5, 1, 2]),
        MetricDescription("test.things", .counter, "Things.", name: "test_things_total"),
    ]

    private func text(_ registry: PrometheusRegistry) -> String {
        String(decoding: registry.exposition(), as: UTF8.self)
    }

    /// The expected text is written by hand from the format's description.
    @Test("counters, gauges and histograms, with labels escaped and in order")
    func exposition() {
        let registry = PrometheusRegistry(Self.descriptions)
        let counter = Counter(
            label: "test.things", dimensions: [("b", "x\"y\\z\n"), ("a", "1")], factory: registry)
        counter.increment(by: 3)
        counter.increment()
        Meter(label: "test_level", factory: registry).set(0.25)
        let histogram = Recorder(label: "test_latency_seconds", aggregate: true, factory: registry)
        for value in [0.5, 0.75, 5, 1] { histogram.record(value) }
        #expect(
            text(registry) == #"""
                # HELP test_latency_seconds A \\ help\nof two lines.
                # TYPE test_latency_seconds histogram
                test_latency_seconds_bucket{le="0.5"} 1
                test_latency_seconds_bucket{le="1"} 3
                test_latency_seconds_bucket{le="2"} 3
                test_latency_seconds_bucket{le="+Inf"} 4
                test_latency_seconds_sum 7.25
                test_latency_seconds_count 4
                # HELP test_level From test_level.
                # TYPE test_level gauge
                test_level 0.25
                # HELP test_things_total Things.
                # TYPE test_things_total counter
                test_things_total{a="1",b="x\"y\\z\n"} 4

                """#)
    }

    @Test("the same labels in another order are the same series; a timer's nanoseconds are seconds")
    func sameSeries() {
        let registry = PrometheusRegistry(Self.descriptions)
        Counter(label: "test.things", dimensions: [("a", "1"), ("b", "2")], factory: registry).increment()
        Counter(label: "test.things", dimensions: [("b", "2"), ("a", "1")], factory: registry).increment()
        #expect(text(registry).contains(#"test_things_total{a="1",b="2"} 2"#))
        CoreMetrics.Timer(label: "test_latency_seconds", factory: registry).recordNanoseconds(1_500_000_000)
        #expect(text(registry).contains("test_latency_seconds_sum 1.5\n"))
    }

    @Test("a series that is destroyed is no longer shown")
    func destroyed() {
        let registry = PrometheusRegistry([])
        let meter = Meter(label: "level", dimensions: [("server", "a")], factory: registry)
        let other = Meter(label: "level", dimensions: [("server", "b")], factory: registry)
        meter.set(1)
        other.set(2)
        meter.destroy()
        #expect(!text(registry).contains("server=\"a\""))
        #expect(text(registry).contains("level{server=\"b\"} 2"))
    }

    @Test("names that Prometheus does not take are made valid")
    func names() {
        let registry = PrometheusRegistry([])
        Counter(label: "http requests.count", dimensions: [("a-b", "1")], factory: registry).increment()
        #expect(text(registry).contains(#"http_requests_count_total{a_b="1"} 1"#))
    }

    @Test("the buckets of whole requests are those that the conventions name")
    func buckets() {
        #expect(
            MetricDescription.requestBuckets == [
                0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
            ])
        for description in MetricDescription.all where description.kind == .histogram {
            #expect(!description.buckets.isEmpty && description.buckets == description.buckets.sorted())
        }
        let names = MetricDescription.all.map(\.name)
        #expect(Set(names).count == names.count)
    }

    // MARK: What others rely on

    private static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

    @Test(
        "every metric that the rules and the dashboard of Grafana name exists",
        arguments: ["deploy/prometheus/rules.yml", "deploy/grafana/chainserve.json"])
    func namedMetrics(file: String) throws {
        let text = try String(contentsOf: Self.root.appendingPathComponent(file), encoding: .utf8)
        let known = Set(MetricDescription.all.flatMap(\.sampleNames))
        let recorded = Set(text.matches(of: /record: (chainserve:\S+)/).map { String($0.1) })
        var found: Set<String> = []
        for match in text.matches(of: /\b(?:chainserve_|vllm:|gen_ai_)[a-z0-9_]+/) {
            found.insert(String(match.0))
        }
        found.subtract(["chainserve_key"])
        #expect(found.count > 8)
        for name in found.sorted() { #expect(known.contains(name), "\(name) is no metric") }
        for match in text.matches(of: /\bchainserve:[a-z0-9_:]+/) {
            #expect(recorded.contains(String(match.0)), "\(match.0) is not recorded")
        }
    }

    @Test("docs/operations.md explains every metric")
    func explained() throws {
        let text = try String(
            contentsOf: Self.root.appendingPathComponent("docs/operations.md"), encoding: .utf8)
        for description in MetricDescription.all {
            #expect(text.contains(description.name), "\(description.name) is not explained")
        }
    }

    @Test("promtool finds the rules right, and no fault with the metrics")
    func promtool() throws {
        guard
            let tool = ["/usr/bin/promtool", "/usr/local/bin/promtool"].first(where: {
                FileManager.default.isExecutableFile(atPath: $0)
            })
        else {
            print("skipped: promtool is not there (Debian: prometheus)")
            return
        }
        func run(_ arguments: [String], input: String = "") throws -> (status: Int32, output: String) {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: tool)
            process.arguments = arguments
            let (stdin, output) = (Pipe(), Pipe())
            process.standardInput = stdin
            process.standardOutput = output
            process.standardError = output
            try process.run()
            try stdin.fileHandleForWriting.write(contentsOf: Data(input.utf8))
            try stdin.fileHandleForWriting.close()
            let data = output.fileHandleForReading.readDataToEndOfFile()
            process.waitUntilExit()
            return (process.terminationStatus, String(decoding: data, as: UTF8.self))
        }
        let folder = Self.root.appendingPathComponent("deploy/prometheus").path
        for arguments in [
            ["check", "rules", folder + "/rules.yml"], ["test", "rules", folder + "/rules_test.yml"],
        ] {
            let result = try run(arguments)
            #expect(result.status == 0, "\(arguments): \(result.output)")
        }
        let registry = PrometheusRegistry()
        let metrics = ServiceMetrics(modelName: "m \"1\"", engine: "ggml", factory: registry)
        metrics.serviceTime(of: "a > b").record(1.5)
        metrics.firstToken.record(0.1)
        let result = try run(["check", "metrics"], input: text(registry))
        // Colons are vLLM's; everything else must be as promtool wants it.
        let faults = result.output.split(separator: "\n").filter { !$0.contains("should not contain ':'") }
        #expect(faults.isEmpty, "\(faults)")
    }
}
