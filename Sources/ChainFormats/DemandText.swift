import ChainModel

/// Demand given on a command line, with the units of a cluster file.
public enum DemandText {
    /// Why a text is no demand, and what to write instead.
    public struct Invalid: Error, Hashable, Sendable, CustomStringConvertible {
        public var description: String
    }

    /// Jobs per second of a rate such as `0.2` or `12/min`.
    public static func arrivalRate(_ text: String) throws(Invalid) -> Double {
        do {
            return try Quantity.rate(text)
        } catch {
            throw Invalid(description: "arrival rate: \(error.problem): \(error.mend)")
        }
    }

    /// A load target in (0, 1).
    public static func loadTarget(_ text: String) throws(Invalid) -> Double {
        guard let value = try? Quantity.number(text), value > 0, value < 1 else {
            throw Invalid(description: "load target: `\(text)` is not between 0 and 1: write for example 0.7")
        }
        return value
    }

    /// Bytes of a size such as `40 GB`.
    public static func size(_ text: String) throws(Invalid) -> ByteCount {
        do {
            return try Quantity.size(text)
        } catch {
            throw Invalid(description: "memory: \(error.problem): \(error.mend)")
        }
    }
}
