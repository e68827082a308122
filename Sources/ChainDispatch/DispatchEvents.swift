import ChainModel

extension Dispatcher {
    /// What happened outside. Plain values: a list of events with their times is a journal, and replays
    /// exactly.
    ///
    /// Attempts are numbered from 1 within their job. A completion or failure of any attempt but the job's
    /// current one is stale and changes nothing.
    public enum Event: Hashable, Sendable {
        /// The server holds its blocks and may be used.
        case serverReady(ServerIndex)
        /// The server may not be used. `returning`: a restart or a replacement is under way. May be sent
        /// again to say that hope was given up, or found.
        case serverLost(ServerIndex, returning: Bool)
        /// A new job. Its number is above that of every job before it; any other is refused as a duplicate.
        case jobArrived(JobID)
        /// The attempt finished and its caches are free.
        case jobCompleted(JobID, attempt: Int)
        /// The attempt failed and its caches are free.
        case jobFailed(JobID, attempt: Int, retryable: Bool)
        /// Nobody wants the job any more, wherever it is.
        case jobCancelled(JobID)
        /// Accept no further jobs and finish those there are.
        case drainStarted
    }

    /// What is to be done, in the order given.
    public enum Action: Hashable, Sendable {
        /// Run the job on the chain.
        case start(JobID, attempt: Int, ChainIndex)
        /// The job waits, behind `ahead` others: after its arrival, or again after losing its chain.
        case queue(JobID, ahead: Int)
        /// The arrival is not accepted.
        case refuse(JobID, Refusal)
        /// Stop the running attempt and free its caches. What becomes of the job, another action says; if
        /// none does, it was cancelled.
        case abandon(JobID, attempt: Int, ChainIndex)
        /// The accepted job is given up.
        case fail(JobID, Failure)
        /// The drain is complete: no job is left, and none will be accepted. Sent once.
        case drained
    }

    /// Why an arrival is not accepted. If several reasons hold, the first of `duplicate`, `draining`,
    /// `noChain`, `queueFull` is given.
    public enum Refusal: String, CaseIterable, Hashable, Sendable {
        /// No slot is free and the queue is full.
        case queueFull
        /// Every chain lacks a server that is not returning.
        case noChain
        case draining
        /// The number is not above that of every job before it.
        case duplicate
    }

    /// Why an accepted job is given up.
    public enum Failure: String, CaseIterable, Hashable, Sendable {
        /// The last attempt allowed failed or lost its chain.
        case attemptsExhausted
        /// The attempt failed in a way that another would repeat.
        case notRetryable
        /// Every chain lacks a server that is not returning.
        case noChain
    }
}
