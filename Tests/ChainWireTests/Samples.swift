import ChainModel
import NIOCore

@testable import ChainWire

/// At least one message of every type, with extreme values where they are allowed.
let sampleMessages: [Message] = [
    .hello(Hello(name: "orchestrator")),
    .hello(Hello(name: "")),
    .helloReply(
        HelloReply(
            name: "päris-1", memory: ByteCount(1 << 50), isEmulated: true, processID: -1, stepTokens: 512)),
    .goodbye(Goodbye(.draining, "finishing 3 jobs")),
    .goodbye(Goodbye(.other, "", version: 9)),
    .ping(id: .max),
    .pong(id: 0, health: NodeHealth()),
    .pong(id: 7, health: busyHealth),
    .load(
        LoadRequest(
            load: 3, unitCount: Int(Int32.max), sequenceLength: 2048, stepTokens: 512,
            computeSize: ByteCount(1),
            threads: 0, manifest: ByteBuffer(string: #"{"modelName":"x"}"#))),
    .load(
        LoadRequest(
            load: 3, unitCount: 1, sequenceLength: 1, stepTokens: 1, computeSize: .zero, threads: 2,
            manifest: ByteBuffer(repeating: 0x20, count: 100_000))),
    .loadProgress(LoadProgress(load: 3, stage: .receiving, bytesDone: 5, bytesTotal: 1 << 40)),
    .loaded(
        LoadedReport(
            load: 3, firstBlock: 1, blockCount: 10, width: 576, unitCount: 40, sequenceLength: 2048,
            stepTokens: 512, memoryUsed: ByteCount(123_456_789), isEmulated: false, wasLoaded: true,
            checksum: .max)),
    .loadRefused(load: 3, Refusal(.memoryTooSmall, "24484 bytes declared")),
    .rangeRequest(RangeRequest(load: 3, fromOffset: 1 << 33, byteCount: 4 << 20)),
    .rangePiece(
        RangePiece(
            load: 3, offset: 1 << 33, crc32: .max, bytes: ByteBuffer(repeating: 0xAB, count: 200_000))),
    .rangePiece(RangePiece(load: 3, offset: 0, crc32: 0, bytes: ByteBuffer())),
    .open(job: 1, firstBlock: 11, blockCount: 20),
    .opened(job: 1, unitsFree: 0),
    .openRefused(job: 1, Refusal(.cacheFull, "none free")),
    .step(stepPiece(byteCount: 2304)),
    .step(stepPiece(byteCount: 128 << 10)),
    .stepResult(stepPiece(byteCount: 4)),
    .stepFailed(job: 1, step: 2, Refusal(.notFinite, "job 1: a hidden state is not a finite number")),
    .close(job: .max),
    .closed(job: .max, unitsFree: 40),
]

private var busyHealth: NodeHealth {
    var health = NodeHealth()
    health.state = .ready
    health.unitsUsed = 39
    health.unitsTotal = 40
    health.openJobs = 4
    health.queueDepth = 3
    health.stepsRun = 1 << 60
    return health
}

func stepPiece(byteCount: Int, offset: Int = 0) -> StepPiece {
    StepPiece(
        job: 1, step: 2, position: 600, tokenCount: 512, offset: offset,
        hidden: ByteBuffer(bytes: (0..<byteCount).map { UInt8(truncatingIfNeeded: $0) }))
}

/// SplitMix64: the same numbers everywhere from one seed.
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
        return value ^ (value >> 31)
    }
}
