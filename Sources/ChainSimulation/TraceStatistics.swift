/// Statistics of a trace of requests, enough to draw others like it.
///
/// Gaps are drawn independently: in the trace fitted here the gaps' autocorrelation is below 0.01, so that a
/// renewal process with their distribution also has the trace's variance of counts. Lengths are drawn with
/// their distributions and rank correlation (a Gaussian copula).
package struct TraceStatistics: Sendable {
    /// Gaps between arrivals, in units of their mean.
    let gaps: QuantileCurve
    /// Tokens of prompts and answers.
    let input: QuantileCurve
    let output: QuantileCurve
    /// Correlation of the two normal numbers behind a request's lengths.
    let correlation: Double
    /// Arrivals per second.
    package let rate: Double

    package var gapVariation: Double { gaps.variance / (gaps.mean * gaps.mean) }
    package var meanInput: Double { input.meanOfRounded }
    package var meanOutput: Double { output.meanOfRounded }

    /// The next gap, in units of the mean gap.
    func gap(using random: inout RandomStream) -> Double { gaps.value(at: random.uniform()) / gaps.mean }

    /// Lengths of the next request.
    func tokens(using random: inout RandomStream) -> TokenCounts {
        let first = random.normal()
        let second = correlation * first + (1 - correlation * correlation).squareRoot() * random.normal()
        let (low, high) = (NormalLaw.probability(below: first), NormalLaw.probability(below: second))
        return TokenCounts(
            input: max(0, Int(input.value(at: low).rounded())),
            output: max(1, Int(output.value(at: high).rounded())))
    }

    /// A seeded trace with these statistics: arrival times in nanoseconds, and lengths.
    package func trace(
        requests: Int, rate: Double? = nil, seed: UInt64
    ) -> (times: [Int64], tokens: [TokenCounts]) {
        var source = ArrivalSource(.azure(rate: rate ?? self.rate), seed: seed, replication: 0)
        var random = RandomStream(seed: seed, purpose: .sizes)
        var result: (times: [Int64], tokens: [TokenCounts]) = ([], [])
        for _ in 0..<requests {
            result.times.append(source.next)
            result.tokens.append(tokens(using: &random))
            source.advance()
        }
        return result
    }

    /// Fitted to the Azure LLM inference trace of November 2023 (code completion; 8,819 requests in 57
    /// minutes): quantiles, rounded to three digits, between which values are interpolated geometrically.
    package static let azureCode = TraceStatistics(
        gaps: QuantileCurve(
            probabilities: [
                0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999,
                0.9995, 1,
            ],
            values: [
                1e-5, 4.2e-5, 2.09e-4, 1.18e-3, 3.29e-3, 0.0151, 0.0638, 0.095, 0.1, 0.16, 0.273, 0.401,
                0.799, 2.21, 10.1, 40.3, 78.4, 139, 217,
            ]),
        input: QuantileCurve(
            probabilities: [
                0, 0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.965, 1,
            ],
            values: [
                3, 17, 35, 75, 147, 250, 386, 770, 1075, 1470, 1910, 2430, 3190, 4000, 5190, 7300, 7436, 7437,
            ]),
        output: QuantileCurve(
            probabilities: [
                0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995,
                0.999, 0.9997, 1,
            ],
            values: [
                6, 6.4, 7, 8, 9, 11, 13, 16, 20, 29, 37, 55, 90, 128, 172, 252, 361, 824, 1000, 1899,
            ]),
        correlation: -0.022, rate: 2.5664)
}

/// A distribution given by quantiles, with values between them interpolated geometrically.
struct QuantileCurve: Sendable {
    private let probabilities: [Double]
    private let values: [Double]
    private let logs: [Double]
    let mean: Double
    let variance: Double
    /// Mean of the values rounded to whole numbers, as tokens are.
    let meanOfRounded: Double

    /// - Precondition: as many probabilities, from 0 to 1 and increasing, as positive non-decreasing values.
    init(probabilities: [Double], values: [Double]) {
        precondition(probabilities.count == values.count && probabilities.first == 0)
        precondition(probabilities.last == 1 && zip(probabilities, probabilities.dropFirst()).allSatisfy(<))
        precondition(values[0] > 0 && zip(values, values.dropFirst()).allSatisfy(<=))
        self.probabilities = probabilities
        self.values = values
        let logs = values.map { Elementary.log($0) }
        self.logs = logs
        var (first, second) = (0.0, 0.0)
        for position in 1..<values.count {
            let share = probabilities[position] - probabilities[position - 1]
            let (low, high) = (values[position - 1], values[position])
            let width = logs[position] - logs[position - 1]
            // ∫ exp(a + w·u) du, and of its square.
            first += share * (width == 0 ? low : (high - low) / width)
            second += share * (width == 0 ? low * low : (high * high - low * low) / (2 * width))
        }
        mean = first
        variance = second - first * first
        var rounded = 0.0
        let steps = 20_000
        for step in 0..<steps {
            let probability = (Double(step) + 0.5) / Double(steps)
            rounded += Self.value(probability, probabilities, logs).rounded()
        }
        meanOfRounded = rounded / Double(steps)
    }

    /// The value below which the share `probability` lies. O(log n).
    func value(at probability: Double) -> Double { Self.value(probability, probabilities, logs) }

    private static func value(_ probability: Double, _ probabilities: [Double], _ logs: [Double]) -> Double {
        var (low, high) = (0, probabilities.count - 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if probabilities[middle] <= probability { low = middle } else { high = middle }
        }
        let share = (probability - probabilities[low]) / (probabilities[high] - probabilities[low])
        return Elementary.exp(logs[low] + (logs[high] - logs[low]) * share)
    }
}

/// The standard normal law.
enum NormalLaw {
    /// `Φ(x)`, within 1e-15: by Taylor's series about 0 in the middle, 0 or 1 beyond 8 (Marsaglia 2004).
    static func probability(below x: Double) -> Double {
        if x < -8 { return 0 }
        if x > 8 { return 1 }
        var (sum, term, divisor) = (x, x, 3.0)
        while sum + term * x * x / divisor != sum {
            term *= x * x / divisor
            sum += term
            divisor += 2
        }
        return min(1, max(0, 0.5 + sum * Elementary.exp(-x * x / 2 - 0.918938533204672741780)))
    }
}
