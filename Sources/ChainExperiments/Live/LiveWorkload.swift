import ChainFormats
import ChainSimulation

/// How the requests of a live run come.
package enum LiveWorkload: String, Hashable, Sendable, CaseIterable {
    /// Requests of the Azure trace that follow each other, their gaps stretched to the arrival rate, their
    /// tokens scaled.
    case trace
    /// The same lengths in random order, Poisson arrivals.
    case poisson
    /// The same with Gamma gaps of squared variation 4.
    case bursty

    package var title: String {
        switch self {
        case .trace: "requests of the trace"
        case .poisson: "Poisson arrivals"
        case .bursty: "bursty arrivals (Gamma gaps, ca² = 4)"
        }
    }

    static let burstiness = 0.25
}

/// One request of a live run.
package struct LiveRequest: Hashable, Sendable {
    /// Seconds since the run began.
    package var arrival: Double
    package var inputTokens: Int
    package var outputTokens: Int
}

/// The requests of all runs, the same for every system.
package struct LiveRequests: Sendable {
    private let setting: LiveSetting
    private let gaps: [Double]
    private let tokens: [TokenCounts]

    /// - Throws: `ExperimentError` when the trace cannot be used.
    package init(_ setting: LiveSetting, sources: DataSources) throws {
        self.setting = setting
        let sample = try TraceSample(sources, requests: Self.generatedRequests, seed: setting.seed)
        guard sample.tokens.count > setting.requests else {
            throw ExperimentError.invalidOption(
                "--requests is \(setting.requests): the trace has \(sample.tokens.count), and more are needed"
            )
        }
        gaps = sample.gaps
        tokens = sample.tokens.map {
            TokenCounts(
                input: Self.scaled($0.input, by: setting.inputFactor, most: setting.mostInputTokens),
                output: Self.scaled($0.output, by: setting.outputFactor, most: setting.mostOutputTokens))
        }
    }

    /// Of the generated trace, where none is given.
    private static let generatedRequests = 8819

    static func scaled(_ count: Int, by factor: Double, most: Int) -> Int {
        min(most, max(1, Int((Double(count) * factor).rounded())))
    }

    /// Mean tokens over the whole trace, scaled.
    package var meanTokens: (input: Double, output: Double) {
        let count = Double(tokens.count)
        return (
            tokens.reduce(0) { $0 + Double($1.input) } / count,
            tokens.reduce(0) { $0 + Double($1.output) } / count
        )
    }

    /// The requests of a run, and what the gaps of the trace were multiplied by (`nil` without its gaps).
    package func run(_ workload: LiveWorkload, _ number: Int) -> (requests: [LiveRequest], factor: Double?) {
        let count = setting.requests
        let seed = setting.seed &* 1_000_003 &+ UInt64(number)
        var random = PaperStream(seed: seed, .sizes)
        let first = random.below(tokens.count - count)
        switch workload {
        case .trace:
            var times = [0.0]
            for gap in gaps[first..<(first + count - 1)] { times.append(times[times.count - 1] + gap) }
            let span = times[times.count - 1]
            // `count` requests in `count − 1` gaps.
            let factor = span > 0 ? Double(count - 1) / setting.arrivalRate / span : 0
            return (
                zip(times, tokens[first...]).map {
                    LiveRequest(arrival: $0 * factor, inputTokens: $1.input, outputTokens: $1.output)
                }, factor
            )
        case .poisson:
            return (drawn(.poisson(rate: setting.arrivalRate), seed, &random), nil)
        case .bursty:
            let process = ArrivalProcess.gamma(
                rate: setting.arrivalRate, burstiness: LiveWorkload.burstiness)
            return (drawn(process, seed, &random), nil)
        }
    }

    private func drawn(
        _ process: ArrivalProcess, _ seed: UInt64, _ random: inout PaperStream
    ) -> [LiveRequest] {
        process.times(count: setting.requests, seed: seed).map { time in
            let size = tokens[random.below(tokens.count)]
            return LiveRequest(
                arrival: Double(time) / 1e9, inputTokens: size.input, outputTokens: size.output)
        }
    }
}
