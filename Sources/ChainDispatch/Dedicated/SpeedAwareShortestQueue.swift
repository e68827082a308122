/// Speed-aware join the shortest queue (Bhambay and Mukhopadhyay 2022): as the shortest queue, ties to the
/// fastest chain. It does what JFFC does as long as some slot is free.
extension ChainLoads {
    func speedAwareShortestQueue() -> Int {
        var best = -1
        var least = Double.infinity
        for chain in capacities.indices where isAvailable[chain] {
            let value = excess(chain)
            // Chains come fastest first, so a tie stays with the first.
            if value < least - 1e-9 { (best, least) = (chain, value) }
        }
        return best
    }
}
