import ChainModel
import Testing

@testable import ChainFormats

/// Every mistake by name: the message says the file, the line and what to change.
@Suite struct BadInputTests {
    struct Mistake: CustomTestStringConvertible {
        var testDescription: String
        var text: String
        var code: FormatProblem.Code
        var line: Int?
        /// Pieces of the message: what is wrong, and the mend.
        var says: [String]
    }

    /// Lines 1 to 12 of a sound file, of which a mistake replaces one.
    private static let sound = [
        "model:", "  name: m", "  block_count: 4", "  block_size: 10 MB", "  cache_size: 1 MB", "demand:",
        "  arrival_rate: 0.5", "  load_target: 0.7", "servers:",
        "  - {name: a, memory: 44 MB, communication_time: 0.1, block_time: 0.1}",
        "  - {name: b, memory: 44 MB, communication_time: 0.1, block_time: 0.1}", "placement: []",
    ]

    /// - Parameter reported: the line that the message names, when it is not the one replaced; 0 for any.
    private static func mistake(
        _ name: String, line: Int, _ replacement: String, _ code: FormatProblem.Code, reported: Int? = nil,
        _ says: String...
    ) -> Mistake {
        var lines = sound
        lines[line - 1] = replacement
        return Mistake(
            testDescription: name, text: lines.joined(separator: "\n"), code: code,
            line: reported == 0 ? nil : reported ?? line,
            says: says)
    }

    private static func server(
        _ name: String, _ fields: String, _ code: FormatProblem.Code, _ says: String...
    ) -> Mistake {
        var lines = sound
        lines[10] = "  - {name: b, \(fields)}"
        return Mistake(
            testDescription: name, text: lines.joined(separator: "\n"), code: code, line: 11, says: says)
    }

    static let model: [Mistake] = [
        mistake(
            "unknown key", line: 4, "  bock_size: 10 MB\n  block_size: 10 MB", .unknownKey, "bock_size",
            "`block_size`"),
        mistake("unknown top key", line: 12, "placements: []", .unknownKey, "placements", "`placement`"),
        mistake(
            "doubled key", line: 4, "  block_size: 10 MB\n  block_size: 11 MB", .duplicateKey, reported: 5,
            "block_size", "one of the two"),
        mistake("missing key", line: 4, "", .missingKey, reported: 2, "`block_size`", "add"),
        mistake("empty key", line: 4, "  block_size:", .missingKey, "`block_size`", "write"),
        mistake("size without a unit", line: 4, "  block_size: 10", .invalidUnit, "no unit", "GB"),
        mistake("size with an unknown unit", line: 4, "  block_size: 10 Gb", .invalidUnit, "`Gb`", "GB"),
        mistake("size that is no number", line: 4, "  block_size: ten MB", .invalidNumber, "ten MB", "40 GB"),
        mistake("negative size", line: 4, "  block_size: -10 MB", .negative, "negative", "minus"),
        mistake("size of zero", line: 4, "  block_size: 0 MB", .zero, "zero", "positive"),
        mistake(
            "fraction of a byte", line: 4, "  block_size: 1.5 B", .invalidNumber, "whole number of bytes",
            "fewer decimals"),
        mistake("size beyond reason", line: 4, "  block_size: 1e30 TB", .outOfRange, "larger", "unit"),
        mistake("list for a size", line: 4, "  block_size: [1]", .wrongType, "a list", "single value"),
        mistake("fraction of a block", line: 3, "  block_count: 4.5", .invalidNumber, "4.5", "whole number"),
        mistake("no blocks", line: 3, "  block_count: 0", .zero, "is 0", "from 1"),
        mistake("negative blocks", line: 3, "  block_count: -4", .negative, "-4", "from 1"),
        mistake("blocks beyond reason", line: 3, "  block_count: 99999", .outOfRange, "99999", "4096"),
        mistake(
            "shape and file", line: 2, "  gguf: m.gguf", .conflict, reported: 3, "`block_count`", "remove"),
        mistake("unknown engine", line: 12, "engine: vllm", .unknownName, "vllm", "ggml or emulated"),
        mistake("model is a text", line: 1, "model: m\nmodle:", .wrongType, "`m`", "mapping"),
        mistake("tab", line: 4, "\tblock_size: 10 MB", .syntax, "not valid YAML", "tabs"),
        mistake("open quotes", line: 2, "  name: \"m", .syntax, reported: 0, "not valid YAML", "quotes"),
    ]

    static let demand: [Mistake] = [
        mistake("rate of zero", line: 7, "  arrival_rate: 0", .zero, "zero", "positive"),
        mistake("negative rate", line: 7, "  arrival_rate: -0.5", .negative, "negative", "minus"),
        mistake("rate that is not a number", line: 7, "  arrival_rate: .nan", .invalidNumber, ".nan", "0.2"),
        mistake("endless rate", line: 7, "  arrival_rate: inf", .invalidNumber, "inf", "0.2"),
        mistake("rate with an unknown unit", line: 7, "  arrival_rate: 3/day", .invalidUnit, "/day", "/h"),
        mistake("rate beyond reason", line: 7, "  arrival_rate: 1e399", .outOfRange, "too large", "check"),
        mistake("rate below reason", line: 7, "  arrival_rate: 1e-320", .outOfRange, "1e-30", "check"),
        mistake("load target of one", line: 8, "  load_target: 1", .outOfRange, "1.0", "between 0 and 1"),
        mistake("load target of zero", line: 8, "  load_target: 0", .zero, "zero", "positive"),
        mistake("no demand", line: 6, "demands:", .unknownKey, "demands", "`demand`"),
    ]

    static let servers: [Mistake] = [
        server(
            "unknown server key", "memroy: 44 MB, memory: 1 MB, communication_time: 1, block_time: 1",
            .unknownKey, "memroy", "`memory`"),
        server("no memory", "communication_time: 0.1, block_time: 0.1", .missingKey, "`memory`", "40 GB"),
        server(
            "no block time", "memory: 44 MB, communication_time: 0.1", .missingTimes, "`block_time`", "device"
        ),
        server(
            "no communication time", "memory: 44 MB, block_time: 0.1", .missingTimes, "`communication_time`",
            "round_trip_time"),
        server(
            "negative time", "memory: 44 MB, communication_time: -1, block_time: 0.1", .negative, "server b",
            "minus"),
        server(
            "time that is not a number", "memory: 44 MB, communication_time: NaN, block_time: 0.1",
            .invalidNumber, "NaN", "109 ms"),
        server(
            "time whose reciprocal is no number", "memory: 44 MB, communication_time: 1e-320, block_time: 0",
            .outOfRange, "1e-320", "between 1e-30 and 1e30"),
        server(
            "time with an unknown unit", "memory: 44 MB, communication_time: 3 h, block_time: 0.1",
            .invalidUnit, "`h`", "min"),
        server(
            "unknown device", "memory: 44 MB, communication_time: 1, device: a100-3g", .unknownName,
            "a100-3g", "`a100-3g.40gb`"),
        server(
            "device without tokens", "memory: 44 MB, communication_time: 1, device: a100-3g.40gb",
            .missingKey, "tokens", "mean_input_tokens"),
        server(
            "round trip without tokens", "memory: 44 MB, round_trip_time: 1, block_time: 1", .missingKey,
            "tokens", "mean_output_tokens"),
        server(
            "address without a port", "memory: 44 MB, communication_time: 1, block_time: 1, address: host",
            .invalidNumber, "`host`", "host:port"),
        server(
            "no threads", "memory: 44 MB, communication_time: 1, block_time: 1, threads: 0", .zero, "threads",
            "from 1"),
        mistake(
            "doubled server", line: 11, "  - {name: a, memory: 44 MB, communication_time: 1, block_time: 1}",
            .duplicateName, "`a`", "line 10", "own name"),
        Mistake(
            testDescription: "no servers", text: (sound[..<8] + ["servers: []"]).joined(separator: "\n"),
            code: .missingKey, line: 9, says: ["empty", "at least one"]),
        mistake(
            "placement of a stranger", line: 12, "placement: [{server: bb, first_block: 1, block_count: 1}]",
            .unknownName, "`bb`", "mean `b`"),
        mistake(
            "placed twice", line: 12,
            "placement: [{server: b, first_block: 1, block_count: 1}, {server: b, first_block: 2, block_count: 1}]",
            .duplicateName, "second time", "one entry"),
        mistake(
            "placed at block zero", line: 12, "placement: [{server: b, first_block: 0, block_count: 1}]",
            .zero, "first_block", "from 1"),
    ]

    /// Found only once the model's shape is known.
    static let misfits: [Mistake] = [
        mistake(
            "pool too small", line: 3, "  block_count: 12", .modelDoesNotFit, reported: 9, "8 of 12 blocks",
            "44 MB"),
        mistake(
            "servers too small for one block", line: 4, "  block_size: 50 MB", .modelDoesNotFit, reported: 9,
            "0 of 4 blocks", "too small for one block", "204 MB"),
        mistake(
            "placed past the end", line: 12, "placement: [{server: b, first_block: 3, block_count: 3}]",
            .outOfRange, "block 5", "1 to 4"),
        Mistake(
            testDescription: "placed beyond the memory",
            text: (sound[..<10] + [
                "  - {name: b, memory: 35 MB, communication_time: 1, block_time: 1}",
                "placement: [{server: b, first_block: 1, block_count: 4}]",
            ]).joined(separator: "\n"), code: .outOfRange, line: 12,
            says: ["4 blocks do not fit", "at most 3"]),
    ]

    @Test func theFileItselfIsSound() throws {
        let file = try ClusterFile.parse(Self.sound.joined(separator: "\n"))
        _ = try file.resolve { _ in throw FormatError(file: "", problems: []) }
    }

    @Test(arguments: model + demand + servers + misfits)
    func mistake(_ mistake: Mistake) throws {
        let error = #expect(throws: FormatError.self) {
            let file = try ClusterFile.parse(mistake.text, file: "pool.yaml")
            _ = try file.resolve { _ in throw FormatError(file: "", problems: []) }
        }
        let found = try #require(error)
        let problem = try #require(found.problems.first { $0.code == mistake.code }, "\(found)")
        if let line = mistake.line { #expect(problem.line == line, "\(found)") }
        #expect(problem.line != nil, "\(found)")
        #expect("\(found)".hasPrefix("pool.yaml:"), "\(found)")
        for piece in mistake.says { #expect("\(problem)".contains(piece), "\(found)") }
    }

    @Test func manyMistakesAtOnce() {
        let text = Self.sound.joined(separator: "\n").replacing("10 MB", with: "10").replacing(
            "0.5", with: "-1")
        let error = #expect(throws: FormatError.self) { try ClusterFile.parse(text) }
        #expect(error?.problems.map(\.line) == [4, 7])
        #expect("\(error!)".split(separator: "\n").count == 2)
    }

    @Test(arguments: ["", "   \n", "# only a comment\n", "null", "42", "- a\n- b"])
    func notAClusterAtAll(text: String) {
        #expect(throws: FormatError.self) { try ClusterFile.parse(text) }
    }

    @Test(arguments: [
        ("{\"model\": ", 1), ("{\"model\": 1,\n}", 2), ("{\n\"model\" 1}", 2), ("{\"a\": \"x\n\"}", 1),
        ("{\"a\": nul}", 1),
        ("{\"a\": \"\\q\"}", 1), ("{} {}", 1), ("{\"a\": 0x10}", 1), ("[1, 2", 1), ("{\"a\": \"\\u12\"}", 1),
    ])
    func brokenJSON(text: String, line: Int) {
        let error = #expect(throws: FormatError.self) { try ClusterFile.parse(text, file: "pool.json") }
        #expect(error?.problems.map(\.code) == [.syntax])
        #expect(error?.problems.first?.line == line)
    }

    @Test func deepNestingIsRefused() {
        let text = String(repeating: "[", count: 100_000)
        #expect(throws: FormatError.self) { try ClusterFile.parse(text, file: "pool.json") }
    }

    /// Damaged files never do more than throw.
    @Test func damagedFiles() {
        var generator = SplitMix(state: 7)
        for _ in 0..<400 {
            var bytes = Array(bloomText.utf8)
            for _ in 0..<Int.random(in: 1...6, using: &generator) {
                let position = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[position] = UInt8.random(in: 9...126, using: &generator)
                case 1: bytes.remove(at: position)
                default: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &generator)], at: position)
                }
            }
            do {
                let file = try ClusterFile.parse(String(decoding: bytes, as: UTF8.self))
                _ = try file.resolve { _ in
                    ModelShape(name: "m", blockCount: 1, blockSize: ByteCount(1), cacheSize: ByteCount(1))
                }
            } catch {
                #expect(error is FormatError, "\(error)")
            }
        }
    }
}
