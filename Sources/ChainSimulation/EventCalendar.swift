/// Events in order of time; of events at the same time the one entered first comes first.
///
/// A heap of four children in one array: an entry's children lie in one cache line. Taking the first event
/// leaves a hole that the next entry fills, since most completions start another job.
/// All operations are O(log n); memory grows to the most events held at once and then stays.
package struct EventCalendar: Sendable {
    /// Payloads must lie below this.
    package static let payloadLimit: UInt64 = 1 << 24

    private struct Entry {
        var time: Int64
        /// Number of the entry, then its payload in the lowest 24 bits: entries compare as one number.
        var tag: UInt64

        @inline(__always)
        static func precedes(_ left: Entry, _ right: Entry) -> Bool {
            left.time < right.time || (left.time == right.time && left.tag < right.tag)
        }
    }

    private var entries: ContiguousArray<Entry> = []
    private var hasHole = false
    private var nextNumber: UInt64 = 1

    package init() {}

    package var count: Int { entries.count - (hasHole ? 1 : 0) }

    /// Time of the first event, nanoseconds; the largest number when there is none.
    package var firstTime: Int64 {
        @inline(__always)
        mutating get {
            if hasHole { closeHole() }
            return entries.isEmpty ? .max : entries[0].time
        }
    }

    /// Enters an event. O(log n).
    /// - Returns: the entry's number, which no other entry of this calendar has.
    @discardableResult @inline(__always)
    package mutating func insert(at time: Int64, payload: UInt64) -> UInt64 {
        let number = nextNumber
        nextNumber += 1
        let entry = Entry(time: time, tag: number << 24 | payload)
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
        let entry = entries[0]
        hasHole = true
        return (entry.time, entry.tag >> 24, entry.tag & (Self.payloadLimit - 1))
    }

    private mutating func closeHole() {
        hasHole = false
        let last = entries.removeLast()
        if !entries.isEmpty { sink(last) }
    }

    private mutating func rise(_ entry: Entry) {
        entries.append(entry)
        entries.withUnsafeMutableBufferPointer { heap in
            var position = heap.count - 1
            while position > 0 {
                let parent = (position - 1) >> 2
                guard Entry.precedes(entry, heap[parent]) else { break }
                heap[position] = heap[parent]
                position = parent
            }
            heap[position] = entry
        }
    }

    /// Puts an entry in the place of the root.
    private mutating func sink(_ entry: Entry) {
        entries.withUnsafeMutableBufferPointer { heap in
            let count = heap.count
            var position = 0
            while true {
                let firstChild = position &* 4 &+ 1
                guard firstChild < count else { break }
                var least = firstChild
                var leastEntry = heap[firstChild]
                for child in (firstChild &+ 1)..<max(firstChild &+ 1, min(firstChild &+ 4, count)) {
                    let candidate = heap[child]
                    if Entry.precedes(candidate, leastEntry) {
                        least = child
                        leastEntry = candidate
                    }
                }
                guard Entry.precedes(leastEntry, entry) else { break }
                heap[position] = leastEntry
                position = least
            }
            heap[position] = entry
        }
    }
}
