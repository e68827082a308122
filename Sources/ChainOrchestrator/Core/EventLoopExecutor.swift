import NIOCore

/// Runs tasks on an event loop, so that what a request does between two messages happens on the thread that reads and
/// writes them: a change of threads costs more than most of it.
///
/// Nothing that blocks belongs into such a task.
final class EventLoopExecutor: TaskExecutor {
    private let eventLoop: any EventLoop

    init(_ eventLoop: any EventLoop) { self.eventLoop = eventLoop }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        eventLoop.execute { job.runSynchronously(on: self.asUnownedTaskExecutor()) }
    }
}
