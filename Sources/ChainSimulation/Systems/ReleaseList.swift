/// The requests that hold slots of one server, by the moment at which they let them go.
///
/// Moments are in seconds and only move on: what was released by the latest `advance` is forgotten.
struct ReleaseList {
    private struct Release {
        var time: Double
        var slots: Int
    }

    /// By increasing time from `first`; those before it are over. Equal times in order of insertion.
    private var releases: [Release] = []
    private var first = 0
    /// Slots held by the requests that are not over.
    private(set) var heldSlots = 0

    /// Requests that are not over.
    var count: Int { releases.count - first }
    /// When the first of them ends.
    var nextTime: Double? { first < releases.count ? releases[first].time : nil }

    /// Forgets the requests that end at `now` or before.
    /// - Complexity: O(1) amortised.
    mutating func advance(to now: Double) {
        while first < releases.count, releases[first].time <= now {
            heldSlots -= releases[first].slots
            first += 1
        }
        if first > 32, first > releases.count / 2 {
            releases.removeFirst(first)
            first = 0
        }
    }

    /// - Complexity: O(n).
    mutating func insert(slots: Int, until time: Double) {
        var low = first
        var high = releases.count
        while low < high {
            let middle = (low + high) / 2
            if releases[middle].time <= time { low = middle + 1 } else { high = middle }
        }
        releases.insert(Release(time: time, slots: slots), at: low)
        heldSlots += slots
    }

    /// Time from `now` until `needed` of `total` slots are free, if nobody else comes: the first release that
    /// makes it so; 0 when they are free, or never will be.
    /// - Precondition: advanced to `now`.
    /// - Complexity: O(n).
    func wait(for needed: Int, of total: Int, from now: Double) -> Double {
        var free = total - heldSlots
        guard free < needed else { return 0 }
        for position in first..<releases.count {
            free += releases[position].slots
            if free >= needed { return releases[position].time - now }
        }
        return 0
    }
}
