import Dispatch
import NIOConcurrencyHelpers
import Synchronization

#if canImport(Darwin)
    import Darwin
#elseif canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// Runs an actor's jobs on a queue of its own, under a lock; `run` lets code in at once, on its own thread, that does not
/// wait for anything.
///
/// An actor that every request asks two or three things of, each for some microseconds, is cheaper to enter this way than
/// by changing executors there and back, which costs an event loop two turns. What runs here must not block.
final class LockedExecutor: SerialExecutor {
    private let queue: DispatchQueue
    private let lock = NIOLock()
    /// The thread that holds the lock; 0 for none. A thread that reads its own name here has written it.
    private let holder = Atomic<UInt>(0)

    init(label: String) { queue = DispatchQueue(label: label) }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        queue.async { self.run { job.runSynchronously(on: self.asUnownedSerialExecutor()) } }
    }

    /// Calls `body` alone with what the executor guards.
    /// - Precondition: not called from within.
    func run<Value>(_ body: () throws -> Value) rethrows -> Value {
        precondition(!isHeldHere, "a locked executor was entered from within")
        lock.lock()
        holder.store(Self.thisThread, ordering: .relaxed)
        defer {
            holder.store(0, ordering: .relaxed)
            lock.unlock()
        }
        return try body()
    }

    func checkIsolated() { precondition(isHeldHere, "not within the locked executor") }

    private var isHeldHere: Bool { holder.load(ordering: .relaxed) == Self.thisThread }

    private static var thisThread: UInt {
        #if canImport(Darwin) || canImport(Musl)
            UInt(bitPattern: pthread_self())
        #else
            UInt(pthread_self())
        #endif
    }
}
