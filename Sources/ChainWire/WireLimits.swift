/// The version both ends must speak. Raised whenever the meaning of any frame changes.
///
/// Fixed for ever, so that ends of different versions can still tell each other so: the frame header, the
/// first two bytes of a hello and the layout of a goodbye.
package let wireProtocolVersion: UInt16 = 2

/// Bounds on what is accepted from the wire and on how large transfers are cut.
package struct WireLimits: Hashable, Sendable {
    /// Most bytes of hidden states or of a range in one frame.
    package var maximumPieceSize: Int
    /// Most bytes of a load's manifest (JSON).
    package var maximumManifestSize: Int
    /// Most payload bytes of every other frame.
    package var maximumControlSize: Int
    /// Pieces that a transfer of hidden states is cut into; at most `maximumPieceSize`. A whole number of
    /// values; a little below a power of two, so that a piece and its header fill one allocation.
    package var pieceSize: Int

    package init(
        maximumPieceSize: Int = 256 << 10, maximumManifestSize: Int = 4 << 20,
        maximumControlSize: Int = 16 << 10, pieceSize: Int = (128 << 10) - fixedFieldsSize
    ) {
        precondition(
            0 < pieceSize && pieceSize % 4 == 0 && pieceSize <= maximumPieceSize,
            "pieces are whole values within their own bound")
        self.maximumPieceSize = maximumPieceSize
        self.maximumManifestSize = maximumManifestSize
        self.maximumControlSize = maximumControlSize
        self.pieceSize = pieceSize
    }

    /// Fixed fields before a piece's or a manifest's bytes fit in this many.
    package static let fixedFieldsSize = 64
    /// Most UTF-8 bytes of a name or reason; longer ones are cut when they are written and refused when they
    /// are read.
    package static let maximumTextSize = 2048

    /// Most payload bytes of a frame of this type.
    package func maximumPayloadSize(of type: FrameType) -> Int {
        switch type {
        case .step, .stepResult, .rangePiece: maximumPieceSize + Self.fixedFieldsSize
        case .load: maximumManifestSize + Self.fixedFieldsSize
        default: maximumControlSize
        }
    }
}

/// The second field of a frame header.
package enum FrameType: UInt8, Hashable, Sendable, CaseIterable {
    case hello = 1
    case helloReply = 2
    case goodbye = 3
    case ping = 4
    case pong = 5
    case load = 10
    case loadProgress = 11
    case loaded = 12
    case loadRefused = 13
    case rangeRequest = 14
    case rangePiece = 15
    case open = 20
    case opened = 21
    case openRefused = 22
    case step = 23
    case stepResult = 24
    case stepFailed = 25
    case close = 26
    case closed = 27
}

/// Why bytes from the wire were not understood. Always ends the connection.
package enum WireError: Error, Hashable, Sendable, CustomStringConvertible {
    case badMagic(UInt16)
    case unknownType(UInt8)
    case frameTooLarge(FrameType, size: Int, limit: Int)
    case badChecksum(FrameType)
    case malformed(FrameType, String)

    package var description: String {
        switch self {
        // How TLS begins an alert and a greeting.
        case .badMagic(0x0315), .badMagic(0x0316):
            "the other side speaks TLS here, not plain text; give --pool-certificate, --pool-key and"
                + " --pool-authority"
        case .badMagic(let got):
            "the peer does not speak ChainServe's protocol: a frame began with \(got),"
                + " not \(FrameHeader.magic)"
        case .unknownType(let type): "a frame of unknown type \(type) came"
        case .frameTooLarge(let type, let size, let limit):
            "a \(type) frame of \(size) bytes came, at most \(limit) are allowed"
        case .badChecksum(let type): "a \(type) frame came with a wrong checksum"
        case .malformed(let type, let what): "a \(type) frame came malformed: \(what)"
        }
    }
}
