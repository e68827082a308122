import ChainModel
import Foundation

/// A plan for people: text of a given width, without colour.
public enum PlanReport {
    /// Rows of a table beyond this are summed up in one line.
    public static let mostRows = 60

    /// The whole report: servers by blocks, chains, and what is predicted.
    /// - Parameter width: columns of the terminal; at least 60 are used.
    public static func text(_ plan: Plan, cluster: Cluster, width: Int = 100) -> String {
        [
            header(plan, cluster: cluster), servers(plan, cluster: cluster, width: width),
            chains(plan, cluster: cluster, width: width), summary(plan, cluster: cluster),
        ].joined(separator: "\n")
    }

    /// What is served over what, in one line.
    public static func header(_ plan: Plan, cluster: Cluster) -> String {
        let placed = cluster.servers.count - plan.spareServers.count
        return
            "\(plan.modelName): \(blockCount(cluster)) over \(placed) of \(cluster.servers.count) servers\n"
    }

    // MARK: Servers

    /// A row for each server: its name, the blocks it hosts as a bar over `1 … L`, their range, and its cache slots
    /// (reserved by the chains, of all it has).
    public static func servers(_ plan: Plan, cluster: Cluster, width: Int = 100) -> String {
        var rows: [ServerRow] = []
        var reserved = [Int](repeating: 0, count: cluster.servers.count)
        for chain in plan.chains {
            for hop in chain.hops { reserved[hop.server.rawValue] += hop.blockCount * chain.capacity }
        }
        for (position, server) in cluster.servers.enumerated() {
            guard let range = plan.placement.ranges[position] else { continue }
            let slots = cluster.cacheSlots(of: ServerIndex(position), hosting: range.count)
            rows.append(
                ServerRow(
                    name: server.name, range: range, blocks: blocks(range),
                    slots: "\(reserved[position])/\(slots)", memory: memory(server.memory)))
        }
        let shown = rows.prefix(mostRows)
        let nameWidth = max(6, shown.map(\.name.count).max() ?? 0)
        let blocksWidth = max(6, shown.map(\.blocks.count).max() ?? 0)
        let slotsWidth = max(5, shown.map(\.slots.count).max() ?? 0)
        let memoryWidth = max(6, shown.map(\.memory.count).max() ?? 0)
        let used = nameWidth + blocksWidth + slotsWidth + memoryWidth + 10
        let barWidth = min(cluster.model.blockCount, max(20, max(60, width) - used))
        var text = pad("server", nameWidth) + "  " + scale(cluster.model.blockCount, barWidth) + "  "
        text += pad("blocks", blocksWidth) + "  " + pad("slots", slotsWidth) + "  memory\n"
        for row in shown {
            text +=
                pad(row.name, nameWidth) + "  "
                + bar(row.range, of: cluster.model.blockCount, width: barWidth)
            text +=
                "  " + pad(row.blocks, blocksWidth) + "  " + pad(row.slots, slotsWidth) + "  \(row.memory)\n"
        }
        if rows.count > shown.count { text += "… and \(rows.count - shown.count) more servers\n" }
        if !plan.spareServers.isEmpty {
            let names = plan.spareServers.prefix(mostRows / 4).map { cluster[$0].name }.joined(
                separator: ", ")
            let more = plan.spareServers.count > mostRows / 4 ? ", …" : ""
            text += "spare (\(plan.spareServers.count)): \(names)\(more)\n"
        }
        return text
    }

    /// `1 block` or `70 blocks`.
    static func blockCount(_ cluster: Cluster) -> String {
        cluster.model.blockCount == 1 ? "1 block" : "\(cluster.model.blockCount) blocks"
    }

    private struct ServerRow {
        var name: String
        var range: BlockRange
        var blocks: String
        var slots: String
        var memory: String
    }

    /// `1` and `L` over the ends of the bars.
    private static func scale(_ blockCount: Int, _ width: Int) -> String {
        let last = "\(blockCount)"
        guard width > last.count + 1 else { return pad("", width) }
        return "1" + String(repeating: " ", count: width - 1 - last.count) + last
    }

    /// A bar over blocks `1 … L` in `width` columns. A column is filled when the range covers the middle of its share,
    /// and a range covers one column at least.
    static func bar(_ range: BlockRange, of blockCount: Int, width: Int) -> String {
        let columns = (0..<width).map { column in
            range.contains((2 * column + 1) * blockCount / (2 * width) + 1)
        }
        var text = columns.map { $0 ? "█" : "·" }
        if !columns.contains(true) { text[(range.first - 1) * width / blockCount] = "█" }
        return text.joined()
    }

    // MARK: Chains

    /// A row for each chain: capacity, predicted service time, and its hops with the blocks computed at each.
    public static func chains(_ plan: Plan, cluster: Cluster, width: Int = 100) -> String {
        let waits = plan.dispatch.rule == .jffcWait
        var text = "chain  jobs  service  " + (waits ? "starts at  " : "") + "servers [blocks computed]\n"
        let indent = String(repeating: " ", count: waits ? 33 : 22)
        for (position, chain) in plan.chains.prefix(mostRows).enumerated() {
            var line = padLeft("\(position + 1)", 5) + "  " + padLeft("\(chain.capacity)", 4) + "  "
            line += padLeft(seconds(chain.serviceTimeSeconds), 7) + "  "
            if waits { line += padLeft("\(plan.dispatch.thresholds[position])", 9) + "  " }
            for (number, hop) in chain.hops.enumerated() {
                let piece = (number > 0 ? " → " : "") + "\(cluster[hop.server].name) [\(blocks(hop))]"
                if number > 0, line.count + piece.count > max(60, width) {
                    text += line + "\n"
                    line = indent + piece
                } else {
                    line += piece
                }
            }
            text += line + "\n"
        }
        if plan.chains.count > mostRows { text += "… and \(plan.chains.count - mostRows) more chains\n" }
        return text
    }

    // MARK: Summary

    /// Totals, load, and the mean response time with its bounds.
    public static func summary(_ plan: Plan, cluster: Cluster) -> String {
        let met = plan.loadTargetMet ? "" : ", above the target of \(significant(plan.demand.loadTarget))"
        var lines = [
            "\(plan.chains.count) \(plan.chains.count == 1 ? "chain" : "chains") (\(plan.disjointChains) disjoint) for \(plan.totalCapacity) jobs at once, "
                + "\(significant(plan.totalServiceRate)) jobs/s at most",
            "load \(significant(plan.load)) at \(significant(plan.demand.arrivalRate)) jobs/s\(met)",
        ]
        if let capacity = plan.capacityParameter {
            let chosen = plan.tunedBy.map { ", chosen by \(describe($0))" } ?? ""
            lines.append("required capacity of a reserved chain: \(capacity)\(chosen)")
        }
        if let reason = plan.unstable { lines.append("no steady state: \(reason)") }
        if let lower = plan.meanResponseTime.lower, let upper = plan.meanResponseTime.upper,
            let exact = plan.meanResponseTime.exact
        {
            lines.append(
                "mean response \(seconds(exact)) (bounds \(seconds(lower)) … \(seconds(upper))); "
                    + "mean wait \(seconds(plan.meanWaitingTime ?? 0)), "
                    + "\(percent(plan.waitProbability ?? 0)) of jobs wait")
        }
        if let variance = plan.spread.responseVariance, let rate = plan.spread.waitDecayRate,
            let waits = plan.waitProbability
        {
            let tail =
                waits > 0.01 ? "; one job in 100 waits longer than \(seconds(log(waits / 0.01) / rate))" : ""
            lines.append("standard deviation of the response \(seconds(variance.squareRoot()))\(tail)")
        }
        if let gain = plan.improvement { lines.append(describe(gain, plan)) }
        if plan.dispatch.rule == .jffcWait, let mean = plan.dispatch.meanResponseTime {
            lines.append(
                "waiting for faster chains: mean response \(seconds(mean)), "
                    + "mean wait \(seconds(plan.dispatch.meanWaitingTime ?? 0)), "
                    + "\(percent(plan.dispatch.waitProbability ?? 0)) of jobs wait")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Which dispatch rule is recommended, and why: one line.
    public static func advice(_ advice: DispatchAdvice) -> String {
        let means = advice.meanResponseTimes
        let waits = advice.waitProbabilities
        guard advice.gain >= 0.001 else {
            return "recommended dispatch: jffc; waiting for faster chains would gain less than 0.1 %\n"
        }
        let figures =
            "waiting for faster chains would lower the mean response by \(percent(advice.gain)), from "
            + "\(seconds(means.jffc)) to \(seconds(means.thresholds)), and let \(percent(waits.thresholds)) of jobs wait "
            + "instead of \(percent(waits.jffc))"
        switch advice.rule {
        case .jffc: return "recommended dispatch: jffc; \(figures)\n"
        case .jffcWait: return "recommended dispatch: jffc-wait (--dispatch jffc-wait); \(figures)\n"
        }
    }

    /// The warnings of a plan, one a line; empty for a plan without.
    public static func warnings(_ plan: Plan) -> [String] {
        if let reason = plan.unstable { return ["no steady state: \(reason)"] }
        guard !plan.loadTargetMet else { return [] }
        return [
            "the load is \(significant(plan.load)), above the target of \(significant(plan.demand.loadTarget)) "
                + "(add servers, lower the arrival rate, or raise the target)"
        ]
    }

    private static func describe(_ gain: PlanImprovement, _ plan: Plan) -> String {
        guard gain.changes > 0 else {
            return "none of \(gain.evaluations) other placements has a lower mean response"
        }
        guard let before = gain.meanResponseTimeBefore, let after = plan.meanResponseTime.exact else {
            return "\(gain.changes) changes of the placement"
        }
        return
            "\(gain.changes) changes of the placement: mean response \(seconds(before)) → \(seconds(after))"
    }

    private static func describe(_ criterion: TuningCriterion) -> String {
        switch criterion {
        case .exact: "the exact mean response"
        case .lowerBound: "the lower bound on the mean response"
        case .upperBound: "the upper bound on the mean response"
        case .surrogate: "the number of reserved slots"
        case .simulated: "the simulated mean response"
        }
    }

    // MARK: Figures

    /// Three significant digits, in milliseconds below a second.
    public static func seconds(_ value: Double) -> String {
        if value == 0 { return "0 s" }
        return value < 1 ? "\(significant(value * 1000)) ms" : "\(significant(value)) s"
    }

    static func significant(_ value: Double) -> String {
        String(format: value < 1000 ? "%.3g" : "%.0f", value)
    }

    private static func percent(_ value: Double) -> String { "\(String(format: "%.2g", value * 100)) %" }

    static func memory(_ size: ByteCount) -> String {
        let bytes = Double(size.rawValue)
        if bytes >= 1e9 { return "\(significant(bytes / 1e9)) GB" }
        return bytes >= 1e6 ? "\(significant(bytes / 1e6)) MB" : "\(size.rawValue) B"
    }

    private static func blocks(_ range: BlockRange) -> String { blocks(first: range.first, end: range.end) }
    private static func blocks(_ hop: ChainHop) -> String { blocks(first: hop.firstBlock, end: hop.endBlock) }
    private static func blocks(first: Int, end: Int) -> String {
        end - first == 1 ? "\(first)" : "\(first)–\(end - 1)"
    }

    private static func pad(_ text: String, _ width: Int) -> String {
        text + String(repeating: " ", count: max(0, width - text.count))
    }

    private static func padLeft(_ text: String, _ width: Int) -> String {
        String(repeating: " ", count: max(0, width - text.count)) + text
    }
}
