import ChainFormats
import Testing

@testable import ChainBench

@Suite("Reports of the load generator")
struct LoadReportTests {
    /// numpy 2: `percentile([4, 1, 3, 2], [50, 90, 99])` is 2.5, 3.7, 3.97; `std` is sqrt(1.25).
    @Test func percentilesAreNumpys() {
        let summary = SampleSummary([4, 1, 3, 2])
        #expect(summary.mean == 2.5)
        #expect(summary.median == 2.5)
        #expect(abs(summary.percentile(90) - 3.7) < 1e-12)
        #expect(abs(summary.percentile(99) - 3.97) < 1e-12)
        #expect(abs(summary.deviation - 1.25.squareRoot()) < 1e-12)
        #expect(summary.maximum == 4)
        #expect(SampleSummary([]).percentile(99) == 0)
        #expect(SampleSummary([7]).percentile(99) == 7)
    }

    private func record(
        _ index: Int, start: Double, pieces: [Double], tokens: Int, error: String? = nil
    ) -> LoadRecord {
        var record = LoadRecord(index: index, intendedStart: start, end: pieces.last ?? start)
        record.pieces = pieces
        record.promptTokens = 10
        record.completionTokens = tokens
        record.error = error
        return record
    }

    /// Two answers and a failure, by hand.
    @Test func valuesByHand() throws {
        let records = [
            record(0, start: 0, pieces: [0.5, 0.7, 1.1], tokens: 3),
            record(1, start: 1, pieces: [1.2, 1.3], tokens: 2),
            record(2, start: 1, pieces: [], tokens: 0, error: "HTTP 429: full"),
        ]
        let report = LoadReport(
            records: records, objectives: [ServiceObjective(.ttft, milliseconds: 300)])
        #expect(abs(report.duration - 1.3) < 1e-12)
        #expect(report.failedCount == 1)
        #expect(abs(report.requestThroughput - 2 / 1.3) < 1e-12)
        #expect(abs(report.outputThroughput - 5 / 1.3) < 1e-12)
        #expect(abs(report.goodput - 1 / 1.3) < 1e-12)
        #expect(abs(report.timeToFirstToken.mean - 350) < 1e-9)
        // Time per output token: (1.1 - 0.5)/2 and (0.3 - 0.2)/1 seconds.
        #expect(abs(report.timePerOutputToken.mean - 200) < 1e-9)
        #expect(abs(report.interTokenLatency.maximum - 400) < 1e-9)
        #expect(abs(report.latency.mean - 700) < 1e-9)
        #expect(report.failures.map(\.reason) == ["HTTP 429: full"])
        let text = report.json(parameters: [], isDetailed: true).rendered()
        for key in [
            "\"completed\": 2", "\"failed\": 1", "p99_e2el_ms", "request_goodput", "\"itls\"", "\"errors\"",
        ] {
            #expect(text.contains(key))
        }
    }

    @Test func streamsAreReadStrictly() {
        func read(_ data: [String]) -> LoadRecord {
            var record = LoadRecord(index: 0, intendedStart: 0, end: 9)
            record.status = 200
            AnswerReader.read(data.enumerated().map { (Double($0.offset), $0.element) }, into: &record)
            return record
        }
        let usage = #"{"choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 7}}"#
        let last =
            #"{"choices": [{"delta": {}}], "chainserve": {"chain": "a > b", "attempts": 2, "wait_ms": 1.5}}"#
        let good = read([#"{"choices": [{"delta": {"content": "x"}}]}"#, last, usage, "[DONE]"])
        #expect(good.error == nil)
        #expect(good.pieces == [0, 1])
        #expect(good.completionTokens == 7)
        #expect(good.promptTokens == 4)
        #expect(good.chain == "a > b")
        #expect(good.attempts == 2)
        #expect(good.waitMilliseconds == 1.5)
        #expect(read([#"{"choices": [{}]}"#]).error == "the stream ended without [DONE]")
        #expect(read(["nonsense", "[DONE]"]).error == "an event of the stream is not JSON")
        #expect(read([#"{"error": {"message": "lost"}}"#, "[DONE]"]).error == "lost")
    }

    @Test func urls() throws {
        for text in ["http://h:81", "http://h:81/", "http://h:81/v1", "http://h:81/v1/"] {
            let target = try LoadTarget(url: text, model: "m")
            #expect(target.host == "h" && target.port == 81 && target.prefix == "")
        }
        #expect(try LoadTarget(url: "http://h/a/v1", model: "m").prefix == "/a")
        for text in ["h:81", "ftp://h", "http://", "http://h/?x=1", ""] {
            #expect(throws: LoadTarget.InvalidURL.self) { try LoadTarget(url: text, model: "m") }
        }
    }
}
