/// One request to be sent: when, and how large.
public struct ScheduledRequest: Hashable, Sendable {
    /// Seconds after the start of the run; ignored in a closed loop.
    public var start: Double
    /// Tokens of prompt and of answer asked for.
    public var inputTokens: Int
    public var outputTokens: Int

    public init(start: Double, inputTokens: Int, outputTokens: Int) {
        self.start = start
        self.inputTokens = inputTokens
        self.outputTokens = outputTokens
    }
}

/// What is sent, and what paces it.
public struct LoadSchedule: Sendable {
    public enum Pace: Hashable, Sendable {
        /// Each request at its own time, whatever has become of the others.
        case open
        /// So many clients, each sending its next request when it has its answer.
        case closed(clients: Int)
    }

    public var requests: [ScheduledRequest]
    public var pace: Pace
    /// Requests at the start that are sent but not counted.
    public var warmUp: Int

    public init(requests: [ScheduledRequest], pace: Pace, warmUp: Int = 0) {
        self.requests = requests
        self.pace = pace
        self.warmUp = warmUp
    }
}

/// Prompts of about so many tokens: common English words, nearly all of which are one token of the usual vocabularies.
/// What was really counted, the service says in its `usage`.
enum PromptText {
    private static let words = [
        "the", "of", "and", "to", "in", "that", "was", "his", "he", "it", "with", "is", "for", "as", "had",
        "you",
        "not", "be", "her", "on", "at", "by", "which", "have", "or", "from", "this", "him", "but", "all",
        "she",
        "they", "were", "my", "are", "me", "one", "their", "so", "an", "said", "them", "we", "who", "would",
        "been",
        "will", "no", "when", "there", "if", "more", "out", "up", "into", "do", "any", "your", "what", "has",
        "man",
        "could", "other", "than",
    ]

    /// - Parameter seed: prompts of different seeds share no beginning worth caching.
    static func make(tokens: Int, seed: UInt64) -> String {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 &+ 0x1234_5678_9ABC_DEF1
        var text = ""
        text.reserveCapacity(tokens * 5)
        for position in 0..<max(1, tokens) {
            // SplitMix64 (Steele, Lea, Flood 2014).
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            mixed ^= mixed >> 31
            if position > 0 { text += " " }
            text += words[Int(mixed % UInt64(words.count))]
        }
        return text
    }
}
