import CGGML
import CLlama
import ChainModel
import Foundation
import Testing

@testable import ChainEngine

/// Damaged and unsuitable model files: each is refused with an `EngineError` that names the file and says
/// what to do.
@Suite
struct BadFileTests {
    private static let small = SyntheticModel(
        blocks: 1, headCount: 2, keyValueHeadCount: 1, embeddingWidth: 64, feedForwardWidth: 64,
        vocabulary: 16)

    /// Opens the file; `nil` when that succeeds.
    private static func refusal(_ bytes: [UInt8]) throws -> (error: EngineError, path: String)? {
        let file = try TemporaryFile(bytes)
        do throws(EngineError) {
            _ = try LlamaFile(path: file.path)
            return nil
        } catch {
            return (error, file.path)
        }
    }

    private static func expectRefused(
        _ bytes: [UInt8], saying words: String, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let refusal = try #require(
            try refusal(bytes), "accepted, though \(words)", sourceLocation: sourceLocation)
        let text = refusal.error.description
        #expect(text.contains(refusal.path), sourceLocation: sourceLocation)
        #expect(text.contains(words), "\(text)", sourceLocation: sourceLocation)
    }

    struct Damage: CustomTestStringConvertible {
        var testDescription: String
        var words: String
        var spoil: @Sendable (inout GGUFBytes) -> Void

        init(_ name: String, _ words: String, _ spoil: @escaping @Sendable (inout GGUFBytes) -> Void) {
            testDescription = name
            self.words = words
            self.spoil = spoil
        }
    }

    static let damaged: [Damage] = [
        Damage("wrong magic", "does not begin with 'GGUF'") { $0.magic = Array("GGML".utf8) },
        Damage("version 1", "version 1 is not supported") { $0.version = 1 },
        Damage("byte-swapped version", "is not supported") { $0.version = UInt32(3).byteSwapped },
        Damage("huge tensor count", "tensors, more than") { $0.claimedTensors = .max },
        Damage("many tensors claimed", "not a usable GGUF file") { $0.claimedTensors = 1 << 19 },
        Damage("huge metadata count", "metadata entries, more than") { $0.claimedValues = 1 << 40 },
        Damage("metadata listed twice", "is listed twice") {
            $0.metadata.append(("general.name", .string("again")))
        },
        Damage("string longer than the file", "bytes in a string") {
            $0["x"] = .raw(type: 8, bytes: [UInt8](repeating: 0xFF, count: 8))
        },
        Damage("array of 2⁶⁰ bytes", "array elements, more than") {
            $0["x"] = .array(type: 0, length: 1 << 60, bytes: [])
        },
        Damage("array of 2²⁷ strings", "not a usable GGUF file") {
            $0["x"] = .array(type: 8, length: 1 << 27, bytes: [])
        },
        Damage("array of 2²⁸ wide numbers", "truncated?") {
            $0["x"] = .array(type: 10, length: 1 << 28, bytes: [])
        },
        Damage("arrays in arrays in arrays", "nested too deeply") { file in
            var inner: [UInt8] = []
            for _ in 0..<8 {
                GGUFBytes.append(UInt32(9), to: &inner)
                GGUFBytes.append(UInt64(1), to: &inner)
            }
            file["x"] = .array(type: 9, length: 1, bytes: inner)
        },
        Damage("unknown metadata type", "unknown metadata type 77") { $0["x"] = .raw(type: 77, bytes: []) },
        Damage("alignment of three", "power of two") { $0["general.alignment"] = .uint32(3) },
        Damage("unknown tensor type", "type 4, which this ggml does not know") {
            $0.edit("output.weight") { $0.type = 4 }
        },
        Damage("tensor type beyond all", "does not know") { $0.edit("output.weight") { $0.type = .max } },
        Damage("no dimensions", "0 dimensions") { $0.edit("output.weight") { $0.dimensions = [] } },
        Damage("five dimensions", "5 dimensions") {
            $0.edit("output.weight") { $0.dimensions = [1, 1, 1, 1, 1] }
        },
        Damage("extent of zero", "impossible dimensions") {
            $0.edit("output.weight") { $0.dimensions = [64, 0] }
        },
        Damage("dimensions that overflow", "impossible dimensions") {
            $0.edit("output.weight") { $0.dimensions = [1 << 40, 1 << 40] }
        },
        Damage("extent of 2⁶³", "elements in tensor") {
            $0.edit("output.weight") { $0.dimensions = [1 << 63] }
        },
        Damage("misaligned offset", "not aligned") { $0.edit("output.weight") { $0.offset = 7 } },
        Damage("offset beyond the file", "beyond the file's end") {
            $0.edit("output.weight") { $0.offset = 1 << 50 }
        },
        Damage("offset near 2⁶²", "beyond the file's end") {
            $0.edit("output.weight") { $0.offset = 1 << 62 - 32 }
        },
        Damage("tensor listed twice", "listed twice") { $0.tensors.append($0.tensors[0]) },
    ]

    @Test("Damaged files are refused as damaged", arguments: damaged)
    func refusesDamaged(damage: Damage) throws {
        var parts = Self.small.parts()
        damage.spoil(&parts)
        let refusal = try #require(try Self.refusal(parts.bytes))
        guard case .modelFile = refusal.error else {
            Issue.record("\(refusal.error)")
            return
        }
        try Self.expectRefused(parts.bytes, saying: damage.words)
    }

    static let unsuitable: [Damage] = [
        Damage("no architecture", "no general.architecture") { $0["general.architecture"] = nil },
        Damage("another architecture", "architecture 'qwen2' is not supported; use") {
            $0["general.architecture"] = .string("qwen2")
        },
        Damage("mixture of experts", "8 experts") { $0["llama.expert_count"] = .uint32(8) },
        Damage("YaRN scaling", "rotary scaling 'yarn'") {
            $0["llama.rope.scaling.type"] = .string("yarn")
            $0["llama.rope.scaling.factor"] = .float32(4)
        },
        Damage("attention factor", "attn_factor") { $0["llama.rope.scaling.attn_factor"] = .float32(2) },
        Damage("not causal", "attention.causal") { $0["llama.attention.causal"] = .bool(false) },
        Damage("scaling factor of a wrong type", "not a positive number") {
            $0["llama.rope.scaling.factor"] = .uint32(2)
        },
        Damage("no block count", "lacks llama.block_count") { $0["llama.block_count"] = nil },
        Damage("block count of zero", "block_count is not") { $0["llama.block_count"] = .uint32(0) },
        Damage("negative block count", "block_count is not") { $0["llama.block_count"] = .int32(-1) },
        Damage("a million blocks", "claims 1000000 blocks") { $0["llama.block_count"] = .uint32(1_000_000) },
        Damage("more blocks than tensors", "block 2 lacks") { $0["llama.block_count"] = .uint32(2) },
        Damage("heads listed block by block", "head_count is not") {
            $0["llama.attention.head_count"] = .array(type: 4, length: 1, bytes: [2, 0, 0, 0])
        },
        Damage("more heads than the width", "head sizes 0/0") {
            $0["llama.attention.head_count"] = .uint32(1 << 20)
        },
        Damage("heads that cannot share", "cannot share") {
            $0["llama.attention.head_count"] = .uint32(4)
            $0["llama.attention.head_count_kv"] = .uint32(3)
        },
        Damage("infinite epsilon", "epsilon is not") {
            $0["llama.attention.layer_norm_rms_epsilon"] = .float32(.infinity)
        },
        Damage("width is another", "expected") { $0["llama.embedding_length"] = .uint32(32) },
        Damage("missing block tensor", "lacks blk.0.ffn_up.weight") {
            $0.tensors.removeAll { $0.name == "blk.0.ffn_up.weight" }
        },
        Damage("missing embedding", "lacks token_embd.weight") {
            $0.tensors.removeAll { $0.name == "token_embd.weight" }
        },
        Damage("missing norm", "output_norm.weight") {
            $0.tensors.removeAll { $0.name == "output_norm.weight" }
        },
        Damage("matrix of a wrong shape", "blk.0.attn_k.weight is [32, 64]") {
            $0.edit("blk.0.attn_k.weight") { $0.dimensions = [32, 64] }
        },
        Damage("norm of 16-bit floats", "must be 32-bit floats") {
            $0.edit("blk.0.attn_norm.weight") { $0.type = GGML_TYPE_F16.rawValue }
        },
        Damage("matrix of integers", "cannot be multiplied") {
            $0.edit("blk.0.attn_q.weight") { $0.type = GGML_TYPE_I16.rawValue }
        },
        Damage("unknown block tensor", "not a tensor of a Llama block") {
            $0.edit("blk.0.ffn_up.weight") { $0.name = "blk.0.ffn_up_exps.weight" }
            $0.tensors.append($0.tensors[0])
            $0.tensors[$0.tensors.count - 1].name = "blk.0.ffn_up.weight"
        },
    ]

    @Test("Files that our graph would compute wrongly are refused as unsupported", arguments: unsuitable)
    func refusesUnsuitable(damage: Damage) throws {
        var parts = Self.small.parts()
        damage.spoil(&parts)
        try Self.expectRefused(parts.bytes, saying: damage.words)
        guard case .unsupportedModel = try Self.refusal(parts.bytes)?.error else {
            Issue.record("not refused as unsupported")
            return
        }
    }

    @Test("A file cut off anywhere is refused")
    func truncated() throws {
        let parts = Self.small.parts()
        let bytes = parts.bytes
        #expect(try Self.refusal(bytes) == nil)
        let header = parts.header.count
        var cuts = Array(stride(from: 0, to: header, by: 13))
        cuts += stride(from: header, to: bytes.count - 64, by: 1999)
        for cut in cuts { try Self.expectRefused(Array(bytes.prefix(cut)), saying: "not a usable GGUF file") }
    }

    @Test("A missing file, a directory and an empty file are refused with what to give")
    func notAFile() throws {
        for path in ["/nonexistent/model.gguf", FileManager.default.temporaryDirectory.path] {
            do {
                _ = try LlamaFile(path: path)
                Issue.record("\(path) was accepted")
            } catch {
                #expect(error.description.contains(path) && error.description.contains("give the path"))
            }
        }
        try Self.expectRefused([], saying: "does not begin with 'GGUF'")
    }

    @Test("Mutated headers neither crash nor hang the reader: seeded, CHAINSERVE_FUZZ_COUNT of them")
    func mutatedHeaders() throws {
        let environment = ProcessInfo.processInfo.environment
        let rounds = environment["CHAINSERVE_FUZZ_COUNT"].flatMap { Int($0) } ?? 20_000
        let seed = environment["CHAINSERVE_FUZZ_SEED"].flatMap { UInt64($0) } ?? 1
        var generator = SeededGenerator(seed: seed)
        let parts = Self.small.parts()
        let header = parts.header
        let file = try TemporaryFile(parts.bytes)
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: file.path))
        defer { try? handle.close() }
        var accepted = 0
        for _ in 0..<rounds {
            let mutated = Self.mutated(header, &generator)
            try handle.seek(toOffset: 0)
            try handle.write(contentsOf: Data(mutated))
            do throws(EngineError) {
                let model = try LlamaFile(path: file.path)
                _ = model.shape(name: "m", sequenceLength: 64)
                accepted += 1
            } catch {
                if !error.description.contains(file.path) { Issue.record("seed \(seed): \(error)") }
            }
        }
        // Names, padding and numbers that do not matter may change; most changes must be noticed.
        #expect(accepted < rounds / 2, "seed \(seed): \(accepted) of \(rounds) accepted")
    }

    /// One to four bytes replaced, set to an extreme, or a stretch of the header written elsewhere in it.
    private static func mutated(_ header: [UInt8], _ generator: inout SeededGenerator) -> [UInt8] {
        var bytes = header
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let place = Int.random(in: 0..<bytes.count, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 0...255, using: &generator)
            case 1: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &generator)
            case 2: for index in place..<min(bytes.count, place + 8) { bytes[index] = 0xFF }
            default:
                let source = Int.random(in: 0..<bytes.count - 16, using: &generator)
                let target = Int.random(in: 0..<bytes.count - 16, using: &generator)
                bytes.replaceSubrange(target..<target + 16, with: header[source..<source + 16])
            }
        }
        return bytes
    }
}
