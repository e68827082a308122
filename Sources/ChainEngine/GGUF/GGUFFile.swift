import CGGML

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A tensor as a GGUF file describes it, checked to lie inside the file.
struct GGUFTensor: Equatable, Sendable {
    var name: String
    /// ggml's number of the type.
    var type: UInt32
    /// Extents, fastest-varying first, as ggml has them.
    var dimensions: [Int]
    /// Offset of the data from the beginning of the file.
    var fileOffset: Int
    var byteCount: Int
}

/// An open GGUF file: its metadata scalars and its table of tensors, each checked against the file's size.
///
/// Immutable after `init`, and reads go through `pread`, so it may be used from any thread.
public final class GGUFFile: Sendable {
    public let path: String
    /// Metadata by key.
    let metadata: [String: GGUFValue]
    /// Tensors in the order of the file.
    let tensors: [GGUFTensor]
    private let positionByName: [String: Int]
    private let descriptor: Int32

    /// - Throws: `EngineError.modelFile` when the file cannot be read, is not GGUF, is truncated or damaged.
    /// - Complexity: O(size of the header).
    public init(path: String) throws(EngineError) {
        self.path = path
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw .modelFile("\(path): \(String(cString: strerror(errno))); give the path of a GGUF file")
        }
        self.descriptor = descriptor
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw .modelFile("\(path): not a regular file; give the path of a GGUF file")
        }
        do throws(EngineError) {
            var reader = GGUFReader(descriptor: descriptor, fileSize: Int(status.st_size), path: path)
            (metadata, tensors) = try Self.parse(&reader, fileSize: Int(status.st_size))
        } catch {
            close(descriptor)
            throw error
        }
        positionByName = Dictionary(uniqueKeysWithValues: tensors.enumerated().map { ($1.name, $0) })
    }

    deinit { close(descriptor) }

    func tensor(named name: String) -> GGUFTensor? { positionByName[name].map { tensors[$0] } }

    func read(_ tensor: GGUFTensor, into target: UnsafeMutableRawBufferPointer) throws(EngineError) {
        guard target.count == tensor.byteCount,
            readFully(descriptor, target, at: tensor.fileOffset) == tensor.byteCount
        else {
            throw .modelFile(
                "\(path): reading tensor \(tensor.name) failed; was the file changed while in use?")
        }
    }

    // MARK: - Parsing

    private static func parse(
        _ reader: inout GGUFReader, fileSize: Int
    ) throws(EngineError) -> ([String: GGUFValue], [GGUFTensor]) {
        guard fileSize >= 24, try reader.scalar(UInt32.self) == 0x4655_4747 else {
            throw reader.damaged("it does not begin with 'GGUF'")
        }
        let version = try reader.scalar(UInt32.self)
        guard version == 2 || version == 3 else {
            throw reader.damaged("version \(version) is not supported (2 and 3 are)")
        }
        let tensorCount = try reader.count(limit: GGUFBounds.entries, of: "tensors")
        let valueCount = try reader.count(limit: GGUFBounds.entries, of: "metadata entries")
        var metadata: [String: GGUFValue] = [:]
        for _ in 0..<valueCount {
            let key = try reader.string()
            let type = try reader.scalar(UInt32.self)
            guard metadata.updateValue(try reader.value(type: type), forKey: key) == nil else {
                throw reader.damaged("metadata \(key) is listed twice")
            }
        }
        var alignment = 32
        if case .integer(let given)? = metadata["general.alignment"] {
            guard given > 0, given <= 1 << 20, given & (given - 1) == 0 else {
                throw reader.damaged("its alignment \(given) is not a power of two")
            }
            alignment = given
        }
        var tensors: [GGUFTensor] = []
        var names: Set<String> = []
        for _ in 0..<tensorCount {
            let tensor = try parseTensor(&reader, alignment: alignment)
            guard names.insert(tensor.name).inserted else {
                throw reader.damaged("tensor \(tensor.name) is listed twice")
            }
            tensors.append(tensor)
        }
        let dataStart = (reader.position + alignment - 1) / alignment * alignment
        for index in tensors.indices {
            let (offset, overflow) = tensors[index].fileOffset.addingReportingOverflow(dataStart)
            guard !overflow, offset >= 0, tensors[index].byteCount <= fileSize - min(offset, fileSize) else {
                throw reader.damaged(
                    "tensor \(tensors[index].name) lies beyond the file's end at byte \(fileSize)"
                        + " (truncated?)"
                )
            }
            tensors[index].fileOffset = offset
        }
        return (metadata, tensors)
    }

    /// Reads one entry of the table; `fileOffset` is still relative to the data section.
    private static func parseTensor(
        _ reader: inout GGUFReader, alignment: Int
    ) throws(EngineError) -> GGUFTensor {
        let name = try reader.string()
        let rank = try reader.scalar(UInt32.self)
        guard (1...UInt32(GGUFBounds.dimensions)).contains(rank) else {
            throw reader.damaged("tensor \(name) has \(rank) dimensions")
        }
        var dimensions: [Int] = []
        var elements = 1
        for _ in 0..<rank {
            let extent = try reader.count(limit: GGUFBounds.tensorElements, of: "elements in tensor \(name)")
            let (product, overflow) = elements.multipliedReportingOverflow(by: extent)
            guard extent > 0, !overflow, product <= GGUFBounds.tensorElements else {
                throw reader.damaged("tensor \(name) has impossible dimensions")
            }
            elements = product
            dimensions.append(extent)
        }
        let type = try reader.scalar(UInt32.self)
        let offset = try reader.count(limit: Int.max >> 1, of: "bytes before tensor \(name)")
        guard let traits = GGMLTypeTraits(type) else {
            throw reader.damaged("tensor \(name) has type \(type), which this ggml does not know")
        }
        guard dimensions[0] % traits.blockElements == 0, offset % alignment == 0 else {
            throw reader.damaged("tensor \(name) is not aligned to its type's blocks")
        }
        let byteCount = elements / traits.blockElements * traits.blockBytes
        return GGUFTensor(
            name: name, type: type, dimensions: dimensions, fileOffset: offset, byteCount: byteCount)
    }
}

/// Size facts of a ggml tensor type; `nil` for numbers that this ggml does not know or has retired.
struct GGMLTypeTraits {
    var blockElements: Int
    var blockBytes: Int

    init?(_ type: UInt32) {
        guard type < GGML_TYPE_COUNT.rawValue else { return nil }
        let elements = Int(ggml_blck_size(ggml_type(rawValue: type)))
        let bytes = Int(ggml_type_size(ggml_type(rawValue: type)))
        guard elements > 0, bytes > 0 else { return nil }
        blockElements = elements
        blockBytes = bytes
    }
}
