import ChainDispatch
import ChainModel

/// The control plane under more load than it can carry: Poisson arrivals, exponential service, servers that stay well.
/// What it refuses comes again when it is told to, or not at all.
public struct OverloadSimulation: Sendable {
    /// What is simulated; times in seconds.
    public struct Load: Hashable, Sendable {
        /// Offered load, new requests over the total service rate `ν`.
        public var factor: Double
        /// Of the requests refused with a ticket, those that come again when told.
        public var patience: Double
        /// At `burstTime`, this many requests come at once, over and above.
        public var burst = 0
        public var burstTime = 20.0
        /// Requests come until then.
        public var span: Double
        public var seed: UInt64
        /// A client is late by up to this much, as by rounding to whole seconds.
        public var lateness = 1.0

        public init(factor: Double, patience: Double, span: Double, seed: UInt64) {
            self.factor = factor
            self.patience = patience
            self.span = span
            self.seed = seed
        }
    }

    /// What came of it. Times in seconds.
    public struct Outcome: Hashable, Sendable {
        public var offered = 0
        public var accepted = 0
        public var completed = 0
        /// Refused and given a ticket.
        public var ticketed = 0
        /// Refused outright: the wait would have been too long.
        public var outright = 0
        /// Came again when told.
        public var returned = 0
        /// Of these, accepted at once.
        public var honoured = 0
        /// Sum over accepted requests, from their acceptance to their end.
        public var responseSum = 0.0
        public var longestQueue = 0
        public var mostJobs = 0
        public var mostTickets = 0
        public var longestRetry = 0.0
        /// Completions while requests came, after the first tenth.
        public var steadyCompletions = 0
        public var steadyTime = 0.0
        public var meanResponse: Double { responseSum / Double(max(1, completed)) }
        public var throughput: Double { Double(steadyCompletions) / steadyTime }
        /// Of those who waited as told, accepted then.
        public var honouredFraction: Double { Double(honoured) / Double(max(1, returned)) }
    }

    private enum Happening: Sendable {
        case arrival
        case burst
        case comeAgain(holder: UInt64)
        case completion(JobID, attempt: Int)
        case wake
    }

    public let load: Load
    private let rate: Double
    private let serviceTimes: [Duration]
    private var plane: ControlPlane
    private var random: SeededGenerator
    private var calendar = EventCalendar<Happening>()
    private var now = Instant.origin
    private var accepted: [JobID: Instant] = [:]
    private var lastJob: UInt64 = 0
    private var lastHolder: UInt64 = 0
    private var armed: Instant?
    private var actions: [ControlPlane.Action] = []
    private var outcome = Outcome()

    /// - Parameter chains: one server each; capacity and mean service time, fastest first.
    public init(
        chains: [(capacity: Int, seconds: Double)], configuration: ControlConfiguration, load: Load
    ) {
        self.load = load
        plane = ControlPlane(configuration: configuration, serverCount: chains.count)
        random = SeededGenerator(seed: load.seed)
        serviceTimes = chains.map { .seconds($0.seconds) }
        rate = chains.reduce(0) { $0 + Double($1.capacity) / $1.seconds }
        let checksums = chains.indices.map { RangeChecksum(UInt64($0) + 1) }
        let planned = chains.enumerated().map { index, chain in
            PlanInstallation.Chain(
                hops: [ChainHop(server: ServerIndex(index), firstBlock: 1, blockCount: 1)],
                capacity: chain.capacity, serviceTime: .seconds(chain.seconds))
        }
        post(.planInstalled(PlanInstallation(number: 1, chains: planned, checksums: checksums)))
        calendar.add(.arrival, at: now + random.exponential(mean: .seconds(1 / (load.factor * rate))))
        if load.burst > 0 { calendar.add(.burst, at: now + .seconds(load.burstTime)) }
    }

    /// Total service rate: `ν`, jobs per second.
    public var serviceRate: Double { rate }

    /// Runs until the last job has ended.
    public mutating func run() -> Outcome {
        let end = Instant.origin + .seconds(load.span)
        let warm = Instant.origin + .seconds(load.span / 10)
        while now <= end || !accepted.isEmpty || hasReturns, let next = calendar.next() {
            now = next.time
            switch next.happening {
            case .arrival:
                if now > end { break }
                calendar.add(.arrival, at: now + random.exponential(mean: .seconds(1 / (load.factor * rate))))
                arrive()
            case .burst: for _ in 0..<load.burst { arrive() }
            case .comeAgain(let holder):
                awaited -= 1
                outcome.returned += 1
                if offer(holder) { outcome.honoured += 1 }
            case .completion(let job, let attempt):
                outcome.completed += 1
                if now > warm && now <= end { outcome.steadyCompletions += 1 }
                outcome.responseSum += (now - accepted.removeValue(forKey: job)!).seconds
                post(.jobCompleted(job, attempt: attempt))
            case .wake:
                armed = nil
                post(.tick)
            }
        }
        outcome.steadyTime = (end - warm).seconds
        return outcome
    }

    /// Clients that will come again.
    private var awaited = 0
    private var hasReturns: Bool { awaited > 0 }

    private mutating func arrive() {
        outcome.offered += 1
        lastHolder += 1
        _ = offer(lastHolder)
    }

    /// - Returns: whether the request is accepted.
    private mutating func offer(_ holder: UInt64) -> Bool {
        lastJob += 1
        let job = JobID(lastJob)
        let refusal = post(
            .jobArrived(
                JobArrival(job: job, client: ClientID(holder), holder: TicketHolder(holder))))
        guard let refusal else {
            accepted[job] = now
            outcome.accepted += 1
            outcome.mostJobs = max(outcome.mostJobs, accepted.count)
            return true
        }
        guard refusal.hasTicket, let wait = refusal.retryAfter else {
            outcome.outright += 1
            return false
        }
        outcome.ticketed += 1
        outcome.longestRetry = max(outcome.longestRetry, wait.seconds)
        if random.happens(load.patience) {
            awaited += 1
            let late = random.span(.zero, .seconds(load.lateness))
            calendar.add(.comeAgain(holder: holder), at: now + wait + late)
        }
        return false
    }

    @discardableResult
    private mutating func post(_ event: ControlPlane.Event) -> ControlPlane.Refusal? {
        var refusal: ControlPlane.Refusal?
        var events = [event]
        while let event = events.popLast() {
            actions.removeAll(keepingCapacity: true)
            plane.handle(event, at: now, into: &actions)
            for action in actions {
                switch action {
                case .start(let job, let attempt, let chain):
                    calendar.add(
                        .completion(job, attempt: attempt),
                        at: now + random.exponential(mean: serviceTimes[chain.rawValue]))
                case .connect(let server, let incarnation):
                    events.append(
                        .serverConnected(
                            server, incarnation, holds: RangeChecksum(UInt64(server.rawValue) + 1)))
                case .ping(let server, let incarnation): events.append(.serverHeard(server, incarnation))
                case .refuse(_, let reason): refusal = reason
                default: break
                }
            }
        }
        outcome.longestQueue = max(outcome.longestQueue, plane.dispatcher.queueLength)
        outcome.mostTickets = max(outcome.mostTickets, plane.ticketCount)
        if let wake = plane.nextWake, armed.map({ wake < $0 }) ?? true {
            armed = wake
            calendar.add(.wake, at: max(now, wake))
        }
        return refusal
    }
}
