import ChainModel

@testable import ChainDispatch

/// A control plane on a manual clock, with the least of a driver around it: connections open at once, and servers
/// answer every ping unless told otherwise.
struct ControlRig {
    var plane: ControlPlane
    var now = Instant.origin
    var actions: [ControlPlane.Action] = []
    /// Servers that answer nothing.
    var mute: Set<Int> = []
    /// What a server says it holds.
    var holdings: [RangeChecksum?]
    /// Records of all that was passed in.
    var journal: [JournalRecord] = []

    init(
        _ chains: [[Int]], capacity: Int = 1, seconds: Double = 1, spares: Int = 0, prove: Bool = true,
        arrivalRate: Double? = nil, configuration: ControlConfiguration = ControlConfiguration()
    ) {
        let count = (chains.joined().max() ?? -1) + 1 + spares
        plane = ControlPlane(configuration: configuration, serverCount: count)
        holdings = Array(repeating: nil, count: count)
        if !prove { mute = Set(0..<count) }
        for server in chains.joined() { holdings[server] = RangeChecksum(UInt64(server) + 100) }
        let installation = PlanInstallation(
            number: 1,
            chains: chains.enumerated().map { position, servers in
                Self.chain(servers, capacity: capacity, seconds: seconds + Double(position))
            },
            checksums: holdings, arrivalRate: arrivalRate)
        send(.planInstalled(installation))
        mute = []
    }

    static func chain(_ servers: [Int], capacity: Int = 1, seconds: Double = 1) -> PlanInstallation.Chain {
        PlanInstallation.Chain(
            hops: servers.enumerated().map {
                ChainHop(server: ServerIndex($1), firstBlock: $0 + 1, blockCount: 1)
            },
            capacity: capacity, serviceTime: .seconds(seconds))
    }

    /// Passes the event in, and lets servers answer; returns what was to be done, signs of life apart.
    @discardableResult
    mutating func send(_ event: ControlPlane.Event) -> [ControlPlane.Action] {
        var events = [event]
        var seen: [ControlPlane.Action] = []
        while !events.isEmpty {
            var step: [ControlPlane.Action] = []
            let next = events.removeFirst()
            plane.handle(next, at: now, into: &step)
            plane.checkInvariants()
            journal.append(
                JournalRecord(
                    sequence: UInt64(journal.count) + 1, time: now, event: next,
                    actions: ControlPlane.digest(of: step)))
            for action in step {
                switch action {
                case .connect(let server, let incarnation) where !mute.contains(server.rawValue):
                    events.append(.serverConnected(server, incarnation, holds: holdings[server.rawValue]))
                case .ping(let server, let incarnation):
                    if !mute.contains(server.rawValue) { events.append(.serverHeard(server, incarnation)) }
                    continue
                default: break
                }
                seen.append(action)
            }
        }
        actions += seen
        return seen
    }

    /// Lets time pass, timers going off on their way; returns what was to be done.
    @discardableResult
    mutating func wait(_ seconds: Double) -> [ControlPlane.Action] {
        let end = now + .seconds(seconds)
        var seen: [ControlPlane.Action] = []
        while let wake = plane.nextWake, wake <= end {
            now = max(now, wake)
            seen += send(.tick)
        }
        now = end
        return seen
    }

    @discardableResult
    mutating func arrive(
        _ job: UInt64, client: UInt64 = 1, holder: UInt64? = nil, timeout: Double? = nil
    ) -> [ControlPlane.Action] {
        send(
            .jobArrived(
                JobArrival(
                    job: JobID(job), client: ClientID(client), holder: TicketHolder(holder ?? job),
                    timeout: timeout.map(Duration.seconds))))
    }

    func incarnation(_ server: Int) -> Incarnation { plane.servers[server].incarnation }
}
