import ChainEngine
import ChainModel
import ChainWire
import Foundation
import NIOCore
import Synchronization
import Testing

@testable import ChainNode
@testable import ChainOrchestrator

@Suite struct LoadingTests {
    let model = TestModel()

    func assignment(_ manifest: BlockManifest, unitCount: Int = 8) -> LoadAssignment {
        LoadAssignment(manifest: manifest, unitCount: unitCount, sequenceLength: 512)
    }

    @Test func receivesARange() async throws {
        let large = TestModel(blockCount: 3, tensorBytes: 700_001)
        let configure: (inout BlockServerConfiguration) -> Void = { $0.bounds.rangeWindow = 300_000 }
        try await withServer(configure) { test in
            let link = try await test.connect()
            let manifest = large.manifest()
            let source = MemoryModel(manifest)
            let received = Mutex(0)
            let report = try await link.load(assignment(manifest), rangeSource: source) { progress in
                guard progress.stage == .receiving else { return }
                received.withLock { $0 = max($0, progress.bytesDone) }
            }
            let unit = 2 * 1 * 4 * 2 * 512
            #expect(report.memoryUsed == ByteCount(manifest.totalBytes + 8 * unit))
            #expect(report.limits.range == BlockRange(first: 1, count: 3))
            #expect(report.limits.unitCount == 8)
            #expect(!report.wasLoaded)
            #expect(received.withLock { $0 } == manifest.totalBytes)
            #expect(source.reads == manifest.tensors.map(\.name))
            #expect(test.probe.tensorsRead.withLock { $0 } == 6)
            await link.shutdown()
        }
    }

    @Test func sameLoadAgainIsAnsweredAtOnce() async throws {
        try await withServer { test in
            let manifest = model.manifest()
            var link = try await test.connect()
            _ = try await link.load(assignment(manifest), rangeSource: MemoryModel(manifest))
            let again = try await link.load(assignment(manifest), rangeSource: MemoryModel(manifest))
            #expect(again.wasLoaded)
            await link.shutdown()
            // Blocks stay loaded over connections.
            link = try await connectAgain(test)
            #expect(try await link.load(assignment(manifest), rangeSource: MemoryModel(manifest)).wasLoaded)
            #expect(test.probe.tensorsRead.withLock { $0 } == 8)
            // Other limits: made anew, from what was received.
            let source = MemoryModel(manifest)
            let larger = try await link.load(assignment(manifest, unitCount: 9), rangeSource: source)
            #expect(!larger.wasLoaded)
            #expect(larger.limits.unitCount == 9)
            #expect(source.reads.isEmpty)
            await link.shutdown()
        }
    }

    @Test func doesNotReloadUnderOpenJobs() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded(model)
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            let other = model.manifest(first: 1, count: 2)
            let error = await linkError {
                _ = try await link.load(assignment(other), rangeSource: MemoryModel(other))
            }
            #expect(error?.refusalCode == .busy)
            link.close(job: EngineJobID(1))
            _ = try await link.load(assignment(other), rangeSource: MemoryModel(other))
            #expect(try await link.open(job: EngineJobID(1), firstBlock: 2, blockCount: 1) == 7)
            await link.shutdown()
        }
    }

    @Test func refusesWhatItsMemoryCannotHold() async throws {
        // 8 tensors of 1,000 bytes, units of 2·4·2·512 = 8,192 bytes.
        let configure: (inout BlockServerConfiguration) -> Void = {
            $0.memory = ByteCount(8000 + 2 * 8192 + 100)
        }
        try await withServer(configure) { test in
            let link = try await test.connect()
            let manifest = model.manifest()
            var wanted = assignment(manifest, unitCount: 2)
            wanted.computeSize = ByteCount(101)
            let source = MemoryModel(manifest)
            let error = await linkError { _ = try await link.load(wanted, rangeSource: source) }
            #expect(
                error
                    == .refused(
                        .memoryTooSmall,
                        "node declares 24484 bytes, but 24485 are needed: 8000 for the parameters,"
                            + " 2 cache units of 8192 and 101 to compute in; start it with the memory that the"
                            + " cluster file gives it, or correct it there"))
            #expect(source.reads.isEmpty)
            #expect(test.server.health.unitsTotal == 0)
            wanted.computeSize = ByteCount(100)
            #expect(try await link.load(wanted, rangeSource: source).memoryUsed == ByteCount(24484))
            wanted.unitCount = 1 << 40
            let huge = await linkError { _ = try await link.load(wanted, rangeSource: source) }
            #expect(huge?.refusalCode == .memoryTooSmall)
            await link.shutdown()
        }
    }

    @Test func readsItsOwnFile() async throws {
        let file = MemoryModel(model.manifest())
        try await withServer(localModel: file) { test in
            let link = try await test.connect()
            let manifest = model.manifest(first: 2, count: 2)
            let source = MemoryModel(manifest)
            _ = try await link.load(assignment(manifest), rangeSource: source)
            #expect(source.reads.isEmpty)
            #expect(file.reads == manifest.tensors.map(\.name))
            await link.shutdown()
        }
    }

    @Test func refusesAnotherModelsFile() async throws {
        var other = model.manifest()
        other.tensors[3].crc32 ^= 1
        try await withServer(localModel: MemoryModel(other)) { test in
            let link = try await test.connect()
            var manifest = model.manifest()
            let error = await linkError {
                _ = try await link.load(assignment(manifest), rangeSource: MemoryModel(manifest))
            }
            #expect(
                error
                    == .wrongModel(
                        "model.gguf is not the model test that is served: the tensor blk.1.ffn_up.weight"
                            + " has other values (its checksum differs)"))
            manifest.tensors[0].type = 8
            let type = await linkError {
                _ = try await link.load(assignment(manifest), rangeSource: MemoryModel(manifest))
            }
            #expect(type?.text.contains("blk.0.attn_q.weight has type 0 instead of 8") == true)
            // What is right in both can be loaded.
            let first = model.manifest(first: 1, count: 1)
            _ = try await link.load(assignment(first), rangeSource: MemoryModel(first))
            await link.shutdown()
        }
    }

    @Test func goesOnAfterAnInterruption() async throws {
        try await withServer { test in
            let manifest = model.manifest()
            let failing = MemoryModel(manifest, faults: .init(readsUntilFailure: 5))
            var link = try await test.connect()
            let error = await linkError {
                _ = try await link.load(assignment(manifest), rangeSource: failing)
            }
            #expect(error == .refused(.storage, "the model cannot be read: the disk is gone"))
            #expect(link.closed != nil)
            link = try await connectAgain(test)
            let source = MemoryModel(manifest)
            _ = try await link.load(assignment(manifest), rangeSource: source)
            #expect(source.reads == manifest.tensors.dropFirst(5).map(\.name))
            #expect(try FileManager.default.contentsOfDirectory(atPath: test.folder).count == 1)
            await link.shutdown()
        }
    }

    @Test func asksAgainForWrongBytes() async throws {
        try await withServer { test in
            let manifest = model.manifest()
            let name = manifest.tensors[2].name
            let source = MemoryModel(manifest, faults: .init(wrongReads: [name: 1]))
            let link = try await test.connect()
            _ = try await link.load(assignment(manifest), rangeSource: source)
            #expect(source.reads.filter { $0 == name }.count == 2)
            await link.shutdown()
        }
    }

    @Test func givesUpOnBytesThatStayWrong() async throws {
        try await withServer { test in
            let manifest = model.manifest()
            let name = manifest.tensors[2].name
            let source = MemoryModel(manifest, faults: .init(wrongReads: [name: .max]))
            let link = try await test.connect()
            let error = await linkError { _ = try await link.load(assignment(manifest), rangeSource: source) }
            #expect(error == .refused(.badRange, "the tensor \(name) came with a wrong checksum"))
            #expect(source.reads.filter { $0 == name }.count == 3)
            #expect(test.server.health.unitsTotal == 0)
            #expect(link.closed == nil)
            await link.shutdown()
        }
    }

    @Test func corruptPieceIsDetected() async throws {
        try await withServer { test in
            let manifest = model.manifest()
            let client = try await RawClient.connect(port: test.port)
            client.send(.hello(Hello(name: "raw")))
            let json = ByteBuffer(bytes: try manifest.encoded())
            client.send(
                .load(
                    LoadRequest(
                        load: 1, unitCount: 4, sequenceLength: 256, stepTokens: 8, computeSize: .zero,
                        threads: 0,
                        manifest: json)))
            // A piece whose own checksum is wrong, in a frame whose checksum is right: asked for again,
            // twice.
            var requests = 0
            for await message in client.messages {
                if case .rangeRequest(let request) = message {
                    requests += 1
                    #expect(request.fromOffset == 0)
                    let piece = RangePiece(
                        load: 1, offset: 0, crc32: 1, bytes: ByteBuffer(repeating: 0, count: 99))
                    client.send(.rangePiece(piece))
                }
                if case .loadRefused(_, let refusal) = message {
                    #expect(refusal.code == .badRange)
                    break
                }
            }
            #expect(requests == 3)
            await client.close()
        }
    }

    @Test func refusesImpossibleManifests() async throws {
        try await withServer { test in
            let client = try await RawClient.connect(port: test.port)
            client.send(.hello(Hello(name: "raw")))
            var broken = model.manifest()
            broken.tensors[0].dimensions = [1 << 40]
            let texts = [ByteBuffer(string: "{"), ByteBuffer(bytes: try broken.encoded()), ByteBuffer()]
            for (index, text) in texts.enumerated() {
                client.send(
                    .load(
                        LoadRequest(
                            load: UInt64(index), unitCount: 4, sequenceLength: 256, stepTokens: 8,
                            computeSize: .zero, threads: 0, manifest: text)))
            }
            var codes: [Refusal.Code] = []
            for await message in client.messages {
                if case .loadRefused(_, let refusal) = message { codes.append(refusal.code) }
                if codes.count == 3 { break }
            }
            #expect(codes == [.badManifest, .badManifest, .badManifest])
            await client.close()
        }
    }
}

/// Connects as soon as the server has noticed that the orchestrator before is gone.
func connectAgain(_ test: TestServer) async throws -> NodeLink {
    let deadline = ContinuousClock.now + .seconds(60)
    while true {
        do {
            return try await test.connect()
        } catch LinkError.refused(.busy, _) where ContinuousClock.now < deadline {
            try await Task.sleep(for: .milliseconds(2))
        }
    }
}
