/// A number of bytes: exact, never negative in a valid value.
///
/// Sizes are integers throughout so that every floor of the paper (eqs. 3 and 6) is exact integer division.
public struct ByteCount: Hashable, Comparable, Sendable, RawRepresentable {
    public var rawValue: Int

    public init(rawValue: Int) { self.rawValue = rawValue }
    public init(_ bytes: Int) { rawValue = bytes }

    public static let zero = ByteCount(0)

    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
    public static func + (left: Self, right: Self) -> Self { Self(left.rawValue + right.rawValue) }
    public static func - (left: Self, right: Self) -> Self { Self(left.rawValue - right.rawValue) }
    public static func * (left: Self, right: Int) -> Self { Self(left.rawValue * right) }
    public static func += (left: inout Self, right: Self) { left.rawValue += right.rawValue }

    /// How many whole `unit`s fit: `⌊self/unit⌋`.
    /// - Precondition: `unit` is positive.
    public func wholeUnits(of unit: ByteCount) -> Int { rawValue / unit.rawValue }
}

/// A span of time in whole nanoseconds. Not `Swift.Duration`: 64 bits, cheap to add, compare and journal.
public struct Duration: Hashable, Comparable, Sendable {
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    /// Rounds to the nearest nanosecond.
    /// - Precondition: `seconds` is finite and below 292 years.
    public init(seconds: Double) { nanoseconds = Int64((seconds * 1e9).rounded()) }

    public static let zero = Duration(nanoseconds: 0)
    public static func seconds(_ seconds: Double) -> Self { Self(seconds: seconds) }
    public static func milliseconds(_ milliseconds: Double) -> Self { Self(seconds: milliseconds / 1000) }

    public var seconds: Double { Double(nanoseconds) / 1e9 }
    public var milliseconds: Double { Double(nanoseconds) / 1e6 }

    public static func < (left: Self, right: Self) -> Bool { left.nanoseconds < right.nanoseconds }
    public static func + (left: Self, right: Self) -> Self {
        Self(nanoseconds: left.nanoseconds + right.nanoseconds)
    }
    public static func - (left: Self, right: Self) -> Self {
        Self(nanoseconds: left.nanoseconds - right.nanoseconds)
    }
}

/// A moment on some monotonic clock, in nanoseconds from that clock's origin. The core never reads a clock: whoever
/// drives it passes the time in.
public struct Instant: Hashable, Comparable, Sendable {
    public var nanoseconds: Int64

    public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

    public static let origin = Instant(nanoseconds: 0)

    public static func < (left: Self, right: Self) -> Bool { left.nanoseconds < right.nanoseconds }
    public static func + (left: Self, right: Duration) -> Self {
        Self(nanoseconds: left.nanoseconds + right.nanoseconds)
    }
    public static func - (left: Self, right: Self) -> Duration {
        Duration(nanoseconds: left.nanoseconds - right.nanoseconds)
    }
}
