import Foundation
import Testing

extension CommandLineSuite {
    /// Wrong usage, wrong files and taken ports.
    @Suite("Wrong usage")
    struct UsageTests {
        struct Misuse: Sendable, CustomTestStringConvertible {
            var arguments: [String]
            /// What the message must say.
            var says: [String]
            var testDescription: String { arguments.joined(separator: " ") }

            init(_ arguments: String..., says: [String]) {
                self.arguments = arguments
                self.says = says
            }
        }

        static let misuses = [
            Misuse("fly", says: ["'fly'", "--help"]),
            Misuse("plan", says: ["<file>"]),
            Misuse("plan", "pool.yaml", "--jsno", says: ["'--jsno'", "--json"]),
            Misuse("plan", "pool.yaml", "--capacity", says: ["--capacity"]),
            Misuse("plan", "pool.yaml", "--capacity", "two", "--json", says: ["'two'", "--capacity"]),
            Misuse("plan", "pool.yaml", "--capacity", "0", "--json", says: ["--capacity", "1"]),
            Misuse(
                "plan", "pool.yaml", "--capacity", "2", "--tune", "exact", says: ["--capacity", "--tune"]),
            Misuse(
                "plan", "pool.yaml", "--dispatch", "fastest", "--json",
                says: ["'fastest'", "jffc", "jffc-wait"]),
            Misuse("plan", "pool.yaml", "--tune", "luck", says: ["'luck'", "lower-bound"]),
            Misuse("plan", "pool.yaml", "--arrival-rate", "-1", "--json", says: ["-1", "arrival"]),
            Misuse("plan", "pool.yaml", "--load-target", "1.5", "--json", says: ["1.5", "0", "1"]),
            Misuse("plan", "absent.yaml", "--json", says: ["absent.yaml", "cannot be read"]),
            Misuse("check", "plan.json", says: ["--cluster"]),
            Misuse(
                "check", "absent.json", "--cluster", "pool.yaml", "--json",
                says: ["absent.json", "cannot be read"]),
            Misuse(
                "check", "plan.json", "--cluster", "absent.yaml", says: ["absent.yaml", "cannot be read"]),
            Misuse("check", "pool.yaml", "--cluster", "pool.yaml", "--json", says: ["pool.yaml:1", "JSON"]),
            Misuse("up", "pool.yaml", "--max-tokens", "0", says: ["--max-tokens", "1"]),
            Misuse("up", "pool.yaml", "--dispatch", "fastest", says: ["'fastest'", "jffc"]),
            Misuse("up", "pool.yaml", "--port", "70000", says: ["--port", "65535"]),
            Misuse("up", "pool.yaml", "--port", says: ["--port"]),
            Misuse("up", "absent.yaml", says: ["absent.yaml", "cannot be read"]),
            Misuse("serve", says: ["<file>"]),
            Misuse("serve", "absent.yaml", says: ["absent.yaml", "cannot be read"]),
            Misuse("serve", "pool.yaml", says: ["-1", "address: HOST:PORT", "chainserve node"]),
            Misuse("serve", "pool.yaml", "--maximum-attempts", "0", says: ["--maximum-attempts", "1"]),
            Misuse(
                "serve", "pool.yaml", "--busy-poll", "200000",
                says: ["--busy-poll", "microseconds", "100000"]),
            Misuse("serve", "pool.yaml", "--log-level", "loud", says: ["'loud'", "debug"]),
            Misuse("profile", "pool.yaml", says: ["-1", "address: HOST:PORT"]),
            Misuse("node", says: ["--memory"]),
            Misuse("node", "--memory", "1", says: ["unit", "GiB"]),
            Misuse("node", "--memory", "1 XB", says: ["XB", "GiB"]),
            Misuse("node", "--memory", "-1 GB", says: ["memory"]),
            Misuse("node", "--memory", "1 GB", "--listen", "here", says: ["'here'", "HOST:PORT"]),
            Misuse("node", "--memory", "1 GB", "--listen", "127.0.0.1:70000", says: ["70000", "HOST:PORT"]),
            Misuse("node", "--memory", "1 GB", "--threads", "0", says: ["--threads", "1"]),
            Misuse("node", "--memory", "1 GB", "--model", "absent.gguf", says: ["absent.gguf", "GGUF"]),
            Misuse("status", "--url", "nowhere", says: ["'nowhere'", "http://127.0.0.1:8000"]),
            Misuse("status", "--json", "extra", says: ["'extra'"]),
            Misuse(
                "restart", "--all", "--url", "http://127.0.0.1:1", "--tls-authority", "ca.crt",
                says: ["--tls-authority", "https://"]),
            Misuse("bench", "--key-file", "absent.key", says: ["absent.key", "cannot be read"]),
        ]

        @Test(arguments: misuses)
        func refused(_ misuse: Misuse) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                _ = try place.write("plan.json", "{}")
                let outcome = try await RunningCommand(misuse.arguments, in: place).ended()
                expectRefused(outcome, misuse.arguments, says: misuse.says)
            }
        }

        // MARK: Model files

        struct BadModel: Sendable, CustomTestStringConvertible {
            var name: String
            var bytes: [UInt8]?
            var says: [String]
            var testDescription: String { name }
        }

        static let badModels = [
            BadModel(name: "absent", bytes: nil, says: ["model.gguf", "GGUF"]),
            BadModel(name: "empty", bytes: [], says: ["model.gguf", "GGUF"]),
            BadModel(
                name: "something else", bytes: Array("PK a zip".utf8), says: ["model.gguf", "GGUF"]),
            BadModel(
                name: "cut off in its header", bytes: Array("GGUF".utf8) + [3, 0], says: ["model.gguf"]),
            BadModel(
                name: "cut off in its metadata", bytes: Array(GGUFHeader.architecture("llama").dropLast(4)),
                says: ["model.gguf"]),
            BadModel(
                name: "of another architecture", bytes: GGUFHeader.architecture("mamba"),
                says: ["model.gguf", "mamba", "Llama"]),
            BadModel(
                name: "of another version",
                bytes: Array("GGUF".utf8) + [99, 0, 0, 0] + [UInt8](repeating: 0, count: 16),
                says: ["model.gguf", "99"]),
        ]

        @Test(arguments: badModels)
        func modelFile(_ model: BadModel) async throws {
            try await Place.with { place in
                if let bytes = model.bytes {
                    try Data(bytes).write(to: place.folder.appendingPathComponent("model.gguf"))
                }
                _ = try place.write(
                    "pool.yaml",
                    """
                    model: {gguf: model.gguf}
                    demand: {arrival_rate: 1}
                    servers:
                      - {name: a, memory: 1 GB, communication_time: 1 s, block_time: 1 s, address: "a.b:1"}

                    """)
                for command in [
                    ["plan", "pool.yaml", "--json"], ["up", "pool.yaml", "--no-prompt", "--port", "0"],
                    ["up", "--model", "model.gguf", "--port", "0"], ["serve", "pool.yaml", "--port", "0"],
                    ["profile", "pool.yaml"], ["node", "--memory", "1 GB", "--model", "model.gguf"],
                ] {
                    let outcome = try await RunningCommand(command, in: place).ended()
                    expectRefused(outcome, command, says: model.says)
                }
            }
        }

        // MARK: Ports and peers

        @Test func takenPorts() async throws {
            try await Place.with { place in
                let taken = try TakenPort()
                _ = try place.write("pool.yaml", EmulatedPool.text(place))
                let up = try await place.run("up", "pool.yaml", "--no-prompt", "--port", "\(taken.port)")
                #expect(up.status == 2 && up.errors.contains("port \(taken.port) is in use"), "\(up.errors)")
                #expect(up.errors.contains("--port"))
                #expect(place.processes().isEmpty)

                let command = ["node", "--memory", "1 GB", "--listen", "127.0.0.1:\(taken.port)"]
                let node = try await RunningCommand(command, in: place).ended()
                expectRefused(node, command, says: ["\(taken.port)", "in use", "--listen"])
                withExtendedLifetime(taken) {}
            }
        }
    }
}

/// The smallest GGUF files there are: a header and one entry, without tensors.
enum GGUFHeader {
    static func architecture(_ name: String) -> [UInt8] {
        Array("GGUF".utf8) + number(3, 4) + number(0, 8) + number(1, 8)
            + text("general.architecture") + number(8, 4) + text(name)
    }

    private static func number(_ value: Int, _ width: Int) -> [UInt8] {
        (0..<width).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
    }

    private static func text(_ text: String) -> [UInt8] { number(text.utf8.count, 8) + Array(text.utf8) }
}
