/// What is still to happen, earliest first; at the same moment in order of rank, then of insertion.
struct TimedHeap<Moment: Comparable, Event> {
    private struct Entry {
        var time: Moment
        var rank: Int
        var number: Int
        var event: Event

        func precedes(_ other: Entry) -> Bool {
            if time != other.time { return time < other.time }
            return rank != other.rank ? rank < other.rank : number < other.number
        }
    }

    private var entries: [Entry] = []
    private var inserted = 0

    var isEmpty: Bool { entries.isEmpty }
    /// When the next event happens.
    var nextTime: Moment? { entries.first?.time }

    /// - Complexity: O(log n).
    mutating func insert(_ event: Event, at time: Moment, rank: Int = 0) {
        entries.append(Entry(time: time, rank: rank, number: inserted, event: event))
        inserted += 1
        var child = entries.count - 1
        while child > 0, entries[child].precedes(entries[(child - 1) / 2]) {
            entries.swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    /// - Complexity: O(log n).
    mutating func removeNext() -> (time: Moment, event: Event)? {
        guard let first = entries.first else { return nil }
        let last = entries.removeLast()
        if !entries.isEmpty {
            entries[0] = last
            var parent = 0
            while true {
                var least = 2 * parent + 1
                guard least < entries.count else { break }
                if least + 1 < entries.count, entries[least + 1].precedes(entries[least]) { least += 1 }
                guard entries[least].precedes(entries[parent]) else { break }
                entries.swapAt(least, parent)
                parent = least
            }
        }
        return (first.time, first.event)
    }
}
