import Foundation
import Testing

extension CommandLineSuite {
    /// `simulate`: what programs read, reproducible from its seed in another process.
    @Suite("Simulate")
    struct SimulateTests {
        private static let keys: Set<String> = [
            "completed", "failed", "duration", "request_throughput", "mean_e2el_ms", "median_e2el_ms",
            "p99_e2el_ms", "mean_wait_ms", "mean_service_ms", "confidence_interval_95", "events",
            "cpu_seconds",
            "seed", "theory",
        ]

        @Test func sameSeedSameOutput() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let words = ["simulate", "pool.yaml", "--jobs", "500", "--seed", "9", "--json"]
                let first = try await RunningCommand(words, in: place).ended()
                let second = try await RunningCommand(words, in: place).ended()
                #expect(first.status == 0, "\(first.errors)")
                let result = try JSON.parse(first.output)
                #expect(result.keys.isSuperset(of: Self.keys))
                #expect(result["completed"].integer == 500 && result["failed"].integer == 0)
                // All but the time that the machine took.
                func timeless(_ text: String) -> [Substring] {
                    text.split(separator: "\n").filter { !$0.contains("cpu_seconds") }
                }
                #expect(timeless(first.output) == timeless(second.output))
                #expect(!first.errors.isEmpty, "the text for people goes to standard error")
            }
        }

        @Test(arguments: [
            ["--policy", "all"], ["--arrivals", "gamma:0.5", "--sizes", "lognormal:1.2"],
            ["--arrivals", "closed:3@1"], ["--arrivals", "azure", "--sizes", "azure"],
            ["--faults", "50,5"], ["--replications", "3"], ["--tune", "simulated"],
        ])
        func workloads(_ options: [String]) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let ended = try await RunningCommand(
                    ["simulate", "pool.yaml", "--jobs", "200"] + options, in: place
                ).ended()
                #expect(ended.status == 0, "\(ended.errors)")
                #expect(ended.output.contains("jffc"))
            }
        }

        @Test(arguments: [
            (["--arrivals", "gamma:x"], "the burstiness is `x`"), (["--sizes", "tokens"], "needs a trace"),
            (["--sizes", "answers"], "needs a trace"),
            (["--policy", "fastest"], "it is not one of jffc"), (["--precision", "2"], "write it as 1%"),
            (["--faults", "down:nobody@3"], "there is no server `nobody`"),
            (["--arrivals", "trace:missing.csv"], "missing.csv cannot be read"),
            (["--jobs", "0"], "--jobs 0"), (["--jobs", "-5"], "--jobs -5"),
            (["--policy", "petals", "--faults", "5,1"], "leave --faults out"),
            (["--policy", "bprr", "--arrivals", "closed:3"], "leave --arrivals closed out"),
        ])
        func mistakes(_ options: [String], _ message: String) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let ended = try await RunningCommand(["simulate", "pool.yaml"] + options, in: place).ended()
                #expect(ended.status == 2)
                #expect(ended.errors.contains(message), "\(ended.errors)")
            }
        }

        /// Without a steady state there is no mean to print, for people or programs.
        @Test func overloadHasNoMeans() async throws {
            try await Place.with { place in
                let file = try place.write("pool.yaml", EmulatedPool.text(place))
                let ended = try await place.run(
                    "simulate", file, "--jobs", "500", "--arrival-rate", "100", "--json")
                #expect(ended.status == 0, "\(ended.errors)")
                let result = try JSON.parse(ended.output)
                #expect(result["unstable"].text?.contains("the load is") == true)
                #expect(result["completed"].integer == 500 && result["mean_e2el_ms"].text == nil)
                #expect(result["mean_e2el_ms"].number == nil && result["p99_wait_ms"].number == nil)
                #expect(ended.errors.contains("have no means") && !ended.errors.contains("response"))
            }
        }

        /// What a service accepted, as a workload; and files that are no such journal.
        @Test func replaysAJournal() async throws {
            try await Place.with { place in
                let file = try place.write("pool.yaml", EmulatedPool.text(place))
                let running = try await RunningService.start(
                    ["up", file, "--no-prompt", "--port", "0", "--journal", place.path("journal.db")],
                    in: place)
                for tokens in [3, 5] {
                    let body =
                        "{\"model\": \"toy-\(place.token)\", \"max_tokens\": \(tokens), \"prompt\": \"Hello\"}"
                    #expect(try await running.service.post("/v1/completions", body).status == 200)
                }
                #expect(try await running.stop().status == 0)
                let words = [
                    "simulate", file, "--arrivals", "trace:" + place.path("journal.db"), "--sizes", "tokens",
                    "--json",
                ]
                let ended = try await RunningCommand(words, in: place).ended()
                #expect(ended.status == 0, "\(ended.errors)")
                let result = try JSON.parse(ended.output)
                #expect(result["completed"].integer == 2 && result["total_output_tokens"].integer == 8)

                // SQLite's beginning alone.
                let broken = try place.write("broken.db", "SQLite format 3\0")
                let refused = try await place.run("simulate", file, "--arrivals", "trace:" + broken)
                #expect(
                    refused.status == 2 && refused.errors.contains("is not a journal"), "\(refused.errors)")
            }
        }

        /// As emulated pools serve: in proportion to the answer, whatever the prompt.
        @Test func answersAsSizes() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                _ = try place.write(
                    "trace.csv",
                    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03,100,10\n"
                        + "2023-11-16 18:27:03,5000,30\n")
                let words = [
                    "simulate", "pool.yaml", "--arrivals", "trace:trace.csv", "--sizes", "answers",
                    "--save-detailed", "requests.json",
                ]
                let ended = try await RunningCommand(words, in: place).ended()
                #expect(ended.status == 0, "\(ended.errors)")
                let text = try String(
                    contentsOf: place.folder.appendingPathComponent("requests.json"), encoding: .utf8)
                let services = try JSON.parse(text)["services"].items.compactMap(\.number)
                try #require(services.count == 2)
                #expect(abs(services[1] / services[0] - 3) < 1e-6)
            }
        }

        @Test func traceAndDetails() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                _ = try place.write(
                    "trace.csv",
                    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.98,100,10\n"
                        + "2023-11-16 18:17:04.03,50,8\n")
                let words = [
                    "simulate", "pool.yaml", "--arrivals", "trace:trace.csv", "--sizes", "tokens",
                    "--save-detailed", "requests.json", "--json",
                ]
                let ended = try await RunningCommand(words, in: place).ended()
                #expect(ended.status == 0, "\(ended.errors)")
                let result = try JSON.parse(ended.output)
                #expect(result["completed"].integer == 2 && result["total_output_tokens"].integer == 18)
                #expect(result.keys.isSuperset(of: ["mean_ttft_ms", "mean_tpot_ms", "mean_itl_ms"]))
                let text = try String(
                    contentsOf: place.folder.appendingPathComponent("requests.json"), encoding: .utf8)
                let requests = try JSON.parse(text)
                #expect(requests["latencies"].items.count == 2 && requests["ttfts"].items.count == 2)
            }
        }
    }
}
