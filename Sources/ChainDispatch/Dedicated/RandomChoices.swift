/// Random routing: a chain with probability proportional to its total rate `c_l μ_l`, so that every chain has
/// the same load and the system is stable whenever it can be. The plainest baseline.
extension ChainLoads {
    mutating func randomChain() -> Int {
        var total = 0.0
        for chain in capacities.indices where isAvailable[chain] { total += weight(chain) }
        var rest = random.uniform() * total
        var last = -1
        for chain in capacities.indices where isAvailable[chain] {
            last = chain
            rest -= weight(chain)
            if rest < 0 { return chain }
        }
        return last
    }

    func weight(_ chain: Int) -> Double { Double(capacities[chain]) * rates[chain] }
}

/// The power of two choices (Mitzenmacher 2001; Vvedenskaya, Dobrushin and Karpelevich 1996): of two chains drawn
/// as by random routing, the one with the least excess per slot; ties to the faster.
extension ChainLoads {
    mutating func powerOfTwoChoices() -> Int {
        let (first, second) = (randomChain(), randomChain())
        let (faster, slower) = (min(first, second), max(first, second))
        return excess(slower) < excess(faster) ? slower : faster
    }
}
