/// A JSON value to be written, its keys in the order given.
public enum JSONText: Sendable {
    case null
    case bool(Bool)
    case integer(Int)
    /// Written with all its digits; `null` when it is not finite.
    case number(Double)
    case text(String)
    case list([JSONText])
    case object([(key: String, value: JSONText)])

    static func optional(_ value: Double?) -> JSONText { value.map { .number($0) } ?? .null }

    /// The value as text. Objects and lists of objects take a line for each item, others stay on one.
    public func rendered() -> String {
        var text = ""
        write(to: &text, depth: 0)
        return text + "\n"
    }

    private func write(to text: inout String, depth: Int) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += "\(value)"
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .text(let value): text += Self.quoted(value)
        case .list(let items): Self.write(items.map { (nil, $0) }, "[", "]", to: &text, depth: depth)
        case .object(let entries):
            Self.write(entries.map { ($0.key, $0.value) }, "{", "}", to: &text, depth: depth)
        }
    }

    private static func write(
        _ items: [(key: String?, value: JSONText)], _ open: String, _ close: String, to text: inout String,
        depth: Int
    ) {
        let isBroken = depth == 0 || (depth == 1 && items.contains { $0.value.isObject })
        text += open
        for (position, item) in items.enumerated() {
            if position > 0 { text += isBroken ? "," : ", " }
            if isBroken { text += "\n" + String(repeating: "  ", count: depth + 1) }
            if let key = item.key { text += quoted(key) + ": " }
            item.value.write(to: &text, depth: depth + 1)
        }
        if isBroken, !items.isEmpty { text += "\n" + String(repeating: "  ", count: depth) }
        text += close
    }

    private var isObject: Bool {
        if case .object = self { return true }
        return false
    }

    /// A JSON string, which is a YAML double-quoted scalar too.
    static func quoted(_ value: String) -> String {
        var text = "\""
        for scalar in value.unicodeScalars {
            switch scalar {
            case "\"": text += "\\\""
            case "\\": text += "\\\\"
            case "\n": text += "\\n"
            case "\t": text += "\\t"
            case "\r": text += "\\r"
            case _
            where scalar.value < 0x20 || (0x7F...0x9F).contains(scalar.value)
                || [0x2028, 0x2029, 0xFEFF].contains(scalar.value):
                let digits = String(scalar.value, radix: 16)
                text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            default: text.unicodeScalars.append(scalar)
            }
        }
        return text + "\""
    }
}
