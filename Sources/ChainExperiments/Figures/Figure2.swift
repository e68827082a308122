import ChainModel
import ChainOptimum
import ChainPlanning

/// Figure 2: concurrent jobs ("job servers") that carry a load: GCA, reserved chains, integer programs and
/// the bound.
struct Figure2: Experiment {
    let name = "fig2"
    let title = "Concurrent jobs needed for a load"
    let question =
        "How many jobs at once must the chains hold to carry a load, when caches are allocated by GCA, "
        + "when only "
        + "the reserved chains are used (c·K(c)), and at best (integer program)?"
    let publishedClaim: String? =
        "GCA needs as few concurrent jobs as the integer program, close to the lower bound and far fewer "
        + "than the "
        + "reserved chains"
    let defaultRuns = 20
    let defaultJobs = 0
    let settings: [Setting] = [.published, .asCoded]
    let version = 1

    private static let fractions = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    private static let capacity = 7
    private static let loadTarget = 0.7

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        DrawnPools.parameters(setting, options) + [
            Field("servers", 20), Field("large_share", 0.2), Field("capacity", .integer(Self.capacity)),
            Field("load_target", .number(Self.loadTarget)),
            Field("arrival_rates", "10 % to 90 % of the load target times the rate of all GCA chains"),
            Field(
                "reserved_chains",
                setting == .asCoded
                    ? "all that the servers make"
                    : "as many as Algorithm 1 needs for the "
                        + "rate"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            (0..<runs(options)).map { Cell(setting, [], run: $0) }
        }
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let pools = try DrawnPools(cell.setting, options, seed: seed(cell, options))
        var cluster = pools.bloom(arrivalRate: 1, loadTarget: Self.loadTarget)
        let plan = try Planner.fullPlan(cluster, capacity: Self.capacity)
        let solver = try? HighsSolver()
        var sequence = SequentialPlacement(cluster, capacity: Self.capacity)
        sequence.place(sequence.greedyOrder)
        return try Self.fractions.map { fraction in
            let rate = fraction * Self.loadTarget * plan.totalServiceRate
            cluster.demand.arrivalRate = rate
            let program = SlotProgram(cluster, placement: plan.placement, chains: plan.chains)
            let needed = sequence.chains(reaching: program.requiredRate / Double(Self.capacity))
            let chains = cell.setting == .asCoded ? plan.disjointChains : needed
            return Row([
                Field("load_fraction", .number(fraction)), Field("arrival_rate_per_s", .number(rate)),
                Field("lower_bound", .integer(program.trivialBound)),
                Field("gca", program.greedyJobs.map { .integer($0) } ?? .none),
                Field("reserved_chains", chains.map { .integer($0 * Self.capacity) } ?? .none),
                Field(
                    "ilp_with_memory",
                    try solver.flatMap { try program.optimum($0) }.map { .integer($0) } ?? .none),
                Field(
                    "ilp_without_memory",
                    try solver.flatMap { try Self.withoutMemory(plan, program.requiredRate, $0) }
                        .map { .integer($0) } ?? .none),
            ])
        }
    }

    /// The program as the authors solve it: at most GCA's capacity on every chain, and no memory. Filling the
    /// fastest chains
    /// first is optimal for it, so that it says nothing of GCA.
    private static func withoutMemory(
        _ plan: Plan, _ rate: Double, _ solver: HighsSolver
    ) throws(SolverError) -> Int? {
        var rows = [
            IntegerProgram.Row(
                lower: rate * (1 - 1e-12), upper: .infinity, columns: Array(plan.chains.indices),
                coefficients: plan.chains.map(\.serviceRate))
        ]
        for (number, chain) in plan.chains.enumerated() {
            rows.append(
                IntegerProgram.Row(
                    lower: 0, upper: Double(chain.capacity), columns: [number], coefficients: [1]))
        }
        let program = IntegerProgram(costs: plan.chains.map { _ in 1 }, rows: rows)
        return try solver.solve(program).map { Int($0.objective.rounded()) }
    }

    private static let curves = [
        ("lower_bound", "lower bound"), ("gca", "GCA"), ("ilp_with_memory", "integer program"),
        ("ilp_without_memory", "integer program, no memory"), ("reserved_chains", "reserved chains c·K(c)"),
    ]

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").map { key, rows in
            var data: [Row] = []
            for (column, title) in Self.curves {
                for (group, cells) in rows.groups(by: "load_fraction") {
                    guard let summary = Summary(cells.numbers(column)), let load = group[0].number else {
                        continue
                    }
                    data.append(
                        Row(
                            [Field("load", .number(100 * load)), Field("method", .text(title))]
                                + summary.fields("jobs")))
                }
            }
            return Chart(
                "fig2-\(key[0].plain)",
                caption: "Concurrent jobs needed over the load, parameters "
                    + "\(Setting(rawValue: key[0].plain)?.title ?? ""); whiskers: 95 % confidence over "
                    + "networks.",
                mark: .lines,
                horizontal: ChartAxis("load", "arrival rate (% of what GCA's chains carry)", fromZero: false),
                vertical: ChartAxis("jobs", "concurrent jobs needed"), series: ("method", "method"),
                rows: data
            ).plot
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        var findings = table.groups(by: "setting").flatMap { key, rows in
            Self.findings(rows, Setting(rawValue: key[0].plain) ?? .published)
        }
        if !table.rows.isEmpty, table.numbers("ilp_with_memory").isEmpty {
            findings.append(
                Finding(
                    "The integer programs were not solved: no HiGHS library was found. Install it (`pip "
                        + "install "
                        + "highsbox`, `brew install highs`), give its path in CHAINSERVE_HIGHS, and run "
                        + "with --restart.")
            )
        }
        return findings
    }

    private static func ratios(_ rows: Table, _ column: String, over other: String) -> Summary? {
        Summary(
            rows.rows.compactMap { row in
                guard let one = row.number(column), let base = row.number(other), base > 0 else { return nil }
                return one / base
            })
    }

    private static func findings(_ rows: Table, _ setting: Setting) -> [Finding] {
        var findings: [Finding] = []
        if let optimum = ratios(rows, "gca", over: "ilp_with_memory") {
            let verdict: Finding.Verdict =
                optimum.most <= 1 ? .holds : optimum.mean <= 1.05 ? .holdsInPart : .fails
            findings.append(
                Finding(
                    "GCA needs \(Wording.percent(optimum.mean - 1)) more concurrent jobs than the integer "
                        + "program "
                        + "with memory on average, \(Wording.percent(optimum.most - 1)) at most "
                        + "(\(setting.title)).",
                    place: setting.title, claim: "GCA needs as few as the integer program", verdict: verdict))
        }
        if let bound = ratios(rows, "gca", over: "lower_bound"),
            let reserved = ratios(rows, "reserved_chains", over: "gca")
        {
            let isClose = bound.mean <= 1.25
            let isFar = reserved.mean >= 1.25
            findings.append(
                Finding(
                    "GCA needs \(Wording.percent(bound.mean - 1)) more than the lower bound, and the "
                        + "reserved "
                        + "chains alone \(Wording.number(reserved.mean)) times as many as GCA "
                        + "(\(setting.title)).",
                    place: setting.title,
                    claim: "close to the lower bound, far fewer than the reserved chains",
                    verdict: isClose && isFar ? .holds : isClose || isFar ? .holdsInPart : .fails))
        }
        return findings
    }
}
