/// What is counted of one chain.
struct ChainTally: BitwiseCopyable {
    /// Jobs that run now.
    var running = 0
    /// Times of all ends less times of all starts, modulo 2⁶⁴ nanoseconds: with `running` times the time, the
    /// integral of the number of jobs that run, without any work between starts and ends.
    var balance: UInt64 = 0
    /// That integral when it was last added up.
    var addedUp: UInt64 = 0
    /// Of the current interval of the timeline, as far as it was added up, nanoseconds.
    var inInterval = 0.0
    /// Time that slots were taken in the window, nanoseconds.
    var busy = 0.0
    /// Counted jobs that ended.
    var ended = 0
}
