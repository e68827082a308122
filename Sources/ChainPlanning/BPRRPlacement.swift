import ChainModel

/// The block placement of BPRR, CG-BP: every block is to be held for `R` jobs at once, fast servers first.
///
/// With `m_j = min(⌊M_j/(s_m + s_c·R)⌋, L)` and `t̃_j = t_j/m_j` the time of a token for each block, servers
/// are taken in increasing `t̃_j`. While some block is held for fewer than `R` jobs the server takes the
/// window, among those with such a block, of the largest weight; after that the one whose blocks are held for
/// the fewest. Ranges fixed by hand come first.
public struct BPRRPlacement: Sendable {
    /// Jobs that the placement is to carry at once: `|R|`.
    public let designLoad: Int
    public let placement: Placement

    /// Tokens of a job's answer where nothing is said: those of the published experiments.
    public static let defaultOutputTokens = 20.0
    /// Delay before a job's first hop that the design load counts, seconds.
    private static let initialDelay = 0.07

    /// - Parameters:
    ///   - designLoad: `|R|`; `nil` takes the previous paper's, from the placement for one job.
    ///   - outputTokens: Mean tokens of an answer, which turn the times of a job into those of a token.
    /// - Complexity: O(J·L·m log m).
    public init(_ cluster: Cluster, designLoad: Int? = nil, outputTokens: Double = Self.defaultOutputTokens) {
        let load = designLoad ?? Self.designLoad(cluster, outputTokens: outputTokens)
        self.designLoad = load
        var builder = Builder(cluster, designLoad: load, outputTokens: outputTokens)
        placement = builder.place()
    }

    /// `|R| = min(round(λT + √(λT)), ⌊(ΣM − s_m(L + J))/(s_c(L + J))⌋)`, at least 1, with `T` the delay of a
    /// job on the fastest chain of the placement for one job.
    static func designLoad(_ cluster: Cluster, outputTokens: Double) -> Int {
        var builder = Builder(cluster, designLoad: 1, outputTokens: outputTokens)
        var graph = BoundaryGraph(cluster, placement: builder.place())
        let time = graph.fastestTime()
        guard time < .infinity else { return 1 }
        let offered = cluster.demand.arrivalRate * (initialDelay + time)
        let wanted = (offered + offered.squareRoot()).rounded()
        let units = cluster.model.blockCount + cluster.servers.count
        let memory = cluster.servers.indices.reduce(0) {
            $0 + cluster.blockMemory(of: ServerIndex($1)).rawValue
        }
        let room =
            (memory - cluster.model.blockSize.rawValue * units) / (cluster.model.cacheSize.rawValue * units)
        return max(1, wanted < Double(room) ? Int(wanted) : room)
    }

    /// One placement in the making.
    private struct Builder {
        let cluster: Cluster
        let designLoad: Int
        /// `m_j`, `t̃_j` in milliseconds, and the jobs that a whole range can hold, by server.
        private var counts: [Int] = []
        private var times: [Double] = []
        private var sessions: [Int] = []
        /// `t_0 = 1 + max_j t̃_j`, milliseconds.
        private var longest = 0.0
        /// Jobs that each block is held for, `C_b`, and its weight `T_b`; index 0 is not used.
        private var held: [Int]
        private var weights: [Double]
        private var placement: Placement

        init(_ cluster: Cluster, designLoad: Int, outputTokens: Double) {
            self.cluster = cluster
            self.designLoad = designLoad
            placement = cluster.manualPlacement
            held = [Int](repeating: 0, count: cluster.model.blockCount + 1)
            let model = cluster.model
            for (number, server) in cluster.servers.enumerated() {
                let (caches, overflow) = model.cacheSize.rawValue.multipliedReportingOverflow(by: designLoad)
                let each = overflow ? Int.max : min(caches, Int.max - model.blockSize.rawValue)
                let fits =
                    cluster.blockMemory(of: ServerIndex(number)).rawValue / (model.blockSize.rawValue + each)
                let count = placement.ranges[number]?.count ?? min(fits, model.blockCount)
                let job = server.communicationTimeSeconds + server.blockTimeSeconds * Double(count)
                counts.append(count)
                times.append(count > 0 ? 1000 * job / outputTokens / Double(count) : .infinity)
                let slots = cluster.cacheSlots(of: ServerIndex(number), hosting: count)
                sessions.append(count > 0 ? slots / count : 0)
                if count > 0 { longest = max(longest, times[number]) }
            }
            longest += 1
            weights = [Double](repeating: Double(designLoad) * longest, count: model.blockCount + 1)
        }

        mutating func place() -> Placement {
            for (number, range) in placement.ranges.enumerated() {
                if let range { hold(range, by: number) }
            }
            let order = counts.indices.filter { counts[$0] > 0 && placement.ranges[$0] == nil }.sorted {
                times[$0] != times[$1] ? times[$0] < times[$1] : $0 < $1
            }
            for number in order {
                let range = BlockRange(first: start(count: counts[number]), count: counts[number])
                placement.ranges[number] = range
                hold(range, by: number)
            }
            return placement
        }

        private mutating func hold(_ range: BlockRange, by number: Int) {
            for block in range.first..<range.end {
                let useful = min(max(designLoad - held[block], 0), sessions[number])
                weights[block] -= (longest - times[number]) * Double(useful)
                held[block] += sessions[number]
            }
        }

        /// First block of the window taken; ties: the smallest.
        private func start(count: Int) -> Int {
            let last = cluster.model.blockCount - count + 1
            if held.dropFirst().contains(where: { $0 < designLoad }) {
                var best: (first: Int, weight: Double)?
                for first in 1...last {
                    let window = first..<(first + count)
                    guard held[window].contains(where: { $0 < designLoad }) else { continue }
                    let weight = weights[window].reduce(0, +)
                    if weight > best?.weight ?? -.infinity { best = (first, weight) }
                }
                return best?.first ?? 1
            }
            var best = (first: 1, window: held[1...count].sorted())
            for first in 1...last {
                let window = held[first..<(first + count)].sorted()
                if window.lexicographicallyPrecedes(best.window) { best = (first, window) }
            }
            return best.first
        }
    }
}
