import ChainEngine
import ChainModel
import ChainWire
import NIOCore
import NIOPosix

/// A caller that waits for an answer, and until when. Belongs to the link's event loop.
final class PendingCall<Value: Sendable> {
    private let continuation: CheckedContinuation<Value, any Error>
    var timeout: Scheduled<Void>?

    init(continuation: CheckedContinuation<Value, any Error>) { self.continuation = continuation }

    func succeed(_ value: Value) {
        timeout?.cancel()
        continuation.resume(returning: value)
    }

    func fail(_ error: any Error) {
        timeout?.cancel()
        continuation.resume(throwing: error)
    }
}

/// A step on its way through a server.
struct PendingStep {
    let call: PendingCall<[Float]>
    let job: UInt64
    let position: Int
    /// Tokens of the result.
    let tokenCount: Int
    let deadline: NIODeadline
    private(set) var assembly: StepAssembly?

    init(call: PendingCall<[Float]>, job: UInt64, position: Int, tokenCount: Int, deadline: NIODeadline) {
        self.call = call
        self.job = job
        self.position = position
        self.tokenCount = tokenCount
        self.deadline = deadline
    }

    /// - Returns: `false` when the piece is not one of this step's result.
    mutating func add(_ piece: StepPiece, width: Int) -> Bool {
        guard piece.job == job, piece.position == position, piece.tokenCount == tokenCount else {
            return false
        }
        guard var assembly else {
            self.assembly = StepAssembly(first: piece, width: width)
            return self.assembly != nil
        }
        self.assembly = nil
        defer { self.assembly = assembly }
        return assembly.add(piece)
    }
}

/// A load under way: sends the server what it asks for, one piece at a time, at the speed the connection
/// takes it.
final class LinkLoad {
    /// Requests that may wait; a server has two under way, more after it found an error.
    private static let maximumRequests = 64
    private static let pieceSize = (256 << 10) - WireLimits.fixedFieldsSize

    let id: UInt64
    let call: PendingCall<LoadedReport>
    let progress: @Sendable (LoadProgress) -> Void
    var manifest: BlockManifest { reader.manifest }
    private let reader: RangeReader
    /// A cycle, until the load ends or the link closes.
    private let handler: LinkHandler
    private var requests: [Range<Int>] = []
    private var isReading = false

    init(
        id: UInt64, call: PendingCall<LoadedReport>, reader: RangeReader,
        progress: @escaping @Sendable (LoadProgress) -> Void, handler: LinkHandler
    ) {
        self.id = id
        self.call = call
        self.reader = reader
        self.progress = progress
        self.handler = handler
    }

    func renewTimeout() {
        call.timeout?.cancel()
        call.timeout = handler.after(handler.timeouts.loadSilence) {
            $0.close(with: .timedOut("load: no sign of progress"))
        }
    }

    func add(_ request: RangeRequest, context: ChannelHandlerContext) {
        let total = reader.manifest.totalBytes
        guard request.byteCount > 0, request.fromOffset + request.byteCount <= total,
            requests.count < Self.maximumRequests
        else {
            handler.close(
                with: .malformed(
                    "\(request.byteCount) bytes from \(request.fromOffset) on were asked for, of \(total)"
                ))
            return
        }
        requests.append(request.fromOffset..<request.fromOffset + request.byteCount)
        sendRange(context: context)
    }

    /// Reads the next piece, away from the event loop, and sends it; goes on while the channel is writable.
    func sendRange(context: ChannelHandlerContext) {
        guard !isReading, let request = requests.first, context.channel.isWritable else { return }
        isReading = true
        let reader = reader
        let count = min(request.count, Self.pieceSize)
        let read = NIOThreadPool.singleton.runIfActive(eventLoop: context.eventLoop) {
            let bytes = try reader.piece(at: request.lowerBound, byteCount: count)
            return (bytes, frameChecksum(bytes.readableBytesView))
        }
        read.assumeIsolated().whenComplete { result in self.finishPiece(result, context: context) }
    }

    private func finishPiece(
        _ result: Result<(ByteBuffer, UInt32), any Error>, context: ChannelHandlerContext
    ) {
        isReading = false
        guard handler.status.closed == nil else { return }
        switch result {
        case .failure(let error):
            handler.close(with: .refused(.storage, "the model cannot be read: \(error)"))
        case .success(let (bytes, checksum)):
            guard let request = requests.first else { return }
            let sent = request.lowerBound + bytes.readableBytes
            handler.send(
                .rangePiece(RangePiece(load: id, offset: request.lowerBound, crc32: checksum, bytes: bytes)))
            if sent < request.upperBound {
                requests[0] = sent..<request.upperBound
            } else {
                requests.removeFirst()
            }
            sendRange(context: context)
        }
    }
}
