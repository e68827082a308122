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
            // A commit is on the disk before it counts, not merely handed to the system.
            try database.execute(sql: "PRAGMA synchronous = FULL")
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

    /// Writes all of `records` or none.
    /// - Parameter firstStep: number of the first step among them within the run.
    /// - Returns: steps written.
    func write(
        _ records: [JournalEntry], run: Int64, firstStep: Int, keepsTexts: Bool, at time: Double
    ) throws -> Int {
        var steps: [JournalStep] = []
        try database.write { database in
            for record in records {
                switch record {
                case .step(let step): steps.append(step)
                case .accepted(let job, let request, let seed, let promptTokens, let earlier):
                    let encoded = keepsTexts ? try JSONEncoder().encode(request) : nil
                    try database.execute(
                        sql: """
                            INSERT INTO request (run, job, requestID, status, acceptedAt, request, seed, promptTokens)
                            VALUES (?, ?, ?, 'accepted', ?, ?, ?, ?)
                            """,
                        arguments: [
                            run, Int64(job.rawValue), request.requestID, time, encoded,
                            Int64(bitPattern: seed), promptTokens,
                        ])
                    if let earlier {
                        try setStatus("resumed", of: earlier, at: time, in: database)
                    }
                case .ended(let job, let outcome):
                    try end(job, outcome, run: run, keepsTexts: keepsTexts, at: time, in: database)
                case .interrupted(let key): try setStatus("interrupted", of: key, at: time, in: database)
                }
            }
            guard !steps.isEmpty else { return }
            let plain = try JSONEncoder().encode(steps)
            try database.execute(
                sql: "INSERT INTO step (run, first, count, writtenAt, steps, size) VALUES (?, ?, ?, ?, ?, ?)",
                arguments: [run, firstStep, steps.count, time, Deflate.compress(plain), plain.count])
        }
        return steps.count
    }

    private func setStatus(
        _ status: String, of key: JournalKey, at time: Double, in database: Database
    ) throws {
        try database.execute(
            sql:
                "UPDATE request SET status = ?, endedAt = ? WHERE run = ? AND job = ? AND status = 'accepted'",
            arguments: [status, time, key.run, Int64(key.job)])
    }

    private func end(
        _ job: JobID, _ outcome: JournalOutcome, run: Int64, keepsTexts: Bool, at time: Double,
        in database: Database
    ) throws {
        let result = outcome.result
        let tokens =
            keepsTexts && outcome.kind == .finished
            ? outcome.tokens.withUnsafeBytes { Data($0) } : nil
        try database.execute(
            sql: """
                UPDATE request SET status = ?, endedAt = ?, completionTokens = ?, chain = ?, attempts = ?, reason = ?,
                    result = ?, tokens = ?
                WHERE run = ? AND job = ? AND status = 'accepted'
                """,
            arguments: [
                outcome.kind.rawValue, time, result?.completionTokens ?? outcome.tokens.count, result?.chain,
                result?.attempts, outcome.reason,
                keepsTexts ? try result.map { try JSONEncoder().encode($0) } : nil,
                tokens, run, Int64(job.rawValue),
            ])
    }

    // MARK: Bounds

    /// Removes what ended before `limit`, and the oldest beyond the size limit.
    func prune(endedBefore limit: Double, size: ByteCount, currentRun: Int64) throws {
        try database.write { database in
            try database.execute(
                sql: "DELETE FROM request WHERE status != 'accepted' AND endedAt < ?", arguments: [limit])
            try removeSteps(where: "writtenAt < \(limit)", in: database)
            var isShort = true
            while isShort, try used(in: database) > size.rawValue {
                try removeSteps(
                    where: "(run, first) IN (SELECT run, first FROM step ORDER BY run, first LIMIT 64)",
                    in: database)
                isShort = database.changesCount > 0
                try database.execute(
                    sql: """
                        DELETE FROM request WHERE (run, job) IN
                            (SELECT run, job FROM request WHERE status != 'accepted' ORDER BY endedAt LIMIT 64)
                        """)
                isShort = isShort || database.changesCount > 0
            }
            try database.execute(
                sql: """
                    DELETE FROM run WHERE id != ? AND NOT EXISTS (SELECT 1 FROM step WHERE step.run = run.id)
                        AND NOT EXISTS (SELECT 1 FROM request WHERE request.run = run.id)
                    """, arguments: [currentRun])
        }
    }

    private func removeSteps(where condition: String, in database: Database) throws {
        try database.execute(
            sql: "UPDATE run SET isTruncated = 1 WHERE id IN (SELECT run FROM step WHERE \(condition))")
        try database.execute(sql: "DELETE FROM step WHERE \(condition)")
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
