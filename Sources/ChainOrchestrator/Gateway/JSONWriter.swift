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
    mutating func name(_ name: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        append(name)
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
    }

    // MARK: Fields

    mutating func field(_ name: StaticString, _ text: String) {
        self.name(name)
        value(text)
    }

    mutating func field(_ name: StaticString, _ number: Int) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: StaticString, _ number: UInt64) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: StaticString, _ number: Double) {
        self.name(name)
        value(number)
    }

    mutating func field(_ name: StaticString, _ flag: Bool) {
        self.name(name)
        word(flag ? "true" : "false")
    }

    /// A field that data have named.
    mutating func field(named name: String, _ number: Double) {
        value(name)
        bytes.append(UInt8(ascii: ":"))
        needsComma = false
        value(number)
    }

    mutating func objectField(_ name: StaticString, _ body: (inout JSONWriter) -> Void) {
        self.name(name)
        object(body)
    }

    mutating func arrayField(_ name: StaticString, _ body: (inout JSONWriter) -> Void) {
        self.name(name)
        array(body)
    }

    mutating func nullField(_ name: StaticString) {
        self.name(name)
        null()
    }

    /// `null` for an absent text.
    mutating func field(_ name: StaticString, orNull text: String?) {
        if let text { field(name, text) } else { nullField(name) }
    }

    // MARK: Values

    mutating func null() { word("null") }

    mutating func value(_ number: Int) {
        guard number < 0 else { return value(UInt64(number)) }
        separate()
        bytes.append(UInt8(ascii: "-"))
        append(number.magnitude)
        needsComma = true
    }

    mutating func value(_ number: UInt64) {
        separate()
        append(UInt(number))
        needsComma = true
    }

    /// Infinities and NaN have no JSON form: they come out as the -9999 that OpenAI uses for an impossible
    /// token.
    mutating func value(_ number: Double) { raw(number.isFinite ? number.description : "-9999.0") }

    mutating func value(_ text: String) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { characters in
            // Runs of characters that stand for themselves are copied whole.
            var start = 0
            for position in characters.indices where Self.isEscaped(characters[position]) {
                append(UnsafeBufferPointer(rebasing: characters[start..<position]))
                escape(characters[position])
                start = position + 1
            }
            append(UnsafeBufferPointer(rebasing: characters[start...]))
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
        var json = json
        json.withUTF8 { append($0) }
        needsComma = true
    }

    /// As `raw`, of what is known beforehand.
    private mutating func word(_ json: StaticString) {
        separate()
        append(json)
        needsComma = true
    }

    private mutating func separate() {
        if needsComma { bytes.append(UInt8(ascii: ",")) }
        needsComma = false
    }

    private mutating func append(_ text: StaticString) { text.withUTF8Buffer { append($0) } }
    private mutating func append(_ more: UnsafeBufferPointer<UInt8>) { bytes.append(contentsOf: more) }

    /// In decimal digits.
    private mutating func append(_ number: UInt) {
        var (left, length) = (number, 1)
        while left > 9 { (left, length) = (left / 10, length + 1) }
        let end = bytes.count + length
        bytes.append(contentsOf: repeatElement(UInt8(ascii: "0"), count: length))
        left = number
        for position in 1...length {
            bytes[end - position] += UInt8(left % 10)
            left /= 10
        }
    }
}
