import ChainFormats
import ChainModel
import ChainSimulation
import Foundation

/// What `simulate` prints, for people and for programs.
struct SimulationReport {
    var setting: SimulationSetting
    var outcomes: [SimulationOutcome]

    // MARK: For people

    var text: String {
        var lines = heading
        if outcomes.count == 1 { lines += details(outcomes[0]) } else { lines += comparison }
        for outcome in outcomes {
            let result = outcome.result
            if let reason = result.unstable { lines.append("unstable (\(result.policy)): \(reason)") }
            if result.precisionMet == false {
                lines.append(
                    "the precision was not reached (\(result.policy)): the interval is from \(result.completed) jobs"
                )
            }
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var heading: [String] {
        let plan = setting.plan
        var demand = "arrivals \(setting.arrivalsText), sizes \(setting.sizesText)"
        if let rate = setting.simulation.arrivals.meanRate {
            demand += ", \(Self.number(rate)) jobs/s"
            if let load = setting.simulation.load { demand += ", load \(Self.number(load))" }
        }
        return [
            "\(plan.modelName): \(plan.chains.count) chains, \(plan.totalCapacity) slots, "
                + "\(Self.number(setting.simulation.system.totalRate(for: setting.simulation.sizes))) jobs/s at most",
            demand + ", seed \(setting.simulation.seed)", "",
        ]
    }

    private func details(_ outcome: SimulationOutcome) -> [String] {
        let result = outcome.result
        var lines = [
            "\(result.policy): \(result.completed) jobs in \(Self.number(result.duration)) s simulated"
                + (result.replications > 1 ? " (\(result.replications) replications)" : "")
                + (result.failed + result.refused > 0
                    ? "; \(result.failed) failed, \(result.refused) refused" : "")
                + (result.retries > 0 ? "; \(result.retries) attempts repeated" : ""),
            "",
        ]
        if result.hasMeans {
            lines += Self.times(result)
            lines += Self.theory(outcome, isAnalysed: setting.isAnalysed)
            lines.append(
                "  waited: \(Self.percent(result.waitProbability.mean)) of the jobs; Little's law within "
                    + "\(Self.percent(result.littleDifference)) on the window, exact over the run")
        } else {
            lines.append("  without a steady state times have no means; how the chains were used:")
        }
        if !result.chains.isEmpty {
            lines += ["", "  chain  slots  service s   share of jobs   utilisation"]
        }
        for (number, chain) in result.chains.enumerated().prefix(Self.mostChains) {
            let planned = outcome.system.chains[number]
            let share = Double(chain.jobs) / Double(max(1, result.completed))
            lines.append(
                "  " + Self.left("\(number + 1)", 5) + Self.right("\(planned.capacity)", 7)
                    + Self.right(Self.number(planned.serviceTime), 11)
                    + Self.right(Self.percent(share), 16)
                    + Self.right(Self.percent(chain.utilisation), 14))
        }
        if result.chains.count > Self.mostChains {
            lines.append("  … and \(result.chains.count - Self.mostChains) more")
        }
        lines += ["", "  server            cache use   jobs there"]
        for (number, server) in result.servers.enumerated() where server.meanJobs > 0 {
            lines.append(
                "  " + Self.left(setting.cluster.servers[number].name, 16)
                    + Self.right(Self.percent(server.cacheUse), 11)
                    + Self.right(Self.number(server.meanJobs), 13))
        }
        return lines + cacheUse(outcome)
    }

    /// Chains, or paths, that are listed.
    private static let mostChains = 20

    /// The pool's cache use over time, a bar for some intervals each.
    private func cacheUse(_ outcome: SimulationOutcome) -> [String] {
        let use = outcome.system.poolCacheUse(over: outcome.result.timeline)
        guard !use.isEmpty else { return [] }
        let each = (use.count + Self.mostBars - 1) / Self.mostBars
        let marks = Array("▁▂▃▄▅▆▇█")
        let bars = stride(from: 0, to: use.count, by: each).map { first in
            let part = use[first..<min(first + each, use.count)]
            let mean = part.reduce(0, +) / Double(part.count)
            return marks[max(0, min(marks.count - 1, Int((mean * Double(marks.count)).rounded(.down))))]
        }
        let seconds = Self.number(Double(each) * outcome.result.timeline.intervalSeconds)
        return [
            "", "  cache use of the pool over time (0 to 100 %, a bar is \(seconds) s)", "  " + String(bars),
        ]
    }

    private static let mostBars = 64

    private static func times(_ result: SimulationResult) -> [String] {
        var lines = [
            "  seconds            mean      ± 95 %     median        p95        p99      p99.9        max",
            row("response", result.response), row("wait", result.wait), row("service", result.service),
        ]
        if let times = result.firstToken { lines.append(row("first token", times)) }
        if let times = result.interToken { lines.append(row("between tokens", times)) }
        return lines + [""]
    }

    /// The simulated mean beside what theory says.
    private static func theory(_ outcome: SimulationOutcome, isAnalysed: Bool) -> [String] {
        guard let prediction = outcome.prediction else { return [] }
        let mean = outcome.result.response.mean
        var text = "  theory"
        if !isAnalysed { text += " (Poisson, exponential)" }
        text += ": mean response"
        if let exact = prediction.exact {
            text +=
                " \(number(exact.meanResponseTime)) s exact, the simulation is "
                + "\(percent(mean / exact.meanResponseTime - 1)) off;"
        }
        text += " at least \(number(prediction.lower)) s"
        if let upper = prediction.upper { text += ", at most \(number(upper)) s" }
        return [text]
    }

    private var comparison: [String] {
        var lines = [
            "  policy           mean s     ± 95 %     median        p99  mean wait     waited   exact mean"
        ]
        for outcome in outcomes {
            let result = outcome.result
            let exact = outcome.prediction?.exact?.meanResponseTime
            guard result.hasMeans else {
                lines.append("  " + Self.left(result.policy, 14) + " unstable, no mean")
                continue
            }
            lines.append(
                "  " + Self.left(result.policy, 14) + Self.right(Self.number(result.response.mean), 9)
                    + Self.right(Self.number(result.response.estimate.halfWidth ?? .nan), 11)
                    + Self.right(Self.number(result.response.quantile(0.5)), 11)
                    + Self.right(Self.number(result.response.quantile(0.99)), 11)
                    + Self.right(Self.number(result.wait.mean), 11)
                    + Self.right(Self.percent(result.waitProbability.mean), 11)
                    + Self.right(exact.map(Self.number) ?? "–", 13))
        }
        if let first = outcomes.compactMap({ $0.prediction }).first {
            lines.append("")
            lines.append(
                "  no policy without preemption on these chains is below \(Self.number(first.lower)) s (Theorem 4)"
            )
        }
        return lines
    }

    private static func row(_ name: String, _ times: TimeSummary) -> String {
        let values =
            [times.mean, times.estimate.halfWidth ?? .nan]
            + [0.5, 0.95, 0.99, 0.999].map { times.quantile($0) } + [times.largest]
        return "  " + left(name, 14) + values.map { right(number($0), 11) }.joined()
    }

    /// Four significant digits.
    static func number(_ value: Double) -> String {
        guard value.isFinite else { return "–" }
        if value == 0 { return "0" }
        let digits = 3 - Int(log10(value.magnitude).rounded(.down))
        return digits > 0 ? String(format: "%.\(min(digits, 9))f", value) : String(format: "%.0f", value)
    }

    static func percent(_ share: Double) -> String { String(format: "%.2f %%", share * 100) }

    private static func left(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(1, width - text.count))
    }

    private static func right(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(1, width - text.count)) + text
    }
}
