import ChainModel
import Testing

@testable import ChainFormats

/// Times from devices and shapes, and where every number came from.
@Suite struct DeviceTests {
    /// The paper's section 4: a block of BLOOM takes a job of 2000 + 20 tokens 108.9 ms on the large slice and 175.2 ms on
    /// the small one, with 5 GFLOP a token.
    @Test func blockTimesOfThePaper() throws {
        for (name, expected) in [("a100-3g.40gb", 0.1089), ("a100-2g.20gb", 0.1752)] {
            let device = try #require(DeviceCatalogue.device(named: name))
            let time = device.blockTime(
                blockOperations: 5e9, blockSize: ByteCount(1_320_000_000), inputTokens: 2000, outputTokens: 20
            )
            #expect((time - expected).magnitude < 1e-4, "\(name): \(time)")
        }
    }

    @Test func catalogueIsSound() {
        let names = DeviceCatalogue.devices.map(\.name)
        #expect(Set(names).count == names.count)
        for device in DeviceCatalogue.devices {
            #expect((1e12...5e15).contains(device.operationsPerSecond), "\(device.name)")
            #expect((5e10...1e13).contains(device.bytesPerSecond), "\(device.name)")
            #expect(!device.source.isEmpty, "\(device.name)")
            #expect(device.memory.map { $0 > ByteCount(1_000_000_000) } ?? device.name.hasPrefix("m"))
            #expect(DeviceCatalogue.device(named: device.name) == device)
        }
        // No slice has more than the whole, and those of one kind that fit together have no more either.
        for (family, whole, most) in [
            ("a30", "a30", 4), ("a100", "a100-80gb", 7), ("h100", "h100-80gb", 7), ("h200", "h200", 7),
            ("b200", "b200", 7),
        ] {
            let whole = DeviceCatalogue.device(named: whole)
            let slices = DeviceCatalogue.devices.filter {
                $0.name.hasPrefix("\(family)-") && $0.name.contains("g.")
            }
            #expect(slices.count >= 3)
            for slice in slices {
                let compute = slice.name.split(separator: "-")[1].prefix { $0 != "g" }
                let copies = Double(most / (Int(compute) ?? most))
                #expect(
                    slice.operationsPerSecond * copies <= (whole?.operationsPerSecond ?? 0) * 1.000_001,
                    "\(slice.name)")
                #expect(slice.bytesPerSecond <= whole?.bytesPerSecond ?? 0, "\(slice.name)")
            }
        }
    }

    /// 12·d² and 13·d parameters of a BLOOM block: 2,466,437,120, as PETALS counts them.
    @Test func bloomConfiguration() throws {
        let text = """
            {"model_type": "bloom", "n_layer": 70, "hidden_size": 14336, "num_attention_heads": 112,
             "torch_dtype": "bfloat16", "seq_length": 2048}
            """
        let reference = GGUFReference(path: "config.json", maxSequenceLength: 2020, format: .huggingFace)
        let shape = try ModelConfiguration.shape(text, reference: reference)
        #expect(shape.blockCount == 70 && shape.hiddenSize == 14336)
        #expect(shape.blockSize == ByteCount(2 * 2_466_437_120))
        #expect(shape.blockOperations == Double(2 * 2_466_437_120))
        #expect(shape.cacheSize == ByteCount(115_834_880))
    }

    /// Llama 3 8B: 218,112,000 parameters a block, 8 of 32 heads for keys and values.
    @Test func llamaConfiguration() throws {
        let text = """
            {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
             "num_key_value_heads": 8, "intermediate_size": 14336, "hidden_act": "silu", "torch_dtype": "bfloat16",
             "max_position_embeddings": 8192}
            """
        var reference = GGUFReference(path: "config.json", format: .huggingFace, weightBits: 4)
        let shape = try ModelConfiguration.shape(text, reference: reference)
        #expect(shape.blockSize == ByteCount(218_112_000 / 2))
        #expect(shape.cacheSize == ByteCount(2 * 8 * 128 * 2048 * 2))
        reference.maxSequenceLength = 8193
        #expect(throws: FormatError.self) { try ModelConfiguration.shape(text, reference: reference) }
        let experts = text.replacing("{\"model_type\"", with: "{\"num_local_experts\": 8, \"model_type\"")
        let failure = #expect(throws: FormatError.self) {
            try ModelConfiguration.shape(experts, reference: GGUFReference(path: "c", format: .huggingFace))
        }
        #expect(failure?.description.contains("num_local_experts") == true)
        #expect(throws: FormatError.self) {
            try ModelConfiguration.shape("{}", reference: GGUFReference(path: "c", format: .huggingFace))
        }
    }

    private static let pool = """
        model: {name: m, block_count: 4, block_size: 1 GB, cache_size: 0.1 GB, hidden_size: 4096}
        demand: {arrival_rate: 0.5, mean_input_tokens: 500, mean_output_tokens: 101}
        servers:
          - {name: a, device: l4, round_trip_time: 10 ms, bandwidth: 1 Gbit/s}
          - {name: b, memory: 12 GB, device: m2-max, communication_time: 0.2}
          - {name: c, memory: 12 GB, block_time: 0.1, communication_time: 0.2}
        """

    @Test func everyNumberIsExplained() throws {
        let file = try ClusterFile.parse(Self.pool, file: "pool.yaml")
        #expect(try ClusterFile.parse(file.yaml) == file)
        let cluster = try file.resolve { _ in throw FormatError(file: "", problems: []) }
        // 50 ms, 101 round trips, and 600 tokens' hidden states both ways.
        let transfer = 4 * 4096 * 600 / 125e6
        #expect((cluster.servers[0].communicationTimeSeconds - (0.05 + 1.01 + transfer)).magnitude < 1e-12)
        #expect(cluster.servers[0].memory == ByteCount(24_000_000_000))
        let explanation = ClusterExplanation(file, cluster: cluster, overridden: ["arrival_rate"])
        func entry(_ subject: String, _ quantity: String) -> Derivation? {
            explanation.entries.first { $0.subject == subject && $0.quantity == quantity }?.derivation
        }
        #expect(entry("a", "memory")?.source == .derived)
        #expect(entry("a", "communication_time")?.explanation.contains("/125000000.0") == true)
        #expect(entry("b", "block_time")?.explanation.contains("Apple") == true)
        #expect(entry("c", "block_time")?.source == .given)
        // What the times are made from is listed too: the device, the way to it, the width of what is sent, constants.
        #expect(entry("a", "operations_per_second")?.value == 121e12)
        #expect(entry("a", "memory_bandwidth")?.explanation.contains("NVIDIA L4 datasheet") == true)
        #expect(entry("a", "round_trip_time")?.value == 0.01 && entry("a", "bandwidth")?.value == 125e6)
        #expect(entry("model", "hidden_size")?.value == 4096)
        #expect(entry("time model", "block_overhead")?.source == .byDefault)
        #expect(entry("time model", "input_overhead")?.value == 0.05)
        #expect(entry("c", "round_trip_time") == nil && entry("c", "memory_bandwidth") == nil)
        #expect(entry("demand", "load_target")?.source == .byDefault)
        #expect(entry("demand", "arrival_rate")?.explanation == "on the command line")
        for server in cluster.servers {
            #expect(entry(server.name, "block_time")?.value == server.blockTimeSeconds)
            #expect(entry(server.name, "communication_time")?.value == server.communicationTimeSeconds)
        }
        for entry in explanation.entries {
            #expect(explanation.text.contains("  \(entry.quantity) = "))
            #expect(entry.derivation.source != .derived || !entry.derivation.explanation.isEmpty)
        }
        #expect(explanation.json.rendered().contains("\"source\": \"derived\""))
    }

    @Test func mistakesAreNamed() {
        for (change, with, expected) in [
            ("device: l4", "device: l40z", "did you mean `l40`"),
            ("memory: 12 GB, device: m2-max", "device: m2-max", "no `memory`"),
            ("hidden_size: 4096", "compute_size: 1 MB", "hidden_size"),
            ("1 Gbit/s", "1 Gbit", "no bandwidth"), ("1 Gbit/s", "0 MB/s", "zero"),
        ] {
            let text = Self.pool.replacing(change, with: with)
            let failure = #expect(throws: FormatError.self) {
                try ClusterFile.parse(text).resolve { _ in throw FormatError(file: "", problems: []) }
            }
            #expect(failure?.description.contains(expected) == true, "\(with): \(failure?.description ?? "")")
        }
    }
}
