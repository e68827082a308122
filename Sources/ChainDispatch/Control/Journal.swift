import ChainModel

/// 64-bit FNV-1a (Fowler, Noll and Vo) over whole numbers, byte by byte: the same in every process.
public struct StableDigest: Hashable, Codable, Sendable {
    public private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    public init() {}

    public mutating func append(_ number: UInt64) {
        var rest = number
        for _ in 0..<8 {
            value = (value ^ (rest & 0xFF)) &* 0x0000_0100_0000_01B3
            rest >>= 8
        }
    }

    public mutating func append(_ number: Int) { append(UInt64(bitPattern: Int64(number))) }

    public mutating func append(_ text: String) {
        for byte in text.utf8 { append(UInt64(byte)) }
        append(UInt64(text.utf8.count))
    }
}

/// One event as the journal keeps it, with a digest of what it led to.
public struct JournalRecord: Hashable, Codable, Sendable {
    /// From 1, without gaps within one life of the service.
    public var sequence: UInt64
    /// The time passed in.
    public var time: Instant
    public var event: ControlPlane.Event
    /// Digest of the actions, in order.
    public var actions: UInt64

    public init(sequence: UInt64, time: Instant, event: ControlPlane.Event, actions: UInt64) {
        self.sequence = sequence
        self.time = time
        self.event = event
        self.actions = actions
    }
}

/// Feeds a journal to a fresh control plane and compares what it does.
public struct Replay: Sendable {
    /// The first record at which journal and control plane part.
    public struct Divergence: Hashable, Sendable {
        public enum Kind: Hashable, Sendable {
            /// Records are missing or repeated: the number that should have come.
            case sequence(expected: UInt64)
            /// The actions differ; those of the replay.
            case actions([ControlPlane.Action])
        }
        public var record: JournalRecord
        public var kind: Kind
    }

    public private(set) var plane: ControlPlane
    public private(set) var recordCount: UInt64 = 0
    private var actions: [ControlPlane.Action] = []

    public init(configuration: ControlConfiguration, serverCount: Int) {
        plane = ControlPlane(configuration: configuration, serverCount: serverCount)
    }

    /// Takes the next record. After a divergence the replay may go on, but later ones mean little.
    public mutating func feed(_ record: JournalRecord) -> Divergence? {
        if record.sequence != recordCount + 1 {
            return Divergence(record: record, kind: .sequence(expected: recordCount + 1))
        }
        recordCount += 1
        actions.removeAll(keepingCapacity: true)
        plane.handle(record.event, at: record.time, into: &actions)
        if ControlPlane.digest(of: actions) == record.actions { return nil }
        return Divergence(record: record, kind: .actions(actions))
    }

    /// What the record last fed led to.
    public var lastActions: [ControlPlane.Action] { actions }

    /// Replays a whole journal; the first divergence, or nil.
    public static func check(
        _ records: some Sequence<JournalRecord>, configuration: ControlConfiguration, serverCount: Int
    ) -> Divergence? {
        var replay = Replay(configuration: configuration, serverCount: serverCount)
        for record in records {
            if let divergence = replay.feed(record) { return divergence }
        }
        return nil
    }
}

extension ControlPlane {
    /// Digest of actions, in order: equal in every process for equal actions.
    public static func digest(of actions: [Action]) -> UInt64 {
        var digest = StableDigest()
        for action in actions { action.append(to: &digest) }
        return digest.value
    }
}

extension ControlPlane.Action {
    /// Adds the action, its kind first.
    public func append(to digest: inout StableDigest) {
        func append(_ numbers: Int...) { for number in numbers { digest.append(number) } }
        switch self {
        case .start(let job, let attempt, let chain):
            append(1, Int(bitPattern: UInt(job.rawValue)), attempt, chain.rawValue)
        case .queue(let job, let ahead): append(2, Int(bitPattern: UInt(job.rawValue)), ahead)
        case .refuse(let job, let refusal):
            append(3, Int(bitPattern: UInt(job.rawValue)))
            digest.append(refusal.reason.rawValue)
            append(Int(refusal.retryAfter?.nanoseconds ?? -1), refusal.hasTicket ? 1 : 0)
        case .abandon(let job, let attempt): append(4, Int(bitPattern: UInt(job.rawValue)), attempt)
        case .fail(let job, let failure):
            append(5, Int(bitPattern: UInt(job.rawValue)))
            digest.append(failure.rawValue)
        case .connect(let server, let incarnation): append(6, server.rawValue, Int(incarnation.rawValue))
        case .load(let server, let incarnation): append(7, server.rawValue, Int(incarnation.rawValue))
        case .ping(let server, let incarnation): append(8, server.rawValue, Int(incarnation.rawValue))
        case .disconnect(let server, let incarnation):
            append(9, server.rawValue, Int(incarnation.rawValue))
        case .restart(let server, let incarnation): append(10, server.rawValue, Int(incarnation.rawValue))
        case .recompose(let excluded, let plan):
            append(11, plan, excluded.count)
            for server in excluded { append(server.rawValue) }
        case .rolloutEnded(let skipped):
            append(12, skipped.count)
            for server in skipped { append(server.rawValue) }
        case .drained: append(13)
        case .reconsider(let rate, let excluded, let plan):
            append(14, plan, excluded.count)
            for server in excluded { append(server.rawValue) }
            digest.append(rate.bitPattern)
        }
    }
}
