/// One constraint that a plan breaks.
public struct PlanViolation: Hashable, Sendable, CustomStringConvertible {
    /// The constraints that a certificate re-derives. The raw value is the name people and programs see.
    public enum Constraint: String, Hashable, Sendable, CaseIterable {
        /// A name that the cluster does not have.
        case unknownServer = "unknown-server"
        /// A server listed twice.
        case duplicateServer = "duplicate-server"
        /// `placement` is not in the order of the cluster.
        case placementOrder = "placement-order"
        /// A range outside `1 … L`, or an empty one.
        case blockRange = "block-range"
        /// Blocks alone exceed the server's memory (eq. 1).
        case memory
        /// The chains' caches exceed what is left beside the blocks (eqs. 1 and 3).
        case slots
        /// A server fixed by hand hosts something else.
        case manualPlacement = "manual-placement"
        /// The spare servers are not exactly those that host nothing.
        case spareServers = "spare-servers"
        /// A plan without a chain serves nothing.
        case noChain = "no-chain"
        /// A chain does not compute every block `1 … L` once.
        case coverage
        /// A hop to a server that does not host the next block needed.
        case link
        /// A hop that does not run to the end of its server's range.
        case blocksComputed = "blocks-computed"
        /// A capacity below one.
        case capacity
        /// `T_k` is not `Σ (τc_j + τp_j·m_ij)` (eq. 2).
        case serviceTime = "service-time"
        /// Chains are not from fastest to slowest.
        case chainOrder = "chain-order"
        /// More disjoint chains than the placed blocks allow.
        case disjointChains = "disjoint-chains"
        /// `C ≠ Σ c_k`.
        case totalCapacity = "total-capacity"
        /// `ν ≠ Σ c_k μ_k` (eq. 4).
        case totalServiceRate = "total-service-rate"
        /// `ρ ≠ λ/ν`.
        case load
        /// The flag does not say whether `ρ ≤ ρ̄`.
        case loadTarget = "load-target"
        /// Means given without a steady state, missing with one, or out of order.
        case meanResponseTime = "mean-response-time"
        /// Thresholds not `1 = n_1 ≤ … ≤ n_K`, or not all one under JFFC.
        case thresholds
    }

    public var constraint: Constraint
    /// What is wrong and where, with the numbers.
    public var message: String

    public init(_ constraint: Constraint, _ message: String) {
        self.constraint = constraint
        self.message = message
    }

    public var description: String { "\(constraint.rawValue): \(message)" }
}
