import ChainDispatch
import ChainEngine
import ChainModel
import Foundation
import GRDB
import Testing

@testable import ChainOrchestrator

/// A file of a test's own.
private func withJournal(_ body: (JournalConfiguration) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.path + "/chainserve-journal-\(UUID().uuidString)"
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try await body(JournalConfiguration(path: folder + "/journal.db"))
}

private let setting = JournalRun(configuration: ControlConfiguration(), servers: ["a"], model: "m")

private func open(_ configuration: JournalConfiguration) throws -> Journal {
    try Journal(configuration, run: setting, logger: ServiceFixture.quietLogger())
}

private func request(_ id: String) -> GenerationRequest {
    GenerationRequest(requestID: id, model: "m", input: .text("a secret prompt"), maximumTokens: 5)
}

private func accepted(_ job: UInt64, _ id: String) -> JournalEntry {
    .accepted(job: JobID(job), request(id), seed: .max, promptTokens: 3, resumes: nil)
}

@Suite("Journal")
struct JournalTests {
    @Test("What was written is found again; only its owner may read it")
    func roundTrip() async throws {
        try await withJournal { configuration in
            let journal = try open(configuration)
            journal.add(accepted(1, "one"))
            journal.add(accepted(2, "two"))
            let result = GenerationResult(
                reason: .length, promptTokens: 3, completionTokens: 2, chain: "a", attempts: 2)
            let position = journal.add(
                .ended(job: JobID(1), JournalOutcome(kind: .finished, result: result, tokens: [7, -1])))
            #expect(await journal.waitUntilWritten(position) == nil)
            for suffix in ["", "-wal", "-shm"] {
                let attributes = try FileManager.default.attributesOfItem(atPath: configuration.path + suffix)
                #expect((attributes[.posixPermissions] as? Int) == 0o600)
            }
            #expect(throws: JournalError.inUse(configuration.path)) { try open(configuration) }
            journal.close()

            let later = try open(configuration)
            defer { later.close() }
            let left = try later.unfinished()
            #expect(left.map(\.requestID) == ["two"])
            #expect(left.first?.request?.sampling.seed == .max)
            let one = try #require(try later.latest(requestID: "one"))
            #expect(one.status == .finished && one.tokens == [7, -1] && one.result == result)
            #expect(later.run == 2)
        }
    }

    /// Two runs: a request that ended, one that was cut off and went on later, one whose arrival was refused, and one
    /// that never ended.
    @Test("As a workload, requests come when they came and are as long as they became, each once")
    func asAWorkload() async throws {
        try await withJournal { configuration in
            func arrived(_ job: UInt64, at nanoseconds: Int64) -> JournalEntry {
                let arrival = JobArrival(job: JobID(job), client: ClientID(1), holder: TicketHolder(job))
                return .step(
                    JournalStep(
                        at: Instant(nanoseconds: nanoseconds), event: .jobArrived(arrival), actions: []))
            }
            let result = GenerationResult(
                reason: .length, promptTokens: 3, completionTokens: 9, chain: "a", attempts: 1)
            let first = try open(configuration)
            for entry in [
                arrived(1, at: 1_000_000_000), accepted(1, "one"), arrived(2, at: 1_000_000_001),
                accepted(2, "two"), arrived(3, at: 1_500_000_000), arrived(4, at: 2_000_000_000),
                accepted(4, "four"),
            ] { first.add(entry) }
            first.add(.ended(job: JobID(1), JournalOutcome(kind: .cancelled, tokens: [7, 8])))
            first.close()
            let second = try open(configuration)
            second.add(
                .accepted(
                    job: JobID(1), request("two"), seed: 1, promptTokens: 3,
                    resumes: JournalKey(run: 1, job: 2)))
            let outcome = JournalOutcome(
                kind: .finished, result: result, tokens: Array(repeating: 1, count: 9))
            second.add(.ended(job: JobID(1), outcome))
            second.close()

            let arrivals = try JournalReader(path: configuration.path).arrivals()
            #expect(arrivals.map(\.completionTokens) == [2, 9, nil])
            #expect(arrivals.map(\.promptTokens) == [3, 3, 3])
            #expect(arrivals.map { $0.time - arrivals[0].time } == [0, 1, 1_000_000_000])
        }
    }

    @Test("Without texts neither prompts nor answers are on the disk")
    func withoutTexts() async throws {
        try await withJournal { configuration in
            var configuration = configuration
            configuration.keepsTexts = false
            let journal = try open(configuration)
            journal.add(accepted(1, "one"))
            journal.add(.ended(job: JobID(1), JournalOutcome(kind: .finished, tokens: [1, 2, 3])))
            journal.close()
            let reader = try JournalReader(path: configuration.path)
            let one = try #require(try reader.requests().first)
            #expect(one.request == nil && one.tokens == nil && one.completionTokens == 3)
            let bytes = try Data(contentsOf: URL(fileURLWithPath: configuration.path))
            #expect(bytes.range(of: Data("secret".utf8)) == nil)
        }
    }

    @Test("A full disk refuses new requests; what waited is written when there is room again")
    func fullDisk() async throws {
        try await withJournal { configuration in
            var configuration = configuration
            configuration.hardSizeLimit = ByteCount(64 * 4096)
            configuration.retryInterval = .milliseconds(20)
            let journal = try open(configuration)
            defer { journal.close() }
            var failure: JournalError?
            var number: UInt64 = 0
            while failure == nil, number < 400 {
                number += 1
                var long = request("r\(number)")
                long.input = .text(String(repeating: "0123456789", count: 500))
                let position = journal.add(
                    .accepted(job: JobID(number), long, seed: 1, promptTokens: 1, resumes: nil))
                failure = await journal.waitUntilWritten(position)
            }
            guard case .notWritable? = failure else {
                Issue.record("ended with \(String(describing: failure))")
                return
            }
            #expect(journal.problem != nil)
            // Room is made as an operator would: what has ended goes.
            let other = try DatabaseQueue(path: configuration.path)
            try await other.write { try $0.execute(sql: "DELETE FROM request WHERE job < 30") }
            try other.close()
            try await eventually("it is written again") { journal.problem == nil }
            let last = number
            try await eventually("the last one is there") {
                try JournalReader(path: configuration.path).requests().contains { $0.key.job == last }
            }
        }
    }

    @Test("What is old or too much is removed, what is not ended stays")
    func bounds() async throws {
        try await withJournal { configuration in
            let journal = try open(configuration)
            for job in 1...200 as ClosedRange<UInt64> {
                journal.add(accepted(job, "r\(job)"))
                if job > 5 { journal.add(.ended(job: JobID(job), JournalOutcome(kind: .cancelled))) }
            }
            journal.close()
            let store = try JournalStore(configuration)
            try store.prune(endedBefore: 0, size: ByteCount(1), currentRun: 1)
            #expect(try store.requests(where: "1", limit: nil).map(\.key.job) == [5, 4, 3, 2, 1])
            try store.database.close()
        }
    }

    @Test("Other files, and journals of a later release, are refused in words")
    func foreignFiles() async throws {
        try await withJournal { configuration in
            let folder = (configuration.path as NSString).deletingLastPathComponent
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
            try Data(repeating: 0x41, count: 8192).write(to: URL(fileURLWithPath: configuration.path))
            #expect(throws: JournalError.notAJournal(configuration.path)) { try open(configuration) }
            try FileManager.default.removeItem(atPath: configuration.path)
            try open(configuration).close()
            let queue = try DatabaseQueue(path: configuration.path)
            try await queue.write { try $0.execute(sql: "PRAGMA user_version = 99") }
            try queue.close()
            #expect(throws: JournalError.newerVersion(configuration.path, version: 99)) {
                try open(configuration)
            }
        }
    }

    @Test("Steps expand to what they were")
    func compression() throws {
        let data = Data((0..<10_000).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 3) })
        #expect(Deflate.expand(Deflate.compress(data), size: data.count) == data)
        #expect(Deflate.expand(Deflate.compress(data), size: data.count - 1) == nil)
    }
}

extension FaultTests {
    @Test("A journal that cannot be written: new requests are refused with the reason, running ones go on")
    func fullJournal() async throws {
        try await withJournal { journal in
            var journal = journal
            journal.hardSizeLimit = ByteCount(64 * 4096)
            let model = ModelShape(
                name: "emulated", blockCount: 2, blockSize: ByteCount(1000), cacheSize: ByteCount(100))
            var wish = ServiceFixture.Wish(
                cluster: Cluster(
                    model: model, demand: Demand(arrivalRate: 1),
                    servers: [
                        Server(
                            name: "s0", memory: ByteCount(4000), communicationTimeSeconds: 0.01,
                            blockTimeSeconds: 0.01)
                    ]),
                placement: [BlockRange(first: 1, count: 2)], sequenceLength: 40_000)
            wish.profile = EmulatedProfile(stepSeconds: 0.005)
            wish.journal = journal
            try await ServiceFixture.with(wish) { pool in
                try await pool.orchestrator.waitUntilReady()
                async let running = pool.generate(pool.request("running", .text("hello"), tokens: 600))
                try await eventually("it runs") {
                    await pool.orchestrator.status().chains.contains { $0.running > 0 }
                }
                let long = String(repeating: "0123456789", count: 3000)
                var refusal: GenerationRefusal?
                for number in 0..<40 where refusal == nil {
                    do throws(GenerationRefusal) {
                        let stream = try await pool.orchestrator.submit(
                            pool.request("r\(number)", .text(long), tokens: 1))
                        stream.cancel()
                    } catch {
                        refusal = error
                    }
                }
                #expect(refusal == .unavailable(retryAfter: 5, reason: "journal-not-writable"))
                let answer = try await running
                guard case .finished(let result)? = answer.end else {
                    Issue.record("ended with \(String(describing: answer.end))")
                    return
                }
                #expect(result.completionTokens == 600)
            }
        }
    }
}
