import Foundation
import NIOCore
import Testing

@testable import ChainWire

/// Frames from a seed, thrown at the decoder: nothing but messages and `WireError`s may come out, and memory
/// stays bounded. `CHAINSERVE_FUZZ_COUNT` sets the number of frames, `CHAINSERVE_FUZZ_SEED` the seed.
@Suite struct FuzzTests {
    static let environment = ProcessInfo.processInfo.environment
    static let count = environment["CHAINSERVE_FUZZ_COUNT"].flatMap { Int($0) } ?? 100_000
    static let seed = environment["CHAINSERVE_FUZZ_SEED"].flatMap { UInt64($0) } ?? 1

    static let corpus = sampleMessages.map { FrameEncoder().bytes(of: $0) }.filter { $0.readableBytes < 3000 }
    static let limits = WireLimits(
        maximumPieceSize: 4 << 10, maximumManifestSize: 8 << 10, pieceSize: 4 << 10)
    /// The largest frame the limits allow, doubled by the allocator, and what was appended at once.
    static let bound = 2 * (16 << 10) + 32 * 4000

    struct Outcome {
        var messages = 0
        var errors = 0
        var largestBuffer = 0
    }

    @Test func randomAndMutatedFrames() async {
        var generator = SeededGenerator(state: Self.seed)
        var outcome = Outcome()
        var frames = 0
        while frames < Self.count {
            let length = Int.random(in: 1...32, using: &generator)
            feed(&outcome, frameCount: length, using: &generator)
            frames += length
            if frames % 1024 < length { await Task.yield() }
        }
        #expect(outcome.messages > Self.count / 20, "seed \(Self.seed)")
        #expect(outcome.errors > Self.count / 200, "seed \(Self.seed)")
        #expect(outcome.largestBuffer <= Self.bound, "seed \(Self.seed)")
    }

    /// One connection: a run of frames, some of them broken, in parts of any size.
    func feed(_ outcome: inout Outcome, frameCount: Int, using generator: inout SeededGenerator) {
        var stream = ByteBuffer()
        for _ in 0..<frameCount { stream.writeImmutableBuffer(frame(using: &generator)) }
        var decoder = FrameDecoder(limits: Self.limits)
        while stream.readableBytes > 0 {
            let size = min(stream.readableBytes, Int.random(in: 1...4000, using: &generator))
            guard let part = stream.readSlice(length: size) else { return }
            decoder.append(part)
            do throws(WireError) {
                while let message = try decoder.next() {
                    outcome.messages += 1
                    // What was understood can be said again.
                    if outcome.messages.isMultiple(of: 16) { check(message) }
                }
            } catch {
                outcome.errors += 1
                #expect(!error.description.isEmpty)
                return
            }
            outcome.largestBuffer = max(outcome.largestBuffer, decoder.bufferCapacity)
        }
    }

    func check(_ message: Message) {
        if case .hello(let hello) = message, hello.version != wireProtocolVersion { return }
        if case .helloReply(let reply) = message, reply.version != wireProtocolVersion { return }
        var decoder = FrameDecoder(limits: Self.limits)
        decoder.append(FrameEncoder().bytes(of: message))
        #expect((try? decoder.next()) == message, "seed \(Self.seed)")
    }

    func frame(using generator: inout SeededGenerator) -> ByteBuffer {
        var bytes = Self.corpus.randomElement(using: &generator) ?? ByteBuffer()
        switch Int.random(in: 0..<16, using: &generator) {
        case 0:
            bytes = ByteBuffer(
                bytes: (0..<Int.random(in: 1..<64, using: &generator)).map { _ in
                    UInt8.random(in: 0...255, using: &generator)
                })
        case 1: mutate(&bytes, from: 0, using: &generator)
        case 2:
            bytes =
                bytes.getSlice(at: 0, length: Int.random(in: 0..<bytes.readableBytes, using: &generator))
                ?? bytes
        case 3: bytes.setInteger(UInt32.random(in: 0...20_000, using: &generator), at: 4, endianness: .little)
        case 4...8:
            // Broken inside but with a right checksum: reaches the reading of payloads.
            mutate(&bytes, from: FrameHeader.size, using: &generator)
            if Bool.random(using: &generator) {
                let type = FrameType.allCases.randomElement(using: &generator) ?? .ping
                bytes.setInteger(type.rawValue, at: 2)
            }
            seal(&bytes)
        default: break
        }
        return bytes
    }

    func mutate(_ bytes: inout ByteBuffer, from start: Int, using generator: inout SeededGenerator) {
        guard bytes.readableBytes > start else { return }
        for _ in 0..<Int.random(in: 1...4, using: &generator) {
            let index = Int.random(in: start..<min(bytes.readableBytes, start + 64), using: &generator)
            let value: UInt8 =
                [0, 1, 0x7F, 0x80, 0xFF, UInt8.random(in: 0...255, using: &generator)]
                .randomElement(using: &generator) ?? 0
            bytes.setInteger(value, at: index)
        }
        if Int.random(in: 0..<4, using: &generator) == 0 {
            let length = Int.random(in: start...bytes.readableBytes, using: &generator)
            bytes = bytes.getSlice(at: 0, length: length) ?? bytes
        }
    }

    func seal(_ bytes: inout ByteBuffer) {
        bytes.setInteger(UInt32(bytes.readableBytes - FrameHeader.size), at: 4, endianness: .little)
        var checksum = frameChecksum(bytes.readableBytesView.prefix(FrameHeader.checkedSize))
        checksum = frameChecksum(bytes.readableBytesView.dropFirst(FrameHeader.size), after: checksum)
        bytes.setInteger(checksum, at: 8, endianness: .little)
    }
}
