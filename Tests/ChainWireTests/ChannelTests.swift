import NIOCore
import NIOEmbedded
import Testing

@testable import ChainWire

@Suite struct ChannelTests {
    let encoder = FrameEncoder()

    func makeChannel(
        limits: WireLimits = WireLimits(), readsOnlyWhileWritable: Bool = false,
        _ extra: [any ChannelHandler] = []
    ) throws -> EmbeddedChannel {
        let handler = FrameChannelHandler(limits: limits, readsOnlyWhileWritable: readsOnlyWhileWritable)
        let channel = EmbeddedChannel(handlers: extra + [handler])
        try channel.connect(to: try SocketAddress(ipAddress: "127.0.0.1", port: 1)).wait()
        return channel
    }

    func written(_ channel: EmbeddedChannel) throws -> [Message] {
        var decoder = FrameDecoder()
        var messages: [Message] = []
        while let bytes = try channel.readOutbound(as: ByteBuffer.self) {
            decoder.append(bytes)
            while let message = try decoder.next() { messages.append(message) }
        }
        #expect(decoder.bufferedBytes == 0)
        return messages
    }

    func transfer(job: UInt64, byteCount: Int) -> StepTransfer {
        StepTransfer(
            .step, job: job, step: job, position: 0, tokenCount: 4,
            hidden: ByteBuffer(bytes: (0..<byteCount).map { UInt8(truncatingIfNeeded: $0) }))
    }

    @Test func messagesBothWays() throws {
        let channel = try makeChannel()
        for message in sampleMessages {
            try channel.writeOutbound(WireOutput.message(message))
            #expect(try written(channel) == [message])
            try channel.writeInbound(encoder.bytes(of: message))
            #expect(try channel.readInbound(as: Message.self) == message)
        }
        #expect(try channel.finish().isClean)
    }

    @Test func errorOnceThenSilence() throws {
        let channel = try makeChannel()
        #expect(throws: WireError.badMagic(0x4547)) { try channel.writeInbound(ByteBuffer(string: "GET /")) }
        try channel.writeInbound(encoder.bytes(of: .ping(id: 1)))
        #expect(try channel.readInbound(as: Message.self) == nil)
        #expect(try channel.finish().isClean)
    }

    @Test func transfersAreCutAndTakeTurns() throws {
        let limits = WireLimits(maximumPieceSize: 1024, pieceSize: 1000)
        let channel = try makeChannel(limits: limits)
        let sizes: [UInt64: Int] = [1: 2496, 2: 2992, 3: 992]
        for (job, size) in sizes.sorted(by: { $0.key < $1.key }) {
            channel.write(WireOutput.transfer(transfer(job: job, byteCount: size)), promise: nil)
        }
        channel.flush()
        var pieces: [StepPiece] = []
        for case .step(let piece) in try written(channel) { pieces.append(piece) }
        // The short one at once, the long ones in turn.
        #expect(pieces.map(\.job) == [3, 1, 2, 1, 2, 1, 2])
        for (job, size) in sizes {
            let own = pieces.filter { $0.job == job }
            #expect(own.map(\.offset) == Array(stride(from: 0, to: size, by: 1000)))
            var assembly = try #require(StepAssembly(first: own[0], width: size / 16))
            for piece in own.dropFirst() { accept(assembly.add(piece)) }
            #expect(assembly.isComplete)
            #expect(HiddenStates.bytes(of: assembly.values) == transfer(job: job, byteCount: size).hidden)
        }
        #expect(try channel.finish().isClean)
    }

    @Test func transfersWaitForWritability() throws {
        let limits = WireLimits(maximumPieceSize: 1024, pieceSize: 1000)
        let channel = try makeChannel(limits: limits)
        channel.isWritable = false
        try channel.writeOutbound(WireOutput.transfer(transfer(job: 1, byteCount: 2500)))
        try channel.writeOutbound(WireOutput.transfer(transfer(job: 2, byteCount: 2000)))
        try channel.writeOutbound(WireOutput.transfer(transfer(job: 3, byteCount: 100)))
        #expect(try written(channel).count == 1)
        // Closing a job drops what is left of its step.
        try channel.writeOutbound(WireOutput.message(.close(job: 1)))
        #expect(try written(channel) == [.close(job: 1)])
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(try written(channel).count == 2)
        #expect(try channel.finish().isClean)
    }

    @Test func readsAreHeldWhilePaused() throws {
        let counter = ReadCounter()
        let channel = try makeChannel(readsOnlyWhileWritable: true, [counter])
        let before = counter.reads
        channel.read()
        #expect(counter.reads == before + 1)
        try channel.triggerUserOutboundEvent(WireFlow.pauseReading).wait()
        channel.read()
        channel.read()
        #expect(counter.reads == before + 1)
        try channel.triggerUserOutboundEvent(WireFlow.resumeReading).wait()
        #expect(counter.reads == before + 2)
        channel.isWritable = false
        channel.read()
        #expect(counter.reads == before + 2)
        channel.isWritable = true
        channel.pipeline.fireChannelWritabilityChanged()
        #expect(counter.reads == before + 3)
        #expect(try channel.finish().isClean)
    }

    @Test func assemblyRefusesWhatDoesNotFollow() throws {
        #expect(StepAssembly(first: stepPiece(byteCount: 8, offset: 4), width: 1) == nil)
        #expect(StepAssembly(first: stepPiece(byteCount: 2052), width: 1) == nil)
        var assembly = try #require(StepAssembly(first: stepPiece(byteCount: 2000), width: 1))
        #expect(!assembly.isComplete)
        accept(!assembly.add(stepPiece(byteCount: 8, offset: 1996)))
        accept(!assembly.add(stepPiece(byteCount: 8, offset: 2004)))
        accept(!assembly.add(stepPiece(byteCount: 52, offset: 2000)))
        var other = stepPiece(byteCount: 48, offset: 2000)
        other.step = 3
        accept(!assembly.add(other))
        accept(assembly.add(stepPiece(byteCount: 48, offset: 2000)))
        #expect(assembly.isComplete)
    }
}

private final class ReadCounter: ChannelOutboundHandler {
    typealias OutboundIn = ByteBuffer
    var reads = 0

    func read(context: ChannelHandlerContext) {
        reads += 1
        context.read()
    }
}

/// `#expect` cannot hold a call that changes its receiver.
private func accept(_ condition: Bool, _ location: SourceLocation = #_sourceLocation) {
    #expect(condition, sourceLocation: location)
}
