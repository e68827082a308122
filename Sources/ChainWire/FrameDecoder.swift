import NIOCore

/// Turns bytes, however they are cut, into messages. A value without I/O: bytes go in, messages or one error
/// come out.
///
/// Holds at most one incomplete frame (bounded by `WireLimits`) and what was appended behind it. Bulk bytes
/// of messages are slices of what came in, not copies, unless a frame came in parts.
package struct FrameDecoder: Sendable {
    private let limits: WireLimits
    private let allocator: ByteBufferAllocator
    private var buffer = ByteBuffer()
    /// Size of the frame for which `buffer` was made and has room; 0 when it was not made for one.
    private var reservedSize = 0
    /// What came in behind the frame for which `buffer` was made.
    private var following = ByteBuffer()
    private var failure: WireError?

    package init(limits: WireLimits = WireLimits(), allocator: ByteBufferAllocator = ByteBufferAllocator()) {
        self.limits = limits
        self.allocator = allocator
    }

    /// Bytes held for messages that are not complete.
    package var bufferedBytes: Int { buffer.readableBytes + following.readableBytes }
    /// Memory held for them.
    package var bufferCapacity: Int { buffer.capacity + following.capacity }

    package mutating func append(_ bytes: ByteBuffer) {
        guard failure == nil else { return }
        if following.readableBytes > 0 {
            following.writeImmutableBuffer(bytes)
        } else if buffer.readableBytes == 0 {
            buffer = bytes
        } else if reservedSize > 0, bytes.readableBytes > reservedSize - buffer.readableBytes {
            // Writing all of it would move the frame to a larger buffer.
            var bytes = bytes
            guard let part = bytes.readSlice(length: max(0, reservedSize - buffer.readableBytes)) else {
                return
            }
            buffer.writeImmutableBuffer(part)
            following = bytes
        } else {
            buffer.writeImmutableBuffer(bytes)
        }
    }

    /// The next message, or `nil` when more bytes are needed.
    /// - Throws: what is wrong with the frame; the same again on every later call.
    package mutating func next() throws(WireError) -> Message? {
        if let failure { throw failure }
        do throws(WireError) {
            return try decodeNext()
        } catch {
            failure = error
            buffer = ByteBuffer()
            following = ByteBuffer()
            throw error
        }
    }

    private mutating func decodeNext() throws(WireError) -> Message? {
        let start = buffer.readerIndex
        guard let magic: UInt16 = buffer.getInteger(at: start, endianness: .little) else { return nil }
        guard magic == FrameHeader.magic else { throw .badMagic(magic) }
        guard buffer.readableBytes >= FrameHeader.size,
            let typeByte: UInt8 = buffer.getInteger(at: start + 2),
            let length: UInt32 = buffer.getInteger(at: start + 4, endianness: .little),
            let checksum: UInt32 = buffer.getInteger(at: start + 8, endianness: .little)
        else { return nil }
        guard let type = FrameType(rawValue: typeByte) else { throw .unknownType(typeByte) }
        let limit = limits.maximumPayloadSize(of: type)
        guard Int(length) <= limit else { throw .frameTooLarge(type, size: Int(length), limit: limit) }

        let frameSize = FrameHeader.size + Int(length)
        guard var frame = buffer.readSlice(length: frameSize) else {
            reserve(frameSize)
            return nil
        }
        reservedSize = 0
        if buffer.readableBytes == 0 {
            buffer = following
            following = ByteBuffer()
        }

        var computed = frameChecksum(frame.readableBytesView.prefix(FrameHeader.checkedSize))
        computed = frameChecksum(frame.readableBytesView.dropFirst(FrameHeader.size), after: computed)
        guard computed == checksum else { throw .badChecksum(type) }
        frame.moveReaderIndex(forwardBy: FrameHeader.size)
        var reader = PayloadReader(type: type, buffer: frame)
        let message = try reader.message()
        try reader.expectEnd()
        return message
    }

    /// Makes room for the whole of a frame whose length is known, once.
    private mutating func reserve(_ frameSize: Int) {
        guard reservedSize == 0 else { return }
        var reserved = allocator.buffer(capacity: frameSize)
        reserved.writeImmutableBuffer(buffer)
        buffer = reserved
        reservedSize = frameSize
    }
}
