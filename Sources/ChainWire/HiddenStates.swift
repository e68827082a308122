import NIOCore

/// Hidden states on their way over the wire: little-endian float32, row-major `[tokenCount][width]`.
package enum HiddenStates {
    package static let valueSize = MemoryLayout<Float>.size

    /// The bytes of `values`; one copy on little-endian machines.
    package static func bytes(of values: [Float], allocator: ByteBufferAllocator = .init()) -> ByteBuffer {
        var buffer = allocator.buffer(capacity: values.count * valueSize)
        #if _endian(little)
            _ = values.withUnsafeBytes { buffer.writeBytes($0) }
        #else
            for value in values { buffer.writeInteger(value.bitPattern, endianness: .little) }
        #endif
        return buffer
    }
}

/// Collects the pieces of one step, in order.
package struct StepAssembly: Sendable {
    package let job: UInt64
    package let step: UInt64
    package let position: Int
    package let tokenCount: Int
    package private(set) var values: [Float]
    private var filledBytes: Int

    package var byteCount: Int { values.count * HiddenStates.valueSize }
    package var isComplete: Bool { filledBytes == byteCount }

    /// Begins with a step's first piece.
    /// - Returns: `nil` when the piece is not a first one or holds more than the step.
    package init?(first piece: StepPiece, width: Int) {
        let count = piece.tokenCount * width
        guard piece.offset == 0, piece.hidden.readableBytes <= count * HiddenStates.valueSize else {
            return nil
        }
        job = piece.job
        step = piece.step
        position = piece.position
        tokenCount = piece.tokenCount
        values = [Float](repeating: 0, count: count)
        filledBytes = 0
        copy(piece.hidden)
    }

    /// Adds the next piece.
    /// - Returns: `false`, and nothing changes, when it is not the next piece of this step.
    package mutating func add(_ piece: StepPiece) -> Bool {
        guard piece.job == job, piece.step == step, piece.position == position,
            piece.tokenCount == tokenCount,
            piece.offset == filledBytes, piece.hidden.readableBytes <= byteCount - filledBytes
        else { return false }
        copy(piece.hidden)
        return true
    }

    private mutating func copy(_ bytes: ByteBuffer) {
        let start = filledBytes
        bytes.withUnsafeReadableBytes { source in
            values.withUnsafeMutableBytes { destination in
                UnsafeMutableRawBufferPointer(rebasing: destination[start...]).copyMemory(from: source)
            }
        }
        #if _endian(big)
            for index in start / HiddenStates.valueSize..<(start + bytes.readableBytes)
                / HiddenStates.valueSize
            {
                values[index] = Float(bitPattern: UInt32(littleEndian: values[index].bitPattern))
            }
        #endif
        filledBytes += bytes.readableBytes
    }
}
