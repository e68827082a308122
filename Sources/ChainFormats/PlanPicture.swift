import ChainModel
import Foundation

/// A plan as a picture: servers by blocks with the chains over them, and the memory of each server.
public enum PlanPicture {
    private static let nameWidth = 150.0
    private static let gridWidth = 720.0
    private static let memoryWidth = 160.0
    private static let top = 62.0
    /// Chains drawn, fastest first; more than this would only be a smear.
    private static let mostChains = 12

    /// The plan as a stand-alone SVG for light and dark backgrounds.
    /// - Complexity: O(J + hops drawn).
    public static func svg(_ plan: Plan, cluster: Cluster) -> String {
        let placed = plan.placement.ranges.indices.filter { plan.placement.ranges[$0] != nil }
        let rowHeight = placed.count > 40 ? 14.0 : 24.0
        var rows = [Int](repeating: 0, count: cluster.servers.count)
        for (row, position) in placed.enumerated() { rows[position] = row }
        let width = nameWidth + gridWidth + memoryWidth + 60
        let height = top + rowHeight * Double(placed.count) + 60
        var text = open(width: width, height: height)
        text += label(
            20, 24, "title",
            "\(plan.modelName): \(cluster.model.blockCount) blocks, \(plan.chains.count) chains")
        text += label(nameWidth, top - 8, "small", "block 1")
        text += label(nameWidth + gridWidth, top - 8, "small end", "\(cluster.model.blockCount)")
        text += label(
            nameWidth + gridWidth + 30, top - 8, "small", "memory: blocks, reserved cache, free")
        for position in placed {
            guard let range = plan.placement.ranges[position] else { continue }
            let y = top + rowHeight * Double(rows[position])
            text += server(position, range, y: y, rowHeight: rowHeight, plan, cluster)
        }
        for (number, chain) in plan.chains.prefix(mostChains).enumerated() {
            text += path(chain, number: number, rows: rows, rowHeight: rowHeight, cluster)
        }
        text += label(20, height - 22, "small", footer(plan))
        return text + "</svg>\n"
    }

    private static func open(width: Double, height: Double) -> String {
        """
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 \(figure(width)) \(figure(height))" role="img">
        <style>
        text { font: 12px sans-serif; fill: #222 } .title { font-size: 15px; font-weight: bold } .small { font-size: 10px }
        .end { text-anchor: end } .range { fill: #9ecae1 } .cache { fill: #fdae6b } .free { fill: #d9d9d9 }
        .chain { fill: none; stroke-width: 2; stroke-linejoin: round; opacity: 0.8 }
        @media (prefers-color-scheme: dark) {
          text { fill: #ddd } .range { fill: #31688e } .cache { fill: #b35806 } .free { fill: #444 }
        }
        </style>

        """
    }

    private static func server(
        _ position: Int, _ range: BlockRange, y: Double, rowHeight: Double, _ plan: Plan, _ cluster: Cluster
    ) -> String {
        let server = ServerIndex(position)
        let unit = gridWidth / Double(cluster.model.blockCount)
        let height = rowHeight - 4
        var text = label(nameWidth - 8, y + height * 0.75, "small end", cluster[server].name)
        text += rectangle(
            "range", nameWidth + unit * Double(range.first - 1), y, unit * Double(range.count), height)
        let memory = max(1, Double(cluster[server].memory.rawValue))
        let blocks = Double(cluster.model.blockSize.rawValue) * Double(range.count) / memory
        let cache = Double(cluster.model.cacheSize.rawValue) * Double(plan.reservedSlots(of: server)) / memory
        let left = nameWidth + gridWidth + 30
        text += rectangle("free", left, y, memoryWidth, height)
        text += rectangle("range", left, y, memoryWidth * blocks, height)
        text += rectangle("cache", left + memoryWidth * blocks, y, memoryWidth * cache, height)
        return text
    }

    /// A line through the blocks computed at each hop, shifted a little so that chains do not hide each other.
    private static func path(
        _ chain: ServerChain, number: Int, rows: [Int], rowHeight: Double, _ cluster: Cluster
    ) -> String {
        let unit = gridWidth / Double(cluster.model.blockCount)
        let shift = (rowHeight - 8) * (Double(number) + 0.5) / Double(mostChains) + 2
        let points = chain.hops.flatMap { hop in
            let y = top + rowHeight * Double(rows[hop.server.rawValue]) + shift
            return [(hop.firstBlock, y), (hop.endBlock, y)].map { block, y in
                "\(figure(nameWidth + unit * Double(block - 1))),\(figure(y))"
            }
        }
        let hue = number * 137 % 360
        let tip =
            "chain \(number + 1): \(chain.capacity) jobs, \(PlanReport.seconds(chain.serviceTimeSeconds))"
        return
            "<polyline class=\"chain\" stroke=\"hsl(\(hue), 70%, 45%)\" points=\"\(points.joined(separator: " "))\">"
            + "<title>\(tip)</title></polyline>\n"
    }

    private static func footer(_ plan: Plan) -> String {
        let shown = plan.chains.count > mostChains ? " (the \(mostChains) fastest chains are drawn)" : ""
        let mean = plan.meanResponseTime.exact.map { ", mean response \(PlanReport.seconds($0))" } ?? ""
        return "\(plan.totalCapacity) jobs at once, load \(PlanReport.significant(plan.load))\(mean)\(shown)"
    }

    // MARK: Elements

    private static func label(_ x: Double, _ y: Double, _ style: String, _ text: String) -> String {
        let escaped = text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(
            ">", with: "&gt;")
        return "<text class=\"\(style)\" x=\"\(figure(x))\" y=\"\(figure(y))\">\(escaped)</text>\n"
    }

    private static func rectangle(
        _ style: String, _ x: Double, _ y: Double, _ width: Double, _ height: Double
    ) -> String {
        "<rect class=\"\(style)\" x=\"\(figure(x))\" y=\"\(figure(y))\" width=\"\(figure(width))\" "
            + "height=\"\(figure(height))\"/>\n"
    }

    private static func figure(_ value: Double) -> String { String(format: "%.1f", value) }
}
