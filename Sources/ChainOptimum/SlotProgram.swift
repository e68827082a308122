import ChainModel

/// The fewest concurrent jobs that carry the load over given chains (eq. 5): the optimum that GCA is measured
/// against.
///
/// Minimise `Σ c_k` subject to `Σ c_k μ_k ≥ λ/ρ̄` and, for each server `j`, `Σ_k c_k·m_kj ≤ M̃_j`, `c_k`
/// whole.
public struct SlotProgram: Sendable {
    private let chains: [ServerChain]
    /// `λ/ρ̄`, 1/s.
    public let requiredRate: Double
    public let program: IntegerProgram

    /// - Parameter chains: from fastest to slowest; their own capacities play no part.
    /// - Complexity: O(J + total hops).
    public init(_ cluster: Cluster, placement: Placement, chains: [ServerChain]) {
        self.chains = chains
        requiredRate = cluster.demand.arrivalRate / cluster.demand.loadTarget
        var columns = [[Int]](repeating: [], count: cluster.servers.count)
        var slots = [[Double]](repeating: [], count: cluster.servers.count)
        for (number, chain) in chains.enumerated() {
            for hop in chain.hops {
                columns[hop.server.rawValue].append(number)
                slots[hop.server.rawValue].append(Double(hop.blockCount))
            }
        }
        var rows = [
            IntegerProgram.Row(
                lower: requiredRate * (1 - Self.rounding), upper: .infinity, columns: Array(chains.indices),
                coefficients: chains.map(\.serviceRate))
        ]
        for (number, used) in columns.enumerated() where !used.isEmpty {
            let server = ServerIndex(number)
            let room = placement[server].map { cluster.cacheSlots(of: server, hosting: $0.count) } ?? 0
            rows.append(
                IntegerProgram.Row(
                    lower: 0, upper: Double(room), columns: used, coefficients: slots[number]))
        }
        program = IntegerProgram(costs: chains.map { _ in 1 }, rows: rows)
    }

    private static let rounding = 1e-12

    /// `Σ c_k` at the optimum; `nil` when the chains cannot carry the load.
    public func optimum(_ solver: HighsSolver) throws(SolverError) -> Int? {
        try solver.solve(program).map { Int($0.objective.rounded()) }
    }

    /// The same with fractional `c_k`: a lower bound.
    public func relaxation(_ solver: HighsSolver) throws(SolverError) -> Double? {
        try solver.solve(program, relaxed: true)?.objective
    }

    /// What GCA's capacities need: the fastest slots first until the rate is reached; `nil` when they do not
    /// reach it.
    public var greedyJobs: Int? {
        var missing = requiredRate * (1 - Self.rounding)
        var jobs = 0
        for chain in chains {
            let needed = (missing / chain.serviceRate).rounded(.up)
            if needed <= Double(chain.capacity) { return jobs + Int(needed) }
            jobs += chain.capacity
            missing -= Double(chain.capacity) * chain.serviceRate
        }
        return nil
    }

    /// `⌈λ/(ρ̄·μ_1)⌉`: all jobs on the fastest chain.
    public var trivialBound: Int {
        guard let fastest = chains.first else { return 0 }
        return Int((requiredRate * (1 - Self.rounding) / fastest.serviceRate).rounded(.up))
    }
}
