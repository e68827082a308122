import ChainModel

/// How many blocks each server hosts for a required capacity, and where that number changes (eq. 6).
///
/// All floors are exact integer divisions. `m_j(c) = min(⌊M_j/(s_m + c·s_c)⌋, L)` never grows with `c`; it stays at `m`
/// up to `c = ⌊(M_j − m·s_m)/(m·s_c)⌋`, so tuning jumps from one change to the next instead of trying every `c`.
struct BlockCapacity {
    let cluster: Cluster
    /// `M_j` in bytes, by server.
    private let memory: [Int]
    /// The distinct values of `M_j` among the servers that the planner places, ascending.
    private let distinctMemory: [Int]
    /// Fixed ranges hold `c` jobs up to these `c`: the distinct values, ascending.
    private let fixedRoom: [Int]

    init(_ cluster: Cluster) {
        self.cluster = cluster
        memory = cluster.servers.indices.map { cluster.blockMemory(of: ServerIndex($0)).rawValue }
        var free: [Int] = []
        var rooms: [Int] = []
        for (position, range) in cluster.manualPlacement.ranges.enumerated() {
            if let range {
                rooms.append(
                    cluster.cacheSlots(of: ServerIndex(position), hosting: range.count) / range.count)
            } else {
                free.append(memory[position])
            }
        }
        distinctMemory = Self.distinct(free)
        fixedRoom = Self.distinct(rooms)
    }

    private static func distinct(_ values: [Int]) -> [Int] {
        var result: [Int] = []
        for value in values.sorted() where result.last != value { result.append(value) }
        return result
    }

    /// Blocks that fit into `memory` bytes with `capacity` jobs' caches each: `min(⌊M/(s_m + c·s_c)⌋, L)`.
    private func blocks(in memory: Int, capacity: Int) -> Int {
        let model = cluster.model
        let (caches, first) = model.cacheSize.rawValue.multipliedReportingOverflow(by: capacity)
        let (each, second) = model.blockSize.rawValue.addingReportingOverflow(caches)
        return first || second ? 0 : min(memory / each, model.blockCount)
    }

    /// `m_j(c)` for every server; 0 for a server whose range is fixed by hand.
    /// - Complexity: O(J).
    func blockCounts(capacity: Int) -> [Int] {
        memory.indices.map {
            cluster.manualPlacement.ranges[$0] == nil ? blocks(in: memory[$0], capacity: capacity) : 0
        }
    }

    /// Whether the blocks placeable with capacity `c`, fixed ranges included, are at least `L`: `Σ m_j(c) ≥ L`.
    func isFeasible(_ counts: [Int]) -> Bool { placeable(counts) >= cluster.model.blockCount }

    /// `Σ m_j(c)` with the fixed ranges.
    func placeable(_ counts: [Int]) -> Int {
        var sum = 0
        for (count, range) in zip(counts, cluster.manualPlacement.ranges) { sum += range?.count ?? count }
        return sum
    }

    /// Largest `c` with which any block fits anywhere: `c_max = ⌊(max_j M_j − s_m)/s_c⌋`, at least 1.
    var largestCapacity: Int {
        let largest = memory.max() ?? 0
        return max(1, (largest - cluster.model.blockSize.rawValue) / cluster.model.cacheSize.rawValue)
    }

    /// Largest `c' ≥ c` with the same `m_j` for every server and the same fixed ranges able to hold `c'` jobs.
    /// - Complexity: O(number of distinct memories).
    func lastCapacity(sameAs capacity: Int) -> Int {
        let model = cluster.model
        var last = largestCapacity
        for memory in distinctMemory {
            let count = blocks(in: memory, capacity: capacity)
            // A server with the whole model keeps it as long as L blocks fit, which the same formula says.
            guard count > 0 else { continue }
            let room = (memory - count * model.blockSize.rawValue) / (count * model.cacheSize.rawValue)
            last = min(last, room)
        }
        for room in fixedRoom where room >= capacity { last = min(last, room) }
        return max(last, capacity)
    }

    /// Memory that is missing for the model: `(L − Σ m_j(1))·(s_m + s_c)`.
    var missingMemory: ByteCount {
        let missing = max(0, cluster.model.blockCount - placeable(blockCounts(capacity: 1)))
        let each = cluster.model.blockSize + cluster.model.cacheSize
        let (bytes, overflow) = each.rawValue.multipliedReportingOverflow(by: missing)
        return ByteCount(overflow ? Int.max : bytes)
    }
}
