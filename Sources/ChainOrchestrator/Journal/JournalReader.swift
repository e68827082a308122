import ChainDispatch
import ChainEngine
import ChainModel
import Foundation
import GRDB

extension JournalStore {
    /// Requests, the latest first.
    func requests(
        where condition: String, arguments: StatementArguments = [], limit: Int?
    ) throws -> [JournalRequest] {
        try database.read { database in
            try Row.fetchAll(
                database,
                sql:
                    "SELECT * FROM request WHERE \(condition) ORDER BY run DESC, job DESC LIMIT \(limit ?? -1)",
                arguments: arguments
            ).map(Self.request)
        }
    }

    private static func request(_ row: Row) throws -> JournalRequest {
        let body: Data? = row["request"]
        let tokens: Data? = row["tokens"]
        var request = try body.map { try JSONDecoder().decode(GenerationRequest.self, from: $0) }
        // The seed that was used, also where the client left it open.
        request?.sampling.seed = UInt64(bitPattern: row["seed"] as Int64)
        return JournalRequest(
            key: JournalKey(run: row["run"], job: UInt64(row["job"] as Int64)), requestID: row["requestID"],
            status: JournalRequest.Status(rawValue: row["status"]) ?? .accepted,
            acceptedAt: row["acceptedAt"],
            endedAt: row["endedAt"], request: request, promptTokens: row["promptTokens"],
            completionTokens: row["completionTokens"], chain: row["chain"], attempts: row["attempts"],
            reason: row["reason"],
            result: try (row["result"] as Data?).map {
                try JSONDecoder().decode(GenerationResult.self, from: $0)
            },
            tokens: tokens.map { data in
                data.withUnsafeBytes { Array($0.bindMemory(to: Int32.self)) }
            })
    }
}

/// Looks into a journal, also that of a running service.
package struct JournalReader {
    let store: JournalStore

    package struct Run: Hashable, Sendable {
        package var id: Int64
        /// Seconds since 1970.
        package var startedAt: Double
        /// `nil`: it runs, or was killed.
        package var endedAt: Double?
        package var setting: JournalRun
        /// Its oldest steps were removed.
        package var isTruncated: Bool
        package var requestCount: Int
        package var stepCount: Int
    }

    /// - Throws: `JournalError`.
    package init(path: String) throws {
        guard FileManager.default.fileExists(atPath: path) else {
            throw JournalError.cannotOpen(path, reason: "there is no such file")
        }
        store = try JournalStore(JournalConfiguration(path: path), isReadOnly: true)
    }

    package func runs() throws -> [Run] {
        try store.database.read { database in
            try Row.fetchAll(
                database,
                sql: """
                    SELECT run.*, (SELECT COUNT(*) FROM request WHERE request.run = run.id) AS requestCount,
                        (SELECT COALESCE(SUM(count), 0) FROM step WHERE step.run = run.id) AS stepCount
                    FROM run ORDER BY id
                    """
            ).map { row in
                Run(
                    id: row["id"], startedAt: row["startedAt"], endedAt: row["endedAt"],
                    setting: try JSONDecoder().decode(
                        JournalRun.self, from: Data((row["setting"] as String).utf8)),
                    isTruncated: row["isTruncated"], requestCount: row["requestCount"],
                    stepCount: row["stepCount"])
            }
        }
    }

    /// The latest requests first; those of one identifier, when given.
    package func requests(identifier: String? = nil, limit: Int? = nil) throws -> [JournalRequest] {
        guard let identifier else { return try store.requests(where: "1", limit: limit) }
        return try store.requests(where: "requestID = ?", arguments: [identifier], limit: limit)
    }

    /// Hands the steps of a run to `body`, in order.
    package func steps(of run: Int64, _ body: (JournalStep) throws -> Void) throws {
        try store.database.read { database in
            let rows = try Row.fetchCursor(
                database, sql: "SELECT steps, size FROM step WHERE run = ? ORDER BY first", arguments: [run])
            while let row = try rows.next() {
                guard let plain = Deflate.expand(row["steps"], size: row["size"]) else {
                    throw JournalError.notWritable("steps of run \(run) cannot be expanded")
                }
                for step in try JSONDecoder().decode([JournalStep].self, from: plain) { try body(step) }
            }
        }
    }

    // MARK: Replay

    package enum Replay: Hashable, Sendable {
        /// A fresh control plane did the same at every step.
        case same(steps: Int, actions: Int)
        case different(step: Int, JournalStep, replayed: [ControlPlane.Action])
        /// The beginning is missing.
        case truncated
    }

    /// Passes the events of a run through a fresh control plane and compares what it does with what was done.
    package func replay(_ run: Run) throws -> Replay {
        if run.isTruncated { return .truncated }
        var control = ControlPlane(
            configuration: run.setting.configuration, serverCount: run.setting.servers.count)
        var (steps, actionCount) = (0, 0)
        var difference: Replay?
        try self.steps(of: run.id) { step in
            guard difference == nil else { return }
            var actions: [ControlPlane.Action] = []
            control.handle(step.event, at: step.at, into: &actions)
            if actions != step.actions {
                difference = .different(step: steps, step, replayed: actions)
            }
            steps += 1
            actionCount += actions.count
        }
        return difference ?? .same(steps: steps, actions: actionCount)
    }
}
