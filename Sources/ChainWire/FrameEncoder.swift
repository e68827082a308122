import CZlib
import NIOCore

/// The twelve bytes before every payload, all integers little-endian:
///
///     0  magic      u16
///     2  type       u8
///     3  reserved   u8    0
///     4  length     u32   bytes of the payload
///     8  checksum   u32   CRC-32 of the eight bytes above and the payload
package enum FrameHeader {
    package static let size = 12
    package static let checkedSize = 8
    package static let magic: UInt16 = 0xC5A7
}

/// A frame ready to be written: one buffer, or two where copying a large piece behind its header would cost
/// more than writing it separately.
package struct EncodedFrame: Sendable {
    package var head: ByteBuffer
    package var bulk: ByteBuffer?
}

/// Turns messages into frames.
package struct FrameEncoder: Sendable {
    /// Bulk bytes from this size on are not copied behind their header.
    package static let separateBulkSize = 16 << 10

    package init() {}

    package func encode(_ message: Message, allocator: ByteBufferAllocator = .init()) -> EncodedFrame {
        let bulk = message.bulk
        let joined = (bulk?.readableBytes ?? 0) < Self.separateBulkSize
        var head = allocator.buffer(
            capacity: FrameHeader.size + 128 + (joined ? bulk?.readableBytes ?? 0 : 0))
        head.writeInteger(FrameHeader.magic, endianness: .little)
        head.writeInteger(message.type.rawValue)
        head.writeInteger(UInt8(0))
        head.writeInteger(UInt64(0), endianness: .little)
        message.writeFields(into: &head)
        if joined, let bulk { head.writeImmutableBuffer(bulk) }
        let separate = joined ? nil : bulk

        let length = head.readableBytes - FrameHeader.size + (separate?.readableBytes ?? 0)
        head.setInteger(UInt32(length), at: head.readerIndex + 4, endianness: .little)
        var checksum = frameChecksum(head.readableBytesView.prefix(FrameHeader.checkedSize))
        checksum = frameChecksum(head.readableBytesView.dropFirst(FrameHeader.size), after: checksum)
        if let separate { checksum = frameChecksum(separate.readableBytesView, after: checksum) }
        head.setInteger(checksum, at: head.readerIndex + 8, endianness: .little)
        return EncodedFrame(head: head, bulk: separate)
    }

    /// The frame as one run of bytes.
    package func bytes(of message: Message) -> ByteBuffer {
        let frame = encode(message)
        var bytes = frame.head
        if let bulk = frame.bulk { bytes.writeImmutableBuffer(bulk) }
        return bytes
    }
}

/// CRC-32 as zlib computes it, going on from `previous`.
package func frameChecksum(_ bytes: ByteBufferView, after previous: UInt32 = 0) -> UInt32 {
    bytes.withUnsafeBytes { pointer in
        guard let base = pointer.bindMemory(to: UInt8.self).baseAddress else { return previous }
        return UInt32(truncatingIfNeeded: crc32_z(uLong(previous), base, pointer.count))
    }
}

extension Message {
    /// The trailing bytes that are not copied when they are many.
    fileprivate var bulk: ByteBuffer? {
        switch self {
        case .load(let request): request.manifest
        case .rangePiece(let piece): piece.bytes
        case .step(let piece), .stepResult(let piece): piece.hidden
        default: nil
        }
    }

    /// Writes everything but the bulk.
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        switch self {
        case .hello(let hello):
            buffer.writeInteger(hello.version, endianness: .little)
            buffer.writeText(hello.name)
        case .helloReply(let reply): reply.write(into: &buffer)
        case .goodbye(let goodbye):
            buffer.writeInteger(goodbye.version, endianness: .little)
            buffer.writeInteger(goodbye.code.rawValue, endianness: .little)
            buffer.writeText(goodbye.text)
        case .ping(let id): buffer.writeIdentifier(id)
        case .pong(let id, let health):
            buffer.writeIdentifier(id)
            health.write(into: &buffer)
        case .load(let request): request.write(into: &buffer)
        case .loadProgress(let progress):
            buffer.writeIdentifier(progress.load)
            buffer.writeInteger(progress.stage.rawValue)
            buffer.writeSize(progress.bytesDone)
            buffer.writeSize(progress.bytesTotal)
        case .loaded(let report): report.write(into: &buffer)
        case .loadRefused(let load, let refusal):
            buffer.writeIdentifier(load)
            refusal.write(into: &buffer)
        case .rangeRequest(let request):
            buffer.writeIdentifier(request.load)
            buffer.writeSize(request.fromOffset)
            buffer.writeSize(request.byteCount)
        case .rangePiece(let piece):
            buffer.writeIdentifier(piece.load)
            buffer.writeSize(piece.offset)
            buffer.writeInteger(piece.crc32, endianness: .little)
        case .open(let job, let firstBlock, let blockCount):
            buffer.writeIdentifier(job)
            buffer.writeCount(firstBlock)
            buffer.writeCount(blockCount)
        case .opened(let job, let unitsFree), .closed(let job, let unitsFree):
            buffer.writeIdentifier(job)
            buffer.writeCount(unitsFree)
        case .openRefused(let job, let refusal):
            buffer.writeIdentifier(job)
            refusal.write(into: &buffer)
        case .step(let piece), .stepResult(let piece): piece.writeFields(into: &buffer)
        case .stepFailed(let job, let step, let refusal):
            buffer.writeIdentifier(job)
            buffer.writeIdentifier(step)
            refusal.write(into: &buffer)
        case .close(let job): buffer.writeIdentifier(job)
        }
    }
}

extension HelloReply {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(version, endianness: .little)
        buffer.writeText(name)
        buffer.writeSize(memory.rawValue)
        buffer.writeInteger(isEmulated ? UInt8(1) : 0)
        buffer.writeInteger(processID, endianness: .little)
        buffer.writeCount(stepTokens)
    }
}

extension NodeHealth {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(state.rawValue)
        buffer.writeCount(unitsUsed)
        buffer.writeCount(unitsTotal)
        buffer.writeCount(openJobs)
        buffer.writeCount(queueDepth)
        buffer.writeIdentifier(stepsRun)
    }
}

extension LoadRequest {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeIdentifier(load)
        buffer.writeCount(unitCount)
        buffer.writeCount(sequenceLength)
        buffer.writeCount(stepTokens)
        buffer.writeSize(computeSize.rawValue)
        buffer.writeCount(threads)
    }
}

extension LoadedReport {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeIdentifier(load)
        buffer.writeCount(firstBlock)
        buffer.writeCount(blockCount)
        buffer.writeCount(width)
        buffer.writeCount(unitCount)
        buffer.writeCount(sequenceLength)
        buffer.writeCount(stepTokens)
        buffer.writeSize(memoryUsed.rawValue)
        buffer.writeInteger(isEmulated ? UInt8(1) : 0)
        buffer.writeInteger(wasLoaded ? UInt8(1) : 0)
        buffer.writeIdentifier(checksum)
    }
}

extension Refusal {
    fileprivate func write(into buffer: inout ByteBuffer) {
        buffer.writeInteger(code.rawValue, endianness: .little)
        buffer.writeText(text)
    }
}

extension StepPiece {
    fileprivate func writeFields(into buffer: inout ByteBuffer) {
        buffer.writeIdentifier(job)
        buffer.writeIdentifier(step)
        buffer.writeCount(position)
        buffer.writeCount(tokenCount)
        buffer.writeSize(offset)
    }
}

extension ByteBuffer {
    fileprivate mutating func writeIdentifier(_ value: UInt64) { writeInteger(value, endianness: .little) }

    /// A count in 32 bits; one that does not fit (no count of ours does not) is written as the largest that
    /// does.
    fileprivate mutating func writeCount(_ value: Int) {
        writeInteger(UInt32(clamping: min(value, Int(Int32.max))), endianness: .little)
    }

    fileprivate mutating func writeSize(_ value: Int) {
        writeInteger(UInt64(clamping: value), endianness: .little)
    }

    /// Length in 16 bits, then UTF-8, cut at a character so as to fit `WireLimits.maximumTextSize`.
    fileprivate mutating func writeText(_ text: String) {
        var text = text[...]
        while text.utf8.count > WireLimits.maximumTextSize {
            text = text.prefix(min(text.count - 1, WireLimits.maximumTextSize))
        }
        writeInteger(UInt16(text.utf8.count), endianness: .little)
        writeSubstring(text)
    }
}
