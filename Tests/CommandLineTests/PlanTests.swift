import Foundation
import Testing

extension CommandLineSuite {
    /// `plan` and `check`: what programs read, and certificates of plans.
    @Suite("Plan and check")
    struct PlanTests {
        private static let keys: Set<String> = [
            "capacity_parameter", "tuned_by", "placement", "spare_servers", "chains", "disjoint_chains",
            "total_capacity", "total_service_rate", "load", "load_target_met", "mean_response_time",
            "mean_waiting_time", "wait_probability", "dispatch",
        ]

        @Test(arguments: [
            [], ["--capacity", "3"], ["--tune", "lower-bound"],
            ["--tune", "surrogate", "--ignore-load-target"],
            ["--dispatch", "jffc-wait"], ["--arrival-rate", "30/min", "--load-target", "0.9"],
        ])
        func planIsJSONThatChecks(_ options: [String]) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let planned = try await RunningCommand(["plan", "pool.yaml", "--json"] + options, in: place)
                    .ended()
                #expect(planned.status == 0)
                let plan = try JSON.parse(planned.output)
                #expect(plan.keys.isSuperset(of: Self.keys))
                #expect(!planned.errors.isEmpty, "the table for people goes to standard error")
                for chain in plan["chains"].items {
                    #expect(chain.keys == ["servers", "blocks", "capacity", "service_time"])
                    #expect(
                        chain["blocks"].items.compactMap(\.integer).reduce(0, +) == EmulatedPool.blockCount)
                }
                for entry in plan["placement"].items {
                    #expect(entry.keys == ["server", "first_block", "block_count"])
                }
                #expect(plan["mean_response_time"].keys.isSuperset(of: ["lower", "upper", "exact"]))
                #expect(plan["dispatch"].keys.isSuperset(of: ["rule", "thresholds", "mean_response_time"]))
                if let number = options.firstIndex(of: "--capacity") {
                    #expect(plan["capacity_parameter"].integer == Int(options[number + 1]))
                }

                _ = try place.write("plan.json", planned.output)
                let checked = try await place.run("check", "plan.json", "--cluster", "pool.yaml", "--json")
                let report = try JSON.parse(checked.output)
                // A rate or a target that the file does not have is the plan's own affair.
                if !options.contains("--arrival-rate") {
                    #expect(checked.status == 0, "\(checked.errors)")
                    #expect(report["valid"] == .bool(true) && report["violations"] == .list([]))
                }
            }
        }

        struct Corruption: Sendable, CustomTestStringConvertible {
            var name: String
            var change: (from: String, to: String)
            var testDescription: String { name }
        }

        static let corruptions = [
            Corruption(name: "more blocks than fit", change: ("\"block_count\": 6", "\"block_count\": 12")),
            Corruption(name: "more jobs than slots", change: ("\"capacity\": 6", "\"capacity\": 7")),
            Corruption(name: "a block left out", change: ("\"blocks\": [6, 5, 3]", "\"blocks\": [6, 4, 3]")),
            Corruption(
                name: "a flattering time", change: ("\"service_time\": 0.85", "\"service_time\": 0.25")),
            Corruption(name: "another total", change: ("\"total_capacity\": 6", "\"total_capacity\": 9")),
        ]

        @Test(arguments: corruptions)
        func corruptedPlanFails(_ corruption: Corruption) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let planned = try await place.run("plan", "pool.yaml", "--json")
                let range = try #require(
                    planned.output.range(of: corruption.change.from), "\(planned.output)")
                _ = try place.write(
                    "plan.json", planned.output.replacingCharacters(in: range, with: corruption.change.to))
                let checked = try await place.run("check", "plan.json", "--cluster", "pool.yaml", "--json")
                #expect(checked.status == 1, "\(checked.errors)")
                let report = try JSON.parse(checked.output)
                #expect(report["valid"] == .bool(false) && !report["violations"].items.isEmpty)
                #expect(report["violations"].items.allSatisfy { $0["message"].text?.isEmpty == false })
            }
        }

        /// Predictions that keep every bound and are not what the chains lead to.
        @Test func flatteringPredictionsFail() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let planned = try await place.run("plan", "pool.yaml", "--json", "--dispatch", "jffc-wait")
                for (figure, other, says) in [
                    (#/"mean_response_time": [0-9.e-]+/#, "\"mean_response_time\": 0.9", "dispatch rule"),
                    (#/"jobs": [0-9.e-]+/#, "\"jobs\": 0.001", "variance"),
                    (#/"decay_rate": [0-9.e-]+/#, "\"decay_rate\": 9", "decay"),
                    (
                        #/"wait_probability": \{"exact": [0-9.e-]+/#, "\"wait_probability\": {\"exact\": 0.9",
                        "wait"
                    ),
                ] {
                    let changed = planned.output.replacing(figure, with: other, maxReplacements: 1)
                    #expect(changed != planned.output)
                    _ = try place.write("plan.json", changed)
                    let checked = try await place.run("check", "plan.json", "--cluster", "pool.yaml")
                    #expect(
                        checked.status == 1 && checked.output.contains(says), "\(other): \(checked.output)")
                }
            }
        }

        @Test func pictureIsWritten() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let planned = try await place.run("plan", "pool.yaml", "--svg", "plan.svg")
                #expect(planned.status == 0)
                #expect(planned.output.contains("14 blocks over") && planned.output.contains("chain"))
                let picture = try String(contentsOfFile: place.path("plan.svg"), encoding: .utf8)
                #expect(picture.contains("<svg") && picture.contains("</svg>"))
                #expect(picture.contains("\(place.token)-1"))

                let failed = try await place.run("plan", "pool.yaml", "--svg", "absent/plan.svg")
                #expect(failed.status != 0 && failed.errors.contains("absent/plan.svg"))
            }
        }

        /// With `--explain` the plan says where each number came from, for people and for programs, and still checks.
        @Test func numbersAreExplained() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let planned = try await place.run("plan", "pool.yaml", "--explain", "--json")
                #expect(planned.status == 0)
                let entries = try JSON.parse(planned.output)["explanation"].items
                #expect(!entries.isEmpty)
                for entry in entries {
                    #expect(
                        entry.keys == ["subject", "quantity", "value", "unit", "source", "explanation"])
                    let quantity = try #require(entry["quantity"].text)
                    #expect(
                        planned.errors.contains("  \(quantity) = "), "\(quantity) is explained to people too")
                }
                #expect(entries.contains { $0["subject"].text == "\(place.token)-1" })
                _ = try place.write("plan.json", planned.output)
                let checked = try await place.run("check", "plan.json", "--cluster", "pool.yaml")
                #expect(checked.status == 0, "\(checked.errors)")
            }
        }

        @Test func devicesAreListed() async throws {
            try await Place.with { place in
                let listed = try await place.run("devices", "--json")
                let names = try JSON.parse(listed.output).items.compactMap { $0["name"].text }
                #expect(listed.status == 0 && names.contains("a100-3g.40gb") && names.contains("h200"))
                let table = try await place.run("devices")
                #expect(names.allSatisfy { table.output.contains($0) })
            }
        }

        /// The rest of the pool suffices: the server is left aside, and its owner is told why.
        @Test func serverTooSmallForOneBlockIsNamed() async throws {
            try await Place.with { place in
                let text = EmulatedPool.text(place).replacingOccurrences(of: "1000 MB", with: "100 MB")
                _ = try place.write("pool.yaml", text)
                let planned = try await place.run("plan", "pool.yaml", "--json")
                for word in ["\(place.token)-2", "too small for one block", "43 MB"] {
                    #expect(planned.errors.contains(word), "\(planned.errors)")
                }
            }
        }
    }
}
