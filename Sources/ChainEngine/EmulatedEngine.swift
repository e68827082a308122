import ChainModel
import Foundation

/// Which engine a block server runs.
public enum EngineKind: String, Hashable, Sendable, CaseIterable {
    /// Computes the model on ggml's backends.
    case ggml
    /// Accounts for memory and takes the time that a device profile says, but does not compute the model.
    case emulated
}

/// The time that an emulated device takes, after the paper's footnote 2: a job's block takes `t_o + tI·l_in`
/// for a prompt of `l_in` tokens and `tO` for each token after the first.
public struct EmulatedProfile: Codable, Hashable, Sendable {
    /// How the jobs of one step share the device.
    public enum Sharing: String, Codable, Hashable, Sendable {
        /// The step takes as long as its slowest job: jobs do not slow each other, as the paper's model has
        /// it.
        case parallel
        /// The step takes as long as its jobs one after another.
        case serial
    }

    /// Overhead of one step, whatever it carries, seconds.
    public var stepSeconds: Double
    /// Overhead of a prompt (a step from position 0) at each block: `t_o`, seconds.
    public var promptSecondsPerBlock: Double
    /// Time of one token of a step with more than one token, at one block: `tI`, seconds.
    public var prefillSecondsPerTokenBlock: Double
    /// Time of a step of one token at one block: `tO`, seconds.
    public var decodeSecondsPerBlock: Double
    public var sharing: Sharing
    /// All times are multiplied by this; below 1 a pool runs faster than its devices would.
    public var timeScale: Double

    public init(
        stepSeconds: Double = 0, promptSecondsPerBlock: Double = 0, prefillSecondsPerTokenBlock: Double = 0,
        decodeSecondsPerBlock: Double = 0, sharing: Sharing = .parallel, timeScale: Double = 1
    ) {
        self.stepSeconds = stepSeconds
        self.promptSecondsPerBlock = promptSecondsPerBlock
        self.prefillSecondsPerTokenBlock = prefillSecondsPerTokenBlock
        self.decodeSecondsPerBlock = decodeSecondsPerBlock
        self.sharing = sharing
        self.timeScale = timeScale
    }

    /// Takes no time.
    public static let instant = EmulatedProfile()

    /// Seconds of one job's share of a step over `blockCount` blocks, without `stepSeconds`.
    public func seconds(tokenCount: Int, position: Int, blockCount: Int) -> Double {
        let blocks = Double(blockCount)
        let overhead = position == 0 ? promptSecondsPerBlock : 0
        let tokens =
            tokenCount == 1 && position > 0
            ? decodeSecondsPerBlock : prefillSecondsPerTokenBlock * Double(tokenCount)
        return blocks * (overhead + tokens) * timeScale
    }
}

/// Keeps the books of a real engine, takes the time its profile says and returns every value raised by the
/// number of blocks it passed: results tell how many blocks were run, and for which job, but are no model's.
public final class EmulatedEngine: BlockEngine {
    private struct Job {
        var blockCount: Int
        var rowsComputed: Int
    }

    public let limits: EngineLimits
    public let profile: EmulatedProfile
    public let isEmulated = true
    public private(set) var unitsUsed = 0
    public var openJobs: Int { jobs.count }

    private let sleep: (Double) -> Void
    private var jobs: [EngineJobID: Job] = [:]

    /// - Parameter sleep: takes the given number of seconds; tests put a recorder here.
    public init(
        limits: EngineLimits, profile: EmulatedProfile,
        sleep: @escaping (Double) -> Void = { Thread.sleep(forTimeInterval: $0) }
    ) {
        self.limits = limits
        self.profile = profile
        self.sleep = sleep
    }

    public func open(_ job: EngineJobID, firstBlock: Int, blockCount: Int) throws(EngineError) {
        guard blockCount >= 1, limits.range.contains(firstBlock), firstBlock + blockCount == limits.range.end
        else {
            throw .blocksNotHosted(firstBlock: firstBlock, blockCount: blockCount, range: limits.range)
        }
        guard jobs[job] == nil else { throw .jobAlreadyOpen(job) }
        let free = limits.unitCount - unitsUsed
        guard blockCount <= free else { throw .cacheFull(needed: blockCount, free: free) }
        jobs[job] = Job(blockCount: blockCount, rowsComputed: 0)
        unitsUsed += blockCount
    }

    public func close(_ job: EngineJobID) {
        guard let closed = jobs.removeValue(forKey: job) else { return }
        unitsUsed -= closed.blockCount
    }

    public func run(_ steps: [EngineStep]) throws(EngineError) -> [[Float]] {
        var tokens = 0
        var seen: Set<EngineJobID> = []
        for step in steps {
            try check(step)
            guard seen.insert(step.job).inserted else {
                throw .wrongPosition(step.job, expected: step.position + step.tokenCount, got: step.position)
            }
            tokens += step.tokenCount
        }
        guard tokens <= limits.stepTokens else {
            throw .stepTooLarge(tokens: tokens, limit: limits.stepTokens)
        }

        var seconds = 0.0
        let results = steps.map { step in
            let blockCount = jobs[step.job]?.blockCount ?? 0
            jobs[step.job]?.rowsComputed += step.tokenCount
            let share = profile.seconds(
                tokenCount: step.tokenCount, position: step.position, blockCount: blockCount)
            seconds = profile.sharing == .parallel ? max(seconds, share) : seconds + share
            let raise = Float(blockCount)
            let leaving = step.lastRowOnly ? step.hidden.suffix(limits.width) : step.hidden[...]
            return leaving.map { $0 + raise }
        }
        seconds += profile.stepSeconds * profile.timeScale
        if seconds > 0 { sleep(seconds) }
        return results
    }

    private func check(_ step: EngineStep) throws(EngineError) {
        guard let job = jobs[step.job] else { throw .jobUnknown(step.job) }
        guard step.position == job.rowsComputed else {
            throw .wrongPosition(step.job, expected: job.rowsComputed, got: step.position)
        }
        let expected = step.tokenCount * limits.width
        guard step.tokenCount >= 1, step.hidden.count == expected else {
            throw .wrongShape(step.job, expected: expected, got: step.hidden.count)
        }
        guard step.tokenCount <= limits.stepTokens else {
            throw .stepTooLarge(tokens: step.tokenCount, limit: limits.stepTokens)
        }
        guard step.position + step.tokenCount <= limits.sequenceLength else {
            throw .sequenceTooLong(step.job, limit: limits.sequenceLength)
        }
        guard step.hidden.allFinite else { throw .notFinite(step.job) }
    }
}

extension [Float] {
    /// No value is infinite or not a number. Without branches, so that it runs at the speed of memory.
    package var allFinite: Bool {
        let exponent: UInt32 = 0x7F80_0000
        return withUnsafeBufferPointer { values in
            var found: UInt32 = 0
            for value in values { found |= value.bitPattern & exponent == exponent ? 1 : 0 }
            return found == 0
        }
    }
}
