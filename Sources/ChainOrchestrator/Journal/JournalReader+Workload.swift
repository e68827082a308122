import ChainModel
import Foundation
import GRDB

/// A request that a service accepted, as a workload: when it came and how long it was.
package struct JournalArrival: Hashable, Sendable {
    /// Nanoseconds since 1970.
    package var time: Int64
    package var promptTokens: Int
    /// Of the answer, as far as it got; `nil`: the journal does not know its end.
    package var completionTokens: Int?
}

extension JournalReader {
    /// All accepted requests of all runs, in order of arrival. O(steps + n log n).
    ///
    /// A request counts when it came to the control plane; where those steps were removed, when it was written
    /// down, which several may have been at once. One that was cut off and went on in a later run counts once: it
    /// came when it first came, and is as long as it became.
    package func arrivals() throws -> [JournalArrival] {
        var arrivals: [JournalArrival] = []
        var cutOff: [String: Int64] = [:]
        for run in try runs() {
            let times = try arrivalTimes(run)
            let rows = try store.database.read { database in
                try Row.fetchAll(
                    database,
                    sql: """
                        SELECT job, requestID, status, acceptedAt, promptTokens, completionTokens FROM request
                        WHERE run = ? ORDER BY job
                        """,
                    arguments: [run.id])
            }
            for row in rows {
                let identifier: String = row["requestID"]
                let time =
                    times[UInt64(row["job"] as Int64)] ?? cutOff.removeValue(forKey: identifier)
                    ?? Self.nanoseconds(row["acceptedAt"])
                if row["status"] as String == JournalRequest.Status.resumed.rawValue {
                    cutOff[identifier] = time
                } else {
                    arrivals.append(
                        JournalArrival(
                            time: time, promptTokens: row["promptTokens"],
                            completionTokens: row["completionTokens"]))
                }
            }
        }
        return arrivals.sorted { $0.time < $1.time }
    }

    /// When the jobs of a run came, by job; nanoseconds since 1970.
    private func arrivalTimes(_ run: Run) throws -> [UInt64: Int64] {
        var times: [UInt64: Int64] = [:]
        let origin = Self.nanoseconds(run.startedAt)
        try steps(of: run.id) { step in
            if case .jobArrived(let arrival) = step.event {
                times[arrival.job.rawValue] = origin + Int64(step.at.nanoseconds)
            }
        }
        return times
    }

    private static func nanoseconds(_ seconds: Double) -> Int64 { Int64((seconds * 1e9).rounded()) }
}
