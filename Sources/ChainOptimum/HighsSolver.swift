#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// HiGHS, loaded when it is needed: ChainServe builds and runs without it.
///
/// The functions of `highs_c_api.h` that are used, with `HighsInt` of 32 bits. The library stays loaded; each
/// call makes and destroys its own instance.
public struct HighsSolver: Sendable {
    private typealias Create = @convention(c) @Sendable () -> UnsafeMutableRawPointer?
    private typealias Destroy = @convention(c) @Sendable (UnsafeMutableRawPointer?) -> Void
    private typealias SetFlag =
        @convention(c) @Sendable (UnsafeMutableRawPointer?, UnsafePointer<CChar>, Int32) -> Int32
    private typealias SetNumber =
        @convention(c) @Sendable (UnsafeMutableRawPointer?, UnsafePointer<CChar>, Double) -> Int32
    private typealias Pass =
        @convention(c) @Sendable (
            UnsafeMutableRawPointer?, Int32, Int32, Int32, Int32, Int32, Double, UnsafePointer<Double>,
            UnsafePointer<Double>, UnsafePointer<Double>, UnsafePointer<Double>, UnsafePointer<Double>,
            UnsafePointer<Int32>, UnsafePointer<Int32>, UnsafePointer<Double>, UnsafePointer<Int32>
        ) -> Int32
    private typealias Run = @convention(c) @Sendable (UnsafeMutableRawPointer?) -> Int32
    private typealias Objective = @convention(c) @Sendable (UnsafeMutableRawPointer?) -> Double
    private typealias Values =
        @convention(c) @Sendable (
            UnsafeMutableRawPointer?, UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>,
            UnsafeMutablePointer<Double>, UnsafeMutablePointer<Double>
        ) -> Int32

    private let create: Create
    private let destroy: Destroy
    private let setFlag: SetFlag
    private let setNumber: SetNumber
    private let pass: Pass
    private let run: Run
    private let status: Run
    private let objective: Objective
    private let values: Values

    /// Where the library is looked for, after the path in `CHAINSERVE_HIGHS` and before where pkg-config says it is.
    static let usualNames = [
        "libhighs.so.1", "libhighs.so", "libhighs.dylib", "/opt/homebrew/lib/libhighs.dylib",
        "/usr/local/lib/libhighs.dylib", "/usr/local/lib/libhighs.so",
    ]

    /// The library in the folder that pkg-config names for `highs`; nothing where either is not installed. Asked when the
    /// solver is wanted, so that one program serves machines with and without it.
    private static func packagedNames() -> [String] {
        guard let pipe = popen("pkg-config --variable=libdir highs 2>/dev/null", "r") else { return [] }
        defer { pclose(pipe) }
        var line = [CChar](repeating: 0, count: 4096)
        guard fgets(&line, Int32(line.count), pipe) != nil else { return [] }
        let bytes = line.prefix { $0 != 0 && $0 != 0x0A }.map { UInt8(bitPattern: $0) }
        let folder = String(decoding: bytes, as: UTF8.self)
        return folder.isEmpty
            ? [] : ["libhighs.so.1", "libhighs.so", "libhighs.dylib"].map { "\(folder)/\($0)" }
    }

    /// Loads the library.
    /// - Parameter path: instead of `CHAINSERVE_HIGHS`, the usual places and pkg-config.
    /// - Throws: `SolverError` that says what to install.
    public init(path: String? = nil) throws(SolverError) {
        var names = Self.usualNames
        if let path {
            names = [path]
        } else if let given = getenv("CHAINSERVE_HIGHS"), given.pointee != 0 {
            names.insert(String(cString: given), at: 0)
        }
        var found = Self.firstLibrary(of: names)
        if found == nil, path == nil {
            let packaged = Self.packagedNames()
            found = Self.firstLibrary(of: packaged)
            names += packaged
        }
        guard let (name, library) = found else { throw .notInstalled(tried: names) }
        func symbol(_ function: String) throws(SolverError) -> UnsafeMutableRawPointer {
            guard let address = dlsym(library, function) else {
                throw .unsuitable(library: name, missing: function)
            }
            return address
        }
        create = unsafeBitCast(try symbol("Highs_create"), to: Create.self)
        destroy = unsafeBitCast(try symbol("Highs_destroy"), to: Destroy.self)
        setFlag = unsafeBitCast(try symbol("Highs_setBoolOptionValue"), to: SetFlag.self)
        setNumber = unsafeBitCast(try symbol("Highs_setDoubleOptionValue"), to: SetNumber.self)
        pass = unsafeBitCast(try symbol("Highs_passMip"), to: Pass.self)
        run = unsafeBitCast(try symbol("Highs_run"), to: Run.self)
        status = unsafeBitCast(try symbol("Highs_getModelStatus"), to: Run.self)
        objective = unsafeBitCast(try symbol("Highs_getObjectiveValue"), to: Objective.self)
        values = unsafeBitCast(try symbol("Highs_getSolution"), to: Values.self)
    }

    private static func firstLibrary(of names: [String]) -> (name: String, handle: UnsafeMutableRawPointer)? {
        for name in names {
            if let handle = dlopen(name, RTLD_NOW | RTLD_LOCAL) { return (name, handle) }
        }
        return nil
    }

    /// Statuses of `highs_c_api.h`.
    private static let optimal: Int32 = 7
    private static let infeasible: Int32 = 8
    private static let rowwise: Int32 = 2
    private static let minimise: Int32 = 1

    /// The optimum, to a gap of zero.
    /// - Parameter relaxed: Let the variables be fractional: the linear relaxation.
    /// - Returns: `nil` when no values satisfy the rows.
    public func solve(
        _ program: IntegerProgram, relaxed: Bool = false
    ) throws(SolverError) -> IntegerProgram.Solution? {
        let columns = program.costs.count
        let instance = create()
        defer { destroy(instance) }
        var starts: [Int32] = []
        var indices: [Int32] = []
        var coefficients: [Double] = []
        for row in program.rows {
            starts.append(Int32(indices.count))
            indices += row.columns.map { Int32($0) }
            coefficients += row.coefficients
        }
        let integrality = [Int32](repeating: relaxed ? 0 : 1, count: columns)
        _ = setFlag(instance, "output_flag", 0)
        _ = setNumber(instance, "mip_rel_gap", 0)
        _ = setNumber(instance, "mip_abs_gap", 0)
        let passed = pass(
            instance, Int32(columns), Int32(program.rows.count), Int32(indices.count), Self.rowwise,
            Self.minimise, 0, program.costs, [Double](repeating: 0, count: columns),
            [Double](repeating: .infinity, count: columns), program.rows.map(\.lower),
            program.rows.map(\.upper), starts, indices, coefficients, integrality)
        guard passed >= 0, run(instance) >= 0 else { throw .failed(status: Int(status(instance))) }
        let outcome = status(instance)
        if outcome == Self.infeasible { return nil }
        guard outcome == Self.optimal else { throw .failed(status: Int(outcome)) }
        var solution = [Double](repeating: 0, count: columns)
        var duals = solution
        var rowValues = [Double](repeating: 0, count: program.rows.count)
        var rowDuals = rowValues
        _ = values(instance, &solution, &duals, &rowValues, &rowDuals)
        return IntegerProgram.Solution(objective: objective(instance), values: solution)
    }
}
