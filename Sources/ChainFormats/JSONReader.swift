/// Reads JSON (RFC 8259) into a document tree with line numbers.
///
/// Our own, because line numbers and duplicate keys matter here, and because pools of many thousand servers are read
/// faster than through YAML.
struct JSONReader {
    private let bytes: [UInt8]
    private let file: String
    private var position = 0
    private var line = 1

    /// - Throws: `FormatError` naming the line.
    /// - Complexity: O(length).
    static func read(_ text: String, file: String) throws -> DocumentNode {
        var reader = JSONReader(bytes: Array(text.utf8), file: file)
        reader.skipSpace()
        let node = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == reader.bytes.count else {
            throw reader.failure("something follows the end of the JSON value", mend: "remove it")
        }
        return node
    }

    private init(bytes: [UInt8], file: String) {
        self.bytes = bytes
        self.file = file
    }

    private func failure(_ problem: String, mend: String) -> FormatError {
        FormatError(file: file, problems: [FormatProblem(.syntax, line: line, problem, mend: mend)])
    }

    private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x0A: line += 1
            case 0x20, 0x09, 0x0D: break
            default: return
            }
            position += 1
        }
    }

    private mutating func value(depth: Int) throws -> DocumentNode {
        guard depth < DocumentNode.deepestNesting else {
            throw failure(
                "nested deeper than \(DocumentNode.deepestNesting) levels", mend: "flatten the file")
        }
        let start = line
        switch current {
        case UInt8(ascii: "{"): return try mapping(depth: depth)
        case UInt8(ascii: "["): return try sequence(depth: depth)
        case UInt8(ascii: "\""): return DocumentNode(content: .scalar(try string()), line: start)
        case nil: throw failure("the JSON ends too early", mend: "complete the file")
        default: return DocumentNode(content: try word(), line: start)
        }
    }

    private mutating func mapping(depth: Int) throws -> DocumentNode {
        let start = line
        var entries: [DocumentNode.Entry] = []
        position += 1
        skipSpace()
        if current == UInt8(ascii: "}") {
            position += 1
            return DocumentNode(content: .mapping([]), line: start)
        }
        while true {
            guard current == UInt8(ascii: "\"") else {
                throw failure(
                    "a key is expected here",
                    mend: "write keys in double quotes, without a comma after the last")
            }
            let keyLine = line
            let key = try string()
            skipSpace()
            try expect(":", after: "the key \"\(key)\"")
            skipSpace()
            entries.append(DocumentNode.Entry(key: key, line: keyLine, value: try value(depth: depth + 1)))
            skipSpace()
            if current == UInt8(ascii: "}") { break }
            try expect(",", after: "the value of \"\(key)\"")
            skipSpace()
        }
        position += 1
        return DocumentNode(content: .mapping(entries), line: start)
    }

    private mutating func sequence(depth: Int) throws -> DocumentNode {
        let start = line
        var items: [DocumentNode] = []
        position += 1
        skipSpace()
        if current == UInt8(ascii: "]") {
            position += 1
            return DocumentNode(content: .sequence([]), line: start)
        }
        while true {
            items.append(try value(depth: depth + 1))
            skipSpace()
            if current == UInt8(ascii: "]") { break }
            try expect(",", after: "an item of a list")
            skipSpace()
        }
        position += 1
        return DocumentNode(content: .sequence(items), line: start)
    }

    private mutating func expect(_ character: Unicode.Scalar, after what: String) throws {
        guard current == UInt8(ascii: character) else {
            throw failure(
                "`\(character)` is missing after \(what)", mend: "add it, or quote the text before it")
        }
        position += 1
    }

    /// `true`, `false`, `null` or a number, kept as text.
    private mutating func word() throws -> DocumentNode.Content {
        let start = position
        while let byte = current, byte > 0x20, !Self.delimiters.contains(byte) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if text.isEmpty {
            throw failure(
                current == nil ? "the file ends in the middle" : "a value is missing here",
                mend: current == nil
                    ? "close what was opened, and check that the file is whole"
                    : "write one, or remove the comma or colon before it")
        }
        if text == "null" { return .null }
        if text == "true" || text == "false" { return .scalar(text) }
        guard let first = text.utf8.first, first == UInt8(ascii: "-") || (0x30...0x39).contains(first),
            Double(text) != nil, !text.utf8.contains(UInt8(ascii: "x"))
        else {
            throw failure("`\(text)` is not a JSON value", mend: "write text in double quotes")
        }
        return .scalar(text)
    }

    private static let delimiters: [UInt8] = [0x2C, 0x3A, 0x5B, 0x5D, 0x7B, 0x7D, 0x22]

    private mutating func string() throws -> String {
        position += 1
        let start = position
        while let byte = current, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 {
            position += 1
        }
        if current == UInt8(ascii: "\"") {
            position += 1
            return String(decoding: bytes[start..<(position - 1)], as: UTF8.self)
        }
        var result = Array(bytes[start..<position])
        while let byte = current, byte >= 0x20 {
            position += 1
            switch byte {
            case UInt8(ascii: "\""): return String(decoding: result, as: UTF8.self)
            case UInt8(ascii: "\\"): result.append(contentsOf: try escape())
            default: result.append(byte)
            }
        }
        throw failure("a text in double quotes does not end on its line", mend: "close the quotes")
    }

    private mutating func escape() throws -> [UInt8] {
        guard let byte = current else { throw failure("the JSON ends too early", mend: "complete the file") }
        position += 1
        switch byte {
        case UInt8(ascii: "n"): return [0x0A]
        case UInt8(ascii: "t"): return [0x09]
        case UInt8(ascii: "r"): return [0x0D]
        case UInt8(ascii: "b"): return [0x08]
        case UInt8(ascii: "f"): return [0x0C]
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return [byte]
        case UInt8(ascii: "u"): return try unicodeEscape()
        default: throw failure("an unknown escape in a text", mend: "write a backslash as \\\\")
        }
    }

    private mutating func unicodeEscape() throws -> [UInt8] {
        var units = [try codeUnit()]
        if (0xD800...0xDBFF).contains(units[0]), current == UInt8(ascii: "\\") {
            position += 1
            guard current == UInt8(ascii: "u") else {
                throw failure("half a surrogate pair", mend: "write both \\u escapes")
            }
            position += 1
            units.append(try codeUnit())
        }
        return Array(String(decoding: units, as: UTF16.self).utf8)
    }

    private mutating func codeUnit() throws -> UInt16 {
        guard position + 4 <= bytes.count,
            let unit = UInt16(String(decoding: bytes[position..<(position + 4)], as: UTF8.self), radix: 16)
        else { throw failure("\\u needs four hexadecimal digits", mend: "complete the escape") }
        position += 4
        return unit
    }
}
