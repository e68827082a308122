/// Events in order of time; of events at the same time the one entered first comes first.
///
/// A heap of four children in one piece of memory: an entry's children lie in one cache line, and are compared
/// without asking how many there are, since what follows the last entry is later than everything. Taking the
/// first event leaves a hole that the next entry fills, as most completions start another job.
/// All operations are O(log n); memory grows to the most events held at once and then stays.
package struct EventCalendar: ~Copyable {
    /// Payloads must lie below this; times must not be negative.
    package static let payloadLimit: UInt64 = 1 << 24

    /// Entries, then at least four that never come.
    private var heap = OwnedBuffer(repeating: CalendarEntry.never, count: 64)
    private var filled = 0
    private var hasHole = false
    private var nextNumber: UInt64 = 1

    package init() {}

    package var count: Int { filled - (hasHole ? 1 : 0) }

    /// Time of the first event, nanoseconds; the largest number when there is none.
    package var firstTime: Int64 {
        @inline(__always)
        mutating get {
            if hasHole { closeHole() }
            return heap[0].time
        }
    }

    /// Enters an event. O(log n).
    /// - Returns: the entry's number, which no other entry of this calendar has.
    @discardableResult @inline(__always)
    package mutating func insert(at time: Int64, payload: UInt64) -> UInt64 {
        let number = nextNumber
        nextNumber &+= 1
        let entry = CalendarEntry(time: time, tag: number << 24 | payload)
        if hasHole {
            hasHole = false
            sink(entry)
        } else {
            rise(entry)
        }
        return number
    }

    /// Takes the first event out. O(1); the work is left to what comes next.
    /// - Precondition: `firstTime` was asked for since the last change, and there is an event.
    @inline(__always)
    package mutating func takeFirst() -> (time: Int64, number: UInt64, payload: UInt64) {
        let entry = heap[0]
        hasHole = true
        return (entry.time, entry.tag >> 24, entry.tag & (Self.payloadLimit - 1))
    }

    private mutating func closeHole() {
        hasHole = false
        filled &-= 1
        let last = heap[filled]
        heap[filled] = .never
        if filled > 0 { sink(last) }
    }

    private mutating func rise(_ entry: CalendarEntry) {
        if filled + 5 > heap.count { heap = heap.grown(to: heap.count * 2, filledWith: .never) }
        var position = filled
        filled &+= 1
        while position > 0 {
            let parent = (position &- 1) >> 2
            guard CalendarEntry.precedes(entry, heap[parent]) else { break }
            heap[position] = heap[parent]
            position = parent
        }
        heap[position] = entry
    }

    /// Puts an entry in the place of the root.
    private mutating func sink(_ entry: CalendarEntry) {
        var position = 0
        while true {
            let child = position &* 4 &+ 1
            guard child < filled else { break }
            // The earlier of each pair, then of the two.
            let left = child &+ (CalendarEntry.precedes(heap[child &+ 1], heap[child]) ? 1 : 0)
            let right = child &+ (CalendarEntry.precedes(heap[child &+ 3], heap[child &+ 2]) ? 3 : 2)
            let least = CalendarEntry.precedes(heap[right], heap[left]) ? right : left
            let leastEntry = heap[least]
            guard CalendarEntry.precedes(leastEntry, entry) else { break }
            heap[position] = leastEntry
            position = least
        }
        heap[position] = entry
    }
}

/// One number that orders the entries, so that comparing two takes no branch: the time, then the entry's
/// number, then its payload in the lowest 24 bits.
struct CalendarEntry: BitwiseCopyable, Sendable {
    var key: UInt128

    static let never = CalendarEntry(key: UInt128(Int64.max) << 64 | UInt128(UInt64.max))

    @inline(__always)
    init(time: Int64, tag: UInt64) { key = UInt128(UInt64(bitPattern: time)) << 64 | UInt128(tag) }

    @inline(__always)
    private init(key: UInt128) { self.key = key }

    var time: Int64 { @inline(__always) get { Int64(truncatingIfNeeded: key >> 64) } }
    var tag: UInt64 { @inline(__always) get { UInt64(truncatingIfNeeded: key) } }

    @inline(__always)
    static func precedes(_ left: CalendarEntry, _ right: CalendarEntry) -> Bool { left.key < right.key }
}
