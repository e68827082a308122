/// A linear program with whole-number variables: minimise `Σ cost·x` under bounds on rows and variables.
public struct IntegerProgram: Hashable, Sendable {
    /// One linear constraint, `lower ≤ Σ coefficient·x ≤ upper`.
    public struct Row: Hashable, Sendable {
        public var lower: Double
        public var upper: Double
        public var columns: [Int]
        public var coefficients: [Double]

        public init(lower: Double, upper: Double, columns: [Int], coefficients: [Double]) {
            self.lower = lower
            self.upper = upper
            self.columns = columns
            self.coefficients = coefficients
        }
    }

    /// Cost of each variable, all of which are at least 0.
    public var costs: [Double]
    public var rows: [Row]

    public init(costs: [Double], rows: [Row]) {
        self.costs = costs
        self.rows = rows
    }

    /// An optimum of a program.
    public struct Solution: Hashable, Sendable {
        public var objective: Double
        public var values: [Double]

        public init(objective: Double, values: [Double]) {
            self.objective = objective
            self.values = values
        }
    }
}

/// Why a program was not solved.
public enum SolverError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No solver library on this machine.
    case notInstalled(tried: [String])
    /// The library lacks a function of the interface.
    case unsuitable(library: String, missing: String)
    /// The solver gave up.
    case failed(status: Int)

    public var description: String {
        switch self {
        case .notInstalled(let tried):
            "no HiGHS library found (tried \(tried.joined(separator: ", "))): install it (`brew install highs`, your "
                + "distribution's package, or `pip install highsbox`) and, where neither the usual places nor pkg-config "
                + "have it, give its path in CHAINSERVE_HIGHS (highsbox: highsbox/highs_dist/lib/libhighs.so among "
                + "Python's packages)"
        case .unsuitable(let library, let missing):
            "\(library) has no \(missing): install HiGHS 1.5 or later"
        case .failed(let status):
            "the solver ended with status \(status): this is an error of ChainServe, please report the cluster file"
        }
    }
}
