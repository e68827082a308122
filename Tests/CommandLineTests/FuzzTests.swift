import Foundation
import Testing

extension CommandLineSuite {
    /// `make fuzz` with counts for every day; its full counts are run by hand.
    @Suite("Fuzzing")
    struct FuzzTests {
        private func fuzz(_ arguments: [String], in place: Place) async throws -> Outcome {
            let corpus = Program.packageRoot.appendingPathComponent("Tests/Fuzz/corpus").path
            let executable = Program.packageRoot.appendingPathComponent(".build/debug/chainserve-fuzz").path
            return try await RunningCommand(
                arguments + ["--corpus", corpus], executable: executable, in: place
            ).ended(within: 120)
        }

        /// Inputs by target: a debug build does this in seconds.
        @Test(
            arguments: [
                ("wire", 20_000), ("gguf", 1000), ("cluster", 1000), ("events", 2000), ("requests", 2000),
            ])
        func parsersEndInOrder(_ target: String, _ count: Int) async throws {
            try await Place.with { place in
                let outcome = try await fuzz([target, "--count", "\(count)"], in: place)
                #expect(outcome.status == 0, "\(outcome.output)\(outcome.errors)")
                let line = try #require(
                    outcome.output.split(separator: "\n").first { $0.hasPrefix("\(target): \(count) inputs") }
                )
                // Both kinds occur: inputs that are all refused, or none, would test little.
                #expect(!line.contains(" 0 accepted") && !line.contains(" 0 refused"), "\(line)")
            }
        }

        @Test func anInputCanBeMadeAgain() async throws {
            try await Place.with { place in
                for name in ["one", "two"] {
                    let path = place.path(name)
                    let outcome = try await fuzz(
                        ["gguf", "--seed", "3", "--first", "17", "--count", "1", "--save", path], in: place)
                    #expect(outcome.status == 0, "\(outcome.errors)")
                }
                let one = FileManager.default.contents(atPath: place.path("one"))
                #expect(one != nil && one == FileManager.default.contents(atPath: place.path("two")))
            }
        }
    }
}
