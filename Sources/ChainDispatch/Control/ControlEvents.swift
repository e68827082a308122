import ChainModel

/// Who sent a job: what the limit per client counts by.
public struct ClientID: Hashable, Comparable, Codable, Sendable, RawRepresentable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Who may use a ticket: whatever a client's second try has in common with its first (a header that it sends back, else
/// a hash of client and request).
public struct TicketHolder: Hashable, Codable, Sendable, RawRepresentable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
}

/// Counts the connections to a server; whatever an old one reports is dropped.
public struct Incarnation: Hashable, Comparable, Codable, Sendable, RawRepresentable {
    public var rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public init(_ value: UInt32) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Digest of the blocks a server holds, their range included: the proof that they are the right ones.
public struct RangeChecksum: Hashable, Codable, Sendable, RawRepresentable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
}

/// A plan as the control plane needs it.
public struct PlanInstallation: Hashable, Codable, Sendable {
    /// A chain and its blocks; two with the same hops are the same chain.
    public struct Chain: Hashable, Codable, Sendable {
        public var hops: [ChainHop]
        /// Concurrent jobs: `c_k`, at least 1.
        public var capacity: Int
        /// Mean service time: `T_k`, positive.
        public var serviceTime: Duration

        public init(hops: [ChainHop], capacity: Int, serviceTime: Duration) {
            self.hops = hops
            self.capacity = capacity
            self.serviceTime = serviceTime
        }

        public init(_ chain: ServerChain) {
            let known = DispatchChain(chain)
            self.init(hops: chain.hops, capacity: known.capacity, serviceTime: known.serviceTime)
        }

        var dispatchChain: DispatchChain {
            DispatchChain(servers: hops.map(\.server), capacity: capacity, serviceTime: serviceTime)
        }
    }

    /// Above that of every plan before it; an installation with any other is dropped as stale.
    public var number: Int
    /// Fastest first.
    public var chains: [Chain]
    /// Thresholds of the rule, one per chain; all ones is JFFC.
    public var thresholds: [Int]
    /// What each server is to hold; nil for a spare. Indexed by `ServerIndex`.
    public var checksums: [RangeChecksum?]
    /// `λ` that the plan was made for, 1/s; nil when demand is not to be watched.
    public var arrivalRate: Double?

    public init(
        number: Int, chains: [Chain], thresholds: [Int]? = nil, checksums: [RangeChecksum?],
        arrivalRate: Double? = nil
    ) {
        self.arrivalRate = arrivalRate
        self.number = number
        self.chains = chains
        self.thresholds = thresholds ?? Array(repeating: 1, count: chains.count)
        self.checksums = checksums
    }
}

/// A job that asks to be served.
public struct JobArrival: Hashable, Codable, Sendable {
    /// Above that of every job before it; any other is refused as a duplicate.
    public var job: JobID
    public var client: ClientID
    public var holder: TicketHolder
    /// How long the job may wait for a path, from now; nil for the default.
    public var timeout: Duration?

    public init(job: JobID, client: ClientID, holder: TicketHolder, timeout: Duration? = nil) {
        self.job = job
        self.client = client
        self.holder = holder
        self.timeout = timeout
    }
}

/// What is wrong with a server, or with a connection to it.
public enum ServerFault: String, CaseIterable, Hashable, Codable, Sendable {
    /// The connection is closed.
    case closed
    /// It could not be opened.
    case unreachable
    /// A step took longer than it may.
    case stepTimeout
    /// An answer could not be read, or has the wrong shape.
    case malformed
    /// An answer's or a range's checksum is wrong.
    case checksum
    /// An answer has values that are not finite.
    case nonFinite
    /// It cannot host its blocks, and trying again will not help.
    case unfit

    /// What it sends cannot be trusted.
    var isCorruption: Bool { self == .malformed || self == .checksum || self == .nonFinite }
    /// There is no connection to close.
    var isDisconnected: Bool { self == .closed || self == .unreachable }
}

/// Why an attempt ended without an answer.
public enum AttemptFailure: Hashable, Codable, Sendable {
    /// A server of the chain did not do its part, over the connection of that incarnation.
    case server(ServerIndex, Incarnation, ServerFault)
    /// A server refused the job, and is well.
    case refused
    /// Another attempt would fail in the same way.
    case permanent
}

extension ControlPlane {
    /// What happened outside, or what is asked. Plain values: the journal is their list.
    public enum Event: Hashable, Codable, Sendable {
        /// Nothing but time passed. To be sent when `nextWake` is reached.
        case tick
        case planInstalled(PlanInstallation)
        /// The recomposition asked for under this plan number found no plan.
        case recompositionFailed(plan: Int)
        /// The plan in force will do for the rate that `reconsider` asked about.
        case planKept(plan: Int, arrivalRate: Double)

        case jobArrived(JobArrival)
        /// A job accepted before the service was restarted, after `attempts` starts. In order of arrival, before any
        /// new one.
        case jobRestored(JobID, ClientID, deadline: Instant, attempts: Int)
        case jobCompleted(JobID, attempt: Int)
        case jobFailed(JobID, attempt: Int, AttemptFailure)
        case jobCancelled(JobID)

        /// A connection is open; what the server holds, if anything.
        case serverConnected(ServerIndex, Incarnation, holds: RangeChecksum?)
        /// The server has loaded what it was told to, and proves it.
        case serverLoaded(ServerIndex, Incarnation, RangeChecksum)
        /// A sign of life: an answer to a ping, or anything else.
        case serverHeard(ServerIndex, Incarnation)
        /// The connection is of no more use.
        case serverLost(ServerIndex, Incarnation, ServerFault)
        /// The server is about to stop and asks for its jobs to be finished or moved.
        case serverLeaving(ServerIndex, Incarnation)

        /// Restart these servers one by one, without failing a request.
        case rolloutStarted([ServerIndex])
        /// Accept no further jobs; those left after `within` fail. Nil waits for all.
        case drainStarted(within: Duration?)
    }

    /// What is to be done, in the order given.
    public enum Action: Hashable, Codable, Sendable {
        /// Run the job on a chain of the plan last installed.
        case start(JobID, attempt: Int, ChainIndex)
        /// The job waits, behind `ahead` others: after its arrival, or again.
        case queue(JobID, ahead: Int)
        case refuse(JobID, Refusal)
        /// Stop the attempt and free its caches on every hop. What becomes of the job, another action says; if none
        /// does, it was cancelled.
        case abandon(JobID, attempt: Int)
        /// The accepted job is given up.
        case fail(JobID, Failure)

        /// Open a connection, to be named by the incarnation in all that it reports. Any before it is void.
        case connect(ServerIndex, Incarnation)
        /// Have the server load its range of the plan last installed.
        case load(ServerIndex, Incarnation)
        /// Ask for a sign of life.
        case ping(ServerIndex, Incarnation)
        /// Close the connection. Nothing more is heard of it.
        case disconnect(ServerIndex, Incarnation)
        /// Have the server restarted; no job is on it. Its connection is expected to close.
        case restart(ServerIndex, Incarnation)
        /// Compose a plan of this number without these servers, spares included, and install it.
        case recompose(excluding: [ServerIndex], plan: Int)
        /// Jobs arrive at another rate than the plan in force was made for: find out whether another one, without these
        /// servers, is worth the move. Install it under this number, or say that the present one is kept.
        case reconsider(arrivalRate: Double, excluding: [ServerIndex], plan: Int)
        /// Every server of the rollout was restarted, but for these.
        case rolloutEnded(skipped: [ServerIndex])
        /// No job is left and none will be accepted. Sent once.
        case drained
    }

    /// Why an arrival is not accepted, and when to come again.
    public struct Refusal: Hashable, Codable, Sendable {
        public enum Reason: String, CaseIterable, Hashable, Codable, Sendable {
            case duplicate
            case draining
            /// No chain is left that could serve, and no recovery is under way.
            case noChain
            /// The client has as many jobs here as it may.
            case clientLimit
            /// The predicted wait exceeds the job's own time limit.
            case deadline
            /// The queue is full, by count or by predicted wait.
            case queueFull
            /// The queue is full and so is the virtual queue: the wait would be too long to be told to wait.
            case overloaded

            /// 429: capacity exists but is taken. 503: nothing can serve. 409 for a number used twice.
            public var status: Int {
                switch self {
                case .duplicate: 409
                case .draining, .noChain: 503
                case .clientLimit, .deadline, .queueFull, .overloaded: 429
                }
            }
        }

        public var reason: Reason
        /// For `Retry-After`; nil when coming again does not help.
        public var retryAfter: Duration?
        /// Whether a place is kept for the holder from then on.
        public var hasTicket: Bool

        public init(_ reason: Reason, retryAfter: Duration?, hasTicket: Bool = false) {
            self.reason = reason
            self.retryAfter = retryAfter
            self.hasTicket = hasTicket
        }
    }

    /// Why an accepted job is given up.
    public enum Failure: String, CaseIterable, Hashable, Codable, Sendable {
        /// The last attempt allowed failed or lost its chain.
        case attemptsExhausted
        /// The attempt failed in a way that another would repeat.
        case notRetryable
        /// It still waited for a path when its time was up.
        case deadline
        /// The service stopped before the job's end.
        case drainDeadline
    }
}
