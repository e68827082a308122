import Foundation
import Testing

extension CommandLineSuite {
    /// `experiment`: files that parse, a second run that resumes, and wrong options.
    @Suite("Experiment")
    struct ExperimentTests {
        private func run(_ options: [String], in place: Place) async throws -> Outcome {
            try await RunningCommand(["experiment"] + options, in: place, environment: ["NO_COLOR": "1"])
                .ended(within: 120)
        }

        @Test func aTinyRunWritesFilesAndResumes() async throws {
            try await Place.with { place in
                let options = ["fig7", "--out", "results", "--runs", "1", "--seed", "5", "--no-plots"]
                let first = try await run(options, in: place)
                #expect(first.status == 0)
                #expect(first.errors.contains("seed 5") && first.output.contains("fig7: "))
                let csv = try String(contentsOfFile: place.path("results/fig7.csv"), encoding: .utf8)
                let json = try String(contentsOfFile: place.path("results/fig7.json"), encoding: .utf8)
                #expect(csv.hasPrefix("setting,run,what"))
                #expect(try JSON.parse(json).keys.isSuperset(of: ["command", "seed", "settings", "rows"]))
                let specification = try String(
                    contentsOfFile: place.path("results/fig7-arrivals.vl.json"), encoding: .utf8)
                #expect(try JSON.parse(specification).keys.contains("$schema"))
                let second = try await run(options, in: place)
                #expect(second.status == 0)
                #expect(second.errors.contains("fig7: 2 of 2 cells"))
                #expect(try String(contentsOfFile: place.path("results/fig7.csv"), encoding: .utf8) == csv)
            }
        }

        @Test func theLiveOneNeedsPetals() async throws {
            try await Place.with { place in
                let outcome = try await RunningCommand(
                    ["experiment", "live", "--out", "x"], in: place,
                    environment: ["NO_COLOR": "1", "CHAINSERVE_PETALS": place.path("absent")]
                ).ended(within: 120)
                #expect(outcome.status == 2)
                #expect(outcome.errors.contains("make petals"))
            }
        }

        @Test(arguments: [
            (["fig9", "--out", "x"], "fig1"), (["fig1", "--out", "x", "--runs", "0"], "--runs"),
            (["fig1", "--out", "x", "--setting", "fair"], "published"),
            (["fig3", "--out", "x", "--jobs", "7"], "--jobs"),
            (["fig1", "--out", "x", "--round-trips", "absent.csv"], "absent.csv"),
            (["fig1"], "--out"), (["fig1", "--out", "x", "--docs", "y.md"], "all"),
            (["live"], "--out"), (["live", "--out", "x", "--requests", "0"], "--requests"),
            (["live", "--out", "x", "--systems", "vllm"], "proposed-petals"),
            (["live", "--out", "x", "--trace", "absent.csv"], "absent.csv"),
        ])
        func wrongOptionsAreRefused(_ options: [String], _ says: String) async throws {
            try await Place.with { place in
                let outcome = try await run(options, in: place)
                #expect(outcome.status == 2, "\(outcome.errors)")
                #expect(outcome.errors.contains(says))
            }
        }
    }
}
