import ChainModel

/// A job as an engine knows it: chosen by the orchestrator, unique on a server while the job is open.
public struct EngineJobID: Hashable, Comparable, Sendable, RawRepresentable {
    public var rawValue: UInt64
    public init(rawValue: UInt64) { self.rawValue = rawValue }
    public init(_ value: UInt64) { rawValue = value }
    public static func < (left: Self, right: Self) -> Bool { left.rawValue < right.rawValue }
}

/// One job's share of a step: `tokenCount` consecutive positions to be carried through the job's blocks.
public struct EngineStep: Sendable {
    public var job: EngineJobID
    /// Position of the first token in the sequence, from 0. Must be the number of rows the job has computed
    /// so far.
    public var position: Int
    public var tokenCount: Int
    /// Hidden states entering the job's first block: row-major `[tokenCount][width]`.
    public var hidden: [Float]
    /// Only the last token's hidden state leaves, `[1][width]`: all that the output head asks of the model's
    /// last block.
    ///
    /// To be set wherever the range ends the model. libllama computes the last feed-forward network for that
    /// row alone too, and some kernels of ggml sum one row in another order than several: without it the
    /// logits after a prompt may differ from libllama's in the last bits. It also spares the answer of a
    /// long prompt's rows.
    public var lastRowOnly: Bool

    public init(
        job: EngineJobID, position: Int, tokenCount: Int, hidden: [Float], lastRowOnly: Bool = false
    ) {
        self.job = job
        self.position = position
        self.tokenCount = tokenCount
        self.hidden = hidden
        self.lastRowOnly = lastRowOnly
    }
}

/// Bounds that an engine keeps, fixed when it is made.
public struct EngineLimits: Hashable, Sendable {
    /// The hosted blocks.
    public var range: BlockRange
    /// Width of a hidden state: values per token.
    public var width: Int
    /// Cache units: `M̃_j` (eq. 3). One unit is the reserved rows of one block for one job.
    public var unitCount: Int
    /// Longest sequence of a job, in tokens.
    public var sequenceLength: Int
    /// Most tokens in one call of `run`, over all jobs; a single job's step may use all of it.
    public var stepTokens: Int

    public init(range: BlockRange, width: Int, unitCount: Int, sequenceLength: Int, stepTokens: Int = 512) {
        self.range = range
        self.width = width
        self.unitCount = unitCount
        self.sequenceLength = sequenceLength
        self.stepTokens = stepTokens
    }
}

/// Runs a contiguous range of blocks for many jobs. Two conformers: `GGMLEngine` computes, `EmulatedEngine`
/// only accounts and waits.
///
/// An engine belongs to one thread at a time (the block server's compute thread, or its event loop where it never blocks);
/// it is not `Sendable`.
public protocol BlockEngine: AnyObject {
    var limits: EngineLimits { get }
    /// `true` for an engine that does not compute the model. Must be shown wherever the engine is named.
    var isEmulated: Bool { get }
    /// Cache units held by open jobs.
    var unitsUsed: Int { get }
    var openJobs: Int { get }

    /// Reserves `blockCount` cache units for a job that computes `blockCount` blocks from `firstBlock`
    /// (1-based) to the end of the hosted range.
    /// - Throws: `EngineError` when the blocks are not hosted, the job is open already or units are lacking.
    func open(_ job: EngineJobID, firstBlock: Int, blockCount: Int) throws(EngineError)

    /// Frees the job's units. Closing an unknown job does nothing.
    func close(_ job: EngineJobID)

    /// Carries all `steps` (distinct jobs, at most `limits.stepTokens` tokens together) through their blocks
    /// in one pass and returns the hidden states leaving the range, in the order of `steps`:
    /// `[tokenCount][width]` each, or `[1][width]` where only the last row was asked for.
    /// - Throws: `EngineError` before any state is changed when a step does not fit the job's state.
    func run(_ steps: [EngineStep]) throws(EngineError) -> [[Float]]

    /// When each result of the last `run` may leave, for an engine that only says how long it would take: nanoseconds of
    /// the machine's monotonic clock. Empty for an engine that computes: at once.
    var completions: [Int64] { get }
}

extension BlockEngine {
    public var completions: [Int64] { [] }
}

/// What an engine refuses, in words that say what to change.
public enum EngineError: Error, Hashable, Sendable, CustomStringConvertible {
    case blocksNotHosted(firstBlock: Int, blockCount: Int, range: BlockRange)
    case jobAlreadyOpen(EngineJobID)
    case jobUnknown(EngineJobID)
    case cacheFull(needed: Int, free: Int)
    case wrongPosition(EngineJobID, expected: Int, got: Int)
    case wrongShape(EngineJobID, expected: Int, got: Int)
    case sequenceTooLong(EngineJobID, limit: Int)
    case stepTooLarge(tokens: Int, limit: Int)
    case notFinite(EngineJobID)
    case modelFile(String)
    case unsupportedModel(String)
    case memory(String)
    case device(String)

    public var description: String {
        switch self {
        case .blocksNotHosted(let first, let count, let range):
            "\(count) blocks from \(first) on were asked for, but this server hosts"
                + " \(range.first)–\(range.end - 1)"
                + " and a job must run to the end of them"
        case .jobAlreadyOpen(let job): "job \(job.rawValue) is open already"
        case .jobUnknown(let job): "job \(job.rawValue) is not open here"
        case .cacheFull(let needed, let free): "the job needs \(needed) cache units, \(free) are free"
        case .wrongPosition(let job, let expected, let got):
            "job \(job.rawValue) is at position \(expected), the step begins at \(got)"
        case .wrongShape(let job, let expected, let got):
            "job \(job.rawValue): \(expected) values expected, \(got) came"
        case .sequenceTooLong(let job, let limit):
            "job \(job.rawValue) would pass its reserved sequence length of \(limit) tokens"
        case .stepTooLarge(let tokens, let limit): "a step of \(tokens) tokens exceeds the limit of \(limit)"
        case .notFinite(let job): "job \(job.rawValue): a hidden state is not a finite number"
        case .modelFile(let text), .unsupportedModel(let text), .memory(let text), .device(let text): text
        }
    }
}
