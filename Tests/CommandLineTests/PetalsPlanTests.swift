import Testing

extension CommandLineSuite {
    /// `plan --emit petals`: commands for people who start their own servers. PETALS itself is not needed.
    @Suite("Commands for PETALS")
    struct PetalsPlanTests {
        private static let peer = "/ip4/10.0.0.7/tcp/31337/p2p/QmOne"

        private static func pool(_ petals: String) -> String {
            """
            engine: petals
            model: {name: tiny.1, block_count: 6, block_size: 10 MB, cache_size: 1 MB}
            petals: {\(petals)}
            demand: {arrival_rate: 0.1}
            servers:
              - {name: a, memory: 60 MB, communication_time: 0.1, block_time: 0.1}
              - {name: b 2, memory: 60 MB, communication_time: 0.1, block_time: 0.1}
            placement:
              - {server: a, first_block: 1, block_count: 4}
              - {server: b 2, first_block: 3, block_count: 4}
            """
        }

        @Test func commandsOfAPlan() async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", Self.pool("model: some/model, max_sequence_length: 100"))
                let answer = try await place.run("plan", "pool.yaml", "--emit", "petals")
                #expect(answer.status == 0, "\(answer.errors)")
                // 60 MB less 4 blocks of 10 MB leave 20 units of 100 tokens: 500 tokens for each of 4 blocks.
                for part in [
                    "python -m petals.cli.run_server some/model", "--dht_prefix tiny-1",
                    "--block_indices 0:4",
                    "--block_indices 2:6", "--attn_cache_tokens 500", "--inference_max_length 100",
                    "--new_swarm",
                    "--initial_peers \"$INITIAL_PEERS\"", "--identity_path 'b 2.id'",
                ] { #expect(answer.output.contains(part), "\(part) in \(answer.output)") }
            }
        }

        @Test func aSwarmThatIsThere() async throws {
            try await Place.with { place in
                let section = "model: m, max_sequence_length: 100, initial_peers: [\"\(Self.peer)\"]"
                _ = try place.write("pool.yaml", Self.pool(section))
                let answer = try await place.run("plan", "pool.yaml", "--emit", "petals")
                #expect(answer.status == 0, "\(answer.errors)")
                #expect(answer.output.contains("--initial_peers \(Self.peer)"))
                #expect(!answer.output.contains("--new_swarm"))
            }
        }

        @Test(arguments: [("max_sequence_length: 100", "petals.model"), ("model: m", "max_sequence_length")])
        func whatIsMissingIsNamed(_ section: String, _ missing: String) async throws {
            try await Place.with { place in
                _ = try place.write("pool.yaml", Self.pool(section))
                let answer = try await place.run("plan", "pool.yaml", "--emit", "petals")
                #expect(answer.status == 2)
                #expect(answer.errors.contains(missing))
            }
        }

        @Test func servingWithoutTheEngineSaysHowToInstallIt() async throws {
            guard let model = RealModel.path else { return }
            try await Place.with { place in
                let text = """
                    engine: petals
                    model: {gguf: "\(model)", max_sequence_length: 256}
                    demand: {arrival_rate: 0.1}
                    servers: [{name: a, memory: 1 GB, communication_time: 0.1, block_time: 0.1}]
                    """
                _ = try place.write("pool.yaml", text)
                let answer = try await place.run(
                    "serve", "pool.yaml", "--port", "0", environment: ["CHAINSERVE_PETALS": ""])
                #expect(answer.status == 2)
                #expect(answer.errors.contains("make petals"))
            }
        }
    }
}
