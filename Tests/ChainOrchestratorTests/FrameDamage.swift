import ChainWire
import NIOCore

/// What can be wrong with a step on its way to a block server.
enum FrameDamage: CaseIterable, Sendable {
    /// One bit; the checksum tells.
    case flippedBit
    /// The frame ends in its middle, and the next follows.
    case cutShort
    /// Other bytes in its place.
    case garbage
    // From here on the checksum is right.
    case notFinite
    case valueTooMany
    case valueTooFew
    case wrongPosition
    case unknownJob
    case tooManyRows

    /// - Parameter frame: a whole frame that carries a piece of a step.
    func applied(to frame: ByteBuffer) -> ByteBuffer {
        var bytes = frame
        switch self {
        case .flippedBit:
            let place = bytes.readerIndex + bytes.readableBytes / 2
            if let byte: UInt8 = bytes.getInteger(at: place) { bytes.setInteger(byte ^ 0x04, at: place) }
            return bytes
        case .cutShort: return bytes.readSlice(length: bytes.readableBytes / 2) ?? ByteBuffer()
        case .garbage: return ByteBuffer(repeating: 0x5A, count: bytes.readableBytes)
        default: break
        }
        var decoder = FrameDecoder()
        decoder.append(frame)
        guard case .step(var piece)? = try? decoder.next() else { return frame }
        switch self {
        case .notFinite: piece.hidden.setInteger(Float.nan.bitPattern, at: piece.hidden.readerIndex)
        case .valueTooMany: piece.hidden.writeInteger(UInt32(0))
        case .valueTooFew: piece.hidden.moveWriterIndex(to: piece.hidden.writerIndex - 4)
        case .wrongPosition: piece.position += 1
        case .unknownJob: piece.job ^= 1 << 40
        case .tooManyRows: piece.tokenCount = 1 << 20
        case .flippedBit, .cutShort, .garbage: break
        }
        return FrameEncoder().bytes(of: .step(piece))
    }
}

/// Cuts what passes into whole frames.
struct FrameCutter {
    private var bytes = ByteBuffer()

    mutating func append(_ more: ByteBuffer) { bytes.writeImmutableBuffer(more) }

    /// The next whole frame.
    mutating func next() -> ByteBuffer? {
        guard
            let length: UInt32 = bytes.getInteger(at: bytes.readerIndex + 4, endianness: .little)
        else { return nil }
        defer { bytes.discardReadBytes() }
        return bytes.readSlice(length: FrameHeader.size + Int(length))
    }

    static func isStep(_ frame: ByteBuffer) -> Bool {
        frame.getInteger(at: frame.readerIndex + 2) == FrameType.step.rawValue
    }
}
