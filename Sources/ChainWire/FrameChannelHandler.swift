import NIOCore

/// What a channel's other handlers write to a `FrameChannelHandler`.
package enum WireOutput: Sendable {
    case message(Message)
    /// Hidden states, cut into pieces that take turns with those of other steps when there are many.
    case transfer(StepTransfer)
}

/// The hidden states of a whole step on their way out.
package struct StepTransfer: Hashable, Sendable {
    package enum Direction: Hashable, Sendable {
        case step
        case result
    }

    package var direction: Direction
    package var job: UInt64
    package var step: UInt64
    package var position: Int
    package var tokenCount: Int
    /// The bytes of all rows.
    package var hidden: ByteBuffer
    /// Bytes already cut off.
    var sent = 0

    package init(
        _ direction: Direction, job: UInt64, step: UInt64, position: Int, tokenCount: Int, hidden: ByteBuffer
    ) {
        self.direction = direction
        self.job = job
        self.step = step
        self.position = position
        self.tokenCount = tokenCount
        self.hidden = hidden
    }

    /// Cuts off the next piece; `nil` when all is sent.
    mutating func next(pieceSize: Int) -> Message? {
        guard let part = hidden.readSlice(length: min(pieceSize, hidden.readableBytes)),
            part.readableBytes > 0
        else { return nil }
        defer { sent += part.readableBytes }
        let piece = StepPiece(
            job: job, step: step, position: position, tokenCount: tokenCount, offset: sent, hidden: part)
        return direction == .step ? .step(piece) : .stepResult(piece)
    }
}

/// Outbound user events that a `FrameChannelHandler` understands.
package enum WireFlow: Sendable {
    /// Takes nothing more from the socket, so that the peer has to wait.
    case pauseReading
    case resumeReading
}

/// Bytes ↔ messages on one connection, with backpressure.
///
/// Inbound: `ByteBuffer` → `Message`; a `WireError` is fired once, after which everything that comes is
/// dropped: the next handler closes. Outbound: `WireOutput` → `ByteBuffer`. Transfers of more than one piece
/// go out while the channel is writable, one piece each in turn, so that a long prefill does not hold up the
/// decode steps of others.
package final class FrameChannelHandler: ChannelDuplexHandler {
    package typealias InboundIn = ByteBuffer
    package typealias InboundOut = Message
    package typealias OutboundIn = WireOutput
    package typealias OutboundOut = ByteBuffer

    private let limits: WireLimits
    /// Read nothing while the peer does not take what we write. Only one end of a connection may do this, or
    /// both could wait for each other.
    private let readsOnlyWhileWritable: Bool
    private let encoder = FrameEncoder()
    private var decoder: FrameDecoder
    private var transfers: [StepTransfer] = []
    private var isPaused = false
    private var hasHeldRead = false
    private var hasFailed = false

    package init(limits: WireLimits = WireLimits(), readsOnlyWhileWritable: Bool = false) {
        self.limits = limits
        self.readsOnlyWhileWritable = readsOnlyWhileWritable
        decoder = FrameDecoder(limits: limits)
    }

    // MARK: Inbound

    package func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard !hasFailed else { return }
        decoder.append(unwrapInboundIn(data))
        do throws(WireError) {
            while let message = try decoder.next() {
                context.fireChannelRead(wrapInboundOut(message))
            }
        } catch {
            hasFailed = true
            context.fireErrorCaught(error)
        }
    }

    package func channelInactive(context: ChannelHandlerContext) {
        transfers = []
        context.fireChannelInactive()
    }

    // MARK: Backpressure

    package func read(context: ChannelHandlerContext) {
        if isPaused || (readsOnlyWhileWritable && !context.channel.isWritable) {
            hasHeldRead = true
        } else {
            context.read()
        }
    }

    package func channelWritabilityChanged(context: ChannelHandlerContext) {
        if context.channel.isWritable {
            sendPieces(context: context)
            releaseRead(context: context)
        }
        context.fireChannelWritabilityChanged()
    }

    package func triggerUserOutboundEvent(
        context: ChannelHandlerContext, event: Any, promise: EventLoopPromise<Void>?
    ) {
        guard let flow = event as? WireFlow else {
            context.triggerUserOutboundEvent(event, promise: promise)
            return
        }
        isPaused = flow == .pauseReading
        releaseRead(context: context)
        promise?.succeed()
    }

    private func releaseRead(context: ChannelHandlerContext) {
        guard hasHeldRead, !isPaused, !readsOnlyWhileWritable || context.channel.isWritable else { return }
        hasHeldRead = false
        context.read()
    }

    // MARK: Outbound

    package func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        switch unwrapOutboundIn(data) {
        case .message(let message):
            if case .close(let job) = message { transfers.removeAll { $0.job == job } }
            write(message, context: context, promise: promise)
        case .transfer(var transfer):
            if transfer.hidden.readableBytes <= limits.pieceSize {
                if let piece = transfer.next(pieceSize: limits.pieceSize) {
                    write(piece, context: context, promise: promise)
                }
            } else {
                transfers.append(transfer)
                promise?.succeed()
            }
        }
    }

    package func flush(context: ChannelHandlerContext) {
        context.flush()
        sendPieces(context: context)
    }

    private func write(_ message: Message, context: ChannelHandlerContext, promise: EventLoopPromise<Void>?) {
        let frame = encoder.encode(message, allocator: context.channel.allocator)
        guard let bulk = frame.bulk else {
            context.write(wrapOutboundOut(frame.head), promise: promise)
            return
        }
        context.write(wrapOutboundOut(frame.head), promise: nil)
        context.write(wrapOutboundOut(bulk), promise: promise)
    }

    /// Sends pieces in turn for as long as the channel takes them.
    private func sendPieces(context: ChannelHandlerContext) {
        guard !transfers.isEmpty else { return }
        while !transfers.isEmpty, context.channel.isWritable {
            var transfer = transfers.removeFirst()
            guard let piece = transfer.next(pieceSize: limits.pieceSize) else { continue }
            if transfer.hidden.readableBytes > 0 { transfers.append(transfer) }
            write(piece, context: context, promise: nil)
            // Lets writability speak for what the socket did not take, not for what was not tried.
            if !context.channel.isWritable { context.flush() }
        }
        context.flush()
    }
}

/// Sets up a connection's two ends alike.
package enum WireChannel {
    /// Below `low` waiting bytes a channel is writable again, above `high` not any more.
    package static let writeBufferWaterMark = ChannelOptions.Types.WriteBufferWaterMark(
        low: 128 << 10, high: 512 << 10)
    /// Bytes of one read from a socket: least, first and most.
    package static let receiveAllocator = AdaptiveRecvByteBufferAllocator(
        minimum: 4 << 10, initial: 16 << 10, maximum: 256 << 10)
}
