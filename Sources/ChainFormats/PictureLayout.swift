import ChainModel

/// Where everything of a plan's picture goes.
struct PictureLayout {
    static let margin = 20.0
    static let top = 84.0
    static let gridLeft = 170.0
    private static let gridWidth = 700.0
    private static let memoryWidth = 170.0
    static let legendColumns = 5
    /// Chains drawn, and listed below, fastest first: more would only be a smear.
    private static let mostDrawn = 40
    private static let mostListed = 15

    /// Servers with blocks, from top to bottom.
    let rows: [Int]
    /// Cache slots that the chains can take, by server.
    let reservedSlots: [Int]
    /// More rows than fit a screen at full height.
    let isDense: Bool
    let chainsDrawn: Int
    let chainsListed: Int
    /// User units for a byte.
    let memoryScale: Double
    private let notes: Int
    /// Each chain's jobs over those of the chain with most.
    private let shareOfLargest: [Double]
    private let rowOf: [Int]
    private let blockWidth: Double
    /// Chains drawn over each server, fastest first.
    private let chainsOver: [[Int]]

    init(_ plan: Plan, _ cluster: Cluster) {
        let count = cluster.servers.count
        var reserved = [Int](repeating: 0, count: count)
        var fastest = [Int](repeating: plan.chains.count, count: count)
        let drawn = min(plan.chains.count, Self.mostDrawn)
        var over = [[Int]](repeating: [], count: count)
        for (number, chain) in plan.chains.enumerated() {
            for hop in chain.hops {
                let server = hop.server.rawValue
                reserved[server] += hop.blockCount * chain.capacity
                fastest[server] = min(fastest[server], number)
                if number < drawn { over[server].append(number) }
            }
        }
        let placed = plan.placement.ranges.indices.filter { plan.placement.ranges[$0] != nil }
        rows = placed.sorted {
            if fastest[$0] != fastest[$1] { return fastest[$0] < fastest[$1] }
            let (left, right) = (plan.placement.ranges[$0]?.first ?? 0, plan.placement.ranges[$1]?.first ?? 0)
            return left != right ? left < right : $0 < $1
        }
        var positions = [Int](repeating: 0, count: count)
        for (row, server) in rows.enumerated() { positions[server] = row }
        rowOf = positions
        reservedSlots = reserved
        chainsOver = over
        isDense = rows.count > 30
        chainsDrawn = drawn
        let most = Double(plan.chains.map(\.capacity).max() ?? 1)
        shareOfLargest = plan.chains.map { Double($0.capacity) / most }
        chainsListed = min(drawn, Self.mostListed)
        notes =
            (plan.chains.count > drawn ? 1 : 0) + (chainsListed < drawn ? 1 : 0)
            + (plan.spareServers.isEmpty ? 0 : 1)
        blockWidth = Self.gridWidth / Double(cluster.model.blockCount)
        let largest = rows.map { cluster.servers[$0].memory.rawValue }.max() ?? 1
        memoryScale = Self.memoryWidth / Double(max(1, largest))
    }

    private var rowHeight: Double { isDense ? 16 : 30 }
    /// Between two rows.
    var gap: Double { isDense ? 3 : 6 }
    var barHeight: Double { rowHeight - gap }

    /// Width of a chain's line: the more jobs, the thicker.
    func stroke(of chain: Int) -> Double {
        let (thin, thick) = isDense ? (0.9, 2.4) : (1.4, 4.0)
        return thin + (thick - thin) * shareOfLargest[chain].squareRoot()
    }
    var memoryLeft: Double { Self.gridLeft + Self.gridWidth + 30 }
    var width: Double { memoryLeft + Self.memoryWidth + 65 }
    var bottom: Double { Self.top + rowHeight * Double(rows.count) }
    var legendWidth: Double { (width - 2 * Self.margin) / Double(Self.legendColumns) }
    var notesTop: Double {
        bottom + 34 + 18 * Double((chainsListed + Self.legendColumns - 1) / Self.legendColumns)
    }
    var height: Double { notesTop + 15 * Double(notes) }

    /// Left edge of a block's column.
    func x(block: Int) -> Double { Self.gridLeft + blockWidth * Double(block - 1) }

    func y(row: Int) -> Double { Self.top + rowHeight * Double(row) }

    /// Height at which a chain passes a server: the chains over it share its bar.
    func lane(of chain: Int, server: Int) -> Double {
        let chains = chainsOver[server]
        let lane = chains.firstIndex(of: chain) ?? 0
        return y(row: rowOf[server]) + barHeight * (Double(lane) + 0.5) / Double(max(1, chains.count))
    }

    /// What each chain over a server has of its bar.
    func laneHeight(over server: Int) -> Double { barHeight / Double(max(1, chainsOver[server].count)) }

    /// A name that fits beside the rows.
    static func shortened(_ name: String) -> String {
        name.count <= 21 ? name : "\(name.prefix(20))…"
    }
}
