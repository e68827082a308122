import ChainModel

/// What the control plane knows of a server.
struct ServerHealth: Hashable, Sendable {
    enum Phase: Hashable, Sendable {
        /// No connection; the next is opened at that time.
        case seeking(from: Instant)
        /// A connection is being opened; given up at that time.
        case connecting(until: Instant)
        /// Its range is being loaded; given up at that time.
        case loading(until: Instant)
        /// It holds what it should and may be used.
        case ready
        /// At rest; its jobs finish until that time and are then moved. Afterwards it is restarted, or let go.
        case leaving(until: Instant, restarts: Bool)
        /// It was told to restart; its connection is closed at that time at the latest.
        case restarting(until: Instant)
    }

    var phase = Phase.seeking(from: .origin)
    /// Of the connection last asked for.
    var incarnation = Incarnation(0)
    /// The last sign of life.
    var heard = Instant.origin
    /// When it came into service.
    var readySince = Instant.origin
    /// Since when it has not been in service; nil while it is.
    var missingSince: Instant? = .origin
    /// The next wait before it is sought again.
    var delay: Duration
    /// Gone for good, as far as one can tell; still sought.
    var isGone = false

    init(delay: Duration) { self.delay = delay }

    /// Whether jobs may run on it.
    var isServing: Bool {
        switch phase {
        case .ready, .leaving: true
        default: false
        }
    }

    /// Whether it is asked for signs of life.
    var isWatched: Bool {
        if case .loading = phase { return true }
        return isServing
    }

    var isConnected: Bool {
        if case .restarting = phase { return true }
        return isWatched
    }
}
