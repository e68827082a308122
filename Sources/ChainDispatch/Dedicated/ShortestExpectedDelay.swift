/// Shortest expected delay (Banawan and Zahorjan 1989): the least `1/μ_l + (Z_l − c_l + 1)⁺/(μ_l c_l)`, ties to
/// the fastest chain. It may queue at a fast full chain while a slow one is free.
extension ChainLoads {
    func shortestExpectedDelay() -> Int {
        var best = -1
        var least = Double.infinity
        for chain in capacities.indices where isAvailable[chain] {
            let delay = (1 + excess(chain)) / rates[chain]
            if delay < least { (best, least) = (chain, delay) }
        }
        return best
    }
}
