import ChainModel
import Foundation
import Testing

@testable import ChainEngine

@Suite struct EmulatedEngineTests {
    let limits = EngineLimits(
        range: BlockRange(first: 3, count: 4), width: 2, unitCount: 10, sequenceLength: 8, stepTokens: 6)

    func step(_ job: UInt64, _ position: Int, _ values: [Float]) -> EngineStep {
        EngineStep(job: EngineJobID(job), position: position, tokenCount: values.count / 2, hidden: values)
    }

    @Test func countsUnits() throws {
        let engine = EmulatedEngine(limits: limits, profile: .instant)
        try engine.open(EngineJobID(1), firstBlock: 3, blockCount: 4)
        try engine.open(EngineJobID(2), firstBlock: 5, blockCount: 2)
        #expect((engine.unitsUsed, engine.openJobs) == (6, 2))
        try engine.open(EngineJobID(3), firstBlock: 3, blockCount: 4)
        #expect(throws: EngineError.cacheFull(needed: 1, free: 0)) {
            try engine.open(EngineJobID(4), firstBlock: 6, blockCount: 1)
        }
        #expect(throws: EngineError.jobAlreadyOpen(EngineJobID(1))) {
            try engine.open(EngineJobID(1), firstBlock: 6, blockCount: 1)
        }
        for job in 1...5 as ClosedRange<UInt64> { engine.close(EngineJobID(job)) }
        #expect((engine.unitsUsed, engine.openJobs) == (0, 0))
    }

    @Test(arguments: [(2, 5), (3, 3), (7, 1), (3, 5), (6, 0), (7, 0)])
    func refusesBlocksItDoesNotHost(first: Int, count: Int) {
        let engine = EmulatedEngine(limits: limits, profile: .instant)
        #expect(
            throws: EngineError.blocksNotHosted(firstBlock: first, blockCount: count, range: limits.range)
        ) {
            try engine.open(EngineJobID(1), firstBlock: first, blockCount: count)
        }
    }

    @Test func raisesValuesByTheBlocksPassed() throws {
        let engine = EmulatedEngine(limits: limits, profile: .instant)
        try engine.open(EngineJobID(1), firstBlock: 3, blockCount: 4)
        try engine.open(EngineJobID(2), firstBlock: 6, blockCount: 1)
        #expect(
            try engine.run([step(2, 0, [1, 2]), step(1, 0, [5, 6, 7, 8])]) == [[2, 3], [9, 10, 11, 12]])
        #expect(try engine.run([step(1, 2, [0, 0])]) == [[4, 4]])
    }

    @Test func refusesStepsThatDoNotFitAndChangesNothing() throws {
        let engine = EmulatedEngine(limits: limits, profile: .instant)
        try engine.open(EngineJobID(1), firstBlock: 3, blockCount: 4)
        try engine.open(EngineJobID(2), firstBlock: 3, blockCount: 4)
        func error(_ steps: [EngineStep]) -> EngineError? {
            do throws(EngineError) {
                _ = try engine.run(steps)
                return nil
            } catch {
                return error
            }
        }
        let good = step(1, 0, [1, 2])
        #expect(error([good, step(3, 0, [1, 2])]) == .jobUnknown(EngineJobID(3)))
        #expect(error([good, step(2, 1, [1, 2])]) == .wrongPosition(EngineJobID(2), expected: 0, got: 1))
        #expect(error([good, good]) == .wrongPosition(EngineJobID(1), expected: 1, got: 0))
        #expect(error([good, step(2, 0, [1, .nan])]) == .notFinite(EngineJobID(2)))
        #expect(error([good, step(2, 0, [])]) == .wrongShape(EngineJobID(2), expected: 0, got: 0))
        let short = EngineStep(job: EngineJobID(2), position: 0, tokenCount: 2, hidden: [1, 2, 3])
        #expect(error([good, short]) == .wrongShape(EngineJobID(2), expected: 4, got: 3))
        let six = [Float](repeating: 0, count: 12)
        #expect(error([good, step(2, 0, six)]) == .stepTooLarge(tokens: 7, limit: 6))
        #expect(error([step(2, 0, six)]) == nil)
        #expect(error([good, step(2, 6, [1, 1, 1, 1, 1, 1])]) == .sequenceTooLong(EngineJobID(2), limit: 8))
        #expect(error([good]) == nil)
    }

    @Test func saysWhenADeviceOfItsProfileIsDone() throws {
        let seconds: Int64 = 1_000_000_000
        var profile = EmulatedProfile(
            stepSeconds: 1, promptSecondsPerBlock: 10, prefillSecondsPerTokenBlock: 100,
            decodeSecondsPerBlock: 1000, timeScale: 0.5)
        var ends: [[Int64]] = []
        for sharing in [EmulatedProfile.Sharing.parallel, .serial] {
            profile.sharing = sharing
            var time: Int64 = 0
            let engine = EmulatedEngine(limits: limits, profile: profile) { time }
            try engine.open(EngineJobID(1), firstBlock: 3, blockCount: 4)
            try engine.open(EngineJobID(2), firstBlock: 5, blockCount: 2)
            _ = try engine.run([step(1, 0, [1, 2, 3, 4]), step(2, 0, [1, 2])])
            ends.append(engine.completions)
            time = 10_000 * seconds
            _ = try engine.run([step(1, 2, [1, 2]), step(2, 1, [1, 2])])
            ends.append(engine.completions.map { $0 - time })
        }
        // Half of: 1 + 4·(10 + 2·100) and 1 + 2·(10 + 100); 1 + 4·1000 and 1 + 2·1000. Beside and after each other.
        let half = seconds / 2
        #expect(
            ends == [
                [841 * half, 221 * half], [4001 * half, 2001 * half], [841 * half, 1062 * half],
                [4001 * half, 6002 * half],
            ])
    }

    @Test func goesOnFromTheTimeThatHiddenStatesCarry() throws {
        let wide = EngineLimits(
            range: BlockRange(first: 1, count: 2), width: EmulatedState.width, unitCount: 4,
            sequenceLength: 8)
        var time: Int64 = 0x1234_5678_9ABC
        let engine = EmulatedEngine(
            limits: wide,
            profile: EmulatedProfile(stepSeconds: 1, decodeSecondsPerBlock: 1, carriesClock: true)
        ) { time }
        try engine.open(EngineJobID(1), firstBlock: 1, blockCount: 2)
        func run(_ position: Int, carrying carried: Int64) throws -> Int64 {
            var hidden: [Float] = [7, Float(position), 0, 0, 0, 0, 0, 0]
            EmulatedState.set(carried, in: &hidden, row: 0)
            #expect(EmulatedState.time(in: hidden, row: 0) == carried)
            let result = try engine.run([
                EngineStep(job: EngineJobID(1), position: position, tokenCount: 1, hidden: hidden)
            ])
            #expect(Array(result[0].prefix(4)) == [9, Float(position + 2), 2, 0])
            #expect(EmulatedState.time(in: result[0], row: 0) == engine.completions[0])
            return engine.completions[0] - time
        }
        let second: Int64 = 1_000_000_000
        #expect(try run(0, carrying: time - 4_000) == second - 4_000)
        time += second
        // No time, one from the future and one from long ago: the step begins now.
        #expect(try run(1, carrying: 0) == 3 * second)
        #expect(try run(2, carrying: time + 1) == 3 * second)
        #expect(try run(3, carrying: time - 6 * second) == 3 * second)
    }

    @Test func finiteness() {
        #expect([Float]().allFinite)
        #expect([1, -0, .greatestFiniteMagnitude, .leastNonzeroMagnitude].allFinite)
        for bad in [Float.nan, .infinity, -.infinity, .signalingNaN] { #expect(![1, bad, 2].allFinite) }
    }
}
