import ChainModel

/// What the queueing analysis needs of a set of chains: service rates and capacities, fastest first (section 3.2.2).
public struct ParallelChains: Hashable, Sendable {
    /// `μ_k`, 1/s, not increasing.
    public let rates: [Double]
    /// `c_k`, at least 1.
    public let capacities: [Int]
    /// `C = Σ c_k`.
    public let totalCapacity: Int
    /// `ν = Σ c_k μ_k`, 1/s (eq. 4).
    public let totalRate: Double

    /// - Parameter chains: from fastest to slowest, as in a plan.
    public init(_ chains: [ServerChain]) {
        self.init(rates: chains.map(\.serviceRate), capacities: chains.map(\.capacity))
    }

    /// - Precondition: as many rates as capacities; rates positive, finite and not increasing; capacities at least 1.
    public init(rates: [Double], capacities: [Int]) {
        precondition(rates.count == capacities.count)
        precondition(zip(rates, rates.dropFirst()).allSatisfy { $0 >= $1 })
        precondition(rates.allSatisfy { $0 > 0 && $0.isFinite } && capacities.allSatisfy { $0 >= 1 })
        self.rates = rates
        self.capacities = capacities
        var capacity = 0
        var rate = 0.0
        for (chainRate, chainCapacity) in zip(rates, capacities) {
            capacity += chainCapacity
            rate += Double(chainCapacity) * chainRate
        }
        totalCapacity = capacity
        totalRate = rate
    }

    public var count: Int { rates.count }
}
