import ChainModel
import Foundation

/// A plan as a picture: servers by blocks with the chains over them, and the memory of each server.
///
/// A row is a server, a column a block. A chain is a line through the blocks that it computes at each server; it changes
/// rows at the block where one server hands over to the next. Rows are in the order of the fastest chain that uses them,
/// then of their first block, so that a chain's servers stand together.
public enum PlanPicture {
    /// The plan as a stand-alone SVG, for light and dark surroundings.
    /// - Complexity: O(J log J + hops drawn).
    public static func svg(_ plan: Plan, cluster: Cluster) -> String {
        let layout = PictureLayout(plan, cluster)
        var text = open(layout, plan)
        text += heading(layout, plan, cluster)
        text += stripes(layout)
        text += columns(layout, cluster)
        for (row, position) in layout.rows.enumerated() {
            text += server(position, row: row, layout, plan, cluster)
        }
        for number in (0..<layout.chainsDrawn).reversed() {
            text += chain(number, plan.chains[number], layout)
        }
        text += footer(layout, plan, cluster)
        return text + "</svg>\n"
    }

    /// Eight colours that stay apart for most kinds of colour blindness, for light and for dark backgrounds.
    static let colours = [
        ("#0072b2", "#5bb8f0"), ("#d55e00", "#ff9a4d"), ("#009e73", "#3ddbae"), ("#b5478a", "#f09ccb"),
        ("#a07800", "#f0c93d"), ("#2b9fd1", "#9ad9f7"), ("#6a4fb3", "#b9a5f5"), ("#5f6b00", "#c3d15c"),
    ]

    private static func open(_ layout: PictureLayout, _ plan: Plan) -> String {
        let (width, height) = (SVGElements.figure(layout.width), SVGElements.figure(layout.height))
        let light = colours.enumerated().map {
            ".c\($0.offset){stroke:\($0.element.0)} .f\($0.offset){fill:\($0.element.0)}"
        }
        let dark = colours.enumerated().map {
            ".c\($0.offset){stroke:\($0.element.1)} .f\($0.offset){fill:\($0.element.1)}"
        }
        return """
            <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" viewBox="0 0 \(width) \(height)" role="img">
            <title>\(SVGElements.escaped("Plan of \(plan.modelName)"))</title>
            <style>
            text{font:12px system-ui,sans-serif;fill:#24292f} .title{font-size:16px;font-weight:600} .small{font-size:10px}
            .dim{fill:#59636e} .end{text-anchor:end} .mid{text-anchor:middle} .page{fill:#fff} .grid{stroke:#e3e7ec}
            .range{fill:#e6ebf2;stroke:#b9c4d2} .blocks{fill:#6d87a8} .cache{fill:#e8a13a} .free{fill:none;stroke:#b9c4d2}
            .chain{fill:none;stroke-linecap:round} .stripe{fill:#f6f8fa}
            .link{fill:none;stroke-width:1.2;opacity:.7}
            \(light.joined(separator: " "))
            @media (prefers-color-scheme:dark){
            text{fill:#e6edf3} .dim{fill:#9198a1} .page{fill:#0d1117} .grid{stroke:#21262d} .stripe{fill:#141a22}
            .range{fill:#1d2733;stroke:#3d4b5c} .blocks{fill:#5d7696} .cache{fill:#c9822b} .free{stroke:#566577}
            \(dark.joined(separator: " "))
            }
            </style>
            <rect class="page" width="\(width)" height="\(height)"/>

            """
    }

    // MARK: Around the rows

    private static func heading(_ layout: PictureLayout, _ plan: Plan, _ cluster: Cluster) -> String {
        let spare = plan.spareServers.count
        let servers = "\(layout.rows.count) of \(cluster.servers.count) servers"
        var text = SVGElements.label(
            "title", PictureLayout.margin, 28,
            "\(plan.modelName): \(PlanReport.blockCount(cluster)) over \(servers)\(spare > 0 ? ", \(spare) spare" : "")"
        )
        let mean = plan.meanResponseTime.exact.map { ", mean response \(PlanReport.seconds($0))" } ?? ""
        text += SVGElements.label(
            "dim", PictureLayout.margin, 47,
            "\(plan.chains.count) \(plan.chains.count == 1 ? "chain" : "chains") for \(plan.totalCapacity) jobs at once, "
                + "load \(PlanReport.significant(plan.load))\(mean)"
                + (plan.chains.count > 1 ? " (thicker lines carry more jobs)" : ""))
        // The legend of the memory bars, over them.
        var x = layout.memoryLeft
        for (style, name, width) in [
            ("blocks", "blocks", 52.0), ("cache", "reserved cache", 100), ("free", "free", 40),
        ] {
            text += SVGElements.rectangle(style, x, 54, 9, 9)
            text += SVGElements.label("small dim", x + 13, 62, name)
            x += width
        }
        return text
    }

    /// Every other row, so that the eye finds from a name to its bar across a wide or tall picture.
    private static func stripes(_ layout: PictureLayout) -> String {
        var text = ""
        for row in stride(from: 0, to: layout.rows.count, by: 2) {
            text += SVGElements.rectangle(
                "stripe", PictureLayout.margin, layout.y(row: row) - layout.gap / 2,
                layout.width - 2 * PictureLayout.margin, layout.barHeight + layout.gap)
        }
        return text
    }

    /// Numbers of blocks and lines at round ones.
    private static func columns(_ layout: PictureLayout, _ cluster: Cluster) -> String {
        let count = cluster.model.blockCount
        let step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].first { count / $0 <= 14 } ?? 2000
        var marks = [1]
        marks += stride(from: step, to: count, by: step).filter { $0 > 1 && count - $0 >= (step + 1) / 2 }
        if count > 1 { marks.append(count) }
        var text = ""
        for mark in marks {
            let middle = (layout.x(block: mark) + layout.x(block: mark + 1)) / 2
            text += SVGElements.label("small dim mid", middle, PictureLayout.top - 9, "\(mark)")
            text += SVGElements.line(
                "grid", middle, PictureLayout.top - 5, toX: middle, toY: layout.bottom)
        }
        text += SVGElements.label(
            "small dim end", PictureLayout.gridLeft - 8, PictureLayout.top - 9, "block")
        return text
    }

    /// The chains drawn, what they hold and how long they take; then spare servers.
    private static func footer(_ layout: PictureLayout, _ plan: Plan, _ cluster: Cluster) -> String {
        var text = ""
        for number in 0..<layout.chainsListed {
            let column = number % PictureLayout.legendColumns
            let x = PictureLayout.margin + Double(column) * layout.legendWidth
            let y = layout.bottom + 30 + 18 * Double(number / PictureLayout.legendColumns)
            let chain = plan.chains[number]
            text += SVGElements.path(
                "chain c\(number % colours.count)", [[(x, y - 4), (x + 18, y - 4)]],
                width: layout.stroke(of: number))
            let jobs = "\(chain.capacity) \(chain.capacity == 1 ? "job" : "jobs")"
            text += SVGElements.label(
                "small", x + 24, y,
                "chain \(number + 1): \(jobs), \(PlanReport.seconds(chain.serviceTimeSeconds))")
        }
        var notes: [String] = []
        if plan.chains.count > layout.chainsDrawn {
            notes.append("the \(layout.chainsDrawn) fastest of \(plan.chains.count) chains are drawn")
        }
        if layout.chainsListed < layout.chainsDrawn {
            notes.append("the \(layout.chainsListed) fastest are listed; colours repeat")
        }
        if !plan.spareServers.isEmpty {
            let names = plan.spareServers.prefix(8).map { PictureLayout.shortened(cluster[$0].name) }
            let more =
                plan.spareServers.count > names.count
                ? " and \(plan.spareServers.count - names.count) more" : ""
            notes.append("spare: \(names.joined(separator: ", "))\(more)")
        }
        for (number, note) in notes.enumerated() {
            text += SVGElements.label(
                "small dim", PictureLayout.margin, layout.notesTop + 15 * Double(number), note)
        }
        return text
    }

    // MARK: Rows and chains

    private static func server(
        _ position: Int, row: Int, _ layout: PictureLayout, _ plan: Plan, _ cluster: Cluster
    ) -> String {
        guard let range = plan.placement.ranges[position] else { return "" }
        let server = cluster.servers[position]
        let (y, height) = (layout.y(row: row), layout.barHeight)
        let size = layout.isDense ? "small end" : "end"
        let base = y + height / 2 + (layout.isDense ? 3.5 : 4)
        let slots = cluster.cacheSlots(of: ServerIndex(position), hosting: range.count)
        let reserved = layout.reservedSlots[position]
        let tip =
            "\(server.name): blocks \(range.first) to \(range.end - 1), \(reserved) of \(slots) cache slots reserved, "
            + server.memory.exactText
        let name = PictureLayout.shortened(server.name)
        var text = SVGElements.label(size, PictureLayout.gridLeft - 8, base, name, title: server.name)
        let (left, right) = (layout.x(block: range.first), layout.x(block: range.end))
        text += SVGElements.rectangle("range", left, y, right - left, height, title: tip)
        // The memory bar, to the scale of the largest server.
        let unit = layout.memoryScale
        let whole = unit * Double(server.memory.rawValue)
        let blocks = unit * Double(cluster.model.blockSize.rawValue) * Double(range.count)
        let cache = unit * Double(cluster.model.cacheSize.rawValue) * Double(reserved)
        text += SVGElements.rectangle("blocks", layout.memoryLeft, y, blocks, height, title: tip)
        text += SVGElements.rectangle("cache", layout.memoryLeft + blocks, y, cache, height)
        text += SVGElements.rectangle("free", layout.memoryLeft, y, whole, height)
        return text
            + SVGElements.label(
                "small dim", layout.memoryLeft + whole + 5, base, PlanReport.memory(server.memory))
    }

    private static func chain(_ number: Int, _ chain: ServerChain, _ layout: PictureLayout) -> String {
        let colour = number % colours.count
        var mark = ""
        var strokes: [[(x: Double, y: Double)]] = []
        var links: [[(x: Double, y: Double)]] = []
        for hop in chain.hops {
            let y = layout.lane(of: number, server: hop.server.rawValue)
            var left = layout.x(block: hop.firstBlock) + 2
            let right = layout.x(block: hop.endBlock) - 2
            if strokes.isEmpty, layout.laneHeight(over: hop.server.rawValue) >= 9, right - left > 40 {
                mark = SVGElements.label("small f\(colour)", left + 2, y + 3.5, "\(number + 1)")
                left += 16
            }
            if let last = strokes.last?.last { links.append([last, (left, y)]) }
            strokes.append([(left, y), (right, y)])
        }
        let tip =
            "chain \(number + 1): \(chain.capacity) \(chain.capacity == 1 ? "job" : "jobs"), "
            + PlanReport.seconds(chain.serviceTimeSeconds)
        return "<g><title>\(tip)</title>\n" + SVGElements.path("link c\(colour)", links)
            + SVGElements.path("chain c\(colour)", strokes, width: layout.stroke(of: number)) + mark
            + "</g>\n"
    }
}
