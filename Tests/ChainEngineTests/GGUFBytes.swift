import Foundation

/// A GGUF file under construction: every part can be spoiled, for tests of what a reader refuses.
struct GGUFBytes {
    indirect enum Value {
        case uint32(UInt32)
        case uint64(UInt64)
        case int32(Int32)
        case float32(Float)
        case bool(Bool)
        case string(String)
        /// Element type, claimed length, and the bytes that follow.
        case array(type: UInt32, length: UInt64, bytes: [UInt8])
        /// A type number with these bytes after it.
        case raw(type: UInt32, bytes: [UInt8])
    }

    struct Tensor {
        var name: String
        var type: UInt32
        var dimensions: [UInt64]
        var data: [UInt8]
        /// Offset in the data section; `nil` for the next free aligned place.
        var offset: UInt64?
    }

    var magic: [UInt8] = Array("GGUF".utf8)
    var version: UInt32 = 3
    /// `nil` for the true counts.
    var claimedTensors: UInt64?
    var claimedValues: UInt64?
    var metadata: [(key: String, value: Value)] = []
    var tensors: [Tensor] = []
    let alignment = 32

    subscript(key: String) -> Value? {
        get { metadata.first { $0.key == key }?.value }
        set {
            metadata.removeAll { $0.key == key }
            if let newValue { metadata.append((key, newValue)) }
        }
    }

    /// Changes the tensor of this name.
    mutating func edit(_ name: String, _ change: (inout Tensor) -> Void) {
        for index in tensors.indices where tensors[index].name == name { change(&tensors[index]) }
    }

    /// Header with tensor table, padded to the alignment.
    var header: [UInt8] {
        var bytes = magic
        Self.append(version, to: &bytes)
        Self.append(claimedTensors ?? UInt64(tensors.count), to: &bytes)
        Self.append(claimedValues ?? UInt64(metadata.count), to: &bytes)
        for (key, value) in metadata {
            Self.append(key, to: &bytes)
            Self.append(value, to: &bytes)
        }
        var next: UInt64 = 0
        for tensor in tensors {
            Self.append(tensor.name, to: &bytes)
            Self.append(UInt32(tensor.dimensions.count), to: &bytes)
            for extent in tensor.dimensions { Self.append(extent, to: &bytes) }
            Self.append(tensor.type, to: &bytes)
            Self.append(tensor.offset ?? next, to: &bytes)
            next += UInt64(padded(tensor.data.count))
        }
        bytes += [UInt8](repeating: 0, count: padded(bytes.count) - bytes.count)
        return bytes
    }

    var bytes: [UInt8] {
        var all = header
        for tensor in tensors {
            all += tensor.data
            all += [UInt8](repeating: 0, count: padded(tensor.data.count) - tensor.data.count)
        }
        return all
    }

    private func padded(_ count: Int) -> Int { (count + alignment - 1) / alignment * alignment }

    static func append(_ value: some FixedWidthInteger, to bytes: inout [UInt8]) {
        withUnsafeBytes(of: value.littleEndian) { bytes += $0 }
    }

    static func append(_ text: String, to bytes: inout [UInt8]) {
        append(UInt64(text.utf8.count), to: &bytes)
        bytes += Array(text.utf8)
    }

    static func append(_ value: Value, to bytes: inout [UInt8]) {
        func type(_ number: UInt32) { append(number, to: &bytes) }
        switch value {
        case .uint32(let number):
            type(4)
            append(number, to: &bytes)
        case .int32(let number):
            type(5)
            append(number, to: &bytes)
        case .float32(let number):
            type(6)
            append(number.bitPattern, to: &bytes)
        case .bool(let flag):
            type(7)
            bytes.append(flag ? 1 : 0)
        case .string(let text):
            type(8)
            append(text, to: &bytes)
        case .array(let element, let length, let content):
            type(9)
            append(element, to: &bytes)
            append(length, to: &bytes)
            bytes += content
        case .uint64(let number):
            type(10)
            append(number, to: &bytes)
        case .raw(let number, let content):
            type(number)
            bytes += content
        }
    }
}

/// A file under the temporary directory, removed with the value.
final class TemporaryFile {
    let path: String

    init(_ bytes: [UInt8]) throws {
        path = FileManager.default.temporaryDirectory.path + "/chainserve-\(UUID().uuidString).gguf"
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }
}
