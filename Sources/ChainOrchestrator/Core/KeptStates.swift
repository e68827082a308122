import ChainModel
import Synchronization

/// How much memory the orchestrator gives to hidden states that let a lost hop be computed again by itself.
package struct KeptStatesBounds: Hashable, Sendable {
    /// Of one job; 0 keeps none.
    package var perJob: ByteCount
    /// Of all jobs together; 0 keeps none.
    package var inAll: ByteCount

    package init(perJob: ByteCount, inAll: ByteCount) {
        self.perJob = perJob
        self.inAll = inAll
    }

    /// 64 MiB of one job, 512 MiB in all.
    package static let standard = KeptStatesBounds(perJob: ByteCount(64 << 20), inAll: ByteCount(512 << 20))
    /// Recovery from tokens alone.
    package static let none = KeptStatesBounds(perJob: .zero, inAll: .zero)
}

/// Bytes of kept hidden states of all jobs.
final class KeptStatesBudget: Sendable {
    let bounds: KeptStatesBounds
    private let used = Mutex<Int>(0)

    init(_ bounds: KeptStatesBounds) { self.bounds = bounds }

    var bytesUsed: Int { used.withLock { $0 } }

    /// - Returns: whether there was room for so many more.
    func take(_ bytes: Int) -> Bool {
        used.withLock { used in
            guard used + bytes <= bounds.inAll.rawValue else { return false }
            used += bytes
            return true
        }
    }

    func give(_ bytes: Int) { used.withLock { $0 -= bytes } }
}

/// The hidden states of one job that entered each hop but the first, whose input follows from the tokens.
///
/// Kept within bounds. Beyond them the job keeps none at all: with a gap they would be of no use.
final class KeptStates {
    private struct Boundary {
        var firstBlock: Int
        /// Row-major `[rows][width]`, from the first token on.
        var values: [Float] = []
        /// Bytes taken from the budget.
        var taken = 0
    }

    /// `false` once they were too many.
    private(set) var isComplete: Bool
    private var boundaries: [Boundary] = []
    private let width: Int
    private let budget: KeptStatesBudget
    private var taken = 0

    init(width: Int, budget: KeptStatesBudget) {
        self.width = width
        self.budget = budget
        isComplete = budget.bounds.perJob > .zero && budget.bounds.inAll > .zero
    }

    deinit { budget.give(taken) }

    /// Rows that are known to have entered at a block.
    func rowCount(entering block: Int) -> Int {
        boundaries.first { $0.firstBlock == block }.map { $0.values.count / width } ?? 0
    }

    /// Values of rows that entered at a block; `nil` where they are not kept.
    /// - Complexity: O(rows · width)
    func values(of rows: Range<Int>, entering block: Int) -> [Float]? {
        guard let boundary = boundaries.first(where: { $0.firstBlock == block }),
            boundary.values.count >= rows.upperBound * width
        else { return nil }
        return Array(boundary.values[rows.lowerBound * width..<rows.upperBound * width])
    }

    /// Adds the rows from `first` on that enter at a block. What is there already stays.
    /// - Complexity: amortized O(rows · width)
    func add(_ hidden: [Float], from first: Int, entering block: Int) {
        guard isComplete else { return }
        var index = boundaries.count
        if let known = boundaries.firstIndex(where: { $0.firstBlock == block }) {
            index = known
        } else {
            boundaries.append(Boundary(firstBlock: block))
        }
        let new = boundaries[index].values.count - first * width
        guard new >= 0 else { return drop() }
        guard new < hidden.count else { return }
        guard makeRoom(for: hidden.count - new, at: index) else { return drop() }
        boundaries[index].values.append(contentsOf: hidden[new...])
    }

    /// Grows a boundary's array by a quarter when it is full, if the bounds allow.
    private func makeRoom(for count: Int, at index: Int) -> Bool {
        let size = MemoryLayout<Float>.size
        let needed = boundaries[index].values.count + count
        guard needed * size > boundaries[index].taken else { return true }
        let wanted = max(needed, boundaries[index].values.count * 5 / 4) * size
        let more = wanted - boundaries[index].taken
        guard taken + more <= budget.bounds.perJob.rawValue, budget.take(more) else { return false }
        taken += more
        boundaries[index].taken = wanted
        boundaries[index].values.reserveCapacity(wanted / size)
        return true
    }

    /// Forgets the states of all blocks but these.
    func keepOnly(_ blocks: [Int]) {
        for boundary in boundaries where !blocks.contains(boundary.firstBlock) {
            taken -= boundary.taken
            budget.give(boundary.taken)
        }
        boundaries.removeAll { !blocks.contains($0.firstBlock) }
    }

    /// Forgets everything and keeps nothing from here on.
    func drop() {
        isComplete = false
        keepOnly([])
    }
}
