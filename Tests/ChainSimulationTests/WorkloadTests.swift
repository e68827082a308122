import ChainFormats
import Foundation
import Testing

@testable import ChainSimulation

@Suite struct WorkloadTests {
    private static let curve = RateCurve(
        points: [.init(time: 0, rate: 1), .init(time: 50, rate: 5)], period: 100)

    /// The mean rate asked for, and the variation of the gaps where it is known.
    @Test(arguments: [
        (ArrivalProcess.poisson(rate: 3), 0.02, 0.05), (.gamma(rate: 3, burstiness: 0.25), 0.04, 0.12),
        (.gamma(rate: 3, burstiness: 4), 0.01, 0.05), (.onOff(rate: 3, meanOn: 2, meanOff: 6), 0.1, 0),
        (
            .modulated([.init(rate: 5, meanStay: 3), .init(rate: 1, meanStay: 3)]), 0.05, 0
        ), (.azure(rate: 3), 0.35, 0),
    ])
    func rates(process: ArrivalProcess, tolerance: Double, variationTolerance: Double) throws {
        var source = ArrivalSource(process, seed: 2, replication: 0)
        let count = 20_000
        var gaps: [Double] = []
        var last: Int64 = 0
        for _ in 0..<count {
            gaps.append(Double(source.next - last) / 1e9)
            #expect(source.next >= last)
            last = source.next
            source.advance()
        }
        let rate = Double(count) / (Double(last) / 1e9)
        let expected = try #require(process.meanRate)
        #expect((expected - 3).magnitude < 1e-12)
        #expect((rate / expected - 1).magnitude < tolerance, "\(rate)")
        guard variationTolerance > 0, let variation = process.gapVariation else { return }
        let estimate = Estimate(gaps)
        let square = gaps.reduce(0) { $0 + ($1 - estimate.mean) * ($1 - estimate.mean) } / Double(count)
        #expect((square / (estimate.mean * estimate.mean) / variation - 1).magnitude < variationTolerance)
    }

    /// Thinning follows the curve: of the arrivals of a period, as many lie in a part as the curve has area there.
    @Test func diurnal() throws {
        let curve = try #require(Self.curve)
        #expect(curve.meanRate == 3 && curve.highestRate == 5)
        var source = ArrivalSource(.varying(curve), seed: 1, replication: 0)
        var (inside, total) = (0, 0)
        while source.next < 10_000_000_000_000 {
            let time = Double(source.next).truncatingRemainder(dividingBy: 1e11) / 1e9
            if (25..<75).contains(time) { inside += 1 }
            total += 1
            source.advance()
        }
        #expect((Double(total) / 30_000 - 1).magnitude < 0.03)
        #expect((Double(inside) / Double(total) - 2.0 / 3).magnitude < 0.015)
        #expect(RateCurve(points: [.init(time: 1, rate: 1)], period: 5) == nil)
        #expect(RateCurve(points: [.init(time: 0, rate: 0)], period: 5) == nil)
    }

    /// A closed loop has at most as many jobs as users, and with room for all nobody waits.
    @Test func closedLoop() {
        let result = Simulation(
            SimulatedSystem(rates: [1], capacities: [5]),
            arrivals: .closedLoop(users: 5, meanThinkTime: 2), length: RunLength(jobs: 3000), seed: 3
        ).run()
        #expect(result.wait.largest == 0 && result.completed == 3000 && result.littleHolds)
        // A user goes round in 3 s on average: one third of the five are in service.
        #expect((result.meanJobs / (5.0 / 3) - 1).magnitude < 0.08)
        #expect((result.arrivalRate / (5.0 / 3) - 1).magnitude < 0.08)
    }

    /// A trace is replayed to its end, whatever the number of jobs asked for.
    @Test func traceReplay() {
        let times: [Int64] = [0, 1_000_000_000, 1_000_000_000, 5_000_000_000]
        var system = SimulatedSystem(rates: [0.5], capacities: [1])
        system.tokenTimes = [TokenTimes(overhead: 1, perInputToken: 0.01, perOutputToken: 0.1)]
        let counts = [(100, 11), (0, 1), (50, 2), (200, 1)].map { TokenCounts(input: $0.0, output: $0.1) }
        let result = Simulation(
            system, arrivals: .times(times), sizes: .tokens(counts), length: RunLength(jobs: 100, warmUp: 0),
            seed: 1, savesRequests: true
        ).run()
        let requests = result.requests.sorted { $0.number < $1.number }
        // By hand: services 3, 1, 1.6 and 3 s; the chain runs one job at a time.
        #expect(requests.map(\.service) == [3, 1, 1.6, 3])
        #expect(requests.map(\.wait) == [0, 2, 3, 0.6])
        #expect(requests.map(\.firstToken) == [2, 3, 4.5, 3.6])
        #expect(result.completed == 4 && result.inputTokens == 350 && result.outputTokens == 15)
        #expect(result.tokenGaps?.histogram.count == 11)
        #expect((result.tokenGaps?.mean ?? 0) - 0.1 < 1e-9)
    }

    /// A plan's chain takes its mean service time for the mean request.
    @Test func tokenTimesAgreeWithThePlan() {
        let times = TokenTimes(overhead: 0.5, perInputToken: 0.001, perOutputToken: 0.05)
        #expect(times.service(TokenCounts(input: 1000, output: 21)) == 2.5)
        #expect(times.prefill(TokenCounts(input: 1000, output: 21)) == 1.5)
    }

    /// The synthetic trace has the statistics it was fitted to: 0.38965 s between requests on average, with a
    /// coefficient of variation of 13.15; 2,048 tokens in and 27.9 out.
    @Test func syntheticTrace() {
        let statistics = TraceStatistics.azureCode
        #expect((statistics.gapVariation.squareRoot() / 13.15 - 1).magnitude < 0.02)
        #expect((statistics.meanInput / 2047.8 - 1).magnitude < 0.02)
        #expect((statistics.meanOutput / 27.88 - 1).magnitude < 0.03)
        let trace = statistics.trace(requests: 5000, seed: 4)
        #expect(zip(trace.times, trace.times.dropFirst()).allSatisfy(<=))
        #expect(trace.tokens.allSatisfy { $0.output >= 6 && $0.input <= 7437 })
        let inputs = trace.tokens.map(\.input).sorted()
        #expect((Double(inputs[2500]) / 1469 - 1).magnitude < 0.1)
        let again = statistics.trace(requests: 5000, seed: 4)
        #expect(again.times == trace.times && again.tokens == trace.tokens)
    }

    static let azureFile = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().appending(path: "../shared/data/AzureLLMInferenceTrace_code.csv")
        .standardizedFileURL

    /// Every decile of gaps and lengths within a tenth of the real trace's; skipped without the file.
    @Test(
        .enabled(
            if: FileManager.default.fileExists(atPath: azureFile.path),
            "the Azure trace is not at ../shared/data: skipped"))
    func syntheticTraceFitsTheRealOne() throws {
        let text = try String(contentsOf: Self.azureFile, encoding: .utf8)
        let real = try RequestTrace.parse(text, file: "azure.csv").requests
        #expect(real.count == 8819)
        let statistics = TraceStatistics.azureCode
        func compare(_ values: [Double], _ curve: QuantileCurve, scale: Double, from: Double = 0.1) {
            let sorted = values.sorted()
            for step in 1...9 where Double(step) / 10 >= from {
                let value = sorted[Int((Double(step) / 10 * Double(sorted.count - 1)).rounded())]
                #expect((curve.value(at: Double(step) / 10) * scale / value - 1).magnitude < 0.1)
            }
        }
        let gaps = zip(real, real.dropFirst()).map { Double($1.time - $0.time) / 1e9 }
        compare(gaps, statistics.gaps, scale: 1)
        compare(real.map { Double($0.inputTokens) }, statistics.input, scale: 1)
        compare(real.map { Double($0.outputTokens) }, statistics.output, scale: 1)
    }
}

@Suite struct TraceReaderTests {
    @Test func azure() throws {
        let trace = try RequestTrace.parse(
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\r\n"
                + "2023-11-17T00:00:00Z,12,0\n", file: "a.csv")
        #expect(trace.requests.map(\.inputTokens) == [4808, 12])
        #expect(trace.requests.map(\.outputTokens) == [10, 1])
        #expect(trace.requests.map(\.time) == [0, 20_576_020_040_000])
    }

    @Test func mooncake() throws {
        let trace = try RequestTrace.parse(
            #"{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}"# + "\n\n"
                + #"{"timestamp": 30535.5, "input_length": 6472, "output_length": 26, "hash_ids": []}"#,
            file: "m.jsonl")
        #expect(trace.requests.map(\.time) == [0, 3_053_500_000])
        #expect(trace.requests.map(\.outputTokens) == [52, 26])
    }

    @Test(arguments: [
        ("", "m.csv: the trace has no requests"),
        ("TIMESTAMP,ContextToken,GeneratedTokens\n", "m.csv:1: there is no column `ContextTokens`"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-29 00:00:00,1,1\n", "m.csv:2: the time is"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-28 00:00:00,1\n", "m.csv:2: GeneratedTokens is"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-28 00:00:00,-1,2\n", "m.csv:2: ContextTokens is"),
        (
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-02-28 00:00:01,1,2\n2023-02-28 00:00:00,1,2\n",
            "m.csv:3: the request comes before"
        ),
        ("{\"timestamp\": 1, \"input_length\": 5}\n", "m.csv:1: output_length is"),
        ("{\"timestamp\": 1, \"input_length\": 5\n", "m.csv:1:"),
        ("{\"timestamp\": \"x\", \"input_length\": 5, \"output_length\": 1}", "m.csv:1: `timestamp` is `x`"),
    ])
    func mistakes(text: String, message: String) {
        let error = #expect(throws: FormatError.self) { try RequestTrace.parse(text, file: "m.csv") }
        #expect(error?.description.contains(message) == true, "\(error?.description ?? "")")
    }
}
