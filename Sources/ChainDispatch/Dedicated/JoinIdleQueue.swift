/// Join an idle queue (Lu, Xie, Kliot, Geller, Larus and Greenberg 2011): a uniformly random chain with a free
/// slot; without one, a uniformly random chain.
extension ChainLoads {
    mutating func joinIdleQueue() -> Int {
        var free = 0
        var available = 0
        for chain in capacities.indices where isAvailable[chain] {
            available += 1
            if hasFreeSlot(chain) { free += 1 }
        }
        var turn = random.index(below: free > 0 ? free : available)
        for chain in capacities.indices where isAvailable[chain] && (free == 0 || hasFreeSlot(chain)) {
            if turn == 0 { return chain }
            turn -= 1
        }
        preconditionFailure("No chain is available.")
    }
}
