import NIOCore

/// Makes sure that both ends of a connection know the pool's token, before anything else is said, without saying it:
///
///     client → server   "chainserve token" (16 bytes), a random number (32 bytes)
///     server → client   a random number (32), HMAC(token, "server" + both numbers) (32)
///     client → server   HMAC(token, "client" + both numbers) (32)
///
/// Afterwards it hands everything through. Whoever is not convinced fires a `SecurityError` and closes soon. The traffic
/// that follows is in plain text: this is for loopback.
final class TokenHandler: ChannelDuplexHandler, RemovableChannelHandler {
    typealias InboundIn = ByteBuffer
    typealias InboundOut = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    enum Role: String {
        case client, server
    }

    private enum Phase {
        case greeting, proving, open, refused
    }

    private static let magic = Array("chainserve token".utf8)
    private static let numberSize = 32

    private let token: PoolToken
    private let role: Role
    private let number: [UInt8]
    private var theirs: [UInt8] = []
    private var phase = Phase.greeting
    private var received = ByteBuffer()
    /// What the handlers above wanted to say meanwhile.
    private var held: [(NIOAny, EventLoopPromise<Void>?)] = []

    init(token: PoolToken, role: Role) {
        self.token = token
        self.role = role
        var generator = SystemRandomNumberGenerator()
        number = (0..<Self.numberSize).map { _ in UInt8.random(in: 0...255, using: &generator) }
    }

    func channelActive(context: ChannelHandlerContext) {
        if role == .client { send(Self.magic + number, context) }
        context.fireChannelActive()
    }

    func handlerRemoved(context: ChannelHandlerContext) { fail(held: ChannelError.ioOnClosedChannel) }

    func channelInactive(context: ChannelHandlerContext) {
        if phase == .greeting || phase == .proving {
            let who = role == .client ? "the server" : "the orchestrator"
            refuse("\(who) closed the connection before it showed the pool's token", context)
        }
        fail(held: ChannelError.ioOnClosedChannel)
        context.fireChannelInactive()
    }

    func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
        // One that was refused may still be told why.
        if phase == .open || (phase == .refused && role == .server) {
            context.write(data, promise: promise)
        } else if phase == .refused {
            promise?.fail(ChannelError.ioOnClosedChannel)
        } else {
            held.append((data, promise))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch phase {
        case .open: return context.fireChannelRead(data)
        case .refused: return
        case .greeting, .proving: break
        }
        received.writeImmutableBuffer(unwrapInboundIn(data))
        while phase == .greeting || phase == .proving {
            guard advance(context) else { return }
        }
        if phase == .open, received.readableBytes > 0 {
            context.fireChannelRead(wrapInboundOut(received))
            received = ByteBuffer()
        }
    }

    /// One step, when enough has come for it.
    private func advance(_ context: ChannelHandlerContext) -> Bool {
        switch (role, phase) {
        case (.server, .greeting):
            let prefix = Array(received.readableBytesView.prefix(Self.magic.count))
            guard Self.magic.starts(with: prefix) else {
                refuse("this server wants the pool's token; give the orchestrator --token", context)
                return false
            }
            guard received.readableBytes >= Self.magic.count + Self.numberSize else { return false }
            received.moveReaderIndex(forwardBy: Self.magic.count)
            theirs = received.readBytes(length: Self.numberSize) ?? []
            phase = .proving
            send(number + proof(.server, client: theirs, server: number), context)
        case (.server, _):
            guard let proof = received.readBytes(length: Self.numberSize) else { return false }
            guard isEqual(proof, self.proof(.client, client: theirs, server: number)) else {
                refuse("the orchestrator has another token than this server", context)
                return false
            }
            open(context)
        case (.client, _):
            guard received.readableBytes >= 2 * Self.numberSize else { return false }
            let theirs = received.readBytes(length: Self.numberSize) ?? []
            let proof = received.readBytes(length: Self.numberSize) ?? []
            guard isEqual(proof, self.proof(.server, client: number, server: theirs)) else {
                refuse("the server has another token than this orchestrator, or none", context)
                return false
            }
            send(self.proof(.client, client: number, server: theirs), context)
            open(context)
        }
        return true
    }

    private func open(_ context: ChannelHandlerContext) {
        phase = .open
        let waiting = held
        held = []
        for (data, promise) in waiting { context.write(data, promise: promise) }
        context.flush()
    }

    private func refuse(_ text: String, _ context: ChannelHandlerContext) {
        phase = .refused
        fail(held: SecurityError.token(text))
        context.fireErrorCaught(SecurityError.token(text))
    }

    private func fail(held error: any Error) {
        let waiting = held
        held = []
        for (_, promise) in waiting { promise?.fail(error) }
    }

    private func proof(_ role: Role, client: [UInt8], server: [UInt8]) -> [UInt8] {
        token.authenticationCode(of: Array(role.rawValue.utf8) + client + server).bytes
    }

    private func isEqual(_ left: [UInt8], _ right: [UInt8]) -> Bool {
        var difference: UInt8 = left.count == right.count ? 0 : 1
        for (one, other) in zip(left, right) { difference |= one ^ other }
        return difference == 0
    }

    private func send(_ bytes: [UInt8], _ context: ChannelHandlerContext) {
        context.writeAndFlush(wrapOutboundOut(ByteBuffer(bytes: bytes)), promise: nil)
    }
}
