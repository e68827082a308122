import ChainSimulation
import Foundation
import RealModule

/// Requests of the Azure LLM inference trace, or of a generated one with its statistics.
struct TraceSample {
    /// Between arrivals, seconds.
    var gaps: [Double]
    var tokens: [TokenCounts]
    /// Arrivals per second.
    var rate: Double

    init(_ sources: DataSources, requests: Int, seed: UInt64) throws {
        var times: [Double]
        if let path = sources.trace {
            (times, tokens) = try Self.read(path)
        } else {
            let trace = TraceStatistics.azureCode.trace(requests: requests, seed: seed)
            times = trace.times.map { Double($0) / 1e9 }
            tokens = trace.tokens
        }
        times.sort()
        gaps = zip(times, times.dropFirst()).map { $1 - $0 }
        guard let first = times.first, let last = times.last, last > first else {
            throw ExperimentError.invalidOption(
                "--trace: at least two requests at different times are "
                    + "needed")
        }
        rate = Double(gaps.count) / (last - first)
    }

    /// Columns `TIMESTAMP,ContextTokens,GeneratedTokens`, times as `2023-11-16 18:17:03.9799600`.
    private static func read(_ path: String) throws -> (times: [Double], tokens: [TokenCounts]) {
        let text = try MeasuredData.text(path, what: "--trace")
        var times: [Double] = []
        var tokens: [TokenCounts] = []
        for (number, line) in text.split(whereSeparator: \.isNewline).enumerated().dropFirst() {
            let fields = line.split(separator: ",")
            guard fields.count >= 3, let time = seconds(fields[0]), let input = Int(fields[1]),
                let output = Int(fields[2])
            else {
                throw ExperimentError.invalidOption(
                    "--trace: \(path), line \(number + 1): TIMESTAMP,ContextTokens,GeneratedTokens are "
                        + "expected")
            }
            times.append(time)
            tokens.append(TokenCounts(input: input, output: max(1, output)))
        }
        return (times, tokens)
    }

    /// Seconds since the start of the month.
    private static func seconds(_ text: Substring) -> Double? {
        let parts = text.split(whereSeparator: { "- :T".contains($0) })
        guard parts.count == 6, let day = Double(parts[2]), let hour = Double(parts[3]),
            let minute = Double(parts[4]), let second = Double(parts[5])
        else { return nil }
        return ((day * 24 + hour) * 60 + minute) * 60 + second
    }
}

/// The exponential law of mean 1.
enum ExponentialLaw {
    static func quantile(_ share: Double) -> Double { -Double.log(onePlus: -share) }
}
