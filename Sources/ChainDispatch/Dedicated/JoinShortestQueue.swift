/// Join the shortest queue: the least excess per slot, ties uniformly at random.
///
/// Winston (1977) for equal servers; per slot, for chains of several, as in the paper's comparison. With a free
/// slot somewhere it takes a uniformly random chain that has one; without, it prefers large capacities.
extension ChainLoads {
    /// Values closer than this are equal.
    private static let tie = 1e-9

    mutating func joinShortestQueue() -> Int {
        var best = -1
        var least = Double.infinity
        var tied = 0
        for chain in capacities.indices where isAvailable[chain] {
            let value = excess(chain)
            if value < least - Self.tie {
                (best, least, tied) = (chain, value, 1)
            } else if value <= least + Self.tie {
                tied += 1
            }
        }
        guard tied > 1 else { return best }
        var turn = random.index(below: tied)
        for chain in capacities.indices where isAvailable[chain] && excess(chain) <= least + Self.tie {
            if turn == 0 { return chain }
            turn -= 1
        }
        return best
    }
}
