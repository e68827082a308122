/// Numbers of tokens of one request.
package struct TokenCounts: Hashable, Sendable {
    /// Tokens of the prompt: `l_in`.
    package var input: Int
    /// Tokens of the answer, at least 1: `l_out`.
    package var output: Int

    package init(input: Int, output: Int) {
        self.input = input
        self.output = output
    }
}

/// How much work a job is. A size of 1 takes the mean service time of its chain.
package enum JobSizes: Hashable, Sendable {
    /// The paper's: exponential with mean 1.
    case exponential
    case deterministic
    /// Lognormal with mean 1 and this coefficient of variation.
    case lognormal(cv: Double)
    /// Gamma with mean 1 and this coefficient of variation.
    case gamma(cv: Double)
    /// Two exponential phases with balanced means, mean 1, and a coefficient of variation of at least 1.
    case hyperexponential(cv: Double)
    /// Given sizes, used in turn and again from the start.
    case listed([Double])
    /// Given token counts, used in turn and again from the start: a chain's service time follows from them
    /// (`TokenTimes`).
    case tokens([TokenCounts])
    /// Token counts drawn with the statistics of the Azure trace.
    case azureTokens

    /// Whether jobs have token counts instead of a size.
    package var areTokens: Bool {
        switch self {
        case .tokens, .azureTokens: true
        default: false
        }
    }

    /// Squared coefficient of variation of the sizes, where the model says it.
    package var variation: Double? {
        switch self {
        case .exponential: return 1
        case .deterministic: return 0
        case .lognormal(let cv), .gamma(let cv), .hyperexponential(let cv): return cv * cv
        case .listed(let sizes):
            let mean = sizes.reduce(0, +) / Double(sizes.count)
            return sizes.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(sizes.count) / (mean * mean)
        case .tokens, .azureTokens: return nil
        }
    }

    /// Mean tokens of prompt and answer; `nil` where jobs have none.
    package var meanTokens: (input: Double, output: Double)? {
        switch self {
        case .tokens(let counts):
            let count = Double(counts.count)
            return (
                Double(counts.reduce(0) { $0 + $1.input }) / count,
                Double(counts.reduce(0) { $0 + $1.output }) / count
            )
        case .azureTokens:
            let statistics = TraceStatistics.azureCode
            return (statistics.meanInput, statistics.meanOutput)
        default: return nil
        }
    }

    func checkParameters() {
        switch self {
        case .exponential, .deterministic, .azureTokens: break
        case .lognormal(let cv), .gamma(let cv): precondition(cv > 0 && cv.isFinite)
        case .hyperexponential(let cv): precondition(cv >= 1 && cv.isFinite)
        case .listed(let sizes): precondition(!sizes.isEmpty && sizes.allSatisfy { $0 >= 0 && $0.isFinite })
        case .tokens(let counts):
            precondition(!counts.isEmpty && counts.allSatisfy { $0.input >= 0 && $0.output >= 1 })
        }
    }
}

/// Draws the sizes of jobs in order of arrival.
struct SizeSource: Sendable {
    private let sizes: JobSizes
    private var random: RandomStream
    private var position = 0
    /// Shape of the Gamma law, or standard deviation of the lognormal law's logarithm.
    private let parameter: Double

    init(_ sizes: JobSizes, seed: UInt64, replication: Int) {
        sizes.checkParameters()
        self.sizes = sizes
        random = RandomStream(seed: seed, purpose: .sizes, replication: replication)
        switch sizes {
        case .gamma(let cv): parameter = 1 / (cv * cv)
        case .lognormal(let cv): parameter = Elementary.log(1 + cv * cv).squareRoot()
        default: parameter = 0
        }
    }

    /// Size of the next job, for laws of sizes.
    @inline(__always)
    mutating func size() -> Double {
        if case .exponential = sizes { return random.exponential() }
        return otherSize()
    }

    private mutating func otherSize() -> Double {
        switch sizes {
        case .exponential, .tokens, .azureTokens: return random.exponential()
        case .deterministic: return 1
        case .lognormal: return random.lognormal(sigma: parameter)
        case .gamma: return random.gamma(shape: parameter)
        case .hyperexponential(let cv): return random.hyperexponential(cv: cv)
        case .listed(let values):
            defer { position = position + 1 == values.count ? 0 : position + 1 }
            return values[position]
        }
    }

    /// Token counts of the next job, for laws of tokens.
    mutating func tokens() -> TokenCounts {
        switch sizes {
        case .tokens(let counts):
            defer { position = position + 1 == counts.count ? 0 : position + 1 }
            return counts[position]
        default: return TraceStatistics.azureCode.tokens(using: &random)
        }
    }
}
