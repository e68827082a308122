import ChainModel

/// Which arrivals are accepted, and what those that are not are told.
///
/// Retry-After is a ticket in a virtual queue. Let `n` newcomers wait, `r` jobs wait again, `Q` be the queue limit and
/// `ν` the rate at which the queue is served. The holder of the `i`-th ticket (from 0) finds room after `k = n + r + i +
/// 1 − Q` departures; it is told to come when `ν·t = k + z√k + 1`, so that with `z = 2` chance alone makes few come too
/// early. Who comes without a ticket is accepted only if those with tickets would still find room by the same measure.
extension ControlPlane {
    mutating func arrive(_ arrival: JobArrival, into actions: inout [Action]) {
        if let last = dispatcher.lastArrival, arrival.job <= last {
            actions.append(.refuse(arrival.job, Refusal(.duplicate, retryAfter: nil)))
            return
        }
        tickets.expire(at: now)
        let isSecondTry = demand != nil && tickets.count > 0 && tickets.first(of: arrival.holder) != nil
        defer { if !isSecondTry { noteDemand(into: &actions) } }
        if let refusal = refusal(of: arrival) {
            dispatcher.lastArrival = arrival.job
            actions.append(.refuse(arrival.job, refusal))
            return
        }
        let timeout = min(arrival.timeout ?? configuration.defaultTimeout, configuration.longestTimeout)
        accept(arrival.job, of: arrival.client, deadline: now + timeout)
        dispatch(.jobArrived(arrival.job), into: &actions)
    }

    /// What an arrival at this time would be refused with; nil if it would be accepted. A driver can so turn a request away
    /// before it spends anything on it. O(tickets).
    ///
    /// An arrival whose refusal is not `isRecorded` need not be handed in: nothing would come of it.
    public func foreseenRefusal(of arrival: JobArrival, at time: Instant) -> ForeseenRefusal? {
        // Of the copy, tickets alone are written to.
        var copy = self
        copy.now = max(now, time)
        copy.tickets.expire(at: copy.now)
        let before = copy.tickets
        guard let refusal = copy.refusal(of: arrival) else { return nil }
        return ForeseenRefusal(refusal: refusal, isRecorded: copy.tickets != before)
    }

    public struct ForeseenRefusal: Hashable, Sendable {
        public var refusal: Refusal
        /// It keeps a place, or takes one back: the arrival is to be handed in.
        public var isRecorded: Bool
    }

    /// Why the arrival is refused, or nil; uses up its ticket, or gives it one.
    private mutating func refusal(of arrival: JobArrival) -> Refusal? {
        if dispatcher.isDraining { return Refusal(.draining, retryAfter: configuration.longestReconnect) }
        if !hasHope { return Refusal(.noChain, retryAfter: configuration.longestReconnect) }
        if clients[arrival.client.rawValue] ?? 0 >= configuration.clientLimit {
            return Refusal(.clientLimit, retryAfter: timeUntilDeparture(of: 1))
        }
        let ticket = tickets.first(of: arrival.holder)
        if dispatcher.wouldStartAtOnce {
            if let ticket { tickets.remove(at: ticket) }
            return nil
        }
        if let timeout = arrival.timeout, let wait = dispatcher.expectedWait(), wait > timeout {
            return Refusal(.deadline, retryAfter: wait - timeout)
        }
        if let ticket, tickets.tickets[ticket].due <= now {
            tickets.remove(at: ticket)
            // It comes first among those who wait elsewhere.
            return dispatcher.newcomerCount < limit
                ? nil : tell(arrival.holder, departures: departuresUntilRoom(rank: 0))
        }
        if mayJoin(without: ticket) {
            if let ticket { tickets.remove(at: ticket) }
            return nil
        }
        if let ticket {  // It came early.
            return Refusal(.queueFull, retryAfter: tickets.tickets[ticket].due - now, hasTicket: true)
        }
        return tell(arrival.holder, departures: departuresUntilRoom(rank: tickets.count))
    }

    /// The queue limit in force: at most as many newcomers as are served within the longest wait.
    var limit: Int {
        let rate = dispatcher.availableRate
        if rate <= 0 { return configuration.queueLimit }
        let served = rate * configuration.waitLimit.seconds
        return served < Double(configuration.queueLimit)
            ? min(configuration.queueLimit, max(1, Int(served))) : configuration.queueLimit
    }

    /// What tickets and those beside them are planned for: a few places less, for holders who come all at once.
    private var ticketedLimit: Int {
        let limit = limit
        return max(min(limit, 1), limit - Int(Double(limit).squareRoot().rounded(.up)))
    }

    /// Whether a newcomer may join the queue beside those who hold tickets: `mine` does not count.
    private func mayJoin(without mine: Int?) -> Bool {
        let limit = limit
        let waiting = dispatcher.newcomerCount
        if waiting >= limit { return false }
        // However many tickets are out, servers do not run dry.
        if waiting < max(1, limit / 8) || tickets.count == 0 { return true }
        let rate = serviceRate
        // Places kept for those who may come at any moment, at most half of all.
        let due = min(tickets.dueCount(at: now), limit / 2)
        let open = ticketedLimit
        if waiting + due >= open { return false }
        let again = dispatcher.queueLength - waiting
        var rank = 0
        for (position, ticket) in tickets.tickets.enumerated() where position != mine {
            if ticket.due > now {
                let departures = Double(waiting + 1 + again + rank + 1 - open)
                if departures > 0 && rate * (ticket.due - now).seconds < Self.margin(departures) {
                    return false
                }
            }
            rank += 1
        }
        return true
    }

    /// Departures until there is room for one with `rank` ticket holders before it, at least 1.
    private func departuresUntilRoom(rank: Int) -> Int {
        max(1, dispatcher.queueLength + rank + 1 - ticketedLimit)
    }

    /// Departures to wait for on average, that `count` have happened all but surely.
    private static func margin(_ count: Double) -> Double { count + 2 * count.squareRoot() + 1 }

    /// Gives the holder a ticket, if there is one for a bearable wait.
    private mutating func tell(_ holder: TicketHolder, departures: Int) -> Refusal {
        // A short queue has no room for chance: its holders are called at a somewhat lower rate.
        let pace = 1 + 2 / Double(max(1, limit))
        let wait = timeUntilDeparture(of: Self.margin(Double(departures)) * pace)
        guard wait <= configuration.longestRetry, tickets.count < configuration.ticketLimit else {
            return Refusal(.overloaded, retryAfter: wait)
        }
        tickets.insert(holder, due: now + wait)
        return Refusal(.queueFull, retryAfter: wait, hasTicket: true)
    }

    /// Jobs per second that leave the queue: of the chains that serve or, while none does, of all those planned.
    private var serviceRate: Double {
        if dispatcher.availableRate > 0 { return dispatcher.availableRate }
        return dispatcher.chains.indices.reduce(0) { $0 + dispatcher.slotRate(of: $1) }
    }

    /// In whole milliseconds, rounded up, as clients are told.
    private func timeUntilDeparture(of count: Double) -> Duration {
        let rate = serviceRate
        var seconds = rate > 0 ? count / rate : configuration.longestRetry.seconds + 1
        if dispatcher.availableRate <= 0 { seconds += configuration.longestReconnect.seconds }
        return .milliseconds((min(seconds, 1e6) * 1000).rounded(.up))
    }
}

extension Dispatcher {
    /// Whether an arrival would start without waiting.
    var wouldStartAtOnce: Bool { queue.isEmpty && chainForHead(waiting: 1) != nil }

    /// The jobs that run, in order of arrival. O(n log n).
    public var runningJobs: [JobID] { jobs.runningSlots { _ in true }.map { jobs[$0].id } }
}

extension ControlPlane {
    /// Refused jobs for which a place is kept.
    public var ticketCount: Int { tickets.count }

    /// Expected wait of a job that arrived now; nil if no chain serves. O(K).
    public var expectedWait: Duration? { dispatcher.expectedWait() }
}
