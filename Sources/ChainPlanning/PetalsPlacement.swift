import ChainModel

/// What a PETALS server decides its blocks by.
public struct PetalsParameters: Hashable, Sendable {
    /// How a joining server compares the windows it could serve.
    public enum Selection: String, Hashable, Sendable, CaseIterable {
        /// The ascending throughputs of a window's blocks, compared one after the other: PETALS itself.
        case lexicographic
        /// Their sum: the published comparison's simulator.
        case sum
    }

    public var selection: Selection
    /// Memory of one block as PETALS loads it; `nil`: 1.01 times the model's block.
    public var blockSize: ByteCount?
    /// Attention cache that PETALS sets aside for each block; `nil`: two jobs' caches.
    public var cacheSize: ByteCount?
    /// Memory kept for gradients; `nil`: in proportion to the cache of a block, as both grow with the hidden
    /// size (2 GiB for BLOOM-176B).
    public var reserve: ByteCount?
    /// Most blocks by server; `nil` sets no limit.
    public var blockLimits: [Int]?
    /// Seed of the random order in which servers join; `nil`: the order of the cluster.
    public var joinSeed: UInt64?
    /// The order itself, which goes before a seed.
    public var joinOrder: [ServerIndex]?

    public init(
        selection: Selection = .lexicographic, blockSize: ByteCount? = nil, cacheSize: ByteCount? = nil,
        reserve: ByteCount? = nil, blockLimits: [Int]? = nil, joinSeed: UInt64? = nil,
        joinOrder: [ServerIndex]? = nil
    ) {
        self.selection = selection
        self.blockSize = blockSize
        self.cacheSize = cacheSize
        self.reserve = reserve
        self.blockLimits = blockLimits
        self.joinSeed = joinSeed
        self.joinOrder = joinOrder
    }
}

/// The block selection of PETALS: servers join one after the other, and each serves the stretch of blocks
/// that is worst off.
///
/// A server of `m_j` blocks advertises `min(F_j/((1 + m_j)/2), N_j)` requests per second for each of them.
/// Ranges fixed by hand are there before anyone joins.
public enum PetalsPlacement {
    /// - Complexity: O(J·L·m log m), by sum O(J·L·m).
    public static func placement(_ cluster: Cluster, _ parameters: PetalsParameters) -> Placement {
        let blockCount = cluster.model.blockCount
        let rates = advertisedRates(cluster)
        var placement = cluster.manualPlacement
        var served = [Double](repeating: 0, count: blockCount + 1)
        func serve(_ range: BlockRange, by server: Int) {
            let throughput = min(rates[server].forward / (Double(1 + range.count) / 2), rates[server].network)
            for block in range.first..<range.end { served[block] += throughput }
        }
        for (server, range) in placement.ranges.enumerated() {
            if let range { serve(range, by: server) }
        }
        for server in joinOrder(cluster, parameters) where placement[server] == nil {
            let count = blocks(of: server, cluster, parameters)
            guard count > 0 else { continue }
            let first = start(served, count: count, blockCount: blockCount, parameters.selection)
            let range = BlockRange(first: first, count: count)
            placement[server] = range
            serve(range, by: server.rawValue)
        }
        return placement
    }

    /// `m_j = min(L, ⌊(M_j − reserve)/(block + cache)⌋)`.
    static func blocks(of server: ServerIndex, _ cluster: Cluster, _ parameters: PetalsParameters) -> Int {
        let model = cluster.model
        // One per cent more than the block, in whole bytes.
        let block =
            parameters.blockSize ?? ByteCount(model.blockSize.rawValue + model.blockSize.rawValue / 100)
        let cache = parameters.cacheSize ?? model.cacheSize * 2
        let reserve = parameters.reserve ?? proportionalReserve(cache)
        let free = cluster.blockMemory(of: server) - reserve
        guard free > .zero else { return 0 }
        let limit = parameters.blockLimits.map { $0[server.rawValue] } ?? model.blockCount
        return min(model.blockCount, limit, free.wholeUnits(of: block + cache))
    }

    /// 2 GiB for the 234,881,024 bytes of BLOOM's cache of a block (4096 tokens of a hidden size of 14,336).
    private static func proportionalReserve(_ cache: ByteCount) -> ByteCount {
        ByteCount(Int((Double(cache.rawValue) / 234_881_024 * 2_147_483_648).rounded()))
    }

    /// Forward passes and network transfers per second. Where not every server advertises them, one forward
    /// pass takes a block's time and the network is no limit: what is compared is the servers' ratio.
    private static func advertisedRates(_ cluster: Cluster) -> [(forward: Double, network: Double)] {
        let advertised = cluster.servers.compactMap(\.advertisedRates)
        if advertised.count == cluster.servers.count {
            return advertised.map { ($0.forward, $0.network) }
        }
        return cluster.servers.map { (1 / max($0.blockTimeSeconds, 1e-9), .infinity) }
    }

    /// The window of least throughput; ties: the first.
    private static func start(
        _ served: [Double], count: Int, blockCount: Int, _ selection: PetalsParameters.Selection
    ) -> Int {
        var best = 1
        var bestWindow: [Double] = []
        for first in 1...(blockCount - count + 1) {
            let window = served[first..<(first + count)]
            let key = selection == .sum ? [window.reduce(0, +)] : window.sorted()
            if first == 1 || key.lexicographicallyPrecedes(bestWindow) {
                best = first
                bestWindow = key
            }
        }
        return best
    }

    private static func joinOrder(_ cluster: Cluster, _ parameters: PetalsParameters) -> [ServerIndex] {
        if let order = parameters.joinOrder { return order }
        var order = cluster.servers.indices.map { ServerIndex($0) }
        guard let seed = parameters.joinSeed else { return order }
        var generator = SplitMix(state: seed)
        order.shuffle(using: &generator)
        return order
    }

    /// SplitMix64 (Steele, Lea and Flood 2014): any seed will do.
    private struct SplitMix: RandomNumberGenerator {
        var state: UInt64

        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }
}
