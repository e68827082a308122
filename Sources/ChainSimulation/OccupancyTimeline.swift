/// Mean numbers of running and waiting jobs over equal intervals of simulated time.
///
/// The number of intervals is bounded: when it would grow beyond, neighbours merge.
package struct OccupancyTimeline: Hashable, Sendable {
    package struct Interval: Hashable, Sendable {
        /// Mean jobs running.
        package var running: Double
        /// Mean jobs waiting.
        package var waiting: Double
    }

    private static let mostIntervals = 128

    /// Length of an interval, nanoseconds.
    private var length: Int64
    private(set) var intervalEnd: Int64
    package private(set) var intervals: [Interval] = []

    /// - Parameter length: of the first intervals, nanoseconds, positive.
    init(length: Int64) {
        self.length = length
        intervalEnd = length
        intervals.reserveCapacity(Self.mostIntervals)
    }

    /// Length of an interval, seconds.
    package var intervalSeconds: Double { Double(length) / 1e9 }

    /// Ends the current interval; areas are the integrals over it, nanoseconds.
    mutating func closeInterval(runningArea: Double, waitingArea: Double) {
        let whole = Double(length)
        intervals.append(Interval(running: runningArea / whole, waiting: waitingArea / whole))
        if intervals.count == Self.mostIntervals {
            for position in 0..<(Self.mostIntervals / 2) {
                let (left, right) = (intervals[2 * position], intervals[2 * position + 1])
                intervals[position] = Interval(
                    running: (left.running + right.running) / 2, waiting: (left.waiting + right.waiting) / 2)
            }
            intervals.removeSubrange((Self.mostIntervals / 2)...)
            length *= 2
        }
        intervalEnd += length
    }
}
