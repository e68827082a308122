import ChainModel

/// The virtual queue: refused jobs that were told when to come again, in the order of those times.
///
/// Bounded by its owner; all operations O(n) over a small array at worst, and no allocation once it has grown.
struct TicketQueue: Hashable, Sendable {
    struct Ticket: Hashable, Sendable {
        var holder: TicketHolder
        /// From then on a place is kept.
        var due: Instant
    }

    /// By `due`; among equals, in order of issue.
    private(set) var tickets: [Ticket] = []
    let grace: Duration

    init(grace: Duration) { self.grace = grace }

    var count: Int { tickets.count }
    var lastDue: Instant? { tickets.last?.due }

    /// Forgets those whose holders stayed away.
    mutating func expire(at now: Instant) {
        guard let first = tickets.first, first.due + grace < now else { return }
        let kept = tickets.firstIndex { $0.due + grace >= now } ?? tickets.count
        tickets.removeFirst(kept)
    }

    /// Tickets that may be used now.
    func dueCount(at now: Instant) -> Int { tickets.firstIndex { $0.due > now } ?? tickets.count }

    /// The holder's earliest ticket.
    func first(of holder: TicketHolder) -> Int? { tickets.firstIndex { $0.holder == holder } }

    mutating func remove(at position: Int) { tickets.remove(at: position) }

    mutating func insert(_ holder: TicketHolder, due: Instant) {
        var position = tickets.count
        while position > 0 && tickets[position - 1].due > due { position -= 1 }
        tickets.insert(Ticket(holder: holder, due: due), at: position)
    }

    mutating func removeAll() { tickets.removeAll(keepingCapacity: true) }
}
