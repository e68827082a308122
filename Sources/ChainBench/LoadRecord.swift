/// What became of one request. Times are seconds on the run's monotonic clock, which starts with the run.
public struct LoadRecord: Hashable, Sendable {
    /// Position in the schedule.
    public var index: Int
    /// When the request was due; latencies count from here, however late it was really sent.
    public var intendedStart: Double
    /// When its first byte was given to the connection.
    public var sent: Double?
    /// When each piece of the answer arrived: chunks with choices when streamed, else the one body.
    public var pieces: [Double] = []
    public var end: Double
    /// HTTP status, once there is one.
    public var status: Int?
    public var promptTokens = 0
    public var completionTokens = 0
    /// Server chain, attempts, time in the queue and time of service as the service tells them (milliseconds).
    public var chain: String?
    public var attempts: Int?
    public var waitMilliseconds: Double?
    public var serviceMilliseconds: Double?
    /// Seconds after which the service asked to be tried again.
    public var retryAfter: Double?
    /// How often the request was sent.
    public var sendings = 1
    /// Why it did not complete.
    public var error: String?

    public init(index: Int, intendedStart: Double, end: Double) {
        self.index = index
        self.intendedStart = intendedStart
        self.end = end
    }

    public var isCompleted: Bool { error == nil }
    /// Latency from the intended start to the last byte, seconds.
    public var latency: Double { end - intendedStart }
    /// Time to the first token, seconds; of an answer that is not streamed, to the answer.
    public var timeToFirstToken: Double { (pieces.first ?? end) - intendedStart }
    /// Mean time per token after the first, seconds; none for answers of one token.
    public var timePerOutputToken: Double? {
        completionTokens > 1 ? (latency - timeToFirstToken) / Double(completionTokens - 1) : nil
    }
    /// Gaps between pieces, seconds.
    public var interTokenLatencies: [Double] { zip(pieces.dropFirst(), pieces).map { $0 - $1 } }
}
