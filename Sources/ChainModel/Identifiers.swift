/// Position of a server in its cluster's list of servers, from 0.
public struct ServerIndex: Hashable, Comparable, Sendable, RawRepresentable {
    public var rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public init(_ value: Int) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// Position of a chain in its plan, from 0, fastest chain first.
public struct ChainIndex: Hashable, Comparable, Sendable, RawRepresentable {
    public var rawValue: Int
    public init(rawValue: Int) { self.rawValue = rawValue }
    public init(_ value: Int) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// A job (one request for one generated sequence), numbered in order of arrival by whoever submits it; never reused.
public struct JobID: Hashable, Comparable, Sendable, RawRepresentable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}
