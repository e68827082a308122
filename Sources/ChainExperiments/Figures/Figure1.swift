import ChainModel
import ChainPlanning

/// Figure 1: the placement of Algorithm 1 against random orders of the servers.
struct Figure1: Experiment {
    let name = "fig1"
    let title = "Placement against random placements"
    let question =
        "How many cache slots must be reserved when Algorithm 1 orders the servers, and when the order is "
        + "random? "
        + "Fewer reserved slots for the same rate leave more memory for other jobs."
    let publishedClaim: String? =
        "Algorithm 1 needs the fewest reserved slots with equal memory (Theorem 2) and nearly the fewest "
        + "with "
        + "unequal memory"
    let defaultRuns = 20
    let defaultJobs = 0
    let settings: [Setting] = [.published, .asCoded]
    let version = 1

    static let capacities = [1, 2, 3, 5, 7, 8, 10]
    static let orders = 100
    private static let loadTarget = 0.7
    private static let count = 40

    func parameters(_ setting: Setting, _ options: ExperimentOptions) -> [Field] {
        DrawnPools.parameters(setting, options) + [
            Field("servers", .integer(Self.count)), Field("large_share_unequal", 0.2),
            Field("load_target", .number(Self.loadTarget)), Field("random_orders", .integer(Self.orders)),
            Field(
                "orders_that_miss_the_rate",
                setting == .asCoded ? "counted with the chains they have" : "left out, their share reported"),
        ]
    }

    func cells(_ options: ExperimentOptions) -> [Cell] {
        settings(options).flatMap { setting in
            ["equal", "unequal"].flatMap { memory in
                Self.capacities.flatMap { capacity in
                    (0..<runs(options)).map { run in
                        Cell(
                            setting,
                            [Field("memory", .text(memory)), Field("capacity", .integer(capacity))], run: run)
                    }
                }
            }
        }
    }

    func evaluate(_ cell: Cell, _ options: ExperimentOptions) throws -> [Row] {
        let pools = try DrawnPools(cell.setting, options, seed: seed(cell, options))
        let isEqual = cell["memory"] == "equal"
        let capacity = cell.integer("capacity")
        let cluster = pools.bloom(
            count: Self.count, share: isEqual ? 0 : 0.2, arrivalRate: 1,
            promptOverhead: cell.setting == .asCoded && isEqual ? 0 : nil)
        var placement = SequentialPlacement(cluster, capacity: capacity)
        placement.place(placement.greedyOrder)
        let most = placement.accumulatedRates.count
        guard most > 0 else { return [] }
        // Half of the chains that all servers make; two fifths for unequal memory, as the programs have it.
        let share = cell.setting == .asCoded && !isEqual ? 0.4 : 0.5
        let target = min(most, max(2, Int((share * Double(most)).rounded())))
        let rate = placement.accumulatedRates[most - 1] * Double(target) / Double(most)
        guard let greedy = placement.chains(reaching: rate) else { return [] }
        var stream = PaperStream(seed: pools.seed, .joining)
        var found: [Double] = []
        var (missed, fewer) = (0, 0)
        for _ in 0..<Self.orders {
            placement.place(stream.sample(Self.count, below: Self.count))
            var chains = placement.chains(reaching: rate)
            if chains == nil {
                missed += 1
                if cell.setting == .asCoded { chains = placement.accumulatedRates.count }
            }
            guard let chains else { continue }
            if chains < greedy { fewer += 1 }
            found.append(Double(capacity * chains))
        }
        found.sort()
        func quantile(_ share: Double) -> Value {
            Value(found.isEmpty ? nil : Summary.quantile(share, ofSorted: found))
        }
        return [
            Row([
                Field("arrival_rate_per_s", .number(rate * Self.loadTarget * Double(capacity))),
                Field("greedy_slots", .integer(capacity * greedy)),
                Field("random_mean_slots", Value(Summary(found)?.mean)),
                Field("random_least_slots", quantile(0)), Field("random_lower_slots", quantile(0.25)),
                Field("random_median_slots", quantile(0.5)), Field("random_upper_slots", quantile(0.75)),
                Field("random_most_slots", quantile(1)),
                Field("share_missing_rate", .number(Double(missed) / Double(Self.orders))),
                Field("share_with_fewer", .number(Double(fewer) / Double(Self.orders))),
            ])
        ]
    }

    func plots(_ table: Table, _ options: ExperimentOptions) -> [Plot] {
        table.groups(by: "setting").map { key, rows in
            var data: [Row] = []
            for (group, cells) in rows.groups(by: "memory", "capacity") {
                let columns = ["least", "lower", "median", "upper", "most"]
                let random = columns.map { column in
                    Field(column, Value(Summary(cells.numbers("random_\(column)_slots"))?.mean))
                }
                let greedy = Summary(cells.numbers("greedy_slots"))?.mean
                data.append(
                    Row(
                        [
                            Field("memory", group[0]), Field("capacity", group[1]),
                            Field("placement", "random order"),
                        ] + random))
                data.append(
                    Row(
                        [
                            Field("memory", group[0]), Field("capacity", group[1]),
                            Field("placement", "Algorithm 1"),
                        ] + columns.map { Field($0, Value(greedy)) }))
            }
            return Chart(
                "fig1-\(key[0].plain)",
                caption: "Reserved slots c·K of Algorithm 1 and of random orders (least, quartiles and "
                    + "most of "
                    + "\(Self.orders) orders, averaged over networks), parameters "
                    + "\(Setting(rawValue: key[0].plain)?.title ?? "").",
                mark: .boxes,
                horizontal: ChartAxis("capacity", "required capacity c (jobs)", scale: .ordinal),
                vertical: ChartAxis("median", "reserved slots c·K (jobs)"),
                series: ("placement", "placement"), panels: ("memory", "memory of the servers"), rows: data
            ).plot
        }
    }

    func findings(_ table: Table, _ options: ExperimentOptions) -> [Finding] {
        table.groups(by: "setting", "memory").compactMap { key, rows in
            let setting = Setting(rawValue: key[0].plain) ?? .published
            let ratios = rows.rows.compactMap { row in
                row.number("random_mean_slots").flatMap { mean in row.number("greedy_slots").map { mean / $0 }
                }
            }
            guard let ratio = Summary(ratios), let fewer = Summary(rows.numbers("share_with_fewer")),
                let missing = Summary(rows.numbers("share_missing_rate"))
            else { return nil }
            let statement =
                "With \(key[1].plain) memory (\(setting.title)), random orders reserve "
                + "\(Wording.change(ratio.mean, "more", "fewer")) slots than Algorithm 1 on average; "
                + "\(Wording.percent(fewer.mean)) of the orders need fewer chains than it, and "
                + "\(Wording.percent(missing.mean)) of them never reach the rate."
            let claim =
                key[1] == "equal"
                ? "no placement needs fewer with equal memory" : "nearly the fewest slots with unequal memory"
            let isBest = key[1] == "equal" ? fewer.most == 0 : fewer.mean <= 0.05
            let verdict: Finding.Verdict =
                isBest ? .holds : ratio.mean > 1 ? .holdsInPart : .fails
            return Finding(
                statement, place: "\(setting.title), \(key[1].plain) memory", claim: claim, verdict: verdict)
        }
    }
}
