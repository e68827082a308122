import ChainDispatch
import ChainEngine
import ChainModel
import Foundation

/// A request in a journal: the run of the service that accepted it, and its job there.
package struct JournalKey: Hashable, Sendable {
    package var run: Int64
    package var job: UInt64
}

/// What is written down, in the order in which it happened.
enum JournalEntry: Sendable {
    /// What the control plane was told and what it answered.
    case step(JournalStep)
    /// A request was accepted. `resumes`: it was accepted by an earlier run, and goes on here.
    case accepted(job: JobID, GenerationRequest, seed: UInt64, promptTokens: Int, resumes: JournalKey?)
    case ended(job: JobID, JournalOutcome)
    /// Nobody came back for it in time.
    case interrupted(JournalKey)
}

package struct JournalStep: Hashable, Codable, Sendable {
    package var at: Instant
    package var event: ControlPlane.Event
    package var actions: [ControlPlane.Action]
}

/// How a request ended.
struct JournalOutcome: Hashable, Sendable {
    enum Kind: String, Hashable, Sendable {
        case finished, failed, cancelled
    }

    var kind: Kind
    /// Why it failed.
    var reason: String?
    var result: GenerationResult?
    var tokens: [Int32] = []
}

/// What a run began with: enough for a fresh control plane to do the same again.
package struct JournalRun: Hashable, Codable, Sendable {
    package var configuration: ControlConfiguration
    /// Names of the servers, by `ServerIndex`.
    package var servers: [String]
    package var model: String
}

/// A request that a killed service left unfinished, or one that ended.
package struct JournalRequest: Hashable, Sendable {
    package enum Status: String, CaseIterable, Hashable, Sendable {
        /// Accepted and, as far as the journal knows, not ended.
        case accepted
        case finished, failed, cancelled
        /// It goes on as a job of a later run.
        case resumed
        /// Its service was killed and nobody came back for it.
        case interrupted
    }

    package var key: JournalKey
    package var requestID: String
    package var status: Status
    /// Seconds since 1970.
    package var acceptedAt: Double
    package var endedAt: Double?
    /// `nil` when texts are not kept.
    package var request: GenerationRequest?
    package var promptTokens: Int
    package var completionTokens: Int?
    package var chain: String?
    package var attempts: Int?
    package var reason: String?
    package var result: GenerationResult?
    /// The tokens of a finished answer, unless texts are not kept.
    package var tokens: [Int32]?
}
