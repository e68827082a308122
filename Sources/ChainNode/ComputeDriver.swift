import ChainEngine
import Dispatch
import Foundation
import NIOCore

/// Has an engine do its work: on a thread of its own, which may block for as long as a batch takes, or on the network's
/// event loop, for an engine that only says how long it would take. There a step costs no change of threads.
enum ComputeDriver {
    /// - Parameter makeLoop: called where the engine will live.
    /// - Returns: the way in, and what completes when the engine was let go.
    static func onThread(
        _ makeLoop: @escaping @Sendable () -> ComputeLoop, endingOn eventLoop: any EventLoop
    ) -> (queue: ComputeQueue, ended: EventLoopFuture<Void>) {
        let wake = DispatchSemaphore(value: 0)
        let queue = ComputeQueue { wake.signal() }
        let ended = eventLoop.makePromise(of: Void.self)
        let thread = Thread {
            let loop = makeLoop()
            while loop.turn(take(from: queue, wake, until: loop.nextTurn)) {}
            ended.succeed()
        }
        thread.name = "chainserve-compute"
        thread.stackSize = 8 << 20
        thread.start()
        return (queue, ended.futureResult)
    }

    /// Takes all commands; when there are none, waits for some until `deadline`, as `ComputeLoop.nextTurn` has it.
    private static func take(
        from queue: ComputeQueue, _ wake: DispatchSemaphore, until deadline: Int64?
    ) -> [ComputeCommand] {
        while true {
            let taken = queue.takeAll()
            if !taken.isEmpty {
                // The signal that came with them; one too few is made good by looking before waiting.
                _ = wake.wait(timeout: .now())
                return taken
            }
            guard let deadline else {
                wake.wait()
                continue
            }
            if deadline == 0 { return [] }
            let time = DispatchTime(uptimeNanoseconds: UInt64(max(0, deadline)))
            if wake.wait(timeout: time) == .timedOut { return [] }
        }
    }

    /// As `onThread`, for an engine that never blocks.
    static func onEventLoop(
        _ makeLoop: @escaping @Sendable () -> ComputeLoop, _ eventLoop: any EventLoop
    ) -> (queue: ComputeQueue, ended: EventLoopFuture<Void>) {
        let ended = eventLoop.makePromise(of: Void.self)
        let turns = NIOLoopBoundBox<ComputeTurns?>.makeBoxSendingValue(nil, eventLoop: eventLoop)
        let queue = ComputeQueue { eventLoop.execute { turns.value?.take() } }
        eventLoop.execute {
            turns.value = ComputeTurns(loop: makeLoop(), queue: queue, eventLoop: eventLoop) {
                turns.value = nil
                ended.succeed()
            }
            turns.value?.take()
        }
        return (queue, ended.futureResult)
    }
}

/// An engine's turns on an event loop.
private final class ComputeTurns {
    private let loop: ComputeLoop
    private let queue: ComputeQueue
    private let eventLoop: any EventLoop
    private let onEnd: () -> Void
    /// The turn that nobody asks for: when the next result is due.
    private var next: (time: Int64, turn: Scheduled<Void>)?

    init(loop: ComputeLoop, queue: ComputeQueue, eventLoop: any EventLoop, onEnd: @escaping () -> Void) {
        self.loop = loop
        self.queue = queue
        self.eventLoop = eventLoop
        self.onEnd = onEnd
    }

    func take() {
        repeat {
            guard loop.turn(queue.takeAll()) else {
                next?.turn.cancel()
                return onEnd()
            }
        } while loop.nextTurn == 0
        schedule()
    }

    private func schedule() {
        let time = loop.nextTurn
        guard time != next?.time else { return }
        next?.turn.cancel()
        next = time.map { time in
            let delay = TimeAmount.nanoseconds(max(0, time - EmulatedState.now()))
            let turn = eventLoop.assumeIsolated().scheduleTask(in: delay) {
                self.next = nil
                self.take()
            }
            return (time, turn)
        }
    }
}
