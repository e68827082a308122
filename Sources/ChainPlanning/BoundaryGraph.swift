import ChainModel

/// The fastest chain through what cache is left: a shortest path over block boundaries instead of servers.
///
/// A partial chain is just the next block it needs, so the vertices are the boundaries `1 … L + 1` (section 3.1.4). The
/// edge from `p` to `e` is the head of that pair's list: its fastest server with `e − p` slots left. Slots only shrink, so
/// a server passed over once is passed over for good, and costs and distances only grow. A distance therefore changes
/// only when the edge that it came by, or the distance of the boundary before, does; all others are left alone.
///
/// Ties: of equal servers the first in the cluster; of equal paths into a boundary the one from the smallest boundary.
struct BoundaryGraph {
    private let lists: BoundaryLists
    /// `R_j`: slots left, by server.
    private(set) var residualSlots: [Int]
    /// The entry of each pair's list that is used now; one past the list when none is left.
    private var head: [Int]
    /// Cost of that entry, seconds; infinite past the list.
    private var headCost: [Double]
    /// Least time from boundary 1 to each boundary, seconds, and the boundary before it on that path; 0 without one.
    private var distance: [Double]
    private var previous: [Int]
    /// Boundaries whose distance has to be computed again, and the smallest of them.
    private var isStale: [Bool]
    private var firstStale = 2

    init(_ cluster: Cluster, placement: Placement) {
        self.init(BoundaryLists(cluster, placement: placement), placement: placement)
    }

    /// - Parameter placement: uses some of the servers of `lists`, with the ranges they have there.
    /// - Complexity: O(L² + J), and O(1) for each entry of a server that is not used.
    init(_ lists: BoundaryLists, placement: Placement) {
        self.lists = lists
        residualSlots = lists.slots
        for (server, range) in placement.ranges.enumerated() where range == nil { residualSlots[server] = 0 }
        head = lists.start
        headCost = [Double](repeating: .infinity, count: lists.pairCount)
        distance = [Double](repeating: .infinity, count: lists.blockCount + 2)
        distance[1] = 0
        previous = [Int](repeating: 0, count: lists.blockCount + 2)
        isStale = [Bool](repeating: true, count: lists.blockCount + 2)
        for end in 2..<(lists.blockCount + 2) {
            for boundary in 1..<end {
                advanceHead(of: lists.pair(from: boundary, to: end), width: end - boundary)
            }
        }
    }

    /// Moves a pair's head to its first server with `width` slots left.
    private mutating func advanceHead(of pair: Int, width: Int) {
        var position = head[pair]
        let last = lists.end[pair]
        while position < last, residualSlots[Int(lists.entries[position])] < width { position += 1 }
        head[pair] = position
        headCost[pair] =
            position < last ? lists.cost(of: Int(lists.entries[position]), width: width) : .infinity
    }

    /// Least time over all chains with room for a job, seconds; infinite when there is none.
    /// - Complexity: O(L) for each boundary whose distance may have changed.
    mutating func fastestTime() -> Double {
        let sink = lists.blockCount + 1
        guard firstStale <= sink else { return distance[sink] }
        var hasChanged = [Bool](repeating: false, count: sink + 1)
        for end in firstStale...sink where isStale[end] || hasChanged[previous[end]] {
            isStale[end] = false
            let (time, boundary) = bestPredecessor(of: end)
            hasChanged[end] = time != distance[end]
            distance[end] = time
            previous[end] = boundary
        }
        firstStale = sink + 1
        return distance[sink]
    }

    private func bestPredecessor(of end: Int) -> (time: Double, boundary: Int) {
        var best = Double.infinity
        var from = 0
        distance.withUnsafeBufferPointer { distance in
            headCost.withUnsafeBufferPointer { headCost in
                let offset = lists.pair(from: 0, to: end)
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
        var end = lists.blockCount + 1
        while end > 1 {
            let boundary = previous[end]
            let server = lists.entries[head[lists.pair(from: boundary, to: end)]]
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

    /// Takes the slots of `capacity` jobs on a chain, and passes over servers that have too few left.
    /// - Precondition: `capacity ≤ room(for: hops)`.
    /// - Complexity: amortized O(1) per list entry passed over, O(m_j) per hop.
    mutating func reserve(_ hops: [ChainHop], capacity: Int) {
        for hop in hops {
            let server = hop.server.rawValue
            residualSlots[server] -= hop.blockCount * capacity
            guard let range = lists.ranges[server] else { continue }
            let left = residualSlots[server]
            var width = range.count
            while width > left {
                passOver(server, from: range.end - width, to: range.end)
                width -= 1
            }
        }
    }

    /// Gives a pair another head if `server` is it.
    private mutating func passOver(_ server: Int, from boundary: Int, to end: Int) {
        let pair = lists.pair(from: boundary, to: end)
        let position = head[pair]
        guard position < lists.end[pair], Int(lists.entries[position]) == server else { return }
        advanceHead(of: pair, width: end - boundary)
        // Another edge can only have become slower: it is no matter unless the path came by it.
        guard previous[end] == boundary else { return }
        isStale[end] = true
        firstStale = min(firstStale, end)
    }

    /// First boundary that no chain reaches, for saying what is missing; `nil` when the sink is reached.
    mutating func firstUnreachableBlock() -> Int? {
        guard fastestTime() == .infinity else { return nil }
        return (1..<(lists.blockCount + 1)).last { distance[$0] < .infinity } ?? 1
    }
}
