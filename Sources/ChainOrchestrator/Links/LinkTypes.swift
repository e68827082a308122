import ChainEngine
import ChainModel
import ChainWire
import Synchronization

/// Why a call to a block server failed.
package enum LinkError: Error, Hashable, Sendable, CustomStringConvertible {
    /// No connection could be made.
    case unreachable(String)
    /// The server said no; the connection goes on.
    case refused(Refusal.Code, String)
    /// The server's own file is not the model that is served.
    case wrongModel(String)
    case versionMismatch(ours: UInt16, theirs: UInt16)
    /// The connection is gone, and with it every job on the server.
    case closed(String)
    /// No answer in time. The connection goes on; what became of the job there is unknown: close it.
    case timedOut(String)
    /// The server's answer made no sense; its work on the job cannot be used.
    case malformed(String)
    /// What came was damaged on its way.
    case badChecksum(String)
    /// The server's answer has values that are not finite.
    case notFinite(String)

    package var description: String {
        switch self {
        case .unreachable(let text): "unreachable: \(text)"
        case .refused(_, let text): text
        case .wrongModel(let text): text
        case .versionMismatch(let ours, let theirs):
            "the block server speaks version \(theirs) of the protocol, this orchestrator version \(ours):"
                + " run the same release on both"
        case .closed(let text): "connection closed: \(text)"
        case .timedOut(let text): "no answer in time: \(text)"
        case .malformed(let text): "malformed answer: \(text)"
        case .badChecksum(let text): "damaged answer: \(text)"
        case .notFinite(let text): "wrong answer: \(text)"
        }
    }
}

/// How long a link waits for what.
package struct LinkTimeouts: Hashable, Sendable {
    /// For a connection and the server's introduction.
    package var connect = Duration.seconds(5)
    /// Between two signs of progress of a load. Making an engine of a large range gives none for a while.
    package var loadSilence = Duration.seconds(300)
    package var open = Duration.seconds(10)
    /// From handing over a step to having its whole result; includes waiting for other jobs' steps.
    package var step = Duration.seconds(60)
    package var ping = Duration.seconds(2)
    /// How often the server is asked for its health; zero leaves that, and noticing silence, to whoever holds the link.
    package var heartbeat = Duration.milliseconds(500)
    /// A server not heard for so long is taken for dead and its link closed. A busy server answers: health
    /// does not wait for the engine.
    package var silenceLimit = Duration.seconds(2)

    package init() {}
}

/// What a server is to host.
package struct LoadAssignment: Sendable {
    package var manifest: BlockManifest
    /// Cache units: `M̃_j` (eq. 3).
    package var unitCount: Int
    /// Longest sequence of a job, in tokens.
    package var sequenceLength: Int
    /// Most tokens in one step over all jobs.
    package var stepTokens: Int
    /// Memory set aside to compute in.
    package var computeSize: ByteCount
    /// Compute threads; `nil` leaves them to the server.
    package var threads: Int?

    package init(
        manifest: BlockManifest, unitCount: Int, sequenceLength: Int, stepTokens: Int = 512,
        computeSize: ByteCount = .zero, threads: Int? = nil
    ) {
        self.manifest = manifest
        self.unitCount = unitCount
        self.sequenceLength = sequenceLength
        self.stepTokens = stepTokens
        self.computeSize = computeSize
        self.threads = threads
    }
}

/// What a server hosts now.
package struct LoadReport: Hashable, Sendable {
    package var limits: EngineLimits
    /// Parameters, cache units and compute buffers: what counts towards the declared memory.
    package var memoryUsed: ByteCount
    package var isEmulated: Bool
    /// Exactly this was loaded already; nothing was done.
    package var wasLoaded: Bool
    /// The server's proof of what it hosts.
    package var checksum: UInt64
}

/// What happens to a link without being asked for.
package enum LinkEvent: Hashable, Sendable {
    /// The server finishes its jobs and takes no new ones.
    case draining(String)
    /// A sign of life.
    case heard
    /// The last event.
    case closed(LinkError)
}

/// What a link's callers may look at from any thread.
final class LinkStatus: Sendable {
    private let health = Mutex<NodeHealth?>(nil)
    private let draining = Mutex(false)
    private let closeReason = Mutex<LinkError?>(nil)

    var latestHealth: NodeHealth? { health.withLock { $0 } }
    var isDraining: Bool { draining.withLock { $0 } }
    var closed: LinkError? { closeReason.withLock { $0 } }

    func note(_ health: NodeHealth) { self.health.withLock { $0 = health } }
    func noteDraining() { draining.withLock { $0 = true } }
    func noteClosed(_ reason: LinkError) { closeReason.withLock { $0 = reason } }
}
