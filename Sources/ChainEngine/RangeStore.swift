import ChainModel
import Foundation

/// The tensors of a range that a block server received, in one file of its cache folder: their concatenation
/// in the manifest's order. Made by `RangeDownload`.
public final class RangeStore: TensorSource {
    public let path: String
    private let file: OpenFile
    private let offsets: [String: Int]
    private let entries: [String: TensorEntry]

    fileprivate init(path: String, file: OpenFile, manifest: BlockManifest) {
        self.path = path
        self.file = file
        var offsets: [String: Int] = [:]
        var entries: [String: TensorEntry] = [:]
        var offset = 0
        for tensor in manifest.tensors {
            offsets[tensor.name] = offset
            entries[tensor.name] = tensor
            offset += tensor.byteCount
        }
        self.offsets = offsets
        self.entries = entries
    }

    /// Opens a range that was received completely and checks every tensor's checksum.
    /// - Returns: `nil` when it is not there or, in which case it is removed, is not what the manifest says.
    /// - Complexity: reads the whole file.
    public static func existing(
        in folder: String, manifest: BlockManifest, progress: (Int) -> Void = { _ in }
    ) throws(EngineError) -> RangeStore? {
        let path = completePath(in: folder, manifest: manifest)
        guard access(path, R_OK) == 0 else { return nil }
        let file = try OpenFile(path: path, flags: O_RDONLY)
        guard try file.size() == manifest.totalBytes,
            try file.verifiedBytes(of: manifest, upTo: manifest.totalBytes, progress: progress)
                == manifest.totalBytes
        else {
            unlink(path)
            return nil
        }
        return RangeStore(path: path, file: file, manifest: manifest)
    }

    public func read(
        _ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer
    ) throws(EngineError) {
        guard let offset = offsets[entry.name], entries[entry.name] == entry,
            destination.count == entry.byteCount
        else { throw .modelFile("\(path) does not hold the tensor \(entry.name) as asked for") }
        try file.read(into: destination, at: offset)
    }

    /// Removes the oldest complete ranges of a cache folder beyond `count`.
    public static func removeOldest(in folder: String, keeping count: Int) {
        let url = URL(fileURLWithPath: folder, isDirectory: true)
        let key = URLResourceKey.contentModificationDateKey
        let files = try? FileManager.default.contentsOfDirectory(at: url, includingPropertiesForKeys: [key])
        let ranges = (files ?? []).filter { $0.pathExtension == completeExtension }
            .map { file in
                let date = try? file.resourceValues(forKeys: [key]).contentModificationDate
                return (file, date ?? .distantPast)
            }
            .sorted { ($0.1, $0.0.path) > ($1.1, $1.0.path) }
        for (file, _) in ranges.dropFirst(count) { try? FileManager.default.removeItem(at: file) }
    }

    private static let completeExtension = "range"

    fileprivate static func completePath(in folder: String, manifest: BlockManifest) -> String {
        "\(folder)/\(manifest.fingerprint).\(completeExtension)"
    }
}

/// A range on its way in: bytes are appended to a `.part` file, each tensor is checked when its last byte
/// has come, and the file gets its name when all are right. What was checked survives a crash of either end.
///
/// Not thread-safe; belongs to whoever writes it. Only one download of a range into one folder at a time.
public final class RangeDownload {
    public let manifest: BlockManifest
    /// Bytes received; those of whole tensors are checked.
    public private(set) var receivedBytes: Int
    public var isComplete: Bool { receivedBytes == manifest.totalBytes }

    private let folder: String
    private let partPath: String
    private let file: OpenFile
    private var tensorIndex: Int
    private var tensorStart: Int
    private var checksum = CRC32()

    /// Begins a download or takes up one that was interrupted: whole tensors already there are checked and
    /// kept.
    /// - Throws: `EngineError.modelFile` when the folder cannot be written or another process is receiving
    ///   the range.
    /// - Complexity: reads what is there.
    public init(folder: String, manifest: BlockManifest, progress: (Int) -> Void = { _ in })
        throws(EngineError)
    {
        self.folder = folder
        self.manifest = manifest
        partPath = "\(folder)/\(manifest.fingerprint).part"
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw .modelFile("the cache folder \(folder) cannot be made: \(error.localizedDescription)")
        }
        file = try OpenFile(path: partPath, flags: O_RDWR | O_CREAT)
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw .modelFile(
                "\(partPath) is being written by another block server: give each its own cache folder")
        }
        let size = min(try file.size(), manifest.totalBytes)
        receivedBytes = try file.verifiedBytes(of: manifest, upTo: size, progress: progress)
        try file.truncate(to: receivedBytes)
        tensorStart = receivedBytes
        tensorIndex = 0
        var end = 0
        while end < receivedBytes {
            end += manifest.tensors[tensorIndex].byteCount
            tensorIndex += 1
        }
    }

    /// Appends the bytes that follow the received ones.
    /// - Throws: `EngineError.modelFile` when they cannot be written, are too many, or complete a tensor
    ///   whose checksum is wrong; in the last case the download goes back to the beginning of that tensor.
    public func append(_ bytes: UnsafeRawBufferPointer) throws(EngineError) {
        guard bytes.count <= manifest.totalBytes - receivedBytes else {
            throw .modelFile("more bytes came than the range has")
        }
        var rest = bytes[...]
        while !rest.isEmpty {
            let tensor = manifest.tensors[tensorIndex]
            let part = rest.prefix(tensorStart + tensor.byteCount - receivedBytes)
            let pointer = UnsafeRawBufferPointer(rebasing: part)
            try file.write(pointer, at: receivedBytes)
            checksum.update(pointer)
            receivedBytes += part.count
            rest = rest.dropFirst(part.count)
            if receivedBytes == tensorStart + tensor.byteCount { try completeTensor(tensor) }
        }
    }

    private func completeTensor(_ tensor: TensorEntry) throws(EngineError) {
        defer { checksum = CRC32() }
        guard checksum.value == tensor.crc32 else {
            receivedBytes = tensorStart
            try file.truncate(to: tensorStart)
            throw .modelFile("the tensor \(tensor.name) came with a wrong checksum")
        }
        tensorIndex += 1
        tensorStart = receivedBytes
    }

    /// Gives the complete file its name.
    /// - Precondition: `isComplete`.
    public func finish() throws(EngineError) -> RangeStore {
        precondition(isComplete, "a download is finished when all of it has come")
        try file.synchronize()
        let path = RangeStore.completePath(in: folder, manifest: manifest)
        guard rename(partPath, path) == 0 else {
            throw .modelFile("\(path) cannot be made: \(lastErrorText())")
        }
        return RangeStore(path: path, file: file, manifest: manifest)
    }
}

/// A file descriptor that closes itself. Reads and writes name their place, so threads do not disturb each
/// other.
private final class OpenFile: Sendable {
    let path: String
    let descriptor: Int32

    init(path: String, flags: Int32) throws(EngineError) {
        self.path = path
        descriptor = open(path, flags | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .modelFile("\(path) cannot be opened: \(lastErrorText())") }
    }

    deinit { close(descriptor) }

    func size() throws(EngineError) -> Int {
        let end = lseek(descriptor, 0, SEEK_END)
        guard end >= 0 else { throw .modelFile("\(path) cannot be measured: \(lastErrorText())") }
        return Int(end)
    }

    func read(into destination: UnsafeMutableRawBufferPointer, at offset: Int) throws(EngineError) {
        var done = 0
        while done < destination.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: destination[done...])
            let count = pread(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else {
                throw .modelFile(
                    "\(path) cannot be read: \(count == 0 ? "it is too short" : lastErrorText())")
            }
            done += count
        }
    }

    func write(_ source: UnsafeRawBufferPointer, at offset: Int) throws(EngineError) {
        var done = 0
        while done < source.count {
            let rest = UnsafeRawBufferPointer(rebasing: source[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset + done))
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw .modelFile("\(path) cannot be written: \(lastErrorText())") }
            done += count
        }
    }

    func truncate(to size: Int) throws(EngineError) {
        guard ftruncate(descriptor, off_t(size)) == 0 else {
            throw .modelFile("\(path) cannot be shortened: \(lastErrorText())")
        }
    }

    func synchronize() throws(EngineError) {
        guard fsync(descriptor) == 0 else {
            throw .modelFile("\(path) cannot be written: \(lastErrorText())")
        }
    }

    /// Bytes of the leading tensors that are complete within the first `size` bytes and have the right
    /// checksums.
    func verifiedBytes(
        of manifest: BlockManifest, upTo size: Int, progress: (Int) -> Void
    ) throws(EngineError) -> Int {
        let piece = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 16)
        defer { piece.deallocate() }
        var verified = 0
        for tensor in manifest.tensors {
            guard verified + tensor.byteCount <= size else { return verified }
            var checksum = CRC32()
            var done = 0
            while done < tensor.byteCount {
                let part = UnsafeMutableRawBufferPointer(
                    rebasing: piece[..<min(piece.count, tensor.byteCount - done)])
                try read(into: part, at: verified + done)
                checksum.update(UnsafeRawBufferPointer(part))
                done += part.count
            }
            guard checksum.value == tensor.crc32 else { return verified }
            verified += tensor.byteCount
            progress(verified)
        }
        return verified
    }
}

private func lastErrorText() -> String { String(cString: strerror(errno)) }
