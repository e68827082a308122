import CZlib
import ChainEngine
import ChainModel
import Foundation
import GRDB

/// The tables of a journal and what is written into them. Knows nothing of when.
struct JournalStore {
    /// Version of the schema, in SQLite's `user_version`.
    static let version = 1
    /// "chsv": what SQLite's `application_id` says of a journal.
    static let applicationID = 0x6368_7376

    let database: DatabaseQueue

    /// - Parameter isReadOnly: looks into a journal that may belong to a running service.
    init(_ configuration: JournalConfiguration, isReadOnly: Bool = false) throws {
        var settings = Configuration()
        settings.readonly = isReadOnly
        settings.busyMode = .timeout(5)
        settings.prepareDatabase { database in
            guard !isReadOnly else { return }
            try database.execute(sql: "PRAGMA journal_mode = WAL")
            // With `power` a commit is on the disk before it counts; else the system has it, and the disk in a moment.
            let level = configuration.durability == .power ? "FULL" : "NORMAL"
            try database.execute(sql: "PRAGMA synchronous = \(level)")
            let pages = max(64, configuration.hardSizeLimit.rawValue / 4096)
            _ = try Int.fetchOne(database, sql: "PRAGMA max_page_count = \(pages)")
            try database.execute(sql: "PRAGMA wal_autocheckpoint = 256")
        }
        let path = configuration.path
        do {
            if !isReadOnly {
                try Self.setUp(path)
            }
            database = try DatabaseQueue(path: path, configuration: settings)
            let found = try database.read { database in
                (
                    try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0,
                    try Int.fetchOne(database, sql: "PRAGMA application_id") ?? 0
                )
            }
            if found.0 > Self.version { throw JournalError.newerVersion(path, version: found.0) }
            if found.1 != Self.applicationID, isReadOnly || found.1 != 0 || found.0 != 0 {
                throw JournalError.notAJournal(path)
            }
            if found.0 < Self.version { try database.write { try Self.create($0) } }
        } catch let error as JournalError {
            throw error
        } catch let error as DatabaseError where error.resultCode == .SQLITE_NOTADB {
            throw JournalError.notAJournal(path)
        } catch {
            throw JournalError.cannotOpen(path, reason: "\(error)")
        }
    }

    /// Makes the file first, readable by its owner alone; SQLite gives what lies beside it the same rights.
    private static func setUp(_ path: String) throws {
        let folder = (path as NSString).deletingLastPathComponent
        if !folder.isEmpty {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        }
        let descriptor = open(path, O_RDWR | O_CREAT, 0o600)
        guard descriptor >= 0 else {
            throw JournalError.cannotOpen(path, reason: String(cString: strerror(errno)))
        }
        fchmod(descriptor, 0o600)
        close(descriptor)
    }

    private static func create(_ database: Database) throws {
        // Pages that are freed can be given back; must come before the first table.
        try database.execute(
            sql: """
                CREATE TABLE run (
                    id INTEGER PRIMARY KEY AUTOINCREMENT,
                    startedAt REAL NOT NULL, endedAt REAL, setting TEXT NOT NULL, isTruncated INTEGER NOT NULL DEFAULT 0
                );
                CREATE TABLE request (
                    run INTEGER NOT NULL, job INTEGER NOT NULL, requestID TEXT NOT NULL, status TEXT NOT NULL,
                    acceptedAt REAL NOT NULL, endedAt REAL, request BLOB, seed INTEGER NOT NULL,
                    promptTokens INTEGER NOT NULL, completionTokens INTEGER, chain TEXT, attempts INTEGER, reason TEXT,
                    result BLOB, tokens BLOB,
                    PRIMARY KEY (run, job)
                ) WITHOUT ROWID;
                CREATE INDEX requestByIdentifier ON request (requestID);
                CREATE INDEX requestByStatus ON request (status, endedAt);
                CREATE TABLE step (
                    run INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, writtenAt REAL NOT NULL,
                    steps BLOB NOT NULL, size INTEGER NOT NULL,
                    PRIMARY KEY (run, first)
                ) WITHOUT ROWID;
                PRAGMA application_id = \(applicationID);
                PRAGMA user_version = \(version);
                """)
    }

    // MARK: Writing

    func beginRun(_ run: JournalRun, at time: Double) throws -> Int64 {
        let setting = String(decoding: try JSONEncoder().encode(run), as: UTF8.self)
        return try database.write { database in
            try database.execute(
                sql: "INSERT INTO run (startedAt, setting) VALUES (?, ?)", arguments: [time, setting])
            return database.lastInsertedRowID
        }
    }

    func endRun(_ run: Int64, at time: Double) throws {
        try database.write {
            try $0.execute(sql: "UPDATE run SET endedAt = ? WHERE id = ?", arguments: [time, run])
        }
    }

    /// Writes all of `records` or none. Records of requests that are there already change nothing.
    /// - Parameters:
    ///   - firstStep: number of the first step among them within the run.
    ///   - rest: called now and then, after work of a fraction of a millisecond.
    /// - Returns: steps written.
    func write(
        _ records: [JournalRecord], run: Int64, firstStep: Int, at time: Double, rest: () -> Void = {}
    ) throws -> Int {
        var steps: [[UInt8]] = []
        var ends = Self.ends(in: records)
        try database.write { database in
            var rows = 0
            for record in records {
                if record.isOfRequest {
                    rows += 1
                    if rows.isMultiple(of: Self.rowsAtOnce) { rest() }
                }
                switch record {
                case .step(let step): steps.append(step)
                case .accepted(let accepted):
                    let ended = ends[accepted.key]
                    if try !accept(accepted, ended: ended, in: database) { ends[accepted.key] = nil }
                case .ended(let ended):
                    if ends[ended.key] == nil { try end(ended, in: database) }
                case .interrupted(let key, let time):
                    try setStatus("interrupted", of: key, at: time, in: database)
                }
            }
            for first in stride(from: 0, to: steps.count, by: Self.stepsInRow) {
                rest()
                let some = steps[first..<min(steps.count, first + Self.stepsInRow)]
                let plain = Self.list(some)
                try database.cachedStatement(
                    sql: """
                        INSERT INTO step (run, first, count, writtenAt, steps, size)
                        VALUES (?, ?, ?, ?, ?, ?)
                        """
                ).execute(
                    arguments: [
                        run, firstStep + first, some.count, time, Deflate.compress(plain), plain.count,
                    ])
            }
        }
        return steps.count
    }

    /// Texts of JSON as an array.
    private static func list(_ texts: ArraySlice<[UInt8]>) -> Data {
        var list = Data(capacity: texts.reduce(1) { $0 + $1.count + 1 })
        list.append(UInt8(ascii: "["))
        for text in texts {
            if list.count > 1 { list.append(UInt8(ascii: ",")) }
            list.append(contentsOf: text)
        }
        list.append(UInt8(ascii: "]"))
        return list
    }

    /// Records of requests between two rests.
    private static let rowsAtOnce = 8
    /// Most steps in one row.
    private static let stepsInRow = 64

    /// The ends of requests that begin among `records`, too: each is one row that is written once.
    private static func ends(in records: [JournalRecord]) -> [JournalKey: EndedRecord] {
        var begun: Set<JournalKey> = []
        var ends: [JournalKey: EndedRecord] = [:]
        for record in records {
            switch record {
            case .step: break
            case .accepted(let accepted):
                begun.insert(accepted.key)
                if let earlier = accepted.resumes { begun.remove(earlier) }
            case .ended(let ended):
                // The first word counts.
                if begun.remove(ended.key) != nil { ends[ended.key] = ended }
            case .interrupted(let key, _): begun.remove(key)
            }
        }
        return ends
    }

    /// - Parameter ended: how it has ended already.
    /// - Returns: `false` when it was there before, which is left as it is.
    private func accept(
        _ record: AcceptedRecord, ended: EndedRecord?, in database: Database
    ) throws -> Bool {
        try database.cachedStatement(
            sql: """
                INSERT OR IGNORE INTO request (run, job, requestID, status, acceptedAt, request, seed, promptTokens,
                    endedAt, completionTokens, chain, attempts, reason, result, tokens)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
                """
        ).execute(
            arguments: [
                record.key.run, Int64(record.key.job), record.requestID, ended?.kind.rawValue ?? "accepted",
                record.time, record.request.map { Data($0) }, Int64(bitPattern: record.seed),
                record.promptTokens,
                ended?.time, ended?.completionTokens, ended?.chain, ended?.attempts, ended?.reason,
                ended?.result.map { Data($0) }, ended?.tokens.map { Data($0) },
            ])
        let isNew = database.changesCount > 0
        if let earlier = record.resumes {
            try setStatus("resumed", of: earlier, at: record.time, in: database)
        }
        return isNew
    }

    private func setStatus(
        _ status: String, of key: JournalKey, at time: Double, in database: Database
    ) throws {
        try database.cachedStatement(
            sql:
                "UPDATE request SET status = ?, endedAt = ? WHERE run = ? AND job = ? AND status = 'accepted'"
        ).execute(arguments: [status, time, key.run, Int64(key.job)])
    }

    private func end(_ record: EndedRecord, in database: Database) throws {
        try database.cachedStatement(
            sql: """
                UPDATE request SET status = ?, endedAt = ?, completionTokens = ?, chain = ?, attempts = ?, reason = ?,
                    result = ?, tokens = ?
                WHERE run = ? AND job = ? AND status = 'accepted'
                """
        ).execute(
            arguments: [
                record.kind.rawValue, record.time, record.completionTokens, record.chain, record.attempts,
                record.reason, record.result.map { Data($0) }, record.tokens.map { Data($0) }, record.key.run,
                Int64(record.key.job),
            ])
    }

    /// Puts what was committed on the disk, as far as readers let it.
    func sync() throws {
        try database.writeWithoutTransaction { try $0.execute(sql: "PRAGMA wal_checkpoint(PASSIVE)") }
    }

    // MARK: Bounds

    /// Removes some of what ended before `limit`, and of the oldest beyond the size limit: a few hundred rows, found without
    /// looking at all the others.
    /// - Returns: whether there may be more.
    func prune(endedBefore limit: Double, size: ByteCount, currentRun: Int64) throws -> Bool {
        try database.write { database in
            var removed = 0
            for status in JournalRequest.Status.allCases where status != .accepted {
                try database.execute(
                    sql: """
                        DELETE FROM request WHERE (run, job) IN
                            (SELECT run, job FROM request WHERE status = ? AND endedAt < ? LIMIT \(Self.prunedAtOnce))
                        """, arguments: [status.rawValue, limit])
                removed += database.changesCount
            }
            let oldest =
                "(run, first) IN (SELECT run, first FROM step ORDER BY run, first LIMIT \(Self.prunedAtOnce))"
            removed += try removeSteps(where: "\(oldest) AND writtenAt < \(limit)", in: database)
            if try used(in: database) > size.rawValue {
                removed += try removeSteps(where: oldest, in: database)
                try database.execute(
                    sql: """
                        DELETE FROM request WHERE (run, job) IN
                            (SELECT run, job FROM request WHERE status != 'accepted' ORDER BY run, job
                                LIMIT \(Self.prunedAtOnce))
                        """)
                removed += database.changesCount
            }
            guard removed == 0 else { return true }
            try database.execute(
                sql: """
                    DELETE FROM run WHERE id != ? AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = run.id)
                        AND NOT EXISTS (SELECT 1 FROM request WHERE request.run = run.id)
                    """, arguments: [currentRun])
            return false
        }
    }

    /// Most rows of a kind that are removed together.
    private static let prunedAtOnce = 64

    /// - Returns: how many rows.
    private func removeSteps(where condition: String, in database: Database) throws -> Int {
        try database.execute(
            sql: "UPDATE run SET isTruncated = 1 WHERE id IN (SELECT run FROM step WHERE \(condition))")
        try database.execute(sql: "DELETE FROM step WHERE \(condition)")
        return database.changesCount
    }

    /// Bytes of the pages in use.
    private func used(in database: Database) throws -> Int {
        let pages = try Int.fetchOne(database, sql: "PRAGMA page_count") ?? 0
        let free = try Int.fetchOne(database, sql: "PRAGMA freelist_count") ?? 0
        return (pages - free) * (try Int.fetchOne(database, sql: "PRAGMA page_size") ?? 4096)
    }
}

/// zlib's format. Steps are much alike: most are signs of life.
enum Deflate {
    static func compress(_ data: Data) -> Data {
        var size = compressBound(UInt(data.count))
        var result = Data(count: Int(size))
        let status = result.withUnsafeMutableBytes { target in
            data.withUnsafeBytes { source in
                compress2(
                    target.bindMemory(to: UInt8.self).baseAddress, &size,
                    source.bindMemory(to: UInt8.self).baseAddress, UInt(data.count), 1)
            }
        }
        precondition(status == Z_OK, "zlib could not compress")
        return result.prefix(Int(size))
    }

    /// CRC-32.
    static func checksum(_ bytes: ArraySlice<UInt8>) -> UInt32 {
        bytes.withUnsafeBufferPointer { UInt32(truncatingIfNeeded: crc32_z(0, $0.baseAddress, $0.count)) }
    }

    /// - Parameter size: of the whole, exactly.
    static func expand(_ data: Data, size: Int) -> Data? {
        var length = UInt(size)
        var result = Data(count: size)
        let status = result.withUnsafeMutableBytes { target in
            data.withUnsafeBytes { source in
                uncompress(
                    target.bindMemory(to: UInt8.self).baseAddress, &length,
                    source.bindMemory(to: UInt8.self).baseAddress, UInt(data.count))
            }
        }
        return status == Z_OK && Int(length) == size ? result : nil
    }
}
