import ChainModel

/// What is to happen, by time; ties in the order of their entry. A binary heap: O(log n).
struct EventCalendar<Happening: Sendable>: Sendable {
    private struct Entry: Sendable {
        var time: Instant
        var order: UInt64
        var happening: Happening
    }

    private var heap: [Entry] = []
    private var entered: UInt64 = 0

    var isEmpty: Bool { heap.isEmpty }
    var nextTime: Instant? { heap.first?.time }

    mutating func add(_ happening: Happening, at time: Instant) {
        entered += 1
        heap.append(Entry(time: time, order: entered, happening: happening))
        var position = heap.count - 1
        while position > 0, precedes(position, (position - 1) / 2) {
            heap.swapAt(position, (position - 1) / 2)
            position = (position - 1) / 2
        }
    }

    mutating func next() -> (time: Instant, happening: Happening)? {
        guard let first = heap.first else { return nil }
        let last = heap.removeLast()
        if !heap.isEmpty {
            heap[0] = last
            var position = 0
            while true {
                var child = 2 * position + 1
                if child >= heap.count { break }
                if child + 1 < heap.count, precedes(child + 1, child) { child += 1 }
                if !precedes(child, position) { break }
                heap.swapAt(child, position)
                position = child
            }
        }
        return (first.time, first.happening)
    }

    private func precedes(_ left: Int, _ right: Int) -> Bool {
        (heap[left].time, heap[left].order) < (heap[right].time, heap[right].order)
    }
}
