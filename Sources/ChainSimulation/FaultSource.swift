import ChainModel

/// The losses and returns of servers in order of time.
struct FaultSource: ~Copyable {
    private var calendar = EventCalendar()
    private var random: RandomStream
    private var means: (up: Double, down: Double)?
    /// Time of the next change, nanoseconds; the largest number when there is none.
    private(set) var next: Int64 = .max

    init(_ faults: ServerFaults, serverCount: Int, seed: UInt64, replication: Int) {
        precondition(serverCount < Int(EventCalendar.payloadLimit) / 2, "Too many servers.")
        random = RandomStream(seed: seed, purpose: .faults, replication: replication)
        switch faults {
        case .none: break
        case .random(let meanUpTime, let meanDownTime):
            precondition(meanUpTime > 0 && meanDownTime > 0)
            means = (meanUpTime, meanDownTime)
            for server in 0..<serverCount { plan(server, isLost: true, after: 0) }
        case .schedule(let changes):
            for change in changes {
                precondition(change.time >= 0 && (0..<serverCount).contains(change.server.rawValue))
                insert(change.server.rawValue, change.isLost, at: Int64(change.time * 1e9 + 0.5))
            }
        }
        next = calendar.firstTime
    }

    /// Takes the next change out, and draws the one after it.
    mutating func take() -> (server: ServerIndex, isLost: Bool) {
        let (time, _, payload) = calendar.takeFirst()
        let (server, isLost) = (Int(payload >> 1), payload & 1 == 1)
        if means != nil { plan(server, isLost: !isLost, after: time) }
        next = calendar.firstTime
        return (ServerIndex(server), isLost)
    }

    private mutating func plan(_ server: Int, isLost: Bool, after time: Int64) {
        guard let means else { return }
        let stay = random.exponential() * (isLost ? means.up : means.down)
        insert(server, isLost, at: time + Int64(stay * 1e9 + 0.5))
    }

    private mutating func insert(_ server: Int, _ isLost: Bool, at time: Int64) {
        calendar.insert(at: time, payload: UInt64(server) << 1 | (isLost ? 1 : 0))
    }
}
