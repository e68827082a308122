import ChainModel

/// A decimal number exactly as written: `digits·10^exponent`.
struct ExactDecimal: Hashable {
    var isNegative: Bool
    /// At most 18 significant digits.
    var digits: UInt64
    var exponent: Int

    /// `nil` for anything but `[+-]digits[.digits][e[+-]digits]` with at most 18 significant digits.
    init?(_ text: some StringProtocol) {
        var rest = Substring(text)[...]
        isNegative = rest.hasPrefix("-")
        if rest.hasPrefix("-") || rest.hasPrefix("+") { rest = rest.dropFirst() }
        var mantissa = rest
        var exponent = 0
        if let mark = rest.firstIndex(where: { $0 == "e" || $0 == "E" }) {
            mantissa = rest[..<mark]
            guard let value = Int(rest[rest.index(after: mark)...]), value.magnitude < 400 else { return nil }
            exponent = value
        }
        var digits: UInt64 = 0
        var digitCount = 0
        // Zeros count as digits once another digit follows them.
        var zeros = 0
        var hasDigit = false
        var isFraction = false
        for byte in mantissa.utf8 {
            if byte == UInt8(ascii: "."), !isFraction {
                isFraction = true
                continue
            }
            guard (0x30...0x39).contains(byte) else { return nil }
            hasDigit = true
            if isFraction { exponent -= 1 }
            if byte == 0x30 {
                if digitCount > 0 { zeros += 1 }
                continue
            }
            digitCount += zeros + 1
            guard digitCount <= 18 else { return nil }
            for _ in 0...zeros { digits *= 10 }
            digits += UInt64(byte - 0x30)
            zeros = 0
        }
        guard hasDigit else { return nil }
        self.digits = digits
        self.exponent = digits == 0 ? 0 : exponent + zeros
    }

    /// Times a whole number, when the result is whole and fits; otherwise why not.
    func times(_ factor: UInt64) -> Result<UInt64, Inexact> {
        if digits == 0 { return .success(0) }
        var value = UInt128(digits) * UInt128(factor)
        var power = exponent
        while power < 0 {
            guard value % 10 == 0 else { return .failure(.fraction) }
            value /= 10
            power += 1
        }
        while power > 0 {
            guard value < UInt128(UInt64.max) else { return .failure(.tooLarge) }
            value *= 10
            power -= 1
        }
        return UInt64(exactly: value).map { .success($0) } ?? .failure(.tooLarge)
    }

    enum Inexact: Error {
        case fraction
        case tooLarge
    }
}

/// What is wrong with a quantity, and what to write instead.
struct QuantityError: Error {
    var code: FormatProblem.Code
    var problem: String
    var mend: String
}

/// Sizes, times and rates with their units.
enum Quantity {
    /// Units of sizes and their bytes, decimal and binary kept apart.
    static let sizeUnits: [(name: String, bytes: UInt64)] = [
        ("B", 1), ("kB", 1_000), ("MB", 1_000_000), ("GB", 1_000_000_000), ("TB", 1_000_000_000_000),
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40),
    ]

    /// Largest size accepted, so that no sum over blocks or servers overflows: 2^48 bytes.
    static let largestSize: UInt64 = 1 << 48

    /// Number and unit of a quantity: `1.32 GB` or `1.32GB`.
    private static func split(_ text: String) -> (number: Substring, unit: String) {
        let bytes = text.utf8
        let start = bytes.firstIndex { $0 != 0x20 } ?? bytes.endIndex
        var end = start
        while end < bytes.endIndex {
            let byte = bytes[end]
            let next = bytes.index(after: end)
            let followsExponent =
                (byte == UInt8(ascii: "e") || byte == UInt8(ascii: "E")) && next < bytes.endIndex
                && isNumeric(bytes[next]) && bytes[next] != UInt8(ascii: ".")
            guard isNumeric(byte) || followsExponent else { break }
            end = next
        }
        let unit = text[end...].utf8.drop { $0 == 0x20 }
        let last = unit.lastIndex { $0 != 0x20 }.map { unit.index(after: $0) } ?? unit.startIndex
        return (text[start..<end], String(text[unit.startIndex..<last]))
    }

    /// A digit, a sign or a point.
    private static func isNumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, UInt8(ascii: "+"), UInt8(ascii: "-"), UInt8(ascii: "."): true
        default: false
        }
    }

    /// Bytes of a size; an exact decimal with a unit.
    static func size(_ text: String) throws(QuantityError) -> ByteCount {
        let (number, unit) = split(text)
        guard let decimal = ExactDecimal(number) else {
            throw notANumber(text, example: "40 GB")
        }
        guard let factor = sizeUnits.first(where: { $0.name == unit })?.bytes else {
            let known = sizeUnits.map(\.name).joined(separator: " ")
            let problem = unit.isEmpty ? "`\(text)` has no unit" : "`\(text)` has the unknown unit `\(unit)`"
            throw QuantityError(
                code: .invalidUnit, problem: problem, mend: "write a number and one of \(known)")
        }
        if decimal.isNegative, decimal.digits != 0 { throw negative(text) }
        switch decimal.times(factor) {
        case .success(0):
            throw QuantityError(code: .zero, problem: "`\(text)` is zero", mend: "give a positive size")
        case .success(let bytes) where bytes <= largestSize:
            return ByteCount(Int(bytes))
        case .failure(.fraction):
            throw QuantityError(
                code: .invalidNumber, problem: "`\(text)` is not a whole number of bytes",
                mend: "give fewer decimals or a smaller unit")
        case .success, .failure(.tooLarge):
            throw QuantityError(
                code: .outOfRange, problem: "`\(text)` is larger than 281 TB", mend: "check the unit")
        }
    }

    /// Seconds of a time: a bare number, or one with `us`, `ms`, `s`, `min`.
    static func time(_ text: String) throws(QuantityError) -> Double {
        let (number, unit) = split(text)
        guard let decimal = ExactDecimal(number) else { throw notANumber(text, example: "0.109 or 109 ms") }
        let scales: [(name: String, power: Int, factor: Double)] = [
            ("", 0, 1), ("s", 0, 1), ("ms", -3, 1), ("us", -6, 1), ("µs", -6, 1), ("min", 0, 60),
        ]
        guard let scale = scales.first(where: { $0.name == unit }) else {
            throw QuantityError(
                code: .invalidUnit, problem: "`\(text)` has the unknown unit `\(unit)`",
                mend: "write seconds, or a number with us, ms, s or min")
        }
        if decimal.isNegative, decimal.digits != 0 { throw negative(text) }
        let value = try finite(decimal, power: scale.power, text) * scale.factor
        return try decimal.digits == 0 ? 0 : bounded(value, text, "seconds")
    }

    /// Times and rates beyond this, or below one over it, are slips of the pen, and their reciprocals might not be numbers.
    private static let largest = 1e30

    private static func bounded(_ value: Double, _ text: String, _ unit: String) throws(QuantityError)
        -> Double
    {
        if value >= 1 / largest, value <= largest { return value }
        throw QuantityError(
            code: .outOfRange, problem: "`\(text)` is not between 1e-30 and 1e30 \(unit)",
            mend: "check the number")
    }

    /// Events per second of a rate: a bare number, or one with `/s`, `/min`, `/h`.
    static func rate(_ text: String) throws(QuantityError) -> Double {
        let (number, unit) = split(text)
        guard let decimal = ExactDecimal(number) else { throw notANumber(text, example: "0.2 or 12/min") }
        let scales: [(name: String, seconds: Double)] = [("", 1), ("/s", 1), ("/min", 60), ("/h", 3600)]
        let compact = unit.filter { $0 != " " }
        guard let scale = scales.first(where: { $0.name == compact }) else {
            throw QuantityError(
                code: .invalidUnit, problem: "`\(text)` has the unknown unit `\(unit)`",
                mend: "write a number per second, or one with /s, /min or /h")
        }
        if decimal.isNegative, decimal.digits != 0 { throw negative(text) }
        let value = try finite(decimal, power: 0, text) / scale.seconds
        guard decimal.digits != 0 else {
            throw QuantityError(code: .zero, problem: "`\(text)` is zero", mend: "give a positive rate")
        }
        return try bounded(value, text, "per second")
    }

    /// Bytes per second: a number with a unit of size, or bit, kbit, Mbit, Gbit, and `/s`.
    static func bandwidth(_ text: String) throws(QuantityError) -> Double {
        let (number, unit) = split(text)
        guard let decimal = ExactDecimal(number) else { throw notANumber(text, example: "125 MB/s") }
        let bits: [(name: String, bytes: Double)] = [
            ("bit", 1.0 / 8), ("kbit", 1e3 / 8), ("Mbit", 1e6 / 8), ("Gbit", 1e9 / 8), ("Tbit", 1e12 / 8),
        ]
        let name = unit.hasSuffix("/s") ? String(unit.dropLast(2)) : ""
        let scale =
            sizeUnits.first { $0.name == name }.map { Double($0.bytes) }
            ?? bits.first { $0.name == name }?.bytes
        guard let scale else {
            throw QuantityError(
                code: .invalidUnit, problem: "`\(text)` is no bandwidth",
                mend: "write a number with a unit and /s, such as 125 MB/s or 1 Gbit/s")
        }
        if decimal.isNegative, decimal.digits != 0 { throw negative(text) }
        let value = try finite(decimal, power: 0, text) * scale
        guard value > 0 else {
            throw QuantityError(code: .zero, problem: "`\(text)` is zero", mend: "give a positive bandwidth")
        }
        return value
    }

    /// A bare number that is not negative.
    static func number(_ text: String) throws(QuantityError) -> Double {
        guard let decimal = ExactDecimal(text) else { throw notANumber(text, example: "0.7") }
        if decimal.isNegative, decimal.digits != 0 { throw negative(text) }
        return try finite(decimal, power: 0, text)
    }

    /// The nearest double to an exact decimal times a power of ten: `14.7 ms` is `14.7e-3`, not `14.7/1000`.
    private static func finite(_ decimal: ExactDecimal, power: Int, _ text: String) throws(QuantityError)
        -> Double
    {
        let exponent = decimal.exponent + power
        // Both numbers are exact then, and one operation rounds once.
        if decimal.digits <= 1 << 53, exponent.magnitude < powersOfTen.count {
            let scale = powersOfTen[Int(exponent.magnitude)]
            return exponent < 0 ? Double(decimal.digits) / scale : Double(decimal.digits) * scale
        }
        guard let value = Double("\(decimal.digits)e\(exponent)"), value.isFinite else {
            throw QuantityError(
                code: .outOfRange, problem: "`\(text)` is too large", mend: "check the number")
        }
        return value
    }

    /// `10⁰ … 10²²`, the powers that a `Double` holds exactly.
    private static let powersOfTen: [Double] = (0...22).reduce(into: []) { powers, _ in
        powers.append(powers.last.map { $0 * 10 } ?? 1)
    }

    private static func notANumber(_ text: String, example: String) -> QuantityError {
        QuantityError(
            code: .invalidNumber, problem: "`\(text)` is not a number", mend: "write for example \(example)")
    }

    private static func negative(_ text: String) -> QuantityError {
        QuantityError(code: .negative, problem: "`\(text)` is negative", mend: "remove the minus sign")
    }
}

extension ByteCount {
    /// The size exactly, in the unit that writes it shortest; ties: the largest. Reads back as the same bytes.
    public var exactText: String {
        var best = "\(rawValue) B"
        for (name, factor) in Quantity.sizeUnits.dropFirst() {
            guard let number = Self.decimal(UInt64(rawValue), over: factor, isBinary: name.hasSuffix("iB"))
            else {
                continue
            }
            let text = "\(number) \(name)"
            if text.count <= best.count { best = text }
        }
        return best
    }

    /// `bytes/factor` as a finite decimal; only whole multiples of binary units.
    private static func decimal(_ bytes: UInt64, over factor: UInt64, isBinary: Bool) -> String? {
        let whole = bytes / factor
        var rest = bytes % factor
        if rest == 0 { return "\(whole)" }
        guard !isBinary else { return nil }
        var text = "\(whole)."
        var unit = factor / 10
        while rest > 0 {
            text += "\(rest / unit)"
            rest %= unit
            unit /= 10
        }
        return text
    }
}
