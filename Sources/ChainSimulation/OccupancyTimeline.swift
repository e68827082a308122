/// Mean numbers of jobs that wait, and that run on each chain, over equal intervals of simulated time.
///
/// The number of intervals is bounded: when it would grow beyond, neighbours merge.
package struct OccupancyTimeline: Hashable, Sendable {
    private static let mostIntervals = 128

    /// Length of an interval, nanoseconds.
    private var length: Int64
    private(set) var intervalEnd: Int64
    private let chainCount: Int
    /// Mean jobs waiting; by interval.
    package private(set) var waiting: [Double] = []
    /// Mean jobs running on each chain; interval by interval.
    private var runningByChain: [Double] = []

    /// - Parameter length: of the first intervals, nanoseconds, positive.
    init(length: Int64, chainCount: Int) {
        self.length = length
        self.chainCount = chainCount
        intervalEnd = length
        waiting.reserveCapacity(Self.mostIntervals)
        runningByChain.reserveCapacity(Self.mostIntervals * chainCount)
    }

    package var count: Int { waiting.count }

    /// Length of an interval, seconds.
    package var intervalSeconds: Double { Double(length) / 1e9 }

    /// Mean jobs running on a chain in an interval.
    package func running(on chain: Int, in interval: Int) -> Double {
        runningByChain[interval * chainCount + chain]
    }

    /// Mean jobs running; by interval.
    package var running: [Double] {
        waiting.indices.map { interval in
            (0..<chainCount).reduce(0) { $0 + running(on: $1, in: interval) }
        }
    }

    /// Ends the current interval. O(chains), amortised.
    /// - Parameters:
    ///   - area: integral of the number of jobs in the system over it, nanoseconds.
    ///   - tallies: of the chains, with those of the jobs that ran there.
    mutating func closeInterval(area: Double, _ tallies: borrowing OwnedBuffer<ChainTally>) {
        let whole = Double(length)
        var waitingArea = area
        for chain in 0..<chainCount {
            let part = tallies[chain].inInterval
            waitingArea -= part
            runningByChain.append(part / whole)
        }
        waiting.append(max(0, waitingArea) / whole)
        if waiting.count == Self.mostIntervals { mergeNeighbours() }
        intervalEnd += length
    }

    private mutating func mergeNeighbours() {
        let half = Self.mostIntervals / 2
        for position in 0..<half {
            waiting[position] = (waiting[2 * position] + waiting[2 * position + 1]) / 2
            for chain in 0..<chainCount {
                let mean =
                    (running(on: chain, in: 2 * position) + running(on: chain, in: 2 * position + 1)) / 2
                runningByChain[position * chainCount + chain] = mean
            }
        }
        waiting.removeSubrange(half...)
        runningByChain.removeSubrange((half * chainCount)...)
        length *= 2
    }
}
