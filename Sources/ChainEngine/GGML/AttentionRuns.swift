/// Jobs of a step whose attention is one operation, stacked along a fourth dimension: as wide as the batch,
/// where job by job a GPU would wait for many small ones.
///
/// It asks that their cache units lie at equal distances in the arena. An arena that hands out the lowest units first
/// (`CacheArena.take`) makes that the rule: jobs that came one after another lie one after another.
///
/// Stacked results may differ from those job by job in the last bits, as attention then splits its rows in other
/// places. So processors compute job by job, and stay equal to libllama to the last bit; there it costs nothing.
struct AttentionRun: Hashable {
    /// Positions among the step's jobs.
    var jobs: Range<Int>
    /// Units from one job's to the next one's, in each block.
    var stride: Int

    /// A job's rows may be raised to at most this multiple, in order to be stacked with a longer one: the rows
    /// in excess are read and masked.
    static let mostRowsInExcess = 2

    /// The longest runs from the first job on; raises `attendedRows` within each to its largest.
    /// - Parameter jobs: sorted by entry.
    /// - Complexity: O(jobs · blocks).
    static func grouped(_ jobs: inout [GraphJob]) -> [AttentionRun] {
        var runs: [AttentionRun] = []
        var rows = (least: 0, most: 0)
        for (index, job) in jobs.enumerated() {
            let least = min(rows.least, job.attendedRows)
            let most = max(rows.most, job.attendedRows)
            if let run = runs.last, most <= mostRowsInExcess * least,
                let stride = Self.stride(from: jobs[index - 1], to: job),
                run.jobs.count == 1 || run.stride == stride
            {
                runs[runs.count - 1] = AttentionRun(jobs: run.jobs.lowerBound..<index + 1, stride: stride)
                rows = (least, most)
            } else {
                runs.append(AttentionRun(jobs: index..<index + 1, stride: 0))
                rows = (job.attendedRows, job.attendedRows)
            }
        }
        for run in runs {
            let most = jobs[run.jobs].reduce(0) { max($0, $1.attendedRows) }
            for index in run.jobs { jobs[index].attendedRows = most }
        }
        return runs
    }

    /// Every job by itself.
    static func single(_ jobs: [GraphJob]) -> [AttentionRun] {
        jobs.indices.map { AttentionRun(jobs: $0..<$0 + 1, stride: 0) }
    }

    /// The distance of two jobs' units, where it is the same and positive in every block; else `nil`.
    private static func stride(from first: GraphJob, to second: GraphJob) -> Int? {
        guard first.entry == second.entry, first.tokens == second.tokens,
            first.units.count == second.units.count, let one = first.units.first,
            let other = second.units.first,
            other > one, zip(first.units, second.units).allSatisfy({ $1 - $0 == other - one })
        else { return nil }
        return other - one
    }
}
