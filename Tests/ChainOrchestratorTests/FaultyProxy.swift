import NIOCore
import NIOPosix
import Synchronization

/// Stands between an orchestrator and a block server, and does to their connection what a test asks for.
final class FaultyProxy: Sendable {
    enum Fault: Hashable, Sendable {
        case none
        /// Nothing passes, in either direction; connections stay open.
        case pause
        /// Of the next bytes from the server, one is changed.
        case corrupt
        /// Of the next bytes from the server, half are passed on and the connection is cut.
        case cut
        /// The next step to the server is damaged.
        case damage(FrameDamage)
    }

    let port: Int
    private let listener: any Channel
    private let fault = Mutex(Fault.none)
    private let damaged = Atomic(0)
    private let pairs = Mutex<[(any Channel, any Channel)]>([])

    private init(listener: any Channel) {
        self.listener = listener
        port = listener.localAddress?.port ?? 0
    }

    /// Listens, and connects to `target` of this machine for everybody who comes.
    static func start(before target: Int) async throws -> FaultyProxy {
        let holder = ProxyHolder()
        let listener = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { client in
                ClientBootstrap(group: client.eventLoop).connect(host: "127.0.0.1", port: target)
                    .flatMap { server in
                        client.eventLoop.makeCompletedFuture {
                            try client.pipeline.syncOperations.addHandler(
                                Passage(to: server, holder: holder, isFromServer: false))
                            try server.pipeline.syncOperations.addHandler(
                                Passage(to: client, holder: holder, isFromServer: true))
                            holder.proxy.withLock { $0 }?.pairs.withLock { $0.append((client, server)) }
                            client.setOption(.autoRead, value: true).whenComplete { _ in }
                        }
                    }
            }
            .bind(host: "127.0.0.1", port: 0).get()
        let proxy = FaultyProxy(listener: listener)
        holder.proxy.withLock { $0 = proxy }
        return proxy
    }

    func set(_ fault: Fault) { self.fault.withLock { $0 = fault } }

    /// What is to be done with bytes that came; a fault of the next bytes happens once.
    fileprivate func fault(isFromServer: Bool) -> Fault {
        fault.withLock { fault in
            let present = fault
            if case .damage = present { return isFromServer ? .none : present }
            guard present != .pause, isFromServer else { return present == .pause ? .pause : .none }
            fault = .none
            return present
        }
    }

    /// A frame has been damaged as asked for.
    fileprivate func hasDamaged() {
        fault.withLock { $0 = .none }
        damaged.add(1, ordering: .relaxed)
    }

    /// Frames damaged so far.
    var damagedFrames: Int { damaged.load(ordering: .relaxed) }

    /// Closes every connection, as when a cable is pulled and noticed.
    func cutAll() {
        for (client, server) in pairs.withLock({ $0 }) {
            client.close(promise: nil)
            server.close(promise: nil)
        }
    }

    func stop() async {
        cutAll()
        try? await listener.close().get()
        pairs.withLock { $0 = [] }
    }
}

private final class ProxyHolder: Sendable {
    let proxy = Mutex<FaultyProxy?>(nil)
}

/// One direction of one connection.
private final class Passage: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let other: any Channel
    private let holder: ProxyHolder
    private let isFromServer: Bool
    private var frames = FrameCutter()

    init(to other: any Channel, holder: ProxyHolder, isFromServer: Bool) {
        self.other = other
        self.holder = holder
        self.isFromServer = isFromServer
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var bytes = unwrapInboundIn(data)
        if !isFromServer { return passToServer(bytes) }
        switch holder.proxy.withLock({ $0 })?.fault(isFromServer: isFromServer) ?? .none {
        case .none, .damage: break
        case .pause: return
        case .corrupt:
            // In the middle: of a payload, more likely than not.
            let place = bytes.readerIndex + bytes.readableBytes / 2
            if let byte: UInt8 = bytes.getInteger(at: place) { bytes.setInteger(byte ^ 0x10, at: place) }
        case .cut:
            let half = bytes.readSlice(length: bytes.readableBytes / 2) ?? ByteBuffer()
            other.writeAndFlush(half, promise: nil)
            other.close(promise: nil)
            context.close(promise: nil)
            return
        }
        other.writeAndFlush(bytes, promise: nil)
    }

    private func passToServer(_ bytes: ByteBuffer) {
        let proxy = holder.proxy.withLock { $0 }
        let fault = proxy?.fault(isFromServer: false) ?? .none
        if fault == .pause { return }
        frames.append(bytes)
        var hasDamaged = false
        while var frame = frames.next() {
            if case .damage(let damage) = fault, !hasDamaged, FrameCutter.isStep(frame) {
                frame = damage.applied(to: frame)
                hasDamaged = true
                proxy?.hasDamaged()
            }
            other.write(frame, promise: nil)
        }
        other.flush()
    }

    func channelInactive(context: ChannelHandlerContext) { other.close(promise: nil) }
    func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
}
