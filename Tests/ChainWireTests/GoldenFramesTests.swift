import ChainModel
import Foundation
import NIOCore
import Testing

@testable import ChainWire

/// Frames in hexadecimal that ends in other languages compare theirs with: the PETALS worker's tests read the same file.
///
/// The file is ChainWire's own output (a regression test here, the reference there). After a change of the protocol, run
/// with `CHAINSERVE_WRITE_FRAMES=1` to write it anew, and raise `wireProtocolVersion`.
@Suite struct GoldenFramesTests {
    static let path = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .appendingPathComponent("../../integrations/petals/tests/frames.json").standardizedFileURL

    private struct Frames: Codable, Equatable {
        var about: String
        var version: UInt16
        var frames: [String: String]
    }

    private static let samples: [String: Message] = {
        let piece = StepPiece(
            job: 1, step: 2, position: 600, tokenCount: 512, offset: 0,
            hidden: ByteBuffer(bytes: (0..<24).map { UInt8($0) }))
        var health = NodeHealth()
        health.state = .ready
        health.unitsUsed = 39
        health.unitsTotal = 40
        health.openJobs = 4
        health.queueDepth = 3
        health.stepsRun = 1 << 60
        return [
            "hello": .hello(Hello(name: "orchestrator")),
            "helloReply": .helloReply(
                HelloReply(
                    name: "päris-1", memory: ByteCount(1 << 50), isEmulated: true, processID: -1,
                    stepTokens: 512)),
            "goodbye": .goodbye(Goodbye(.draining, "finishing 3 jobs")),
            "goodbyeOfAnotherVersion": .goodbye(Goodbye(.other, "", version: 9)),
            "ping": .ping(id: .max),
            "pong": .pong(id: 7, health: health),
            "load": .load(
                LoadRequest(
                    load: 3, unitCount: Int(Int32.max), sequenceLength: 2048, stepTokens: 512,
                    computeSize: ByteCount(1), threads: 0,
                    manifest: ByteBuffer(string: #"{"modelName":"x"}"#))),
            "loadProgress": .loadProgress(
                LoadProgress(load: 3, stage: .receiving, bytesDone: 5, bytesTotal: 1 << 40)),
            "loaded": .loaded(
                LoadedReport(
                    load: 3, firstBlock: 1, blockCount: 10, width: 576, unitCount: 40, sequenceLength: 2048,
                    stepTokens: 512, memoryUsed: ByteCount(123_456_789), isEmulated: false, wasLoaded: true,
                    checksum: 0x0123_4567_89AB_CDEF)),
            "loadRefused": .loadRefused(load: 3, Refusal(.memoryTooSmall, "24484 bytes declared")),
            "rangeRequest": .rangeRequest(RangeRequest(load: 3, fromOffset: 1 << 33, byteCount: 4 << 20)),
            "rangePiece": .rangePiece(
                RangePiece(
                    load: 3, offset: 1 << 33, crc32: .max, bytes: ByteBuffer(repeating: 0xAB, count: 9))),
            "open": .open(job: 1, firstBlock: 11, blockCount: 20),
            "opened": .opened(job: 1, unitsFree: 0),
            "openRefused": .openRefused(job: 1, Refusal(.cacheFull, "none free")),
            "step": .step(piece),
            "stepResult": .stepResult(piece),
            "stepFailed": .stepFailed(job: 1, step: 2, Refusal(.notFinite, "job 1: not finite")),
            "close": .close(job: .max),
            "closed": .closed(job: .max, unitsFree: 40),
        ]
    }()

    private static var current: Frames {
        Frames(
            about: "Frames made by the Swift module ChainWire (Tests/ChainWireTests/GoldenFramesTests.swift)",
            version: wireProtocolVersion,
            frames: samples.mapValues { message in
                FrameEncoder().bytes(of: message).readableBytesView
                    .map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
            })
    }

    @Test func framesAreThoseOfTheFile() throws {
        #expect(Set(Self.samples.values.map(\.type)) == Set(FrameType.allCases))
        if ProcessInfo.processInfo.environment["CHAINSERVE_WRITE_FRAMES"] != nil {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
            try encoder.encode(Self.current).write(to: Self.path)
        }
        let kept = try JSONDecoder().decode(Frames.self, from: Data(contentsOf: Self.path))
        #expect(kept == Self.current)
    }
}
