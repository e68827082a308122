import ChainEngine
import NIOCore
import Synchronization

/// Serves a range as one run of bytes out of a source of whole tensors. Holds one tensor at a time.
final class RangeReader: Sendable {
    let manifest: BlockManifest
    private let source: any TensorSource & Sendable
    /// First byte of each tensor within the range.
    private let starts: [Int]
    private let current = Mutex<Current?>(nil)

    /// The tensor read last and where the next piece begins if it follows.
    private struct Current {
        var index: Int
        var bytes: ByteBuffer
        var nextOffset: Int
    }

    init(manifest: BlockManifest, source: any TensorSource & Sendable) {
        self.manifest = manifest
        self.source = source
        var start = 0
        starts = manifest.tensors.map { tensor in
            defer { start += tensor.byteCount }
            return start
        }
    }

    /// At most `byteCount` bytes from `offset` on, up to the end of the tensor there. Blocks; not for an
    /// event loop.
    ///
    /// Reads the tensor from its source when `offset` does not follow the piece before: a server asks again
    /// for what it found to be wrong.
    /// - Precondition: `offset` lies within the range.
    func piece(at offset: Int, byteCount: Int) throws(EngineError) -> ByteBuffer {
        let index = tensorIndex(at: offset)
        let tensor = manifest.tensors[index]
        let within = offset - starts[index]
        let count = min(byteCount, tensor.byteCount - within)
        let result = current.withLock { current in
            Result { () throws(EngineError) -> ByteBuffer in
                if let held = current, held.index == index, held.nextOffset == offset {
                    current?.nextOffset += count
                    return held.bytes
                }
                current = nil
                let bytes = try read(tensor)
                current = Current(index: index, bytes: bytes, nextOffset: offset + count)
                return bytes
            }
        }
        let bytes = try result.get()
        guard let slice = bytes.getSlice(at: bytes.readerIndex + within, length: count) else {
            throw .modelFile("the tensor \(tensor.name) is shorter than its entry says")
        }
        return slice
    }

    private func read(_ tensor: TensorEntry) throws(EngineError) -> ByteBuffer {
        guard tensor.byteCount < Self.maximumTensorSize else {
            throw .modelFile("the tensor \(tensor.name) is too large to be sent: \(tensor.byteCount) bytes")
        }
        var bytes = ByteBuffer()
        bytes.reserveCapacity(tensor.byteCount)
        var failure: EngineError?
        bytes.writeWithUnsafeMutableBytes(minimumWritableBytes: tensor.byteCount) { destination in
            do throws(EngineError) {
                try source.read(
                    tensor, into: UnsafeMutableRawBufferPointer(rebasing: destination[..<tensor.byteCount]))
                return tensor.byteCount
            } catch {
                failure = error
                return 0
            }
        }
        if let failure { throw failure }
        return bytes
    }

    /// What one buffer can hold.
    private static let maximumTensorSize = 1 << 31

    /// The tensor that holds byte `offset`: the last one that starts at or before it.
    private func tensorIndex(at offset: Int) -> Int {
        var low = 0
        var high = starts.count - 1
        while low < high {
            let middle = (low + high + 1) / 2
            if starts[middle] <= offset { low = middle } else { high = middle - 1 }
        }
        return low
    }
}
