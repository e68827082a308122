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

/// What the journal's thread gets of them.
private func records(
    _ entries: [JournalEntry], run: Int64 = 4, at time: Double = 100
) throws -> [ChainOrchestrator.JournalRecord] {
    var buffer = RecordBuffer()
    for entry in entries {
        buffer.append(entry, run: run, keepsTexts: true, isLogged: entry.isOfRequest, at: time)
    }
    var reader = RecordBuffer.Reader(buffer)
    return try reader.next(.max)
}

@Suite("Journal")
struct JournalTests {
    /// Whether the request ended in the commit in which it began or in a later one, and whatever comes twice.
    @Test("A request is the same row however its records are cut into commits", arguments: [1, 2, 3, 10])
    func commits(size: Int) async throws {
        try await withJournal { configuration in
            let store = try JournalStore(configuration)
            let result = GenerationResult(
                reason: .stop, promptTokens: 3, completionTokens: 2, chain: "a", attempts: 2)
            let finished = JournalOutcome(kind: .finished, result: result, tokens: [7, -1])
            let entries: [JournalEntry] = [
                accepted(1, "one"), .ended(job: JobID(1), finished), .interrupted(JournalKey(run: 9, job: 1)),
                .ended(job: JobID(1), JournalOutcome(kind: .cancelled)),
                accepted(2, "two"), accepted(1, "again"),
                .ended(job: JobID(2), JournalOutcome(kind: .failed, reason: "lost")),
                accepted(3, "three"), .interrupted(JournalKey(run: 4, job: 3)),
                .ended(job: JobID(3), finished),
            ]
            let records = try records(entries)
            for start in stride(from: 0, to: records.count, by: size) {
                let commit = Array(records[start..<min(start + size, records.count)])
                _ = try store.write(commit, run: 4, firstStep: 0, at: 100)
            }
            let requests = try store.requests(where: "1", limit: nil)
            #expect(requests.map(\.requestID) == ["three", "two", "one"])
            #expect(requests.map(\.status) == [.interrupted, .failed, .finished])
            #expect(requests.map(\.endedAt) == [100, 100, 100])
            #expect(requests[1].reason == "lost")
            #expect(requests[2].result == result && requests[2].tokens == [7, -1])
        }
    }

    @Test(
        "Any number of steps in one commit is found again, whole and in order", arguments: [1, 64, 65, 1000])
    func manySteps(count: Int) async throws {
        try await withJournal { configuration in
            let store = try JournalStore(configuration)
            let run = try store.beginRun(setting, at: 0)
            let steps = (0..<2 * count).map {
                JournalStep(at: Instant(nanoseconds: Int64($0)), event: .tick, actions: [])
            }
            var written = 0
            for commit in [steps[..<count], steps[count...]] {
                let records = try records(commit.map { .step($0) })
                written += try store.write(records, run: run, firstStep: written, at: 100)
            }
            try store.database.close()
            let reader = try JournalReader(path: configuration.path)
            var found: [JournalStep] = []
            try reader.steps(of: run) { found.append($0) }
            #expect(found == steps)
            #expect(try reader.runs().first?.stepCount == steps.count)
        }
    }

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
            #expect(try store.prune(endedBefore: 0, size: ByteCount(1), currentRun: 1))
            let left = try store.requests(where: "1", limit: nil).map(\.key.job)
            #expect(left.count == 136 && left.first == 200, "the oldest first, a piece at a time")
            while try store.prune(endedBefore: 0, size: ByteCount(1), currentRun: 1) {}
            #expect(try store.requests(where: "1", limit: nil).map(\.key.job) == [5, 4, 3, 2, 1])
            try store.database.close()
        }
    }

    @Test("A journal keeps its bounds piece by piece while records come")
    func boundsInPieces() async throws {
        try await withJournal { given in
            var configuration = given
            configuration.sizeLimit = ByteCount(1)
            configuration.pruneInterval = .milliseconds(1)
            configuration.commitInterval = .milliseconds(1)
            let journal = try open(configuration)
            // More than one commit's share of pieces, and what has not ended.
            let count: UInt64 = 6000
            for job in 1...count {
                journal.add(accepted(job, "r\(job)"))
                if job > 5 { journal.add(.ended(job: JobID(job), JournalOutcome(kind: .cancelled))) }
            }
            await journal.flush()
            for _ in 0..<1000 where try journal.latest(requestID: "r\(count)") != nil {
                journal.add(.step(JournalStep(at: Instant(nanoseconds: 0), event: .tick, actions: [])))
                try await Task.sleep(for: .milliseconds(10))
            }
            for job in 1...count {
                #expect(try (journal.latest(requestID: "r\(job)") == nil) == (job > 5), "\(job)")
            }
            journal.close()
        }
    }

    @Test("What ended too long ago is removed, whatever its end, and nothing that is newer")
    func ages() async throws {
        try await withJournal { configuration in
            let store = try JournalStore(configuration)
            let run = try store.beginRun(
                JournalRun(configuration: ControlConfiguration(), servers: [], model: "m"), at: 0)
            let kinds: [JournalOutcome.Kind] = [.finished, .failed, .cancelled]
            let records = (1...600).flatMap { job -> [ChainOrchestrator.JournalRecord] in
                let (key, time) = (JournalKey(run: run, job: UInt64(job)), Double(job))
                return [
                    .accepted(
                        AcceptedRecord(key: key, requestID: "r\(job)", time: time, seed: 0, promptTokens: 1)),
                    .ended(EndedRecord(key: key, time: time, kind: kinds[job % 3], completionTokens: 1)),
                ]
            }
            for start in stride(from: 0, to: records.count, by: 100) {
                let tick = JournalStep(at: Instant(nanoseconds: 0), event: .tick, actions: [])
                let some = try ChainOrchestratorTests.records([.step(tick)]) + records[start..<start + 100]
                _ = try store.write(some, run: run, firstStep: start, at: Double(start / 2 + 1))
            }
            while try store.prune(endedBefore: 550.5, size: ByteCount(1 << 30), currentRun: run) {}
            #expect(
                try store.requests(where: "1", limit: nil).map { Int($0.key.job) } == (551...600).reversed())
            let steps = try await store.database.read {
                try Double.fetchAll($0, sql: "SELECT writtenAt FROM step")
            }
            #expect(steps == [551])
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

    /// What a process that is killed now leaves behind.
    private func killed(_ configuration: JournalConfiguration) throws -> JournalConfiguration {
        var copy = configuration
        copy.path = configuration.path + "-killed"
        for suffix in ["", "-wal", "-log0", "-log1"]
        where FileManager.default.fileExists(atPath: configuration.path + suffix) {
            try? FileManager.default.removeItem(atPath: copy.path + suffix)
            try FileManager.default.copyItem(
                atPath: configuration.path + suffix, toPath: copy.path + suffix)
        }
        return copy
    }

    @Test("What is kept survives the death of the process before the tables have it, half a record besides")
    func killedBeforeCommit() async throws {
        try await withJournal { configuration in
            var configuration = configuration
            configuration.commitInterval = .seconds(3600)
            let journal = try open(configuration)
            defer { journal.close() }
            for (job, name) in [(1, "one"), (2, "two"), (3, "three")] as [(UInt64, String)] {
                #expect(journal.isKept(journal.add(accepted(job, name))))
            }
            let result = GenerationResult(
                reason: .stop, promptTokens: 3, completionTokens: 2, chain: "a > b", attempts: 1)
            journal.add(
                .ended(job: JobID(2), JournalOutcome(kind: .finished, result: result, tokens: [7, -1])))
            journal.add(.ended(job: JobID(3), JournalOutcome(kind: .failed, reason: "why \"\u{1}é")))
            #expect(try JournalReader(path: configuration.path).requests().isEmpty)

            let copy = try killed(configuration)
            let log = try #require(FileHandle(forWritingAtPath: copy.path + "-log0"))
            try log.seekToEnd()
            try log.write(contentsOf: [200, 0, 0, 0, 1, 2, 3, 4, 1, 1])
            try log.close()
            for _ in 0..<2 {
                let later = try open(copy)
                #expect(try later.unfinished().map(\.requestID) == ["one"])
                #expect(try later.unfinished().first?.request?.input == .text("a secret prompt"))
                let two = try #require(try later.latest(requestID: "two"))
                #expect(two.status == .finished && two.tokens == [7, -1] && two.result == result)
                #expect(try later.latest(requestID: "three")?.reason == "why \"\u{1}é")
                later.close()
                #expect(!FileManager.default.fileExists(atPath: copy.path + "-log0"))
            }
        }
    }

    @Test("With power durability nothing is kept before the disk has it")
    func powerWaits() async throws {
        try await withJournal { configuration in
            var configuration = configuration
            configuration.durability = .power
            configuration.commitInterval = .seconds(3600)
            let journal = try open(configuration)
            defer { journal.close() }
            let position = journal.add(accepted(1, "one"))
            #expect(!journal.isKept(position))
            #expect(await journal.waitUntilKept(position) == nil)
            #expect(journal.isKept(position))
            #expect(try JournalReader(path: configuration.path).requests().map(\.requestID) == ["one"])
            #expect(!FileManager.default.fileExists(atPath: configuration.path + "-log0"))
        }
    }

    @Test("A full log has requests wait for the tables; once they have all, it is empty again")
    func fullLog() async throws {
        try await withJournal { configuration in
            var configuration = configuration
            configuration.logLimit = ByteCount(2000)
            configuration.commitInterval = .seconds(3600)
            let journal = try open(configuration)
            defer { journal.close() }
            var positions: [UInt64] = []
            while positions.count < 100, positions.allSatisfy({ journal.isKept($0) }) {
                positions.append(journal.add(accepted(UInt64(positions.count + 1), "r\(positions.count)")))
            }
            #expect((2..<100).contains(positions.count))
            // Also what fits again: it follows one that is not kept.
            let short = journal.add(.interrupted(JournalKey(run: 0, job: 0)))
            #expect(!journal.isKept(short))
            #expect(await journal.waitUntilKept(short) == nil)
            #expect(try JournalReader(path: configuration.path).requests().count == positions.count)
            try await eventually("the log is empty") {
                try RequestLog.paths(of: configuration.path).allSatisfy {
                    try FileManager.default.attributesOfItem(atPath: $0)[.size] as? Int == 0
                }
            }
            #expect(journal.isKept(journal.add(accepted(101, "last"))))
        }
    }

    /// Whether a text of the journal's own is, field by field, what Foundation makes of the value.
    private func isSame<Value: Codable & Equatable>(_ text: [UInt8], as value: Value) throws -> Bool {
        let (ours, theirs) = (Data(text), try JSONEncoder().encode(value))
        let options = JSONSerialization.ReadingOptions.fragmentsAllowed
        // As objects both, else 1 and 1.0 within them differ.
        let objects = try [ours, theirs].map {
            try JSONSerialization.jsonObject(with: $0, options: options) as? NSObject
        }
        return try objects[0] != nil && objects[0] == objects[1]
            && JSONDecoder().decode(Value.self, from: ours) == value
    }

    private func text(of request: GenerationRequest) -> [UInt8] {
        JSONWriter.object { JournalText.write(request, into: &$0) }
    }

    @Test("The journal's JSON is Foundation's")
    func texts() throws {
        var full = request("é\n\"\\/\u{0}\u{1F}\u{7F}\u{2028}€😀")
        #expect(try isSame(text(of: full), as: full))
        full.input = .chat([
            ChatMessage(role: .user, content: "a\tb"), ChatMessage(role: .system, content: ""),
        ])
        full.sampling = SamplingParameters(
            temperature: 0.1, topP: 1e-300, topK: 3, seed: .max, frequencyPenalty: 0.25, presencePenalty: -2,
            logprobs: 0)
        (full.stop, full.client, full.ticket) = (["\r\n", "x"], "someone", .max)
        (full.timeout, full.ignoreEndOfSequence) = (.seconds(1.5), true)
        full.presentation = AnswerPresentation(
            shape: .completion, options: AnswerOptions(isStreamed: true, includesContinuousUsage: true),
            created: 7)
        #expect(try isSame(text(of: full), as: full))
        full.input = .tokens([0, .max])
        #expect(try isSame(text(of: full), as: full))
        // Nothing of a request that has everything is missing.
        #expect(!Mirror(reflecting: full).children.contains { "\($0.value)" == "nil" })
        for clamped in [nil, 9] {
            let result = GenerationResult(
                reason: .length, promptTokens: 1, completionTokens: 2, clampedFrom: clamped, chain: "a > b",
                attempts: 3, trailingText: "\u{FFFD}")
            #expect(try isSame(JSONWriter.object { JournalText.write(result, into: &$0) }, as: result))
        }
    }

    @Test("Steps in the journal are Foundation's JSON, whatever happened")
    func stepTexts() throws {
        let hop = ChainHop(server: ServerIndex(1), firstBlock: 1, blockCount: 2)
        let plan = PlanInstallation(
            number: 2, chains: [.init(hops: [hop, hop], capacity: 3, serviceTime: .seconds(1.5))],
            checksums: [RangeChecksum(5), nil])
        let (job, server, one) = (JobID(1 << 60), ServerIndex(0), Incarnation(1))
        func arrival(_ timeout: ChainModel.Duration?) -> JobArrival {
            JobArrival(job: job, client: ClientID(1 << 60), holder: TicketHolder(2), timeout: timeout)
        }
        let events: [ControlPlane.Event] = [
            .tick, .planInstalled(plan), .jobArrived(arrival(nil)), .jobArrived(arrival(.seconds(2))),
            .jobCompleted(job, attempt: 2), .jobCancelled(job), .serverHeard(server, one),
            .jobFailed(job, attempt: 1, .server(server, one, .closed)), .drainStarted(within: nil),
            .serverConnected(server, one, holds: RangeChecksum(5)), .rolloutStarted([server, server]),
        ]
        let frequent: [ControlPlane.Action] = [
            .start(job, attempt: 1, ChainIndex(4)), .queue(job, ahead: 3), .ping(server, one),
        ]
        let rare: [ControlPlane.Action] = [
            .refuse(job, .init(.queueFull, retryAfter: .seconds(1), hasTicket: true)), .fail(job, .deadline),
            .recompose(excluding: [server], plan: 4), .drained,
        ]
        let steps = events.flatMap { event in
            [[], frequent, rare, frequent + rare].map {
                JournalStep(at: Instant(nanoseconds: 1 << 60), event: event, actions: $0)
            }
        }
        let texts = try records(steps.map { .step($0) })
        #expect(texts.count == steps.count)
        for (text, step) in zip(texts, steps) {
            guard case .step(let text) = text else {
                Issue.record("\(text) is no step")
                continue
            }
            #expect(try isSame(text, as: step))
        }
    }

    @Test("Records are read as they were added, however many at a time, also from memory used before")
    func recordBuffer() throws {
        let rare = JournalStep(at: Instant(nanoseconds: 1), event: .drainStarted(within: nil), actions: [])
        let rarer = JournalStep(at: Instant(nanoseconds: 3), event: .rolloutStarted([]), actions: [])
        let tick = JournalStep(at: Instant(nanoseconds: 2), event: .tick, actions: [])
        var long = request("long")
        long.input = .text(String(repeating: "x", count: 100_000))
        let entries: [JournalEntry] = [
            .step(rare), accepted(1, "one"), .step(tick), .step(rarer),
            .accepted(job: JobID(2), long, seed: 0, promptTokens: 1, resumes: JournalKey(run: 3, job: 9)),
            .ended(job: JobID(1), JournalOutcome(kind: .failed, reason: "é")),
            .interrupted(JournalKey(run: 1, job: 1)), .step(tick),
        ]
        let all = try records(entries)
        #expect(all.count == entries.count)
        #expect(try all[0] == .step(JournalText.of(rare)))
        #expect(try all[3] == .step(JournalText.of(rarer)))
        var buffer = RecordBuffer()
        for most in 1...entries.count {
            var logged: [UInt8] = []
            for entry in entries {
                buffer.append(entry, run: 4, keepsTexts: true, isLogged: entry.isOfRequest, at: 100)
                if entry.isOfRequest { logged += buffer.lastFrame }
            }
            #expect(buffer.count == entries.count)
            // What is in the log is what is in memory, but for the steps, which have no place there.
            #expect(JournalRecord.records(in: logged) == all.filter(\.isOfRequest))
            var reader = RecordBuffer.Reader(buffer)
            var found: [ChainOrchestrator.JournalRecord] = []
            while case let some = try reader.next(most), !some.isEmpty {
                #expect(some.count <= most)
                found += some
            }
            #expect(found == all)
            buffer.removeAll()
            reader = RecordBuffer.Reader(buffer)
            let nothing = try reader.next(.max)
            #expect(buffer.count == 0 && nothing.isEmpty)
        }
    }

    @Test("Many records are in pieces that stay small, and all are read, time after time")
    func recordPieces() throws {
        var buffer = RecordBuffer()
        for _ in 0..<3 {
            let count = 5000
            for job in 1...count {
                buffer.append(
                    accepted(UInt64(job), "r\(job)"), run: 4, keepsTexts: true, isLogged: false, at: 1)
            }
            var reader = RecordBuffer.Reader(buffer)
            let found = try reader.next(.max)
            #expect(found.count == count)
            for (place, record) in found.enumerated() {
                guard case .accepted(let accepted) = record, accepted.key.job == UInt64(place + 1) else {
                    Issue.record("\(place): \(record)")
                    return
                }
            }
            #expect(buffer.pieces.count > 10)
            #expect(buffer.pieces.allSatisfy { $0.capacity < 2 * RecordBuffer.pieceSize })
            reader = RecordBuffer.Reader(RecordBuffer())
            buffer.removeAll()
            #expect(buffer.pieces.allSatisfy { $0.isEmpty })
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
