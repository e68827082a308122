import ChainEngine
import ChainModel
import ChainWire
import NIOCore
import Synchronization

/// What the engine is asked to do, in order.
enum ComputeCommand: Sendable {
    /// An orchestrator took its seat; answers go to it from now on.
    case sessionBegan(SessionReply)
    /// It is gone: all its jobs are closed, the blocks stay.
    case sessionEnded
    case load(LoadRequest)
    case rangePiece(RangePiece)
    case open(job: EngineJobID, firstBlock: Int, blockCount: Int)
    case step(id: UInt64, EngineStep)
    case close(job: EngineJobID)
    case stop
}

/// Carries the engine's answers to a connection.
struct SessionReply: Sendable {
    let channel: any Channel

    func send(_ outputs: [WireOutput]) {
        guard !outputs.isEmpty else { return }
        let channel = channel
        let write: @Sendable () -> Void = {
            for output in outputs { channel.write(output, promise: nil) }
            channel.flush()
        }
        channel.eventLoop.inEventLoop ? write() : channel.eventLoop.execute(write)
    }

    func send(_ message: Message) { send([.message(message)]) }
}

/// Commands on their way to the engine. Bounded by what a session lets through: one step a job, one load, and the range
/// pieces that were asked for.
final class ComputeQueue: Sendable {
    private let commands = Mutex<[ComputeCommand]>([])
    private let wake: @Sendable () -> Void

    /// - Parameter wake: has the commands taken; called when there are some where there were none.
    init(wake: @escaping @Sendable () -> Void) { self.wake = wake }

    func add(_ command: ComputeCommand) {
        let wasEmpty = commands.withLock { commands in
            commands.append(command)
            return commands.count == 1
        }
        if wasEmpty { wake() }
    }

    func takeAll() -> [ComputeCommand] {
        commands.withLock { commands in
            let taken = commands
            commands.removeAll(keepingCapacity: true)
            return taken
        }
    }
}

/// The server's health as of the last change, readable at any moment without asking the engine's loop,
/// which writes everything but the queue's depth: that the session knows.
final class HealthBoard: Sendable {
    private let health = Mutex(NodeHealth())
    private let draining = Mutex(false)

    var current: NodeHealth {
        var current = health.withLock { $0 }
        if draining.withLock({ $0 }) { current.state = .draining }
        return current
    }

    func update(_ change: (inout NodeHealth) -> Void) { health.withLock { change(&$0) } }
    func setQueueDepth(_ depth: Int) { health.withLock { $0.queueDepth = depth } }
    func setDraining() { draining.withLock { $0 = true } }
}
