import ChainModel

/// For every pair of block boundaries, the servers that can carry a job from one to the other, fastest first.
///
/// A link `(i, j)` depends on server `i` only through the boundary `e_i` where it leaves off. So a hop is a pair of
/// boundaries `p < e` and any server whose range ends at `e` and holds block `p`; it costs `τc_j + τp_j·(e − p)`
/// (eq. 2). The lists say nothing of what is taken already: one set serves every placement that uses some of these
/// servers with these ranges.
struct BoundaryLists {
    let blockCount: Int
    /// `τc_j` and `τp_j`, seconds, and the range `[a_j, e_j)`, by server; no range for a server in no list.
    let communicationTime: [Double]
    let blockTime: [Double]
    let ranges: [BlockRange?]
    /// `M̃_j`: slots of a server with nothing taken (eq. 3).
    let slots: [Int]
    /// The lists behind each other: positions of servers, each list in order of cost; ties: the first in the cluster.
    private(set) var entries: [Int32] = []
    /// First entry of each pair's list, and one past its last.
    private(set) var start: [Int]
    private(set) var end: [Int]
    /// Pair `(p, e)` is number `pairOffset[e] + p`.
    private let pairOffset: [Int]

    /// - Complexity: O(L² + J + S log J) for `S = Σ min(m_j, M̃_j)` entries.
    init(_ cluster: Cluster, placement: Placement) {
        blockCount = cluster.model.blockCount
        ranges = placement.ranges
        communicationTime = cluster.servers.map(\.communicationTimeSeconds)
        blockTime = cluster.servers.map(\.blockTimeSeconds)
        slots = placement.ranges.enumerated().map { position, range in
            range.map { cluster.cacheSlots(of: ServerIndex(position), hosting: $0.count) } ?? 0
        }
        var offsets = [0, 0]
        var pairs = 0
        for boundary in 2..<(blockCount + 2) {
            offsets.append(pairs - 1)
            pairs += boundary - 1
        }
        pairOffset = offsets
        start = [Int](repeating: 0, count: pairs)
        end = start
        fill()
    }

    /// Number of pairs of boundaries: `L(L + 1)/2`.
    var pairCount: Int { start.count }

    /// Number of the pair from boundary `first` to boundary `last`, `first < last`.
    func pair(from first: Int, to last: Int) -> Int { pairOffset[last] + first }

    /// `τc_j + τp_j·m_ij`, seconds (eq. 2).
    func cost(of server: Int, width: Int) -> Double {
        communicationTime[server] + blockTime[server] * Double(width)
    }

    private mutating func fill() {
        var byEnd = [[Int32]](repeating: [], count: blockCount + 2)
        var total = 0
        for (server, range) in ranges.enumerated() {
            guard let range, slots[server] > 0 else { continue }
            byEnd[range.end].append(Int32(server))
            total += min(range.count, slots[server])
        }
        entries.reserveCapacity(total)
        for boundary in 2..<(blockCount + 2) {
            var members = byEnd[boundary].map { server in
                let position = Int(server)
                return (cost: 0.0, server: server, widest: min(ranges[position]?.count ?? 0, slots[position]))
            }
            var width = 1
            while !members.isEmpty, width < boundary {
                members.removeAll { $0.widest < width }
                for position in members.indices {
                    members[position].cost = cost(of: Int(members[position].server), width: width)
                }
                // The order for one width is nearly that for the next, which the sort takes advantage of.
                members.sort { $0.cost != $1.cost ? $0.cost < $1.cost : $0.server < $1.server }
                let pair = pair(from: boundary - width, to: boundary)
                start[pair] = entries.count
                for member in members { entries.append(member.server) }
                end[pair] = entries.count
                width += 1
            }
        }
    }
}
