/// Weighted round robin: each chain in turn, in proportion to its total rate `c_l μ_l`, evenly spread (the smooth
/// form of nginx): all chains earn their weight, the richest takes the job and pays the sum. Ties to the fastest.
extension ChainLoads {
    mutating func roundRobin() -> Int {
        var total = 0.0
        var best = -1
        for chain in capacities.indices where isAvailable[chain] {
            credits[chain] += weight(chain)
            total += weight(chain)
            if best < 0 || credits[chain] > credits[best] { best = chain }
        }
        credits[best] -= total
        return best
    }
}
