import ChainModel
import NIOCore
import Testing

@testable import ChainWire

@Suite struct CodecTests {
    let encoder = FrameEncoder()

    func decode(_ bytes: ByteBuffer, limits: WireLimits = WireLimits()) throws(WireError) -> [Message] {
        var decoder = FrameDecoder(limits: limits)
        decoder.append(bytes)
        var messages: [Message] = []
        while let message = try decoder.next() { messages.append(message) }
        return messages
    }

    @Test func everyTypeHasASample() {
        #expect(Set(sampleMessages.map(\.type)) == Set(FrameType.allCases))
    }

    @Test(arguments: sampleMessages) func roundTrip(_ message: Message) throws {
        #expect(try decode(encoder.bytes(of: message)) == [message])
    }

    @Test func manyInOneBuffer() throws {
        var bytes = ByteBuffer()
        for message in sampleMessages { bytes.writeImmutableBuffer(encoder.bytes(of: message)) }
        #expect(try decode(bytes) == sampleMessages)
    }

    /// Header of a ping with id 5, by hand: the layout that the other end relies on. The checksum is zlib's
    /// (`python3 -c "import zlib; print(hex(zlib.crc32(bytes.fromhex('a7c504000800000005' + '00' * 7))))"`).
    @Test func layoutOfAFrame() {
        let bytes = encoder.bytes(of: .ping(id: 5))
        #expect(
            Array(bytes.readableBytesView)
                == [0xA7, 0xC5, 4, 0, 8, 0, 0, 0] + [0x65, 0xE7, 0x3B, 0xBA] + [5, 0, 0, 0, 0, 0, 0, 0])
    }

    @Test func largePiecesAreNotCopied() {
        let piece = Message.step(stepPiece(byteCount: 128 << 10))
        let frame = encoder.encode(piece)
        #expect(frame.bulk?.readableBytes == 128 << 10)
        #expect(encoder.encode(.step(stepPiece(byteCount: 2304))).bulk == nil)
        // A default piece and its header fill one power of two.
        let limits = WireLimits()
        let full = encoder.bytes(of: .step(stepPiece(byteCount: limits.pieceSize)))
        #expect(full.readableBytes <= 128 << 10)
    }

    @Test func fragmentedAtEveryByte() throws {
        var bytes = ByteBuffer()
        let messages = sampleMessages.filter { encoder.bytes(of: $0).readableBytes < 200 }
        for message in messages { bytes.writeImmutableBuffer(encoder.bytes(of: message)) }
        for cut in 1..<bytes.readableBytes {
            var decoder = FrameDecoder()
            var decoded: [Message] = []
            var rest = bytes
            guard let first = rest.readSlice(length: cut) else { return }
            decoder.append(first)
            while let message = try decoder.next() { decoded.append(message) }
            decoder.append(rest)
            while let message = try decoder.next() { decoded.append(message) }
            guard decoded == messages, decoder.bufferedBytes == 0 else {
                Issue.record("cut at \(cut)")
                return
            }
        }
    }

    @Test(arguments: [1, 2, 3, 7, 11, 64, 1000]) func fragmentedEvenly(size: Int) throws {
        var bytes = ByteBuffer()
        for message in sampleMessages.filter({ $0.type != .rangePiece && $0.type != .load }) {
            bytes.writeImmutableBuffer(encoder.bytes(of: message))
        }
        var decoder = FrameDecoder()
        var decoded: [Message] = []
        while let part = bytes.readSlice(length: min(size, bytes.readableBytes)), part.readableBytes > 0 {
            decoder.append(part)
            while let message = try decoder.next() { decoded.append(message) }
        }
        #expect(decoded == sampleMessages.filter { $0.type != .rangePiece && $0.type != .load })
    }

    /// A piece that comes in reads of 64 KB is collected in a buffer made once, of the frame's size.
    @Test func reservesAFrameOnce() throws {
        let message = Message.rangePiece(
            RangePiece(load: 1, offset: 0, crc32: 0, bytes: ByteBuffer(repeating: 1, count: 250_000)))
        var bytes = encoder.bytes(of: message)
        bytes.writeImmutableBuffer(encoder.bytes(of: message))
        var decoder = FrameDecoder()
        var decoded = 0
        var largest = 0
        while let part = bytes.readSlice(length: min(65_536, bytes.readableBytes)), part.readableBytes > 0 {
            decoder.append(part)
            while let next = try decoder.next() {
                #expect(next == message)
                decoded += 1
            }
            largest = max(largest, decoder.bufferCapacity)
        }
        #expect(decoded == 2)
        #expect(largest <= (256 << 10) + 65_536)
    }

    @Test func longTextsAreCut() throws {
        let text = String(repeating: "é", count: 3000)
        guard
            case .goodbye(let goodbye)? = try decode(encoder.bytes(of: .goodbye(Goodbye(.other, text)))).first
        else {
            Issue.record("no goodbye")
            return
        }
        #expect(goodbye.text == String(repeating: "é", count: 1024))
    }

    // MARK: Refused

    func error(_ bytes: ByteBuffer, limits: WireLimits = WireLimits()) -> WireError? {
        do throws(WireError) {
            _ = try decode(bytes, limits: limits)
            return nil
        } catch {
            return error
        }
    }

    /// A frame of any payload with a right checksum.
    func frame(_ type: FrameType, _ payload: [UInt8]) -> ByteBuffer {
        var bytes = ByteBuffer()
        bytes.writeInteger(FrameHeader.magic, endianness: .little)
        bytes.writeInteger(type.rawValue)
        bytes.writeInteger(UInt8(0))
        bytes.writeInteger(UInt32(payload.count), endianness: .little)
        var checked = bytes
        checked.writeBytes(payload)
        bytes.writeInteger(frameChecksum(checked.readableBytesView), endianness: .little)
        bytes.writeBytes(payload)
        return bytes
    }

    @Test func badHeaders() {
        let good = encoder.bytes(of: .ping(id: 1))
        var magic = good
        magic.setInteger(UInt8(0), at: 0)
        #expect(error(magic) == .badMagic(0xC500))
        var type = good
        type.setInteger(UInt8(200), at: 2)
        #expect(error(type) == .unknownType(200))
        var length = good
        length.setInteger(UInt32(16385), at: 4, endianness: .little)
        #expect(error(length) == .frameTooLarge(.ping, size: 16385, limit: 16384))
        let small = WireLimits(maximumPieceSize: 64, pieceSize: 64)
        #expect(
            error(encoder.bytes(of: .step(stepPiece(byteCount: 2304))), limits: small)
                == .frameTooLarge(.step, size: 2336, limit: 128))
    }

    @Test func everyFlippedBitIsNoticed() {
        let good = encoder.bytes(of: .stepFailed(job: 1, step: 2, Refusal(.notFinite, "job 1")))
        for bit in 0..<good.readableBytes * 8 {
            var bad = good
            let byte = bad.getInteger(at: bit / 8, as: UInt8.self) ?? 0
            bad.setInteger(byte ^ 1 << UInt8(bit % 8), at: bit / 8)
            // A length that grew may leave the frame incomplete; it is then not decoded.
            #expect((try? decode(bad))?.isEmpty ?? true, "bit \(bit)")
        }
    }

    @Test func malformedPayloads() {
        #expect(error(frame(.ping, [1, 2, 3])) == .malformed(.ping, "ends before its id"))
        #expect(error(frame(.ping, [UInt8](repeating: 0, count: 9))) == .malformed(.ping, "1 bytes too many"))
        let count = [UInt8](repeating: 0, count: 8) + [0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 0, 0]
        #expect(error(frame(.open, count)) == .malformed(.open, "first block is 4294967295"))
        let text: [UInt8] = [2, 0, 2, 0, 0xC3, 0x28]
        #expect(error(frame(.hello, text)) == .malformed(.hello, "name is not UTF-8"))
        #expect(error(frame(.hello, [2, 0, 9, 0, 65])) == .malformed(.hello, "ends before its name"))
        #expect(error(frame(.hello, [2, 0, 1, 8])) == .malformed(.hello, "name has 2049 bytes"))
        let state = [UInt8](repeating: 0, count: 8) + [4] + [UInt8](repeating: 0, count: 24)
        #expect(error(frame(.pong, state)) == .malformed(.pong, "state 4"))
        let fields = [UInt8](repeating: 0, count: 20) + [1, 0, 0, 0] + [UInt8](repeating: 0, count: 8)
        #expect(error(frame(.step, fields + [1, 2, 3])) == .malformed(.step, "3 bytes are not whole values"))
        #expect(error(frame(.step, fields)) == .malformed(.step, "0 bytes are not whole values"))
    }

    @Test func otherVersionsHelloIsReadForItsVersionOnly() throws {
        let future = frame(.hello, [7, 0, 1, 2, 3, 4, 5])
        #expect(try decode(future) == [.hello(Hello(version: 7, name: ""))])
    }

    @Test func errorsStay() {
        var decoder = FrameDecoder()
        decoder.append(ByteBuffer(string: "GET /"))
        #expect(throws: WireError.badMagic(0x4547)) { try decoder.next() }
        decoder.append(encoder.bytes(of: .ping(id: 1)))
        #expect(throws: WireError.badMagic(0x4547)) { try decoder.next() }
        #expect(decoder.bufferedBytes == 0)
    }
}
