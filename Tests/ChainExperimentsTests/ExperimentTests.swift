import ChainModel
import ChainPlanning
import Foundation
import Testing

@testable import ChainExperiments

/// Every experiment once, tiny, from cells to plots and findings.
@Suite struct ExperimentTests {
    @Test(arguments: Catalogue.experiments.map(\.name))
    func aTinyRunGivesRowsPlotsAndFindings(_ name: String) throws {
        let experiment = try #require(try Catalogue.named(name).first)
        let options = ExperimentOptions(runs: 1, seed: 3, jobs: 200)
        // Every cell of the small ones, a few of the others.
        let cells = try experiment.cells(options)
        #expect(Set(cells).count == cells.count)
        let stride = max(1, cells.count / 3)
        var rows: [Row] = []
        for (number, cell) in cells.enumerated() where number % stride == 0 {
            rows += try experiment.evaluate(cell, options).map { Row(cell.columns + $0.fields) }
        }
        #expect(!rows.isEmpty)
        let table = Table(rows)
        let again = try experiment.evaluate(cells[0], options)
        #expect(Array(rows.prefix(again.count)) == again.map { Row(cells[0].columns + $0.fields) })
        for plot in experiment.plots(table, options) {
            let object = try JSONSerialization.jsonObject(with: Data(plot.specification.rendered().utf8))
            #expect((object as? [String: Any])?["$schema"] != nil)
            #expect(!plot.caption.isEmpty)
        }
        for setting in experiment.settings { #expect(!experiment.parameters(setting, options).isEmpty) }
        for finding in experiment.findings(table, options) { #expect(finding.statement.hasSuffix(".")) }
    }

    /// The sequential placement in Algorithm 1's order is Algorithm 1.
    @Test func sequentialPlacementIsTheGreedyOne() throws {
        for seed in UInt64(1)...5 {
            let pools = try DrawnPools(.published, ExperimentOptions(), seed: seed)
            let cluster = pools.bloom(arrivalRate: 1)
            for capacity in [1, 3, 7, 12] {
                var sequence = SequentialPlacement(cluster, capacity: capacity)
                sequence.place(sequence.greedyOrder)
                let plan = try Planner.fullPlan(cluster, capacity: capacity)
                #expect(sequence.accumulatedRates.count == plan.disjointChains)
                // A rate that two chains reach: the planner stops there as well.
                guard sequence.accumulatedRates.count > 1 else { continue }
                var demanded = cluster
                demanded.demand.arrivalRate = sequence.accumulatedRates[1] * 0.7 * Double(capacity) * 0.999
                let stopped = try Planner.plan(
                    demanded, options: PlanningOptions(capacity: .fixed(capacity)))
                #expect(stopped.disjointChains == 2)
            }
        }
    }
}

/// The wording follows the numbers, both ways.
@Suite struct FindingTests {
    private let options = ExperimentOptions()

    private func figure1(greedy: Int, random: Double, fewer: Double) -> [Finding] {
        let row = Row([
            Field("setting", "published"), Field("memory", "equal"), Field("greedy_slots", .integer(greedy)),
            Field("random_mean_slots", .number(random)), Field("share_with_fewer", .number(fewer)),
            Field("share_missing_rate", 0.0),
        ])
        return Figure1().findings(Table([row]), options)
    }

    @Test func placement() {
        let holds = figure1(greedy: 10, random: 13, fewer: 0)[0]
        #expect(holds.verdict == .holds && holds.statement.contains("30 % more"))
        let fails = figure1(greedy: 10, random: 9, fewer: 0.6)[0]
        #expect(fails.verdict == .fails && fails.statement.contains("10 % fewer"))
        #expect(fails.text.contains("does not hold"))
    }

    private func figure3(jffc: Double, sed: Double, service: Double, exact: Double) -> [Finding] {
        var rows: [Row] = []
        for run in 0..<3 {
            for (name, mean) in [("JFFC", jffc), ("SED", sed)] {
                let response = mean * (1 + 0.001 * Double(run))
                var row = Row([Field("setting", "published"), Field("load", 0.5)])
                row.fields.append(Field("run", .integer(run)))
                row.fields.append(Field("policy", .text(name)))
                row.fields.append(Field("mean_response_s", .number(response)))
                row.fields.append(Field("mean_service_s", .number(service)))
                row.fields.append(Field("lower_bound_s", 9.0))
                row.fields.append(Field("upper_bound_s", 11.0))
                row.fields.append(Field("exact_s", .number(exact)))
                rows.append(row)
            }
        }
        return Figure3().findings(Table(rows), options)
    }

    @Test func dispatchRules() {
        let good = figure3(jffc: 10, sed: 11, service: 9.5, exact: 10)
        #expect(good.map(\.verdict) == [.holds, .holds, .holds])
        #expect(good[0].statement.contains("SED up to 10 % longer"))
        let bad = figure3(jffc: 10, sed: 9, service: 5, exact: 12)
        #expect(bad.map(\.verdict) == [.fails, .fails, .fails])
        #expect(bad[0].statement.contains("SED beat JFFC"))
    }

    @Test func integerPrograms() {
        func findings(gca: Int, ilp: Value, bound: Int, reserved: Int) -> [Finding] {
            Figure2().findings(
                Table([
                    Row([
                        Field("setting", "published"), Field("gca", .integer(gca)),
                        Field("ilp_with_memory", ilp), Field("lower_bound", .integer(bound)),
                        Field("reserved_chains", .integer(reserved)),
                    ])
                ]), options)
        }
        #expect(findings(gca: 10, ilp: 10, bound: 9, reserved: 20).map(\.verdict) == [.holds, .holds])
        #expect(findings(gca: 20, ilp: 10, bound: 9, reserved: 20).map(\.verdict) == [.fails, .fails])
        let without = findings(gca: 10, ilp: .none, bound: 9, reserved: 20)
        #expect(without.last?.statement.contains("highsbox") == true)
    }

    @Test func tuning() {
        func finding(lower: Double, upper: Double, surrogate: Double, shift: Int) -> Finding? {
            let entries: [(String, Int, Double)] = [
                ("exact", 7, 0), ("simulated", 7, 0), ("lower bound", 7, lower),
                ("upper bound", 7 + shift, upper),
                ("surrogate", 7 - shift, surrogate),
            ]
            let rows = entries.map { name, capacity, cost in
                Row([
                    Field("setting", "published"), Field("arrival_rate_per_s", 0.2), Field("run", 0),
                    Field("criterion", .text(name)), Field("capacity", .integer(capacity)),
                    Field("cost", .number(cost)),
                ])
            }
            return Figure5().findings(Table(rows), options).first
        }
        #expect(finding(lower: 0, upper: 0.1, surrogate: 0.2, shift: 3)?.verdict == .holds)
        #expect(finding(lower: 0, upper: 0.1, surrogate: 0.2, shift: -3)?.verdict == .holdsInPart)
        #expect(finding(lower: 0.3, upper: 0.1, surrogate: 0.2, shift: 3)?.verdict == .fails)
    }

    @Test func predictionErrors() {
        func finding(predicted: Double) -> Finding? {
            let rows = (0..<5).map { number in
                Row([
                    Field("part", "prediction"), Field("systems", "held out"), Field("run", .integer(number)),
                    Field("simulated_s", 10.0), Field("half_width", 0.01), Field("poisson_s", 8.0),
                    Field("allen_cunneen_s", 9.0), Field("exact_arrivals_s", 9.5),
                    Field("predicted_s", .number(predicted)),
                ])
            }
            return Assumptions().findings(Table(rows), options).last
        }
        #expect(finding(predicted: 10.2)?.verdict == .holds)
        #expect(finding(predicted: 11)?.verdict == .fails)
        #expect(finding(predicted: 11)?.statement.contains("10 %") == true)
    }

    @Test func systems() {
        func finding(petals: Double, proposed: Double) -> Finding? {
            let entries = [("petals", "petals", petals), ("proposed-c7", "proposed", proposed)]
            let rows = entries.map { name, family, mean in
                Row([
                    Field("setting", "published"), Field("J", 20), Field("eta", 0.2), Field("run", 0),
                    Field("system", .text(name)), Field("family", .text(family)), Field("title", .text(name)),
                    Field("mean_response", .number(mean)), Field("unstable", 0.0),
                ])
            }
            return SystemsFigure().findings(Table(rows), options).first
        }
        #expect(finding(petals: 20, proposed: 10)?.verdict == .holds)
        #expect(finding(petals: 200, proposed: 10)?.verdict == .holdsInPart)
        #expect(finding(petals: 10, proposed: 20)?.verdict == .fails)
    }
}
