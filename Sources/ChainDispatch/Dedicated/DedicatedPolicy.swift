/// Rules that give a job a chain at its arrival, for good. Each has a file of its own, which names its source.
public enum DedicatedPolicy: String, Hashable, Sendable, CaseIterable {
    case jsq
    case jiq
    case sed
    case saJSQ = "sa-jsq"
    case random
    case powerOfTwo = "power-of-two"
    case roundRobin = "round-robin"
}

/// What the rules know of the chains, and what they remember.
struct ChainLoads: Sendable {
    /// `c_l`, and `μ_l` in jobs per second.
    let capacities: [Int]
    let rates: [Double]
    /// Jobs that run on the chain or wait for it: `Z_l`.
    var assigned: [Int]
    /// Whether all the chain's servers are ready.
    var isAvailable: [Bool]
    /// For ties and random choices, a stream of its own.
    var random: TieBreaker
    /// Of the round robin: what each chain is owed.
    var credits: [Double]

    init(capacities: [Int], rates: [Double], seed: UInt64) {
        self.capacities = capacities
        self.rates = rates
        assigned = Array(repeating: 0, count: capacities.count)
        isAvailable = Array(repeating: false, count: capacities.count)
        credits = Array(repeating: 0, count: capacities.count)
        random = TieBreaker(state: seed)
    }

    /// Jobs beyond the free slots if one more joins, per slot: `(Z_l − c_l + 1)⁺/c_l`. Zero with a free slot.
    @inline(__always)
    func excess(_ chain: Int) -> Double {
        Double(max(0, assigned[chain] &- capacities[chain] &+ 1)) / Double(capacities[chain])
    }

    func hasFreeSlot(_ chain: Int) -> Bool { assigned[chain] < capacities[chain] }

    /// The chain for an arriving job.
    /// - Precondition: some chain is available.
    mutating func choose(_ policy: DedicatedPolicy) -> Int {
        switch policy {
        case .jsq: joinShortestQueue()
        case .jiq: joinIdleQueue()
        case .sed: shortestExpectedDelay()
        case .saJSQ: speedAwareShortestQueue()
        case .random: randomChain()
        case .powerOfTwo: powerOfTwoChoices()
        case .roundRobin: roundRobin()
        }
    }
}

/// SplitMix64 (Steele, Lea and Flood 2014); part of the dispatcher's state.
struct TieBreaker: Hashable, Sendable {
    var state: UInt64

    private mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// Uniform among `0 ..< count`.
    mutating func index(below count: Int) -> Int { Int(next().multipliedFullWidth(by: UInt64(count)).high) }

    /// Uniform in [0, 1).
    mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }
}
