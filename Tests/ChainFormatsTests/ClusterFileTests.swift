import ChainModel
import Testing

@testable import ChainFormats

/// The example of the format's description.
let bloomText = """
    model:
      name: bloom-176b
      block_count: 70          # L
      block_size: 1.32 GB
      cache_size: 0.11 GB
    demand:
      arrival_rate: 0.2
      load_target: 0.7
      mean_input_tokens: 2000
      mean_output_tokens: 20
    servers:
      - name: paris-1
        memory: 40 GB
        communication_time: 0.343724
        block_time: 0.109
      - name: lyon
        memory: 40 GB
        device: a100-3g.40gb
        round_trip_time: 14.7 ms
        address: 10.0.0.7:7001
        threads: 4
      - name: nice
        memory: 40 GB
        communication_time: 400 ms
        block_time: 0.175 s
        round_trip_times: {paris-1: 0.02, lyon: 10 ms}
    placement:
      - {server: paris-1, first_block: 1, block_count: 20}
    profile:
      tool: chainserve profile
      error: 0.02
    """

@Suite struct ClusterFileTests {
    private static func noModelFile(_ reference: GGUFReference) throws -> ModelShape {
        throw FormatError(file: reference.path, problems: [])
    }

    @Test func example() throws {
        let file = try ClusterFile.parse(bloomText)
        let cluster = try file.resolve(shape: Self.noModelFile)
        #expect(
            cluster.model
                == ModelShape(
                    name: "bloom-176b", blockCount: 70, blockSize: ByteCount(1_320_000_000),
                    cacheSize: ByteCount(110_000_000)))
        #expect(cluster.demand == Demand(arrivalRate: 0.2, loadTarget: 0.7))
        #expect(cluster.servers.map(\.name) == ["paris-1", "lyon", "nice"])
        #expect(cluster.servers[0].communicationTimeSeconds == 0.343724)
        #expect(cluster.servers[2].communicationTimeSeconds == 0.4)
        #expect(cluster.servers[1].address == "10.0.0.7:7001")
        #expect(cluster.manualPlacement.ranges == [BlockRange(first: 1, count: 20), nil, nil])
        #expect(file.servers[1].threads == 4)
        #expect(
            file.servers[2].roundTripTimes == [
                NamedTime(name: "paris-1", seconds: 0.02), NamedTime(name: "lyon", seconds: 0.01),
            ])
        #expect(file.profile.map(\.key) == ["tool", "error"])
        #expect(file.engine == .ggml)
    }

    /// Footnote 2 of the paper with its constants: 1 ms + 5 GFLOP/120 TFLOP/s·2000 + 1.32 GB/1.02 TB/s·19.
    @Test func blockTimeOfADevice() throws {
        let text = bloomText.replacing("block_count: 70", with: "block_operations: 5e9\n  block_count: 70")
        let cluster = try ClusterFile.parse(text).resolve(shape: Self.noModelFile)
        #expect(abs(cluster.servers[1].blockTimeSeconds - 0.10892) < 1e-5)
        #expect(abs(cluster.servers[1].communicationTimeSeconds - (0.05 + 20 * 0.0147)) < 1e-12)
        let small = text.replacing("a100-3g.40gb", with: "a100-2g.20gb")
        let slow = try ClusterFile.parse(small).resolve(shape: Self.noModelFile)
        #expect(abs(slow.servers[1].blockTimeSeconds - 0.17518) < 1e-5)
    }

    @Test func assumptionsAreSaid() throws {
        let file = try ClusterFile.parse(bloomText)
        let cluster = try file.resolve(shape: Self.noModelFile)
        #expect(file.notes(for: cluster).contains { $0.contains("block_operations") })
        let tiny = try ClusterFile.parse(
            bloomText.replacing("block_count: 70", with: "block_count: 40").replacing(
                "name: nice\n    memory: 40 GB", with: "name: nice\n    memory: 1 GB"))
        let notes = tiny.notes(for: try tiny.resolve(shape: Self.noModelFile))
        #expect(
            notes.contains { $0.contains("nice") && $0.contains("430 MB missing") })
    }

    @Test func jsonIsAccepted() throws {
        let text = """
            {"model": {"name": "m", "block_count": 2, "block_size": "10 B", "cache_size": "1 B"},
             "demand": {"arrival_rate": 0.5},
             "servers": [{"name": "a", "memory": "30 B", "communication_time": 0, "block_time": 1e-3}]}
            """
        let file = try ClusterFile.parse(text, file: "pool.json")
        #expect(file == (try ClusterFile.parse(text, file: "pool.yaml")))
        #expect(file.demand.loadTarget == 0.7)
        #expect(file.servers[0].blockTime == 0.001)
        #expect(try ClusterFile.parse(file.yaml) == file)
    }

    private static let servedText = """
        engine: emulated
        model:
          gguf: models/smol.gguf
          max_sequence_length: 2048
          compute_size: 64 MiB
        demand: {arrival_rate: 12/min}
        servers:
          - {name: a, memory: 300 MB, gguf: /local/smol.gguf}
          - {name: b, memory: 300 MB, communication_time: 0.1, block_time: 0.01}
        """

    @Test func modelFile() throws {
        let file = try ClusterFile.parse(Self.servedText, file: "pools/one.yaml")
        let shape = ModelShape(
            name: "smol", blockCount: 30, blockSize: ByteCount(4_000_000), cacheSize: ByteCount(2_000_000))
        var asked: GGUFReference?
        let times = ServerTimes(communicationTime: 0.05, blockTime: 0.004)
        let cluster = try file.resolve(defaultTimes: times) { reference in
            asked = reference
            return shape
        }
        #expect(
            asked
                == GGUFReference(
                    path: "pools/models/smol.gguf", maxSequenceLength: 2048, computeSize: ByteCount(64 << 20))
        )
        #expect(cluster.servers.map(\.blockTimeSeconds) == [0.004, 0.01])
        #expect(cluster.servers.map(\.communicationTimeSeconds) == [0.05, 0.1])
        #expect(cluster.demand.arrivalRate == 0.2)
        #expect(file.engine == .emulated)
        #expect(file.servers[0].gguf == "/local/smol.gguf")
        #expect(file.path("/etc/x") == "/etc/x")
    }

    @Test func timesOfAModelFileMayWaitForTheProfile() throws {
        let file = try ClusterFile.parse(Self.servedText, file: "one.yaml")
        let shape = ModelShape(
            name: "smol", blockCount: 30, blockSize: ByteCount(4_000_000), cacheSize: ByteCount(2_000_000))
        let error = #expect(throws: FormatError.self) { try file.resolve { _ in shape } }
        #expect(error?.problems.map(\.code) == [.missingTimes])
        #expect("\(error!)".contains("one.yaml:8") && "\(error!)".contains("chainserve profile"))
        var profiled = file
        profiled.servers[0].blockTime = 0.004
        profiled.servers[0].communicationTime = 0.05
        profiled.profile = [ProfileEntry(key: "date", value: "2026-11-22: first start")]
        let again = try ClusterFile.parse(profiled.yaml)
        #expect(again == profiled)
        _ = try again.resolve { _ in shape }
    }

    /// Reading what was written gives the same file, over random files.
    @Test func roundTrip() throws {
        var generator = SplitMix(state: 20_260_414)
        for _ in 0..<200 {
            let file = ClusterFile.random(using: &generator)
            let again = try ClusterFile.parse(file.yaml)
            #expect(again == file, "\(file.yaml)")
        }
        #expect(try ClusterFile.parse(try ClusterFile.parse(bloomText).yaml) == ClusterFile.parse(bloomText))
    }
}

/// A small generator with a seed, so that a failing file comes again.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

extension ClusterFile {
    /// A file with every key now and then, and names that need quotes.
    static func random(using generator: inout some RandomNumberGenerator) -> ClusterFile {
        func maybe<Value>(_ value: Value) -> Value? { Bool.random(using: &generator) ? value : nil }
        func number() -> Double { Double.random(in: 1e-6...9, using: &generator) }
        func size() -> ByteCount {
            let unit =
                [1, 1000, 1_000_000, 1 << 20, 1_000_000_000, 1 << 30].randomElement(using: &generator) ?? 1
            return ByteCount(Int.random(in: 1...4096, using: &generator) * unit)
        }
        let words = [
            "plain", "two words", "null", "~", "a: b", "#x", "- dash", "\"quoted\"", "é→x", "tab\tin", "12",
            "on", "[x]", "\\", "*a", "1e5", "x ",
        ]
        func word() -> String { words.randomElement(using: &generator) ?? "" }
        let shape = ModelShape(
            name: word(), blockCount: Int.random(in: 1...80, using: &generator), blockSize: size(),
            cacheSize: size(),
            computeSize: maybe(size()) ?? .zero)
        let reference = GGUFReference(
            path: word(), name: maybe(word()), maxSequenceLength: maybe(2048), computeSize: maybe(size()))
        var file = ClusterFile(
            engine: maybe(.emulated) ?? .ggml, model: maybe(.shape(shape)) ?? .gguf(reference),
            blockOperations: maybe(number() * 1e9),
            demand: DemandSection(
                arrivalRate: number(), loadTarget: number() / 10, meanInputTokens: number(),
                meanOutputTokens: number()),
            servers: [])
        for position in 0..<Int.random(in: 1...5, using: &generator) {
            var entry = ServerEntry(
                name: "\(word())-\(position)", memory: size(), communicationTime: number(),
                blockTime: number())
            entry.device = maybe("a100-2g.20gb")
            entry.roundTripTime = maybe(number())
            entry.forwardRate = maybe(number())
            entry.networkRate = maybe(number())
            entry.roundTripTimes = maybe([NamedTime(name: word(), seconds: number())]) ?? []
            entry.address = maybe("host-\(position):70\(position)")
            entry.threads = maybe(3) ?? 1
            entry.gguf = maybe(word())
            file.servers.append(entry)
        }
        if Bool.random(using: &generator) {
            let range = BlockRange(first: Int.random(in: 1...9, using: &generator), count: 2)
            file.placement = [PlacementEntry(server: file.servers[0].name, range: range)]
        }
        if Bool.random(using: &generator) {
            file.profile = [
                ProfileEntry(key: word(), value: word()), ProfileEntry(key: "k2", value: "\(number())"),
            ]
        }
        return file
    }
}
