/// Sums over batches of consecutive jobs, numbered by arrival.
///
/// Means of long batches are nearly independent, which gives a confidence interval from one run. Batches have
/// a power of two of jobs; when there are too many, neighbours merge, so memory does not grow with the run.
struct BatchMeans: ~Copyable {
    /// Sums over the jobs of one batch; times in nanoseconds.
    struct Sums: BitwiseCopyable, Sendable {
        var jobs = 0
        var waited = 0
        var response = 0.0
        var wait = 0.0
        var firstToken = 0.0

        mutating func add(_ other: Sums) {
            jobs += other.jobs
            waited += other.waited
            response += other.response
            wait += other.wait
            firstToken += other.firstToken
        }
    }

    /// Batches between which an interval is formed: at least this many, less than twice.
    static let fewestBatches = 20
    private static let mostBatches = 4096

    private var batches: OwnedBuffer<Sums>
    private var shift: Int

    /// - Parameter jobs: jobs that will be added, at least.
    init(jobs: Int) {
        shift = 0
        while jobs >> (shift + 1) >= Self.fewestBatches { shift += 1 }
        batches = OwnedBuffer(repeating: Sums(), count: Self.mostBatches)
    }

    @inline(__always)
    mutating func add(
        index: Int, response: Int64, wait: Int64, firstToken: Int64
    ) {
        var batch = index >> shift
        while batch >= Self.mostBatches {
            merge()
            batch = index >> shift
        }
        Self.add(response, wait, firstToken, to: &batches[batch])
    }

    @inline(__always)
    private static func add(_ response: Int64, _ wait: Int64, _ firstToken: Int64, to sums: inout Sums) {
        sums.jobs &+= 1
        sums.waited &+= wait > 0 ? 1 : 0
        sums.response += Double(response)
        sums.wait += Double(wait)
        sums.firstToken += Double(firstToken)
    }

    /// Jobs that waited.
    var waited: Int {
        var sum = 0
        for batch in 0..<batches.count { sum += batches[batch].waited }
        return sum
    }

    private mutating func merge() {
        for batch in 0..<(Self.mostBatches / 2) {
            var sums = batches[2 * batch]
            sums.add(batches[2 * batch + 1])
            batches[batch] = sums
        }
        for batch in (Self.mostBatches / 2)..<Self.mostBatches { batches[batch] = Sums() }
        shift += 1
    }

    /// Batches of equal length over the first `jobs` jobs, between `fewestBatches` and twice that if there
    /// are jobs enough; an incomplete last one is left out.
    func complete(jobs: Int) -> [Sums] {
        let fine = min(Self.mostBatches, jobs >> shift)
        var group = 1
        while fine / (2 * group) >= Self.fewestBatches { group *= 2 }
        return stride(from: 0, to: fine - fine % group, by: group).map { first in
            var sums = Sums()
            for batch in first..<(first + group) { sums.add(batches[batch]) }
            return sums
        }
    }
}
