import ChainModel

/// A deterministic value that decides which job runs on which chain: the central queue of `Dispatcher`, or the
/// queues per chain of `DedicatedQueueDispatcher`. Drivers are generic over it.
public protocol JobDispatching: Sendable {
    /// Takes one event, and appends what is to be done to `actions`, in order.
    /// - Parameter now: Never before that of an earlier event.
    mutating func handle(
        _ event: Dispatcher.Event, at now: Instant, into actions: inout [Dispatcher.Action])

    /// Jobs that wait or run.
    var jobCount: Int { get }
    /// Jobs that wait.
    var queueLength: Int { get }
    /// Jobs that run.
    var runningCount: Int { get }
    /// Jobs that run on the chain: `Z_k`.
    func running(on chain: ChainIndex) -> Int
    /// Traps if an invariant is broken.
    func checkInvariants()
}

extension Dispatcher: JobDispatching {}
