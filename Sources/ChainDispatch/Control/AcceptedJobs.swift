import ChainModel

/// Accepted, unfinished jobs as the control plane knows them beside the dispatcher: whose each is, and until when it may
/// wait. The next deadline is at the top of a binary heap over the records.
///
/// Memory grows to the most jobs held at once and then stays.
struct AcceptedJobs: Sendable {
    struct Record: Hashable, Sendable {
        var job: JobID
        var client: ClientID
        var deadline: Instant
        /// Where it is in the heap; negative once its deadline has passed.
        var heapPosition: Int32
    }

    private(set) var records: [Record] = []
    private var free: [Int32] = []
    private var index = KeyTable()
    /// Records by deadline, ties by job; each before both its children.
    private var heap: [Int32] = []

    var count: Int { index.count }
    subscript(job: JobID) -> Record? { index[job.rawValue].map { records[$0] } }

    /// The earliest deadline not yet passed. O(1).
    var nextDeadline: Instant? { heap.first.map { records[Int($0)].deadline } }

    /// O(log n).
    mutating func insert(_ job: JobID, client: ClientID, deadline: Instant) {
        let record = Record(job: job, client: client, deadline: deadline, heapPosition: Int32(heap.count))
        let slot: Int32
        if let last = free.popLast() {
            slot = last
            records[Int(slot)] = record
        } else {
            slot = Int32(records.count)
            records.append(record)
        }
        index[job.rawValue] = Int(slot)
        heap.append(slot)
        rise(heap.count - 1)
    }

    /// O(log n).
    mutating func remove(_ job: JobID) -> Record? {
        guard let slot = index[job.rawValue] else { return nil }
        let record = records[slot]
        index[job.rawValue] = nil
        takeOffHeap(slot)
        free.append(Int32(slot))
        return record
    }

    /// Takes the job whose deadline comes first off the heap if it has passed; its record stays. O(log n).
    mutating func popOverdue(at now: Instant) -> JobID? {
        guard let slot = heap.first.map(Int.init), records[slot].deadline <= now else { return nil }
        takeOffHeap(slot)
        return records[slot].job
    }

    private mutating func takeOffHeap(_ slot: Int) {
        let position = Int(records[slot].heapPosition)
        if position < 0 { return }
        records[slot].heapPosition = -1
        let last = heap.removeLast()
        if position == heap.count { return }
        place(last, at: position)
        rise(position)
        sink(position)
    }

    private mutating func place(_ slot: Int32, at position: Int) {
        heap[position] = slot
        records[Int(slot)].heapPosition = Int32(position)
    }

    private func precedes(_ left: Int32, _ right: Int32) -> Bool {
        let (left, right) = (records[Int(left)], records[Int(right)])
        return (left.deadline, left.job) < (right.deadline, right.job)
    }

    private mutating func rise(_ start: Int) {
        var position = start
        let slot = heap[position]
        while position > 0, precedes(slot, heap[(position - 1) / 2]) {
            place(heap[(position - 1) / 2], at: position)
            position = (position - 1) / 2
        }
        place(slot, at: position)
    }

    private mutating func sink(_ start: Int) {
        var position = start
        let slot = heap[position]
        while true {
            var child = 2 * position + 1
            if child >= heap.count { break }
            if child + 1 < heap.count, precedes(heap[child + 1], heap[child]) { child += 1 }
            if !precedes(heap[child], slot) { break }
            place(heap[child], at: position)
            position = child
        }
        place(slot, at: position)
    }

    /// Traps if heap and records disagree. O(n).
    func checkInvariants() {
        for (position, slot) in heap.enumerated() {
            precondition(Int(records[Int(slot)].heapPosition) == position, "A deadline's place is wrong.")
            precondition(
                position == 0 || !precedes(slot, heap[(position - 1) / 2]), "Deadlines are out of order.")
        }
        precondition(records.count == free.count + count, "Records of jobs are miscounted.")
        precondition(heap.count <= count, "A deadline has no job.")
    }
}
