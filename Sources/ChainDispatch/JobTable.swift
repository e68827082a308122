import ChainModel

/// Where a job's record lies in a `JobTable`, as long as the job is there.
struct JobSlot: Hashable, Sendable {
    var rawValue: Int32
    static let none = JobSlot(rawValue: -1)
    var index: Int { Int(rawValue) }
}

/// Ends of a doubly linked list of jobs; the links are in the jobs' records.
struct JobList: Sendable {
    var first = JobSlot.none
    var last = JobSlot.none
    var count = 0
    var isEmpty: Bool { count == 0 }
}

/// An accepted job that is neither finished nor given up.
struct JobRecord: Sendable {
    var id: JobID
    /// When it began to wait or to run.
    var since: Instant
    /// Starts so far; while it runs, the number of the current attempt.
    var attempts: Int32 = 0
    /// Starts that do not count towards the limit: the pool was rearranged, or the job was restored.
    var excused: Int32 = 0
    /// Chain it runs on; negative while it waits or the record is free.
    var chain: Int32 = Self.waits
    /// Neighbours in the queue while it waits; `next` also links the free records.
    var next = JobSlot.none
    var previous = JobSlot.none
    /// Starts that count.
    var spent: Int { Int(attempts - excused) }

    static let waits: Int32 = -1
    static let isFree: Int32 = -2

    // Each of these is one access to the array of records, which asks once whether it is shared.

    @inline(__always)
    fileprivate mutating func link(_ previous: JobSlot, _ next: JobSlot) {
        self.previous = previous
        self.next = next
    }

    @inline(__always)
    fileprivate mutating func setFree(_ next: JobSlot) {
        chain = Self.isFree
        self.next = next
    }

    /// - Returns: the job and the attempt's number.
    @inline(__always)
    fileprivate mutating func start(on chain: Int, at now: Instant) -> (id: JobID, attempt: Int) {
        attempts &+= 1
        self.chain = Int32(truncatingIfNeeded: chain)
        since = now
        return (id, Int(attempts))
    }
}

/// Records of jobs, found by number in O(1), at fixed slots, so that lists can run through them.
///
/// Jobs are numbered in order, so a job's place is that of its number's lowest bits: nothing is hashed, and
/// consecutive numbers never meet. A job that finds its place taken by one older by a multiple of the places'
/// count is kept in a hash table instead, so numbers may also be far apart, and one job that never ends costs
/// no memory. Places are at least twice the jobs; memory grows to the most jobs held at once and then stays.
struct JobTable: Sendable {
    /// Records, in use or free.
    var records: [JobRecord] = []
    private(set) var count = 0
    private var firstFree = JobSlot.none
    /// The slot of the job at each place, or none. Its count is a power of two.
    private var places: [JobSlot]
    /// Slots of the jobs whose place another has; by number.
    private var displaced = KeyTable()

    init() { places = Array(repeating: .none, count: 16) }

    subscript(slot: JobSlot) -> JobRecord {
        @inline(__always) get { records[slot.index] }
    }

    @inline(__always)
    private func place(of id: JobID) -> Int { Int(truncatingIfNeeded: id.rawValue) & (places.count &- 1) }

    /// The job's slot, or none. O(1); expected, if its place was taken.
    @inline(__always)
    func find(_ id: JobID) -> JobSlot {
        let slot = places[place(of: id)]
        if slot != .none, records[slot.index].id == id { return slot }
        return displaced.count == 0 ? .none : findDisplaced(id)
    }

    private func findDisplaced(_ id: JobID) -> JobSlot {
        displaced[id.rawValue].map { JobSlot(rawValue: Int32(truncatingIfNeeded: $0)) } ?? .none
    }

    /// Adds a job that is not in the table. O(1) amortised; expected, if its place is taken.
    mutating func insert(_ id: JobID, at now: Instant) -> JobSlot {
        if (count &+ 1) &* 2 > places.count { grow() }
        let record = JobRecord(id: id, since: now)
        let slot = firstFree
        count &+= 1
        if slot == .none {
            let added = JobSlot(rawValue: Int32(records.count))
            records.append(record)
            enter(added, id)
            return added
        }
        firstFree = records[slot.index].next
        records[slot.index] = record
        enter(slot, id)
        return slot
    }

    /// Removes a job that is on no list. O(1); expected, if its place was taken.
    mutating func remove(_ slot: JobSlot) {
        let id = records[slot.index].id
        let place = place(of: id)
        if places[place] == slot { places[place] = .none } else { displaced[id.rawValue] = nil }
        records[slot.index].setFree(firstFree)
        firstFree = slot
        count &-= 1
    }

    /// Makes a job that is on no list run its next attempt. O(1).
    /// - Returns: the job and the attempt's number.
    mutating func start(_ slot: JobSlot, on chain: Int, at now: Instant) -> (id: JobID, attempt: Int) {
        records[slot.index].start(on: chain, at: now)
    }

    /// Slots of the running jobs whose chain satisfies `condition`, in order of arrival.
    ///
    /// Searches all records, O(n + m log m) for `m` found: lists kept by chain would cost every start and
    /// every completion more than the rare loss of a server saves.
    func runningSlots(where condition: (_ chain: Int) -> Bool) -> [JobSlot] {
        records.indices
            .filter { records[$0].chain >= 0 && condition(Int(records[$0].chain)) }
            .sorted { records[$0].id < records[$1].id }
            .map { JobSlot(rawValue: Int32($0)) }
    }

    /// Puts a slot at its job's place, or among the displaced.
    @inline(__always)
    private mutating func enter(_ slot: JobSlot, _ id: JobID) {
        let place = place(of: id)
        if places[place] == .none { places[place] = slot } else { displaced[id.rawValue] = slot.index }
    }

    /// Twice the places; all jobs are entered anew.
    private mutating func grow() {
        places = Array(repeating: .none, count: places.count * 2)
        displaced = KeyTable()
        for index in records.indices where records[index].chain != JobRecord.isFree {
            enter(JobSlot(rawValue: Int32(index)), records[index].id)
        }
    }
}

/// Lists of jobs: all O(1).
extension JobTable {
    /// Puts a job that is on no list at the end of `list`.
    mutating func append(_ slot: JobSlot, to list: inout JobList) { insert(slot, before: .none, in: &list) }

    /// Puts a job that is on no list before `successor`, a member of `list`, or at the end for none.
    mutating func insert(_ slot: JobSlot, before successor: JobSlot, in list: inout JobList) {
        let predecessor = successor == .none ? list.last : records[successor.index].previous
        records[slot.index].link(predecessor, successor)
        if predecessor == .none { list.first = slot } else { records[predecessor.index].next = slot }
        if successor == .none { list.last = slot } else { records[successor.index].previous = slot }
        list.count += 1
    }

    /// Takes a member out of `list`; its record stays.
    mutating func remove(_ slot: JobSlot, from list: inout JobList) {
        let record = records[slot.index]
        if record.previous == .none {
            list.first = record.next
        } else {
            records[record.previous.index].next = record.next
        }
        if record.next == .none {
            list.last = record.previous
        } else {
            records[record.next.index].previous = record.previous
        }
        records[slot.index].link(.none, .none)
        list.count -= 1
    }

    /// Takes the first member out of `list`, which has one; its record stays.
    mutating func removeFirst(from list: inout JobList) -> JobSlot {
        let slot = list.first
        let next = records[slot.index].next
        records[slot.index].next = .none
        list.first = next
        if next == .none { list.last = .none } else { records[next.index].previous = .none }
        list.count -= 1
        return slot
    }

    /// The members' slots, first to last. O(n), allocates.
    func slots(of list: JobList) -> [JobSlot] {
        var slots: [JobSlot] = []
        slots.reserveCapacity(list.count)
        var slot = list.first
        while slot != .none {
            slots.append(slot)
            slot = records[slot.index].next
        }
        return slots
    }
}
