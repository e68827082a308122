/// A job that arrived and has not ended.
struct SimulatedJob: BitwiseCopyable, Sendable {
    /// Nanoseconds; negative once the job has ended.
    var arrival: Int64 = Self.ended
    /// Of its first attempt; negative before.
    var firstStart: Int64 = -1
    /// Of its current attempt.
    var start: Int64 = -1
    /// Of its first token, where an earlier attempt got so far; negative otherwise.
    var firstToken: Int64 = -1
    /// Calendar entry of the current attempt's completion; 0 when it does not run.
    var completion: UInt64 = 0
    var size = 0.0
    var inputTokens: Int32 = 0
    var outputTokens: Int32 = 0
    var chain: Int32 = -1
    var attempts: Int32 = 0

    static let ended: Int64 = -1

    var tokens: TokenCounts { TokenCounts(input: Int(inputTokens), output: Int(outputTokens)) }
}

/// Jobs by number, in a ring: numbers rise by one, so that a job's place is its number's lowest bits.
///
/// Grows to the widest span between the oldest unfinished and the newest job, and then stays.
struct SimulatedJobs: ~Copyable {
    private var ring: OwnedBuffer<SimulatedJob>
    private var mask: UInt64
    /// Every job before it has ended.
    private(set) var oldest: UInt64 = 0
    /// Number of the next job.
    private(set) var next: UInt64 = 0

    init() {
        ring = OwnedBuffer(repeating: SimulatedJob(), count: 1024)
        mask = 1023
    }

    subscript(job: UInt64) -> SimulatedJob {
        @inline(__always) _read { yield ring[Int(truncatingIfNeeded: job & mask)] }
        @inline(__always) _modify { yield &ring[Int(truncatingIfNeeded: job & mask)] }
    }

    /// The number of the running job with the given lowest 24 bits.
    @inline(__always)
    func number(lowBits: UInt64) -> UInt64 {
        oldest &+ ((lowBits &- oldest) & (EventCalendar.payloadLimit - 1))
    }

    /// Adds a job; its number is returned. O(1) amortised.
    @inline(__always)
    mutating func append(_ job: SimulatedJob) -> UInt64 {
        if next &- oldest > mask { grow() }
        let number = next
        next &+= 1
        self[number] = job
        return number
    }

    /// Ends a job. O(1) amortised.
    @inline(__always)
    mutating func end(_ job: UInt64) {
        self[job].arrival = SimulatedJob.ended
        if job == oldest { skipEnded() }
    }

    @inline(__always)
    private mutating func skipEnded() {
        while oldest < next, self[oldest].arrival == SimulatedJob.ended { oldest &+= 1 }
    }

    private mutating func grow() {
        let count = ring.count * 2
        precondition(UInt64(count) < EventCalendar.payloadLimit, "Too many jobs are in the system at once.")
        var larger = OwnedBuffer(repeating: SimulatedJob(), count: count)
        for job in oldest..<next { larger[Int(job & UInt64(count - 1))] = self[job] }
        ring = larger
        mask = UInt64(count - 1)
    }

    /// Room for more jobs without passing the bound of the calendar's payloads.
    var hasRoom: Bool {
        @inline(__always) get { next &- oldest < EventCalendar.payloadLimit / 4 }
    }
}
