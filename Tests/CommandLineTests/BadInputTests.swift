import Foundation
import Testing

extension CommandLineSuite {
    /// Wrong input as a new user gives it: status 2, what is wrong and how to mend it, nothing else.
    @Suite("Bad input")
    struct BadInputTests {
        /// A cluster file that is right, for one thing in it to be made wrong.
        private static let sound = """
            engine: emulated
            model: {name: toy, block_count: 12, block_size: 10 MB, cache_size: 1 MB}
            demand: {arrival_rate: 1}
            servers:
              - {name: one, memory: 100 MB, communication_time: 1 ms, block_time: 1 ms, address: "127.0.0.1:1"}
              - {name: two, memory: 100 MB, communication_time: 1 ms, block_time: 1 ms, address: "127.0.0.1:2"}

            """

        struct Mistake: Sendable, CustomTestStringConvertible {
            var name: String
            var change: (from: String, to: String)
            /// What the message must say.
            var says: [String]
            var testDescription: String { name }
        }

        static let mistakes = [
            Mistake(
                name: "unknown key", change: ("block_count: 12", "block_cuont: 12"),
                says: ["cluster.yaml:2", "block_cuont", "block_count"]),
            Mistake(
                name: "duplicate server", change: ("name: two", "name: one"),
                says: ["cluster.yaml:6", "one"]),
            Mistake(
                name: "unknown size unit", change: ("block_size: 10 MB", "block_size: 10 XB"),
                says: ["cluster.yaml:2", "XB", "GiB"]),
            Mistake(
                name: "size without unit", change: ("memory: 100 MB", "memory: 100"),
                says: ["cluster.yaml:5", "unit"]),
            Mistake(
                name: "memory too small for one block",
                change: ("name: two, memory: 100 MB", "name: two, memory: 9 MB"),
                says: ["cluster.yaml:4", "two", "too small for one block", "11 MB"]),
            Mistake(
                name: "pool that cannot hold the model", change: ("block_count: 12", "block_count: 40"),
                says: ["cluster.yaml", "40", "blocks", "MB"]),
            Mistake(
                name: "negative time", change: ("block_time: 1 ms", "block_time: -1 ms"),
                says: ["cluster.yaml:5", "block_time"]),
            Mistake(
                name: "no model", change: ("model: {", "# {"), says: ["cluster.yaml", "model"]),
            Mistake(
                name: "not YAML", change: ("servers:", "servers: ]["), says: ["cluster.yaml:4"]),
            Mistake(
                name: "unknown engine", change: ("emulated", "imaginary"),
                says: ["cluster.yaml:1", "imaginary", "emulated"]),
        ]

        @Test(arguments: mistakes)
        func clusterFile(_ mistake: Mistake) async throws {
            try await Place.with { place in
                let (from, to) = mistake.change
                let range = try #require(Self.sound.range(of: from))
                let text = Self.sound.replacingCharacters(in: range, with: to)
                _ = try place.write("cluster.yaml", text)
                let plan = try place.write("plan.json", "{}")
                for command in [
                    ["plan", "cluster.yaml", "--json"],
                    ["check", plan, "--cluster", "cluster.yaml", "--json"],
                    ["up", "cluster.yaml", "--no-prompt", "--port", "0"],
                    ["serve", "cluster.yaml", "--port", "0"],
                    ["profile", "cluster.yaml"],
                ] {
                    let outcome = try await RunningCommand(command, in: place).ended()
                    expectRefused(outcome, command, says: mistake.says)
                }
            }
        }
    }
}

/// Expects status 2, a message with all of `words`, nothing for programs to read, and little time taken.
func expectRefused(
    _ outcome: Outcome, _ command: [String], says words: [String],
    sourceLocation: SourceLocation = #_sourceLocation
) {
    let name = Comment(rawValue: command.joined(separator: " ") + "\n" + outcome.errors)
    #expect(outcome.status == 2 && !outcome.wasSignalled, name, sourceLocation: sourceLocation)
    #expect(outcome.output.isEmpty, name, sourceLocation: sourceLocation)
    for word in words { #expect(outcome.errors.contains(word), name, sourceLocation: sourceLocation) }
    for trace in ["Fatal error", "Stack dump", "Thread 0", "errno:", "ptr:bytes"] {
        #expect(!outcome.errors.contains(trace), name, sourceLocation: sourceLocation)
    }
}
