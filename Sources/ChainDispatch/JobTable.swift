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
}

/// Records of jobs, found by number in O(1) expected time, at fixed slots, so that lists can run through
/// them.
///
/// Open addressing with linear probing and deletion by shifting back, at most half full, in Fibonacci
/// hashing (Knuth, TAOCP vol. 3, 6.4): the same in every process, and nearly free of collisions for
/// consecutive numbers. Memory grows to the most jobs held at once and then stays.
struct JobTable: Sendable {
    /// Records, in use or free.
    var records: [JobRecord] = []
    private(set) var count = 0
    private var firstFree = JobSlot.none
    /// Hash index: a slot, or none. Its count is a power of two.
    private var index: [JobSlot]
    /// 64 less the binary logarithm of the index's count.
    private var shift: UInt64

    init() {
        index = Array(repeating: .none, count: 16)
        shift = 64 - 4
    }

    subscript(slot: JobSlot) -> JobRecord { records[slot.index] }

    private func home(of id: JobID) -> Int { Int((id.rawValue &* 0x9E37_79B9_7F4A_7C15) >> shift) }

    /// The job's slot, or none. O(1) expected.
    func find(_ id: JobID) -> JobSlot {
        var position = home(of: id)
        while index[position] != .none {
            if records[index[position].index].id == id { return index[position] }
            position = (position + 1) & (index.count - 1)
        }
        return .none
    }

    /// Adds a job that is not in the table. O(1) amortised and expected.
    mutating func insert(_ id: JobID, at now: Instant) -> JobSlot {
        if (count + 1) * 2 > index.count { grow() }
        let record = JobRecord(id: id, since: now)
        let slot: JobSlot
        if firstFree == .none {
            slot = JobSlot(rawValue: Int32(records.count))
            records.append(record)
        } else {
            slot = firstFree
            firstFree = records[slot.index].next
            records[slot.index] = record
        }
        enter(slot)
        count += 1
        return slot
    }

    /// Removes a job that is on no list. O(1) expected.
    mutating func remove(_ slot: JobSlot) {
        let mask = index.count - 1
        var hole = home(of: records[slot.index].id)
        while index[hole] != slot { hole = (hole + 1) & mask }
        var position = (hole + 1) & mask
        while index[position] != .none {
            // An entry may move back into the hole unless its home lies after the hole, going round.
            let distance = (position - home(of: records[index[position].index].id)) & mask
            if distance >= (position - hole) & mask {
                index[hole] = index[position]
                hole = position
            }
            position = (position + 1) & mask
        }
        index[hole] = .none
        records[slot.index].chain = JobRecord.isFree
        records[slot.index].next = firstFree
        firstFree = slot
        count -= 1
    }

    /// Makes a job that is on no list run its next attempt. O(1).
    /// - Returns: the job and the attempt's number.
    mutating func start(_ slot: JobSlot, on chain: Int, at now: Instant) -> (id: JobID, attempt: Int) {
        var record = records[slot.index]
        record.attempts += 1
        record.chain = Int32(truncatingIfNeeded: chain)
        record.since = now
        records[slot.index] = record
        return (record.id, Int(record.attempts))
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

    private mutating func enter(_ slot: JobSlot) {
        var position = home(of: records[slot.index].id)
        while index[position] != .none { position = (position + 1) & (index.count - 1) }
        index[position] = slot
    }

    private mutating func grow() {
        let old = index
        index = Array(repeating: .none, count: old.count * 2)
        shift -= 1
        for slot in old where slot != .none { enter(slot) }
    }
}

/// Lists of jobs: all O(1).
extension JobTable {
    /// Puts a job that is on no list at the end of `list`.
    mutating func append(_ slot: JobSlot, to list: inout JobList) { insert(slot, before: .none, in: &list) }

    /// Puts a job that is on no list before `successor`, a member of `list`, or at the end for none.
    mutating func insert(_ slot: JobSlot, before successor: JobSlot, in list: inout JobList) {
        let predecessor = successor == .none ? list.last : records[successor.index].previous
        records[slot.index].previous = predecessor
        records[slot.index].next = successor
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
        records[slot.index].previous = .none
        records[slot.index].next = .none
        list.count -= 1
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
