/// Writes JSON straight into bytes, with no tree in between: a streamed token costs no more than its text.
/// Fields come out in the order they are written, so that the same answer is the same bytes.
struct JSONWriter {
    /// What is written, and room for more: filled piece by piece, each of which would cost an array's `append` several
    /// times as much as its bytes.
    private var room: [UInt8]
    private var length: Int
    /// Whether the next field or element needs a comma before it.
    private var needsComma = false

    init(reserving capacity: Int = 256) {
        room = [UInt8](repeating: 0, count: capacity)
        length = 0
    }

    /// Writes after what is in `bytes`.
    private init(after bytes: consuming [UInt8]) {
        length = bytes.count
        room = bytes
    }

    var bytes: [UInt8] {
        consuming get {
            room.removeLast(room.count - length)
            return room
        }
    }

    static func object(reserving capacity: Int = 256, _ body: (inout JSONWriter) -> Void) -> [UInt8] {
        var writer = JSONWriter(reserving: capacity)
        writer.object(body)
        return writer.bytes
    }

    /// Writes an object after what is in `bytes`.
    static func appendObject(to bytes: inout [UInt8], _ body: (inout JSONWriter) -> Void) {
        var taken: [UInt8] = []
        swap(&taken, &bytes)
        var writer = JSONWriter(after: taken)
        taken = []
        writer.object(body)
        bytes = writer.bytes
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
        append(UInt8(ascii: opening))
        needsComma = false
        body(&self)
        append(UInt8(ascii: closing))
        needsComma = true
    }

    /// The name of a field; its value must be written next.
    mutating func name(_ name: StaticString) {
        let count = name.utf8CodeUnitCount
        fill(count + 4) { [needsComma] piece in
            var place = 0
            if needsComma {
                piece[0] = UInt8(ascii: ",")
                place = 1
            }
            piece[place] = UInt8(ascii: "\"")
            (piece + place + 1).update(from: name.utf8Start, count: count)
            piece[place + count + 1] = UInt8(ascii: "\"")
            piece[place + count + 2] = UInt8(ascii: ":")
            return place + count + 3
        }
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
        append(UInt8(ascii: ":"))
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

    mutating func value(_ number: Int) { append(UInt64(number.magnitude), isNegative: number < 0) }
    mutating func value(_ number: UInt64) { append(number, isNegative: false) }

    /// Infinities and NaN have no JSON form: they come out as the -9999 that OpenAI uses for an impossible
    /// token.
    mutating func value(_ number: Double) { raw(number.isFinite ? number.description : "-9999.0") }

    mutating func value(_ text: String) {
        separate()
        append(UInt8(ascii: "\""))
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
        append(UInt8(ascii: "\""))
        needsComma = true
    }

    private static func isEscaped(_ byte: UInt8) -> Bool {
        byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == 0x7F
    }

    private mutating func escape(_ byte: UInt8) {
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"):
            append(UInt8(ascii: "\\"))
            append(byte)
        case 0x0A: append("\\n")
        case 0x0D: append("\\r")
        case 0x09: append("\\t")
        default:
            let digits = Array("0123456789abcdef".utf8)
            append("\\u00")
            append(digits[Int(byte >> 4)])
            append(digits[Int(byte & 15)])
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
        if needsComma { append(UInt8(ascii: ",")) }
        needsComma = false
    }

    // MARK: Bytes

    private mutating func append(_ byte: UInt8) {
        fill(1) {
            $0[0] = byte
            return 1
        }
    }

    private mutating func append(_ text: StaticString) { text.withUTF8Buffer { append($0) } }

    private mutating func append(_ more: UnsafeBufferPointer<UInt8>) {
        guard let start = more.baseAddress else { return }
        fill(more.count) {
            $0.update(from: start, count: more.count)
            return more.count
        }
    }

    /// In decimal digits.
    private mutating func append(_ number: UInt64, isNegative: Bool) {
        // A comma, a sign and at most 20 digits.
        fill(22) { [needsComma] piece in
            var end = 0
            if needsComma {
                piece[0] = UInt8(ascii: ",")
                end = 1
            }
            if isNegative {
                piece[end] = UInt8(ascii: "-")
                end += 1
            }
            var rest = number
            repeat {
                end += 1
                rest /= 10
            } while rest > 0
            rest = number
            var place = end
            repeat {
                place -= 1
                piece[place] = UInt8(ascii: "0") + UInt8(rest % 10)
                rest /= 10
            } while rest > 0
            return end
        }
        needsComma = true
    }

    /// - Parameter body: writes at most `most` bytes and says how many.
    private mutating func fill(_ most: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Int) {
        if room.count - length < most { grow(by: most) }
        let start = length
        length += room.withUnsafeMutableBufferPointer { room in
            room.baseAddress.map { body($0 + start) } ?? 0
        }
    }

    @inline(never)
    private mutating func grow(by most: Int) {
        // As a rule: copied, which is faster than filled.
        if most <= Self.blank.count { return room.append(contentsOf: Self.blank) }
        room.append(contentsOf: repeatElement(0, count: most))
    }

    private static let blank = [UInt8](repeating: 0, count: 512)
}
