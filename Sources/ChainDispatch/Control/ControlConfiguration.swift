import ChainModel

/// The bounds that a control plane keeps. Every one has a name and a default.
public struct ControlConfiguration: Hashable, Codable, Sendable {
    // Jobs.

    /// Jobs that may wait for their first start.
    public var queueLimit = 256
    /// Longest predicted wait at which an arrival is still accepted.
    public var waitLimit = Duration.seconds(120)
    /// Starts a job gets before it is given up; those that end because the pool is rearranged do not count.
    public var maximumAttempts = 10
    /// How long a job may wait for a path when it does not say.
    public var defaultTimeout = Duration.seconds(600)
    /// Longest time limit a job may ask for.
    public var longestTimeout = Duration.seconds(3600)
    /// Jobs of one client that may wait or run.
    public var clientLimit = 1024

    // Tickets.

    /// Clients are not told to wait longer than this.
    public var longestRetry = Duration.seconds(120)
    /// Refused jobs for which a place may be kept.
    public var ticketLimit = 4096
    /// How long after its time a ticket holds.
    public var ticketGrace = Duration.seconds(5)

    // Servers.

    /// A server is asked for a sign of life this often.
    public var heartbeatInterval = Duration.milliseconds(400)
    /// A server not heard of for this long is lost. With the delay of a timer, below 2 s.
    public var silenceLimit = Duration.milliseconds(1800)
    /// The driver may be late by this much; beyond it, the silence of servers is taken for the driver's own.
    public var stallTolerance = Duration.milliseconds(300)
    /// Opening a connection may take this long.
    public var connectLimit = Duration.seconds(5)
    /// Loading a range may take this long.
    public var loadLimit = Duration.seconds(3600)
    /// Wait before a lost server is sought again: the first, then doubled up to the longest.
    public var firstReconnect = Duration.milliseconds(200)
    public var longestReconnect = Duration.seconds(2)
    /// The same after corrupt data.
    public var quarantine = Duration.seconds(5)
    /// A server in service for this long begins again with the first wait.
    public var steadyTime = Duration.seconds(10)
    /// A server not back after this long is taken to be gone for good, though still sought.
    public var recoveryLimit = Duration.seconds(60)
    /// A recomposition may take this long.
    public var recompositionLimit = Duration.seconds(60)
    /// Jobs on a server that is to be restarted may take this long to finish before they are moved.
    public var restPatience = Duration.seconds(30)
    /// Closing its connection may take a server told to restart this long.
    public var restartLimit = Duration.seconds(30)

    // Demand.

    /// How the rate of arrivals is compared with the plan's; nil leaves it alone. (Optional so that journals of earlier
    /// versions, which do not have it, can be read.)
    public var demand: DemandBounds?

    public init() {}

    /// What is wrong with it, and how to mend that; nil if nothing is.
    public var problem: String? {
        if queueLimit < 0 { return "queueLimit is \(queueLimit); give at least 0" }
        if maximumAttempts < 1 { return "maximumAttempts is \(maximumAttempts); give at least 1" }
        if clientLimit < 1 { return "clientLimit is \(clientLimit); give at least 1" }
        if ticketLimit < 0 { return "ticketLimit is \(ticketLimit); give at least 0" }
        if heartbeatInterval <= .zero { return "heartbeatInterval is not positive" }
        if silenceLimit <= heartbeatInterval {
            return "silenceLimit is not above heartbeatInterval; give a multiple of it"
        }
        if firstReconnect <= .zero || longestReconnect < firstReconnect {
            return "firstReconnect must be positive and at most longestReconnect"
        }
        let limits = [
            waitLimit, longestTimeout, longestRetry, connectLimit, loadLimit, recoveryLimit,
            recompositionLimit, restPatience, restartLimit,
        ]
        if limits.contains(where: { $0 <= .zero }) { return "a limit of time is not positive" }
        let spans = [defaultTimeout, ticketGrace, stallTolerance, quarantine, steadyTime]
        if spans.contains(where: { $0 < .zero }) { return "a span of time is negative" }
        return demand?.problem
    }
}
