import ChainDispatch
import ChainEngine
import ChainModel
import Synchronization

/// A hop of an attempt: the connection to a server, the blocks computed there and the job's name there.
struct AttemptHop: Sendable {
    var server: ServerIndex
    var incarnation: Incarnation
    var link: NodeLink
    var firstBlock: Int
    var blockCount: Int
    /// The job's name on the server: another for every attempt, so that nothing of an old one can be mistaken; that of an
    /// earlier attempt where its cache is taken over.
    var engineJob: EngineJobID
    /// It is a place that an earlier attempt left for this one.
    var isTakenOver = false

    /// Whether what was computed for one can be gone on with by the other.
    func isSamePlace(as other: AttemptHop) -> Bool {
        server == other.server && incarnation == other.incarnation && firstBlock == other.firstBlock
            && blockCount == other.blockCount
    }

    /// Frees the job's cache. Does not wait.
    func close() { link.close(job: engineJob) }
}

/// One start of a job on a chain.
struct Attempt: Sendable {
    var number: Int
    var hops: [AttemptHop]
    /// As people read it: `s1 > s3`.
    var chainName: String
    let ending = AttemptEnding()

    /// - Throws: `CancellationError` when nobody waits for the attempt any more.
    func checkWanted() throws {
        if isUnwanted { throw CancellationError() }
    }

    var isUnwanted: Bool { Task.isCancelled || ending.isTold }
}

/// Tells an attempt that it is over, and which of its caches the next attempt goes on with.
///
/// An attempt with such caches is not cancelled: a step under way on one of them ends first, so that it is known how
/// far that cache has come.
final class AttemptEnding: Sendable {
    /// `nil` until told.
    private let keeping = Mutex<[AttemptHop]?>(nil)

    var isTold: Bool { keeping.withLock { $0 != nil } }

    func tell(keeping hops: [AttemptHop]) { keeping.withLock { $0 = $0 ?? hops } }

    /// Hops that the next attempt does not go on with; none while that is not known.
    func left(of hops: [AttemptHop]) -> [AttemptHop] {
        guard let kept = keeping.withLock({ $0 }) else { return [] }
        return hops.filter { hop in
            !kept.contains { $0.isSamePlace(as: hop) && $0.engineJob == hop.engineJob }
        }
    }
}

/// How an attempt ended.
enum AttemptOutcome: Sendable {
    /// With all its tokens.
    case finished(GenerationResult, [Int32])
    /// A server did not do its part over this connection; another path may.
    case lost(ServerIndex, Incarnation, LinkError)
    /// Something that another path would repeat.
    case failed(String)
    /// The attempt was abandoned: nobody waits for its outcome.
    case abandoned
}
