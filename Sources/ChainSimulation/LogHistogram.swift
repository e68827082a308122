/// Counts durations in buckets that are exact below 256 ns and then 1/128 of their lower end wide, so that a
/// quantile is known within 0.4 %.
///
/// Fixed memory (58 KB), whatever the number of values.
package struct LogHistogram: Hashable, Sendable {
    /// Greatest relative error of a quantile.
    package static let relativeError = 1.0 / 256

    private var counts: [UInt64]
    package private(set) var count: UInt64 = 0
    package private(set) var largest: Int64 = 0
    private var sum = 0.0
    private var squares = 0.0

    static let bucketCount = 256 + (63 - 8) * 128

    package init() { counts = Array(repeating: 0, count: Self.bucketCount) }

    init(_ counter: borrowing HistogramCounter) {
        var counts = Array(repeating: UInt64(0), count: Self.bucketCount)
        for bucket in counts.indices {
            counts[bucket] = counter.counts[bucket]
            count += counts[bucket]
        }
        self.counts = counts
        largest = counter.largest
        sum = counter.sum
        squares = counter.squares
    }

    @inline(__always)
    static func bucket(_ nanoseconds: Int64) -> Int {
        let value = UInt64(bitPattern: nanoseconds)
        if value < 256 { return Int(truncatingIfNeeded: value) }
        let exponent = 63 &- value.leadingZeroBitCount
        // The seven bits after the leading one.
        let digits = Int(truncatingIfNeeded: value &>> UInt64(truncatingIfNeeded: exponent &- 7)) & 127
        return 256 &+ (exponent &- 8) &* 128 &+ digits
    }

    /// Middle of a bucket, nanoseconds.
    private static func middle(_ bucket: Int) -> Double {
        if bucket < 256 { return Double(bucket) }
        let (exponent, digits) = ((bucket - 256) / 128 + 8, (bucket - 256) % 128)
        let width = Double(sign: .plus, exponent: exponent - 7, significand: 1)
        return (Double(128 + digits) + 0.5) * width
    }

    package mutating func merge(_ other: LogHistogram) {
        for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
        count += other.count
        largest = max(largest, other.largest)
        sum += other.sum
        squares += other.squares
    }

    /// Adds values that are zero.
    mutating func addZeros(_ number: UInt64) {
        counts[0] += number
        count += number
    }

    /// Mean, seconds; exact, not from the buckets. 0 without values.
    package var mean: Double { count == 0 ? 0 : sum / Double(count) / 1e9 }

    /// Standard deviation, seconds.
    package var standardDeviation: Double {
        guard count > 0 else { return 0 }
        let mean = sum / Double(count)
        return max(0, squares / Double(count) - mean * mean).squareRoot() / 1e9
    }

    /// The value that the given share of all values does not exceed, seconds.
    package func quantile(_ probability: Double) -> Double {
        guard count > 0 else { return 0 }
        let rank = max(1, (probability * Double(count)).rounded(.up))
        var below: UInt64 = 0
        for (bucket, number) in counts.enumerated() where number > 0 {
            below += number
            if Double(below) >= rank { return min(Self.middle(bucket), Double(largest)) / 1e9 }
        }
        return Double(largest) / 1e9
    }
}

/// A histogram while it is filled.
struct HistogramCounter: ~Copyable {
    fileprivate var counts = OwnedBuffer(repeating: UInt64(0), count: LogHistogram.bucketCount)
    fileprivate var largest: Int64 = 0
    fileprivate var sum = 0.0
    fileprivate var squares = 0.0

    /// Adds a duration that is not negative. O(1).
    @inline(__always)
    mutating func add(_ nanoseconds: Int64) {
        counts[LogHistogram.bucket(nanoseconds)] &+= 1
        largest = max(largest, nanoseconds)
        let value = Double(nanoseconds)
        sum += value
        squares += value * value
    }

    /// Adds a duration several times.
    mutating func add(_ nanoseconds: Int64, times: Int) {
        counts[LogHistogram.bucket(nanoseconds)] &+= UInt64(times)
        largest = max(largest, nanoseconds)
        let value = Double(nanoseconds)
        sum += value * Double(times)
        squares += value * value * Double(times)
    }
}
