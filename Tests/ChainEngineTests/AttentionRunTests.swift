import CGGML
import CLlama
import ChainModel
import Testing

@testable import ChainEngine

@Suite struct AttentionRunTests {
    private func job(_ units: [Int], entry: Int = 0, tokens: Int = 1, position: Int = 10) -> GraphJob {
        GraphJob(entry: entry, tokens: tokens, position: position, units: units)
    }

    private func runs(_ jobs: [GraphJob]) -> [Range<Int>] {
        var jobs = jobs
        return AttentionRun.grouped(&jobs).map(\.jobs)
    }

    @Test func jobsAtEqualDistancesAreOneRun() {
        #expect(runs([job([0, 1]), job([2, 3]), job([4, 5])]) == [0..<3])
        // The third is farther off than the second; a fourth at its distance joins it.
        #expect(runs([job([0, 1]), job([2, 3]), job([6, 7]), job([10, 11])]) == [0..<2, 2..<4])
        #expect(runs([job([4, 5]), job([2, 3])]) == [0..<1, 1..<2], "backwards")
        #expect(
            runs([job([0, 1]), job([2, 4])]) == [0..<1, 1..<2], "another distance in the second block")
    }

    @Test func whatDiffersInShapeIsNotStacked() {
        #expect(runs([job([0, 1]), job([2], entry: 1)]) == [0..<1, 1..<2])
        #expect(runs([job([0]), job([1], tokens: 2)]) == [0..<1, 1..<2])
        #expect(runs([job([0]), job([1], position: 600)]) == [0..<1, 1..<2], "three times the rows")
    }

    @Test func rowsAreRaisedToTheLargestOfARun() {
        var jobs = [job([0], position: 10), job([1], position: 300), job([2], position: 10)]
        #expect(AttentionRun.grouped(&jobs) == [AttentionRun(jobs: 0..<3, stride: 1)])
        #expect(jobs.map(\.attendedRows) == [512, 512, 512])
        // Never by more than the excess allowed, whatever the order.
        jobs = [job([0], position: 300), job([1], position: 10), job([2], position: 900)]
        #expect(AttentionRun.grouped(&jobs).map(\.jobs) == [0..<2, 2..<3])
        #expect(jobs.map(\.attendedRows) == [512, 512, 1024])
    }

    @Test func unitsInARowAreTakenLowestFirst() throws {
        let device = try GGMLDevice(wanted: "cpu", threads: 1)
        let arena = try CacheArena(unitCount: 8, rows: 256, width: 32, device: device)
        #expect(arena.take(3) == [0, 1, 2])
        #expect(arena.take(2) == [3, 4])
        arena.giveBack([0, 1, 2])
        #expect(arena.take(2) == [0, 1])
        // No row of four is left, though four are free: 2, 5, 6, 7.
        #expect(arena.freeCount == 4)
        #expect(arena.take(4) == [2, 5, 6, 7])
        #expect(arena.usedCount == 8)
        #expect(arena.take(0) == [])
    }

    /// The same steps job by job and stacked: what leaves agrees but for rounding. Jobs enter at two blocks, one has gone
    /// in between, and lengths differ. With two threads the rows of the longest are split in other places, and ggml adds
    /// their values up in 16-bit floats.
    @Test(arguments: [1, 2]) func stackedAttentionComputesTheSame(threads: Int) throws {
        let file = try SyntheticModel(type: GGML_TYPE_F32).file()
        let single = try outputs(path: file.path, threads: threads, stacked: false)
        let stacked = try outputs(path: file.path, threads: threads, stacked: true)
        #expect(single.count == stacked.count && single.count == 3 * 5)
        for (one, other) in zip(single, stacked) {
            let size = one.reduce(0) { max($0, abs($1)) }
            #expect(distance([one], [other]) <= (threads == 1 ? 1e-4 : 4e-3) * size)
        }
    }

    private func outputs(path: String, threads: Int, stacked: Bool) throws -> [[Float]] {
        let file = try LlamaFile(path: path)
        let range = BlockRange(first: 1, count: 4)
        var options = EngineOptions(threads: threads, device: "cpu")
        options.stacksAttention = stacked
        let limits = EngineLimits(
            range: range, width: file.parameters.embeddingWidth, unitCount: 24, sequenceLength: 512)
        let engine = try GGMLEngine(
            manifest: try file.manifest(modelName: "test", range: range), source: file, limits: limits,
            options: options)
        let entries = [1, 1, 1, 3, 1, 3]
        let lengths = [5, 20, 270, 5, 40, 7]
        var generator = SeededGenerator(seed: 3)
        for (index, entry) in entries.enumerated() {
            let job = EngineJobID(UInt64(index))
            try engine.open(job, firstBlock: entry, blockCount: 5 - entry)
            _ = try engine.run([
                EngineStep(
                    job: job, position: 0, tokenCount: lengths[index],
                    hidden: generator.floats(lengths[index] * limits.width, scale: 1))
            ])
        }
        engine.close(EngineJobID(1))
        let left = entries.indices.filter { $0 != 1 }
        var all: [[Float]] = []
        for step in 0..<3 {
            all += try engine.run(
                left.map {
                    EngineStep(
                        job: EngineJobID(UInt64($0)), position: lengths[$0] + step, tokenCount: 1,
                        hidden: generator.floats(limits.width, scale: 1))
                })
        }
        return all
    }
}
