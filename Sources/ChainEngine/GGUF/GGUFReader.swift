#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A scalar or a string of a GGUF header. Of arrays only the length is kept: nothing here needs their
/// elements.
enum GGUFValue: Equatable, Sendable {
    case integer(Int)
    case real(Double)
    case bool(Bool)
    case string(String)
    case array(length: Int)
}

/// Bounds on what a GGUF header may claim; a file beyond them is refused as damaged.
enum GGUFBounds {
    static let stringBytes = 1 << 24
    static let entries = 1 << 20
    static let arrayLength = 1 << 28
    static let arrayDepth = 4
    static let dimensions = 4
    static let tensorElements = 1 << 44
}

/// Reads the little-endian scalars of a GGUF header through a buffer. Every length is checked before it is
/// used, since ggml's own reader ends the process on some damaged files.
struct GGUFReader {
    private let descriptor: Int32
    private let path: String
    private let fileSize: Int
    private var buffer: [UInt8] = []
    private var bufferStart = 0
    private(set) var position = 0

    init(descriptor: Int32, fileSize: Int, path: String) {
        self.descriptor = descriptor
        self.fileSize = fileSize
        self.path = path
    }

    func damaged(_ what: String) -> EngineError {
        .modelFile("\(path): not a usable GGUF file: \(what); download or convert it again")
    }

    /// Makes `count` bytes at `position` available in the buffer and returns where they begin in it.
    private mutating func take(_ count: Int) throws(EngineError) -> Int {
        guard count >= 0, count <= fileSize - position else {
            throw damaged("it ends at byte \(fileSize), in the middle of its header (truncated?)")
        }
        let offset = position - bufferStart
        if offset < 0 || offset + count > buffer.count {
            let wanted = min(max(count, 1 << 18), fileSize - position)
            var chunk = [UInt8](repeating: 0, count: wanted)
            let start = position
            let got = chunk.withUnsafeMutableBytes { readFully(descriptor, $0, at: start) }
            guard got == wanted else { throw damaged("reading byte \(position) failed") }
            buffer = chunk
            bufferStart = position
        }
        let begin = position - bufferStart
        position += count
        return begin
    }

    mutating func scalar<Value: FixedWidthInteger>(_ type: Value.Type) throws(EngineError) -> Value {
        let begin = try take(MemoryLayout<Value>.size)
        return buffer.withUnsafeBytes {
            Value(littleEndian: $0.loadUnaligned(fromByteOffset: begin, as: Value.self))
        }
    }

    /// A 64-bit count no larger than `limit`.
    mutating func count(limit: Int, of what: String) throws(EngineError) -> Int {
        let value = try scalar(UInt64.self)
        guard value <= UInt64(limit) else { throw damaged("it claims \(value) \(what), more than \(limit)") }
        return Int(value)
    }

    mutating func string() throws(EngineError) -> String {
        let length = try count(limit: GGUFBounds.stringBytes, of: "bytes in a string")
        let begin = try take(length)
        return String(decoding: buffer[begin..<begin + length], as: UTF8.self)
    }

    mutating func skip(_ count: Int) throws(EngineError) {
        guard count >= 0, count <= fileSize - position else {
            throw damaged("it ends at byte \(fileSize), in the middle of its header (truncated?)")
        }
        position += count
    }

    mutating func value(type: UInt32, depth: Int = 0) throws(EngineError) -> GGUFValue {
        switch type {
        case 0: return .integer(Int(try scalar(UInt8.self)))
        case 1: return .integer(Int(try scalar(Int8.self)))
        case 2: return .integer(Int(try scalar(UInt16.self)))
        case 3: return .integer(Int(try scalar(Int16.self)))
        case 4: return .integer(Int(try scalar(UInt32.self)))
        case 5: return .integer(Int(try scalar(Int32.self)))
        case 6: return .real(Double(Float(bitPattern: try scalar(UInt32.self))))
        case 7: return .bool(try scalar(UInt8.self) != 0)
        case 8: return .string(try string())
        case 9: return try array(depth: depth)
        case 10:
            let wide = try scalar(UInt64.self)
            guard wide <= UInt64(Int.max) else { throw damaged("a metadata value exceeds 63 bits") }
            return .integer(Int(wide))
        case 11: return .integer(Int(try scalar(Int64.self)))
        case 12: return .real(Double(bitPattern: try scalar(UInt64.self)))
        default: throw damaged("it uses the unknown metadata type \(type)")
        }
    }

    private mutating func array(depth: Int) throws(EngineError) -> GGUFValue {
        guard depth < GGUFBounds.arrayDepth else { throw damaged("arrays are nested too deeply") }
        let elementType = try scalar(UInt32.self)
        let length = try count(limit: GGUFBounds.arrayLength, of: "array elements")
        switch elementType {
        case 0, 1, 7: try skip(length)
        case 2, 3: try skip(2 * length)
        case 4, 5, 6: try skip(4 * length)
        case 10, 11, 12: try skip(8 * length)
        case 8:
            for _ in 0..<length {
                try skip(try count(limit: GGUFBounds.stringBytes, of: "bytes in a string"))
            }
        case 9:
            for _ in 0..<length { _ = try array(depth: depth + 1) }
        default: throw damaged("it uses the unknown metadata type \(elementType) in an array")
        }
        return .array(length: length)
    }
}

/// Reads until `target` is full or the file ends; returns the bytes read.
func readFully(_ descriptor: Int32, _ target: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    var done = 0
    while done < target.count, let base = target.baseAddress {
        let got = pread(descriptor, base + done, target.count - done, off_t(offset + done))
        if got < 0 && errno == EINTR { continue }
        if got <= 0 { break }
        done += got
    }
    return done
}
