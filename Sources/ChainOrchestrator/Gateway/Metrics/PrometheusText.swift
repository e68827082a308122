/// Prometheus's text exposition format, version 0.0.4.
struct PrometheusText {
    static let contentType = "text/plain; version=0.0.4; charset=utf-8"

    private(set) var bytes: [UInt8] = []

    init() { bytes.reserveCapacity(16 << 10) }

    mutating func begin(_ description: MetricDescription) {
        let help = Self.escaped(description.help, quotes: false)
        bytes += "# HELP \(description.name) \(help)\n# TYPE \(description.name) \(description.kind)\n".utf8
    }

    /// - Parameter labels: as `labels(_:)` makes them.
    mutating func sample(_ name: String, _ labels: String, _ value: Double) {
        bytes += name.utf8
        if !labels.isEmpty { bytes += "{\(labels)}".utf8 }
        bytes += " \(Self.number(value))\n".utf8
    }

    /// `name="value"` pairs in the order of their names, so that the same labels are the same text. Names are made
    /// valid; of two alike the first counts.
    static func labels(_ dimensions: [(String, String)]) -> String {
        var seen: [String] = []
        var pairs: [(name: String, value: String)] = []
        for (name, value) in dimensions {
            let name = validName(name, allowingColons: false)
            if seen.contains(name) { continue }
            seen.append(name)
            pairs.append((name, value))
        }
        return pairs.sorted { $0.name < $1.name }
            .map { "\($0.name)=\"\(escaped($0.value, quotes: true))\"" }.joined(separator: ",")
    }

    /// Letters, digits and underscores (and colons in names of metrics); anything else becomes an underscore.
    static func validName(_ text: String, allowingColons: Bool) -> String {
        var name = text.utf8.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"):
                byte
            case UInt8(ascii: ":") where allowingColons: byte
            default: UInt8(ascii: "_")
            }
        }
        if name.first.map({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }) ?? true {
            name.insert(UInt8(ascii: "_"), at: 0)
        }
        return String(decoding: name, as: UTF8.self)
    }

    static func number(_ value: Double) -> String {
        if value.isNaN { return "NaN" }
        if value.isInfinite { return value > 0 ? "+Inf" : "-Inf" }
        if value == value.rounded(), abs(value) < 1e15 { return "\(Int64(value))" }
        return "\(value)"
    }

    private static func escaped(_ text: String, quotes: Bool) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\"" where quotes: result += "\\\""
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
