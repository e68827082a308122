/// A JSON text as a tree that keeps apart what a strict reader must tell apart: booleans from numbers, whole
/// numbers from fractions, `null` from absence.
enum JSONValue: Hashable, Sendable {
    case null
    case bool(Bool)
    /// Written without fraction or exponent, and fitting 64 bits.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)

    /// What it is, as an error message says it.
    var kind: String {
        switch self {
        case .null: "null"
        case .bool(let value): value ? "true" : "false"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .string: "a string"
        case .array: "an array"
        case .object: "an object"
        }
    }
}

/// The fields of an object, in their order: they are few as a rule, and compared faster than hashed.
struct JSONObject: Hashable, Sendable, ExpressibleByDictionaryLiteral {
    struct Field: Hashable, Sendable {
        var name: String
        var value: JSONValue
    }

    private(set) var fields: [Field] = []
    /// All names, once there are many.
    private var names: Set<String> = []

    private static let few = 16

    init() {}

    init(dictionaryLiteral elements: (String, JSONValue)...) {
        for (name, value) in elements { precondition(add(name, value), "the field \(name) is given twice") }
    }

    /// - Returns: whether there was none of that name.
    mutating func add(_ name: String, _ value: JSONValue) -> Bool {
        if fields.count < Self.few {
            guard place(of: name) == nil else { return false }
        } else {
            if names.isEmpty { names = Set(fields.map(\.name)) }
            guard names.insert(name).inserted else { return false }
        }
        fields.append(Field(name: name, value: value))
        return true
    }

    /// Takes a field out.
    mutating func remove(_ name: String) -> JSONValue? {
        guard let place = place(of: name) else { return nil }
        if !names.isEmpty { names.remove(name) }
        return fields.remove(at: place).value
    }

    private func place(of name: String) -> Int? {
        let length = name.utf8.count
        return fields.firstIndex { $0.name.utf8.count == length && $0.name == name }
    }

    /// Whatever the order.
    static func == (left: Self, right: Self) -> Bool {
        left.fields.count == right.fields.count
            && left.fields.allSatisfy { field in right.fields.contains { $0 == field } }
    }

    func hash(into hasher: inout Hasher) { hasher.combine(fields.count) }
}

/// Why a text is not JSON. `offset` counts bytes from 0.
struct JSONError: Error, Hashable, CustomStringConvertible {
    var reason: String
    var offset: Int

    var description: String { "\(reason) at byte \(offset)" }
}

/// Reads one JSON text (RFC 8259), strictly: no comments, no trailing commas, no duplicate keys, no lone
/// surrogates, valid UTF-8, and at most `maximumDepth` levels. Linear in the length of the text.
struct JSONParser {
    static let maximumDepth = 32

    private let bytes: [UInt8]
    private var position = 0

    static func parse(_ bytes: [UInt8]) throws(JSONError) -> JSONValue {
        var parser = JSONParser(bytes: bytes)
        parser.skipSpace()
        let value = try parser.value(depth: 0)
        parser.skipSpace()
        guard parser.position == bytes.count else { throw parser.error("unexpected text after the value") }
        return value
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private func error(_ reason: String) -> JSONError { JSONError(reason: reason, offset: position) }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            position += 1
        }
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth < Self.maximumDepth else {
            throw error("more than \(Self.maximumDepth) levels of nesting")
        }
        switch current {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case .some(let byte) where byte == UInt8(ascii: "-") || Self.isDigit(byte): return try number()
        case nil: throw error("the text ends where a value is expected")
        default: throw error("expected a value")
        }
    }

    private mutating func word(_ word: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let length = word.utf8CodeUnitCount
        guard position + length <= bytes.count else { throw error("expected \(word)") }
        for index in 0..<length where bytes[position + index] != word.utf8Start[index] {
            throw error("expected \(word)")
        }
        position += length
        return value
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var fields = JSONObject()
        skipSpace()
        if current == UInt8(ascii: "}") {
            position += 1
            return .object(fields)
        }
        while true {
            skipSpace()
            guard current == UInt8(ascii: "\"") else {
                throw error("expected a field name in quotation marks")
            }
            let start = position
            let name = try string()
            skipSpace()
            guard current == UInt8(ascii: ":") else { throw error("expected ':' after a field name") }
            position += 1
            skipSpace()
            let value = try value(depth: depth + 1)
            guard fields.add(name, value) else {
                throw JSONError(reason: "the field '\(name.prefix(64))' is given twice", offset: start)
            }
            skipSpace()
            if try closes(with: UInt8(ascii: "}")) { return .object(fields) }
        }
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if current == UInt8(ascii: "]") {
            position += 1
            return .array(elements)
        }
        while true {
            skipSpace()
            elements.append(try value(depth: depth + 1))
            skipSpace()
            if try closes(with: UInt8(ascii: "]")) { return .array(elements) }
        }
    }

    /// Passes a comma (`false`) or the closing bracket (`true`).
    private mutating func closes(with bracket: UInt8) throws(JSONError) -> Bool {
        guard let byte = current, byte == bracket || byte == UInt8(ascii: ",") else {
            throw error("expected ',' or '\(Character(UnicodeScalar(bracket)))'")
        }
        position += 1
        return byte == bracket
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        var isWhole = true
        if current == UInt8(ascii: "-") { position += 1 }
        if current == UInt8(ascii: "0") {
            position += 1
        } else {
            try digits()
        }
        if current == UInt8(ascii: ".") {
            isWhole = false
            position += 1
            try digits()
        }
        if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
            isWhole = false
            position += 1
            if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
            try digits()
        }
        if isWhole, position - start < 16 {
            // Short enough to fit.
            let isNegative = bytes[start] == UInt8(ascii: "-")
            let value = bytes[(isNegative ? start + 1 : start)..<position].reduce(0) {
                $0 * 10 + Int($1 - 0x30)
            }
            return .integer(isNegative ? -value : value)
        }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isWhole, let value = Int(text) { return .integer(value) }
        guard let value = Double(text), value.isFinite else {
            throw JSONError(reason: "a number too large to hold", offset: start)
        }
        return .number(value)
    }

    private static func isDigit(_ byte: UInt8) -> Bool {
        byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9")
    }

    private mutating func digits() throws(JSONError) {
        let start = position
        while let byte = current, Self.isDigit(byte) { position += 1 }
        if position == start { throw error("expected a digit") }
    }

    private mutating func string() throws(JSONError) -> String {
        let start = position
        position += 1
        let first = position
        var seen: UInt8 = 0
        while let byte = current, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 {
            seen |= byte
            position += 1
        }
        if seen < 0x80, current == UInt8(ascii: "\"") {
            // Nearly all: nothing to replace, and nothing that could be wrong.
            position += 1
            return String(decoding: bytes[first..<position - 1], as: UTF8.self)
        }
        var text = Array(bytes[first..<position])
        while let byte = current {
            position += 1
            switch byte {
            case UInt8(ascii: "\""):
                guard let string = String(validating: text, as: UTF8.self) else {
                    throw JSONError(reason: "a string that is not valid UTF-8", offset: start)
                }
                return string
            case UInt8(ascii: "\\"): try escape(into: &text)
            case 0..<0x20:
                position -= 1
                throw error("a control character in a string: write it as an escape")
            default: text.append(byte)
            }
        }
        throw JSONError(reason: "a string without its closing quotation mark", offset: start)
    }

    private mutating func escape(into text: inout [UInt8]) throws(JSONError) {
        guard let byte = current else { throw error("the text ends within an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            let scalar = try unicodeEscape()
            text.append(contentsOf: String(Character(scalar)).utf8)
        default:
            position -= 1
            throw error("an unknown escape")
        }
    }

    /// After `\u`: one scalar, a surrogate pair taken together.
    private mutating func unicodeEscape() throws(JSONError) -> UnicodeScalar {
        let start = position - 2
        let high = try fourHexDigits()
        if let scalar = UnicodeScalar(high) { return scalar }
        let lone = JSONError(reason: "half of a surrogate pair", offset: start)
        guard high < 0xDC00, current == UInt8(ascii: "\\") else { throw lone }
        position += 1
        guard current == UInt8(ascii: "u") else { throw lone }
        position += 1
        let low = try fourHexDigits()
        guard (0xDC00...0xDFFF).contains(low),
            let scalar = UnicodeScalar(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))
        else { throw lone }
        return scalar
    }

    private mutating func fourHexDigits() throws(JSONError) -> UInt32 {
        var value: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = Character(UnicodeScalar(byte)).hexDigitValue, byte < 0x80
            else {
                throw error("expected four hexadecimal digits")
            }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }
}
