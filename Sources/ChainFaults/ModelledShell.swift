import ChainDispatch
import ChainModel

/// One life of the orchestrator around its control plane: connections, attempts and streams. What it decides, the
/// control plane decided.
struct ModelledShell: Sendable {
    /// An attempt under way: the hops have to confirm, then every step goes from one to the next.
    struct Attempt: Sendable {
        struct Hop: Hashable, Sendable {
            var hop: ChainHop
            var connection: Int
            var isOpen = false
        }
        var name: AttemptName
        var hops: [Hop]
        /// The answer awaited: its number, and from which hop; nil while hops confirm.
        var awaited: (number: Int, hop: Int)?
        /// Tokens whose states all hops hold.
        var position = 0
        /// Tokens of the step under way.
        var rows = 0
        var lastNumber = 0
    }

    struct Job: Sendable {
        var request: Int
        var generated: [UInt64]
        var deadline: Instant
        var attempt: Attempt?
        var lastAttempt = 0
        /// Whether its client listens.
        var isAttached: Bool
        /// Its outcome, once there is one; the client is told when it is written.
        var outcome: ModelledJournal.Outcome?
    }

    let life: Int
    var plane: ControlPlane
    var jobs: [JobID: Job] = [:]
    /// Of each server.
    var connections: [Int?]
    /// Events to hand over, first one first.
    var inbox: [ControlPlane.Event] = []
    var isHandling = false
    /// The wake-up that is set, in the plane's time.
    var armed: Instant?
    var records: [JournalRecord] = []
    /// Ranges of each plan offered, by its number.
    var ranges: [Int: [BlockRange?]] = [:]
    /// Outcomes that could not be written yet.
    var unwritten: [JobID] = []
    var isDrained = false

    init(life: Int, configuration: ControlConfiguration, serverCount: Int) {
        self.life = life
        plane = ControlPlane(configuration: configuration, serverCount: serverCount)
        connections = Array(repeating: nil, count: serverCount)
    }
}

/// A connection between one life of the orchestrator and a server. Messages keep their order each way, unless a fault
/// says otherwise.
struct Connection: Sendable {
    let server: Int
    let incarnation: Incarnation
    let life: Int
    /// Whether the orchestrator still listens.
    var isOpen = true
    /// Nothing gets through, and nobody is told.
    var isBlackHole = false
    /// The latest arrival planned, each way.
    var lastToServer = Instant.origin
    var lastToShell = Instant.origin
}
