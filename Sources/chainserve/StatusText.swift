import ChainOrchestrator
import Foundation

/// What the dashboard shows, as lines of a terminal.
struct StatusText {
    let text: String

    /// Most events shown.
    private static let eventLimit = 8

    init(_ sight: PoolSight, width: Int) {
        var lines = Self.heading(sight) + [""]
        lines += Self.servers(sight.status) + [""]
        lines += Self.chains(sight) + [""]
        lines += Self.times(sight)
        lines += ["", "\(sight.status.queueLength) waiting in the queue"]
        if !sight.events.isEmpty { lines += [""] + Self.events(sight.events) }
        text = lines.map { Self.cut($0, width) }.joined(separator: "\n") + "\n"
    }

    private static func heading(_ sight: PoolSight) -> [String] {
        let status = sight.status
        var first = "\(status.model) on the \(status.engine) engine"
        if status.emulated { first += " (EMULATED: no model is computed)" }
        let running = status.chains.reduce(0) { $0 + $1.running }
        let capacity = status.chains.filter { closed($0, status) == nil }.reduce(0) { $0 + $1.capacity }
        var second = "\(sight.readiness); \(running) of \(capacity) running"
        second += "; \(number(sight.observed.arrivalsPerSecond)) requests and"
        second += " \(number(sight.observed.tokensPerSecond)) tokens a second"
        if let outlook = sight.outlook { second += "; load as planned \(number(outlook.load))" }
        return [first, second]
    }

    private static func servers(_ status: PoolStatus) -> [String] {
        var rows = [["server", "state", "blocks", "slots", "", "address"]]
        for server in status.servers {
            let blocks =
                server.blockCount > 0
                ? "\(server.firstBlock)–\(server.firstBlock + server.blockCount - 1)" : "–"
            rows.append([
                server.name, server.state.rawValue, blocks, "\(server.slotsUsed)/\(server.slotsTotal)",
                bar(server.slotsUsed, of: server.slotsTotal),
                server.address + (server.pid.map { " (process \($0))" } ?? ""),
            ])
        }
        return table(rows)
    }

    private static func chains(_ sight: PoolSight) -> [String] {
        var rows = [["running", "", "planned", "observed", "chain"]]
        for (index, chain) in sight.status.chains.enumerated() {
            let planned = sight.outlook?.serviceTimes
            let observed = sight.observed.serviceTimes
            rows.append([
                "\(chain.running)/\(chain.capacity)", bar(chain.running, of: chain.capacity),
                seconds(planned.flatMap { $0.indices.contains(index) ? $0[index] : nil }),
                seconds(observed.indices.contains(index) ? observed[index] : nil),
                chain.name + (closed(chain, sight.status).map { " (closed: \($0))" } ?? ""),
            ])
        }
        return table(rows)
    }

    /// Why a chain takes no jobs now: which of its servers are away.
    private static func closed(_ chain: PoolStatus.Chain, _ status: PoolStatus) -> String? {
        let away = status.servers.filter { $0.state != .ready && chain.servers.contains($0.name) }
        return away.isEmpty ? nil : away.map { "\($0.name) is \($0.state.rawValue)" }.joined(separator: ", ")
    }

    private static func times(_ sight: PoolSight) -> [String] {
        var rows = [["", "mean", "p50", "p95", "p99"]]
        for (name, values) in [
            ("whole answer", sight.observed.response), ("first token", sight.observed.firstToken),
            ("wait in the queue", sight.observed.wait),
        ] {
            rows.append([name] + [values?.mean, values?.p50, values?.p95, values?.p99].map(seconds))
        }
        var lines = table(rows)
        if let outlook = sight.outlook, let exact = outlook.exactResponse {
            lines.append(
                "predicted: mean \(seconds(exact)), between \(seconds(outlook.lowerResponse)) and"
                    + " \(seconds(outlook.upperResponse)); mean wait \(seconds(outlook.exactWait))")
        }
        if let advice = sight.outlook?.advice { lines.append(advice) }
        return lines
    }

    private static func events(_ events: [PoolSight.Event]) -> [String] {
        events.prefix(eventLimit).map { event in
            let time = Date(timeIntervalSince1970: event.at).formatted(date: .omitted, time: .standard)
            return "\(time)  \(event.text)"
        }
    }

    // MARK: Parts

    private static func bar(_ used: Int, of total: Int) -> String {
        guard total > 0 else { return "" }
        let filled = min(10, (10 * used + total - 1) / total)
        return String(repeating: "█", count: filled) + String(repeating: "·", count: 10 - filled)
    }

    private static func number(_ value: Double) -> String { String(format: "%.3g", value) }
    private static func seconds(_ value: Double?) -> String { value.map { number($0) + " s" } ?? "–" }

    /// Columns two spaces apart.
    private static func table(_ rows: [[String]]) -> [String] {
        let columns = rows.first?.count ?? 0
        let widths = (0..<columns).map { column in rows.map { $0[column].count }.max() ?? 0 }
        return rows.map { row in
            var line = ""
            for (column, cell) in row.enumerated() {
                line += cell
                if column < columns - 1 {
                    line += String(repeating: " ", count: widths[column] - cell.count + 2)
                }
            }
            return line
        }
    }

    private static func cut(_ line: String, _ width: Int) -> String {
        line.count <= width ? line : String(line.prefix(max(1, width - 1))) + "…"
    }
}
