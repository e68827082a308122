import ChainModel

/// The fastest chain through what cache is left, on block boundaries instead of servers.
///
/// A link `(i, j)` depends on `i` only through the boundary `e_i` it starts from, so a partial chain is just the next
/// block it needs. Vertices are the boundaries `1 … L + 1`; for each pair of boundaries `p < e` the servers that can take
/// a job from `p` to the end `e` of their range are kept in order of `τc_j + τp_j·(e − p)`. Slots only shrink, so a server
/// that can no longer hold `e − p` of them leaves that list for good, and the head of each list is its fastest usable
/// server. A shortest path over the heads, at most `L(L + 1)/2` of them, is the fastest chain (section 3.1.4).
///
/// Ties: of equal servers the first in the cluster; of equal paths into a boundary the one from the smallest boundary.
struct BoundaryGraph {
    private let blockCount: Int
    /// Pair `(p, e)` is at `pairOffset[e] + p`.
    private let pairOffset: [Int]
    /// Servers of all pairs, each pair's in order of cost.
    private var entries: [Int32] = []
    /// First entry of a pair still usable, and one past its last.
    private var headPosition: [Int] = []
    private var endPosition: [Int] = []
    /// Cost of the head, seconds; infinite for an empty list.
    private var headCost: [Double] = []
    /// `τc_j`, `τp_j`, range and residual slots `R_j`, by server.
    private let communicationTime: [Double]
    private let blockTime: [Double]
    private let ranges: [BlockRange?]
    private(set) var residualSlots: [Int]
    /// Least time from the source to each boundary, and the boundary before it; valid below `firstStale`.
    private var distance: [Double]
    private var previous: [Int]
    private var isStale: [Bool]
    private var firstStale = 2

    /// - Complexity: O(L² + S log S) for S = Σ min(m_j, M̃_j) list entries.
    init(_ cluster: Cluster, placement: Placement) {
        blockCount = cluster.model.blockCount
        ranges = placement.ranges
        communicationTime = cluster.servers.map(\.communicationTimeSeconds)
        blockTime = cluster.servers.map(\.blockTimeSeconds)
        residualSlots = placement.ranges.enumerated().map { position, range in
            range.map { cluster.cacheSlots(of: ServerIndex(position), hosting: $0.count) } ?? 0
        }
        var offsets = [0, 0]
        var pairs = 0
        for end in 2..<(blockCount + 2) {
            offsets.append(pairs - 1)
            pairs += end - 1
        }
        pairOffset = offsets
        distance = [Double](repeating: .infinity, count: blockCount + 2)
        distance[1] = 0
        previous = [Int](repeating: 0, count: blockCount + 2)
        isStale = [Bool](repeating: true, count: blockCount + 2)
        headPosition = [Int](repeating: 0, count: pairs)
        endPosition = [Int](repeating: 0, count: pairs)
        headCost = [Double](repeating: .infinity, count: pairs)
        fillLists()
    }

    private mutating func fillLists() {
        var byEnd = [[Int32]](repeating: [], count: blockCount + 2)
        var total = 0
        for (server, range) in ranges.enumerated() {
            guard let range, residualSlots[server] > 0 else { continue }
            byEnd[range.end].append(Int32(server))
            total += min(range.count, residualSlots[server])
        }
        entries.reserveCapacity(total)
        for end in 2..<(blockCount + 2) {
            // The order for one width is nearly that for the next, which the sort takes advantage of.
            var members = byEnd[end].map { (cost: 0.0, server: $0) }
            var width = 1
            while !members.isEmpty, width < end {
                members.removeAll {
                    let server = Int($0.server)
                    return (ranges[server]?.count ?? 0) < width || residualSlots[server] < width
                }
                for position in members.indices {
                    members[position].cost = cost(of: Int(members[position].server), width: width)
                }
                members.sort { $0.cost != $1.cost ? $0.cost < $1.cost : $0.server < $1.server }
                let pair = pairOffset[end] + end - width
                headPosition[pair] = entries.count
                for member in members { entries.append(member.server) }
                endPosition[pair] = entries.count
                if let first = members.first { headCost[pair] = first.cost }
                width += 1
            }
        }
    }

    /// `τc_j + τp_j·m_ij`, seconds (eq. 2).
    private func cost(of server: Int, width: Int) -> Double {
        communicationTime[server] + blockTime[server] * Double(width)
    }

    /// Least time over all chains with room for a job, seconds; infinite when source and sink are disconnected.
    /// - Complexity: O(L²), less when only late boundaries changed.
    mutating func fastestTime() -> Double {
        if firstStale <= blockCount + 1 {
            var changed = false
            for end in firstStale..<(blockCount + 2) where changed || isStale[end] {
                isStale[end] = false
                let (best, from) = bestPredecessor(of: end)
                if best != distance[end] { changed = true }
                distance[end] = best
                previous[end] = from
            }
            firstStale = blockCount + 2
        }
        return distance[blockCount + 1]
    }

    private func bestPredecessor(of end: Int) -> (time: Double, boundary: Int) {
        var best = Double.infinity
        var from = 0
        distance.withUnsafeBufferPointer { distance in
            headCost.withUnsafeBufferPointer { headCost in
                let offset = pairOffset[end]
                for boundary in 1..<end {
                    let time = distance[boundary] + headCost[offset + boundary]
                    if time < best {
                        best = time
                        from = boundary
                    }
                }
            }
        }
        return (best, from)
    }

    /// The hops of the fastest chain, in order.
    /// - Precondition: `fastestTime()` has just returned a finite time.
    func fastestHops() -> [ChainHop] {
        var hops: [ChainHop] = []
        var end = blockCount + 1
        while end > 1 {
            let boundary = previous[end]
            let server = entries[headPosition[pairOffset[end] + boundary]]
            hops.append(
                ChainHop(server: ServerIndex(Int(server)), firstBlock: boundary, blockCount: end - boundary))
            end = boundary
        }
        hops.reverse()
        return hops
    }

    /// Jobs that a chain can hold with the slots left: `min ⌊R_j/m_ij⌋`.
    func room(for hops: [ChainHop]) -> Int {
        hops.reduce(Int.max) { min($0, residualSlots[$1.server.rawValue] / $1.blockCount) }
    }

    /// Takes the slots of `capacity` jobs on a chain and drops servers from lists they can no longer serve.
    /// - Precondition: `capacity ≤ room(for: hops)`.
    /// - Complexity: amortized O(1) per list entry dropped, O(m_j) per hop.
    mutating func reserve(_ hops: [ChainHop], capacity: Int) {
        for hop in hops {
            let server = hop.server.rawValue
            residualSlots[server] -= hop.blockCount * capacity
            guard let range = ranges[server] else { continue }
            let left = residualSlots[server]
            var width = range.count
            while width > left {
                dropUnusableHeads(of: pairOffset[range.end] + range.end - width, end: range.end, width: width)
                width -= 1
            }
        }
    }

    private mutating func dropUnusableHeads(of pair: Int, end: Int, width: Int) {
        var position = headPosition[pair]
        let last = endPosition[pair]
        guard position < last, residualSlots[Int(entries[position])] < width else { return }
        while position < last, residualSlots[Int(entries[position])] < width { position += 1 }
        headPosition[pair] = position
        headCost[pair] = position < last ? cost(of: Int(entries[position]), width: width) : .infinity
        isStale[end] = true
        firstStale = min(firstStale, end)
    }

    /// First boundary that no chain reaches, for saying what is missing; `nil` when the sink is reached.
    mutating func firstUnreachableBlock() -> Int? {
        guard fastestTime() == .infinity else { return nil }
        let reached = (1..<(blockCount + 1)).last { distance[$0] < .infinity } ?? 1
        return reached
    }
}
