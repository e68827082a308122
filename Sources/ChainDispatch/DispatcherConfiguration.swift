import ChainModel

/// What the dispatcher needs to know of a chain: the servers it runs through, how many jobs fit, how long
/// one takes.
public struct DispatchChain: Hashable, Sendable {
    /// Servers of the path, source to sink, each at most once.
    public var servers: [ServerIndex]
    /// Concurrent jobs: `c_k`, at least 1.
    public var capacity: Int
    /// Mean service time: `T_k`, positive (eq. 2).
    public var serviceTime: Duration
    /// Service rate of one slot: `μ_k = 1/T_k`, jobs per second.
    public var serviceRate: Double { 1 / serviceTime.seconds }

    public init(servers: [ServerIndex], capacity: Int, serviceTime: Duration) {
        self.servers = servers
        self.capacity = capacity
        self.serviceTime = serviceTime
    }

    /// The dispatcher's view of a planned chain; a service time below one nanosecond counts as one.
    public init(_ chain: ServerChain) {
        self.init(
            servers: chain.hops.map(\.server), capacity: chain.capacity,
            serviceTime: max(Duration(seconds: chain.serviceTimeSeconds), Duration(nanoseconds: 1)))
    }
}

/// Which free chain, if any, the head of the queue takes.
public enum DispatchPolicy: Hashable, Sendable {
    /// Join the Fastest Free Chain (Algorithm 3): the fastest free chain, at once.
    case jffc
    /// The fastest free chain `l` for which at least `n_l` jobs wait, the head included; else wait for a
    /// faster one.
    ///
    /// One threshold per chain, fastest chain first, `1 = n_1 ≤ n_2 ≤ …`; all ones is `jffc`. Two
    /// refinements keep the service's promises where the analysis is silent: the fastest chain *available*
    /// takes the head whatever its own threshold (else jobs would wait for a chain that is gone), and a
    /// threshold above the queue limit plus one counts as that (else an arrival would be refused beside a
    /// free slot).
    case jffcWait(thresholds: [Int])
}

/// The bounds and the rule a dispatcher works under.
public struct DispatcherConfiguration: Hashable, Sendable {
    /// Jobs that may wait for their first start, at least 0. Jobs that wait for a further attempt do not
    /// count: they were accepted, and are bounded by the chains' capacities.
    public var queueLimit: Int
    /// Starts a job gets before it is given up, at least 1.
    public var maximumAttempts: Int
    public var rule: DispatchPolicy

    public init(queueLimit: Int = 256, maximumAttempts: Int = 3, rule: DispatchPolicy = .jffc) {
        self.queueLimit = queueLimit
        self.maximumAttempts = maximumAttempts
        self.rule = rule
    }
}
