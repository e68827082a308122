/// Writes JSON straight into bytes, with no tree in between: a streamed token costs no more than its text.
/// Fields come out in the order they are written, so that the same answer is the same bytes.
struct JSONWriter {
    private(set) var bytes: [UInt8] = []
    /// Whether the next field or element needs a comma before it.
    private var needsComma = false

    init(reserving capacity: Int = 256) { bytes.reserveCapacity(capacity) }

    static func object(reserving capacity: Int = 256, _ body: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter(reserving: capacity)
        writer.object(body)
        return writer.bytes
    }

    // MARK: Containers

    mutating func object(_ body: (inout JSONWriter) -> Void) { bracketed("{", "}", body) }
    mutating func array(_ body: (inout JSONWriter) -> Void) { bracketed("[", "]", body) }

    mutating func array<Element>(_ elements: [Element], _ body: (inout JSONWriter, Element) -> Void) {
        array { writer in
            for element in elements { body(&writer, element) }
        }
    }

    private mutating func bracketed(
        _ opening: Unicode.Scalar, _ closing: Unicode.Scalar, _ body: (inout JSONWriter) -> Void
    ) {
        separate()
        bytes.append(UInt8(ascii: opening))
        needsComma = false
        body(&self)
        bytes.append(UInt8(ascii: closing))
        needsComma = true
    }

    /// The name of a field; its value must be written next.
    mutating func name(_ name: String) {
        value(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    // MARK: Fields

    mutating func field(_ name: String, _ text: String) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: String, _ number: Int) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: String, _ number: Double) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: String, _ flag: Bool) {
        self.name(name)
        raw(flag ? "true" : "false")
    }

    /// The value is JSON already.
    mutating func rawField(_ name: String, _ json: String) {
        self.name(name)
        raw(json)
    }

    mutating func objectField(_ name: String, _ body: (inout JSONWriter) -> Void) {
        self.name(name)
        object(body)
    }

    mutating func arrayField(_ name: String, _ body: (inout JSONWriter) -> Void) {
        self.name(name)
        array(body)
    }

    mutating func nullField(_ name: String) {
        self.name(name)
        null()
    }

    /// `null` for an absent text.
    mutating func field(_ name: String, orNull text: String?) {
        if let text { field(name, text) } else { nullField(name) }
    }

    // MARK: Values

    mutating func null() { raw("null") }

    mutating func value(_ number: Int) { raw("\(number)") }

    /// Infinities and NaN have no JSON form: they come out as the -9999 that OpenAI uses for an impossible
    /// token.
    mutating func value(_ number: Double) { raw(number.isFinite ? "\(number)" : "-9999.0") }

    mutating func value(_ text: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { characters in
            // Runs of characters that stand for themselves are copied whole.
            var start = 0
            for position in characters.indices where Self.isEscaped(characters[position]) {
                bytes.append(contentsOf: characters[start..<position])
                escape(characters[position])
                start = position + 1
            }
            bytes.append(contentsOf: characters[start...])
        }
        bytes.append(UInt8(ascii: "\""))
        needsComma = true
    }

    private static func isEscaped(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == 0x7F
    }

    private mutating func escape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            bytes.append(UInt8(ascii: "\\"))
            bytes.append(byte)
        case 0x0A: bytes.append(contentsOf: "\\n".utf8)
        case 0x0D: bytes.append(contentsOf: "\\r".utf8)
        case 0x09: bytes.append(contentsOf: "\\t".utf8)
        default:
            let digits = Array("0123456789abcdef".utf8)
            bytes.append(contentsOf: "\\u00".utf8)
            bytes.append(digits[Int(byte >> 4)])
            bytes.append(digits[Int(byte & 15)])
        }
    }

    /// Something that is JSON already.
    mutating func raw(_ json: String) {
        separate()
        bytes.append(contentsOf: json.utf8)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = false
    }
}
