import ChainBench
import ChainEngine
import ChainFormats
import ChainOrchestrator
import ChainWire
import Foundation
import NIOCore

/// A parser that strangers' bytes reach. It must end with a value or with one of its own errors, whatever it is given.
protocol FuzzTarget {
    static var name: String { get }
    /// Inputs of a full run.
    static var count: Int { get }
    var mutator: InputMutator { get }

    init() throws
    /// Repairs what a damaged input needs to get past the outermost check, in some cases.
    func finish(_ bytes: inout [UInt8], using generator: inout InputGenerator)
    /// - Returns: whether the input was accepted.
    mutating func parse(_ bytes: [UInt8]) -> Bool
}

extension FuzzTarget {
    func finish(_ bytes: inout [UInt8], using generator: inout InputGenerator) {}
}

/// Frames between orchestrator and block servers.
struct WireTarget: FuzzTarget {
    static let name = "wire"
    static let count = 10_000_000
    let mutator = InputMutator(largestInput: 16 << 10)
    private let limits = WireLimits(
        maximumPieceSize: 4 << 10, maximumManifestSize: 8 << 10, pieceSize: 4 << 10)

    func finish(_ bytes: inout [UInt8], using generator: inout InputGenerator) {
        // Half of them get the right length and checksum, so that the payload is read.
        guard generator.below(2) == 0, bytes.count >= FrameHeader.size else { return }
        var buffer = ByteBuffer(bytes: bytes)
        buffer.setInteger(FrameHeader.magic, at: 0, endianness: .little)
        buffer.setInteger(UInt32(bytes.count - FrameHeader.size), at: 4, endianness: .little)
        var checksum = frameChecksum(buffer.readableBytesView.prefix(FrameHeader.checkedSize))
        checksum = frameChecksum(buffer.readableBytesView.dropFirst(FrameHeader.size), after: checksum)
        buffer.setInteger(checksum, at: 8, endianness: .little)
        bytes = Array(buffer.readableBytesView)
    }

    mutating func parse(_ bytes: [UInt8]) -> Bool {
        var decoder = FrameDecoder(limits: limits)
        // In two parts: frames arrive cut anywhere.
        let cut = bytes.count / 2
        decoder.append(ByteBuffer(bytes: bytes[..<cut]))
        decoder.append(ByteBuffer(bytes: bytes[cut...]))
        do {
            return try decoder.next() != nil
        } catch {
            return false
        }
    }
}

/// Model files. The corpus holds headers; the file is given the size that its tensors need.
struct GGUFTarget: FuzzTarget {
    static let name = "gguf"
    static let count = 1_000_000
    let mutator: InputMutator
    private let path: String
    private let descriptor: Int32

    init() throws {
        let words = [
            "llama.block_count", "general.alignment", "token_embd.weight", "blk.0.attn_q.weight",
            "llama.expert_count",
            "llama.rope.scaling.type", "GGUF", "general.architecture",
        ]
        mutator = InputMutator(
            dictionary: words.map { Array($0.utf8) } + [[9, 0, 0, 0, 9, 0, 0, 0], [8, 0, 0, 0]])
        // In memory where there is such a place.
        let folder =
            FileManager.default.isWritableFile(atPath: "/dev/shm") ? "/dev/shm" : NSTemporaryDirectory()
        path = folder + "/chainserve-fuzz-\(ProcessInfo.processInfo.processIdentifier).gguf"
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
        guard descriptor >= 0 else {
            throw CocoaError(.fileWriteNoPermission, userInfo: [NSFilePathErrorKey: path])
        }
    }

    mutating func parse(_ bytes: [UInt8]) -> Bool {
        guard ftruncate(descriptor, 0) == 0, pwrite(descriptor, bytes, bytes.count, 0) == bytes.count,
            ftruncate(descriptor, off_t(bytes.count + (1 << 20))) == 0
        else { fatalError("the temporary file \(path) cannot be written: is its disk full?") }
        do {
            let file = try LlamaFile(path: path)
            _ = file.shape(name: "fuzz", sequenceLength: 256)
            return true
        } catch {
            return false
        }
    }

    /// Takes the temporary file away.
    func remove() { unlink(path) }
}

/// Cluster files in YAML or JSON, as far as the cluster they describe.
struct ClusterTarget: FuzzTarget {
    static let name = "cluster"
    static let count = 1_000_000
    let mutator = InputMutator(
        dictionary: [
            "servers:", "- name: a", "memory: 40 GB", "block_time: 1e308", "&a", "*a", "!!binary", "|", ">",
            "? ", "- ",
            "\n---\n", "~", ".inf", ".nan", "0x", "1e999", "-1", "{", "}", "[", "]", "\"", "'", "#", "\t",
            "device:",
            "round_trip_time: 20 ms", "model:", "<<: *a", "\u{FEFF}", "\\u0000", "\\ud800",
        ].map { Array($0.utf8) })

    mutating func parse(_ bytes: [UInt8]) -> Bool {
        let text = String(decoding: bytes, as: UTF8.self)
        let isJSON = bytes.first == UInt8(ascii: "{")
        do {
            let file = try ClusterFile.parse(text, file: isJSON ? "fuzz.json" : "fuzz.yaml")
            _ = file.yaml
            return true
        } catch {
            return false
        }
    }
}

/// Answers of a service that is measured.
struct EventsTarget: FuzzTarget {
    static let name = "events"
    static let count = 1_000_000
    let mutator = InputMutator(
        dictionary: ["data:", "data: ", "event: ", "id: ", "\r\n", "\n\n", "\r", ":", "\u{FEFF}", "\u{0}"]
            .map { Array($0.utf8) })

    mutating func parse(_ bytes: [UInt8]) -> Bool {
        var parser = ServerSentEventParser(largestEvent: 4096)
        var events: [ServerSentEventParser.Event] = []
        do {
            try parser.append(bytes, into: &events)
            return !events.isEmpty
        } catch {
            return false
        }
    }
}

/// Bodies of requests to the gateway: JSON, and the fields in it.
struct RequestsTarget: FuzzTarget {
    static let name = "requests"
    static let count = 1_000_000
    let mutator = InputMutator(
        dictionary: [
            "\"messages\":", "\"prompt\":", "\"stop\":", "\"stream\":true", "\"logprobs\":",
            "\"max_tokens\":",
            "{", "}", "[", "]", "[[[[[[[[[[[[[[[[", "\"", "\\u0000", "\\ud800", "\\udc00", "1e999", "-0",
            "1E400",
            "9223372036854775808", "null", "true", ",", ":", "\u{FEFF}", "\u{0}",
        ].map { Array($0.utf8) })

    mutating func parse(_ bytes: [UInt8]) -> Bool {
        RequestBody.problem(bytes, isChat: bytes.count.isMultiple(of: 2)) == nil
    }
}
