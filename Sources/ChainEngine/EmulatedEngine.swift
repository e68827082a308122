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
        /// Every job takes its own time: jobs do not slow each other, as the paper's model has it.
        case parallel
        /// Jobs are served one after another.
        case serial
    }

    /// Overhead of a step that begins a prompt or carries one token, seconds. Steps that go on with a prompt, or repeat
    /// tokens after a loss, have none: it is counted with the first.
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
    /// Hidden states carry the emulated time (`EmulatedState`): a step begins when the one before it ended, not when it
    /// came here, so that the delays of this machine do not add up. For servers of one machine.
    public var carriesClock: Bool

    public init(
        stepSeconds: Double = 0, promptSecondsPerBlock: Double = 0, prefillSecondsPerTokenBlock: Double = 0,
        decodeSecondsPerBlock: Double = 0, sharing: Sharing = .parallel, timeScale: Double = 1,
        carriesClock: Bool = false
    ) {
        self.stepSeconds = stepSeconds
        self.promptSecondsPerBlock = promptSecondsPerBlock
        self.prefillSecondsPerTokenBlock = prefillSecondsPerTokenBlock
        self.decodeSecondsPerBlock = decodeSecondsPerBlock
        self.sharing = sharing
        self.timeScale = timeScale
        self.carriesClock = carriesClock
    }

    /// Takes no time.
    public static let instant = EmulatedProfile()

    /// Nanoseconds that a step of one job takes over `blockCount` blocks.
    public func nanoseconds(tokenCount: Int, position: Int, blockCount: Int) -> Int64 {
        let blocks = Double(blockCount)
        var seconds = 0.0
        if position == 0 || tokenCount == 1 { seconds += stepSeconds }
        if position == 0 { seconds += blocks * promptSecondsPerBlock }
        seconds +=
            blocks
            * (tokenCount == 1 && position > 0
                ? decodeSecondsPerBlock : prefillSecondsPerTokenBlock * Double(tokenCount))
        return Int64((seconds * timeScale * 1e9).rounded())
    }
}

/// The hidden state of an emulated model: eight values a token.
///
/// Token, position and blocks passed, which every block raises by 1; one that is not used; and the emulated time in four
/// parts of 16 bits, each exact as a `Float`: nanoseconds of the machine's monotonic clock, 0 where no time is carried.
public enum EmulatedState {
    public static let width = 8
    /// Values that a block raises.
    static let raised = 3
    private static let clock = 4..<8

    /// The time in the row that begins at `start`.
    public static func time(in values: [Float], row start: Int) -> Int64 {
        clock.reduce(0) { $0 << 16 | Int64(max(0, min(65_535, values[start + $1].rounded()))) }
    }

    public static func set(_ time: Int64, in values: inout [Float], row start: Int) {
        for (place, column) in clock.enumerated() {
            values[start + column] = Float(time >> (48 - 16 * Int64(place)) & 0xFFFF)
        }
    }

    /// Nanoseconds of a clock that all processes of this machine share.
    public static func now() -> Int64 { Int64(clamping: DispatchTime.now().uptimeNanoseconds) }
}

/// Keeps the books of a real engine, says when a device of its profile would be done and returns every value raised by
/// the number of blocks it passed: results tell how many blocks were run, and for which job, but are no model's.
///
/// It waits for nothing itself: `completions` says when results are due, each job's by itself, so that emulated devices
/// work beside each other whatever the machine has of processors.
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

    public private(set) var completions: [Int64] = []
    private let now: () -> Int64
    private var jobs: [EngineJobID: Job] = [:]
    /// When the work given so far is done, for devices that serve jobs one after another.
    private var busyUntil: Int64 = 0
    /// A carried time older than this is not believed: the job waited somewhere, or the clock is another machine's.
    private static let longestLag: Int64 = 5_000_000_000

    /// - Parameter now: the clock of `completions`, nanoseconds; tests put one of their own here.
    public init(
        limits: EngineLimits, profile: EmulatedProfile, now: @escaping () -> Int64 = { EmulatedState.now() }
    ) {
        self.limits = limits
        self.profile = profile
        self.now = now
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

        completions = []
        let time = now()
        return steps.map { step in
            let blockCount = jobs[step.job]?.blockCount ?? 0
            jobs[step.job]?.rowsComputed += step.tokenCount
            var begin = beginning(of: step, at: time)
            if profile.sharing == .serial { begin = max(begin, busyUntil) }
            let end =
                begin
                + profile.nanoseconds(
                    tokenCount: step.tokenCount, position: step.position, blockCount: blockCount)
            busyUntil = max(busyUntil, end)
            completions.append(end)
            var leaving = step.lastRowOnly ? Array(step.hidden.suffix(limits.width)) : step.hidden
            raise(&leaving, by: Float(blockCount), time: end)
            return leaving
        }
    }

    /// When the step before ended, or now.
    private func beginning(of step: EngineStep, at time: Int64) -> Int64 {
        guard carriesClock else { return time }
        let carried = EmulatedState.time(in: step.hidden, row: step.hidden.count - limits.width)
        return carried <= time && carried > time - Self.longestLag ? carried : time
    }

    private var carriesClock: Bool { profile.carriesClock && limits.width == EmulatedState.width }

    private func raise(_ values: inout [Float], by blocks: Float, time: Int64) {
        guard carriesClock else {
            for index in values.indices { values[index] += blocks }
            return
        }
        for row in stride(from: 0, to: values.count, by: EmulatedState.width) {
            for column in 0..<EmulatedState.raised { values[row + column] += blocks }
        }
        EmulatedState.set(time, in: &values, row: values.count - EmulatedState.width)
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
