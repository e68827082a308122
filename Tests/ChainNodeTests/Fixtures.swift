import ChainEngine
import ChainModel
import ChainWire
import Dispatch
import Foundation
import Logging
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ChainNode
@testable import ChainOrchestrator

/// A small model whose tensors are made of counted bytes.
struct TestModel {
    /// Blocks that the test's server hosts.
    var blockCount = 4
    /// Blocks of the model after those; with none, the server returns the last token's state alone.
    var blocksBeyond = 1
    var width = 8
    var tensorBytes = 1000

    var parameters: LlamaParameters {
        LlamaParameters(
            architecture: "llama", blockCount: blockCount + blocksBeyond, embeddingWidth: width, headCount: 2,
            keyValueHeadCount: 1, headSize: 4, feedForwardWidth: 16, normEpsilon: 1e-5, ropeDimensionCount: 4,
            ropeFrequencyBase: 10000, ropeFrequencyScale: 1, contextLength: 512, vocabularySize: 32)
    }

    func manifest(first: Int = 1, count: Int? = nil) -> BlockManifest {
        let range = BlockRange(first: first, count: count ?? blockCount)
        let tensors = (range.first..<range.end).flatMap { block in
            ["attn_q", "ffn_up"].map { part in
                let name = "blk.\(block - 1).\(part).weight"
                return TensorEntry(
                    name: name, type: 0, dimensions: [tensorBytes / 4], byteCount: tensorBytes,
                    crc32: CRC32.of(Self.bytes(of: name, count: tensorBytes)))
            }
        }
        return BlockManifest(modelName: "test", parameters: parameters, range: range, tensors: tensors)
    }

    static func bytes(of name: String, count: Int) -> [UInt8] {
        let seed = name.utf8.reduce(0) { $0 &* 31 &+ Int($1) }
        return (0..<count).map { UInt8(truncatingIfNeeded: seed &+ $0 &* 7) }
    }
}

/// A model in memory, as a source for the orchestrator and as a server's own file. Notes what is read; can
/// be made to fail or to return wrong bytes.
final class MemoryModel: LocalModel {
    struct Faults {
        /// Reads after which every further one throws.
        var readsUntilFailure = Int.max
        /// Tensor names of which a byte is wrong, and in how many reads.
        var wrongReads: [String: Int] = [:]
    }

    let manifest: BlockManifest
    private let state: Mutex<(faults: Faults, reads: [String])>

    init(_ manifest: BlockManifest, faults: Faults = Faults()) {
        self.manifest = manifest
        state = Mutex((faults, []))
    }

    var reads: [String] { state.withLock { $0.reads } }

    func entry(named name: String) throws(EngineError) -> TensorEntry? {
        manifest.tensors.first { $0.name == name }
    }

    func read(_ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer) throws(EngineError) {
        let isWrong: Bool? = state.withLock { state in
            guard state.reads.count < state.faults.readsUntilFailure else { return nil }
            state.reads.append(entry.name)
            guard let left = state.faults.wrongReads[entry.name], left > 0 else { return false }
            state.faults.wrongReads[entry.name] = left - 1
            return true
        }
        guard let isWrong else { throw .modelFile("the disk is gone") }
        destination.copyBytes(from: TestModel.bytes(of: entry.name, count: entry.byteCount))
        if isWrong { destination[0] ^= 0xFF }
    }
}

/// Watches an engine from outside: the batches it ran, and holds it while closed.
final class EngineProbe: Sendable {
    private let batches = Mutex<[[UInt64]]>([])
    private let gate = Mutex(false)
    private let opened = DispatchSemaphore(value: 0)
    /// What each value of a result is set to, if anything.
    let poison = Mutex<Float?>(nil)
    let tensorsRead = Mutex(0)

    var batchSizes: [Int] { batches.withLock { $0.map(\.count) } }

    func closeGate() { gate.withLock { $0 = true } }
    func openGate() {
        gate.withLock { $0 = false }
        opened.signal()
    }

    fileprivate func note(_ steps: [EngineStep]) {
        batches.withLock { $0.append(steps.map(\.job.rawValue)) }
        if gate.withLock({ $0 }) {
            opened.wait()
            opened.signal()
        }
    }
}

/// An emulated engine under a probe. Reads all its tensors when it is made, as a real one does.
final class ProbedEngine: BlockEngine {
    let inner: EmulatedEngine
    let probe: EngineProbe

    init(_ manifest: BlockManifest, _ tensors: any TensorSource, _ limits: EngineLimits, probe: EngineProbe)
        throws(EngineError)
    {
        inner = EmulatedEngine(limits: limits, profile: .instant)
        self.probe = probe
        for tensor in manifest.tensors {
            let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: tensor.byteCount, alignment: 1)
            defer { buffer.deallocate() }
            try tensors.read(tensor, into: buffer)
            guard CRC32.of(UnsafeRawBufferPointer(buffer)) == tensor.crc32 else {
                throw .modelFile("\(tensor.name) was not read as it is")
            }
            probe.tensorsRead.withLock { $0 += 1 }
        }
    }

    var limits: EngineLimits { inner.limits }
    var isEmulated: Bool { true }
    var unitsUsed: Int { inner.unitsUsed }
    var openJobs: Int { inner.openJobs }
    func open(_ job: EngineJobID, firstBlock: Int, blockCount: Int) throws(EngineError) {
        try inner.open(job, firstBlock: firstBlock, blockCount: blockCount)
    }
    func close(_ job: EngineJobID) { inner.close(job) }
    func run(_ steps: [EngineStep]) throws(EngineError) -> [[Float]] {
        probe.note(steps)
        let results = try inner.run(steps)
        guard let poison = probe.poison.withLock({ $0 }) else { return results }
        return results.map { $0.map { _ in poison } }
    }
}

/// A block server on a free loopback port for the time of a test, with what a test needs around it.
struct TestServer: Sendable {
    let server: BlockServer
    let port: Int
    let probe: EngineProbe
    let folder: String

    func connect(_ change: (inout LinkTimeouts) -> Void = { _ in }) async throws -> NodeLink {
        var timeouts = LinkTimeouts()
        // Tests share two cores: only those of a time limit itself set a short one.
        timeouts.silenceLimit = .seconds(60)
        timeouts.connect = .seconds(60)
        timeouts.open = .seconds(60)
        timeouts.ping = .seconds(60)
        change(&timeouts)
        return try await NodeLink.connect(
            host: "127.0.0.1", port: port, name: "test", on: MultiThreadedEventLoopGroup.singleton,
            timeouts: timeouts, logger: quietLogger)
    }

    /// A link to the server with a model loaded.
    func connectLoaded(
        _ model: TestModel = TestModel(), first: Int = 1, count: Int? = nil, unitCount: Int = 40,
        stepTokens: Int = 512, _ change: (inout LinkTimeouts) -> Void = { _ in }
    ) async throws -> NodeLink {
        let link = try await connect(change)
        let manifest = model.manifest(first: first, count: count)
        let assignment = LoadAssignment(
            manifest: manifest, unitCount: unitCount, sequenceLength: 512, stepTokens: stepTokens)
        _ = try await link.load(assignment, rangeSource: MemoryModel(manifest))
        return link
    }

    func waitForNoJobs(_ location: SourceLocation = #_sourceLocation) async {
        await eventually("the server has no jobs left", location) {
            server.health.openJobs == 0 && server.health.unitsUsed == 0 && server.health.queueDepth == 0
        }
    }
}

/// Runs a server around `body`, then checks that nothing is left on it.
func withServer(
    localModel: MemoryModel? = nil, _ configure: (inout BlockServerConfiguration) -> Void = { _ in },
    location: SourceLocation = #_sourceLocation, body: (TestServer) async throws -> Void
) async throws {
    let folder = NSTemporaryDirectory() + "chainserve-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: folder) }
    var configuration = BlockServerConfiguration(
        name: "node", memory: ByteCount(64 << 20), modelPath: localModel == nil ? nil : "model.gguf",
        cacheFolder: folder, engineKind: .emulated, needsTensors: true)
    configuration.bounds.helloTimeout = .seconds(60)
    configure(&configuration)
    let probe = EngineProbe()
    let server = BlockServer(
        configuration: configuration,
        openLocalModel: { _ throws(EngineError) in
            guard let localModel else { throw EngineError.modelFile("there is no file") }
            return localModel
        },
        makeEngine: { manifest, tensors, limits, _ throws(EngineError) in
            try ProbedEngine(manifest, tensors, limits, probe: probe)
        }, logger: quietLogger)
    let port = try await server.start()
    let test = TestServer(server: server, port: port, probe: probe, folder: folder)
    do {
        try await body(test)
    } catch {
        probe.openGate()
        await server.shutdown(drainingFor: .zero)
        throw error
    }
    probe.openGate()
    await test.waitForNoJobs(location)
    await server.shutdown(drainingFor: .zero)
    #expect(server.health.unitsUsed == 0, sourceLocation: location)
}

let quietLogger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

/// Polls until `condition` holds; records an issue when it does not within a minute.
func eventually(
    _ what: Comment, _ location: SourceLocation = #_sourceLocation, _ condition: () -> Bool
) async {
    let deadline = ContinuousClock.now + .seconds(60)
    while !condition() {
        guard ContinuousClock.now < deadline else {
            Issue.record(what, sourceLocation: location)
            return
        }
        try? await Task.sleep(for: .milliseconds(2))
    }
}

/// The error that `body` throws, as a `LinkError`.
func linkError(_ body: () async throws -> Void) async -> LinkError? {
    do {
        try await body()
        return nil
    } catch {
        return error as? LinkError
    }
}

extension LinkError {
    var refusalCode: Refusal.Code? {
        if case .refused(let code, _) = self { code } else { nil }
    }
    var text: String { description }
}
