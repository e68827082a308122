import ChainModel

/// A lower bound on the mean response of everything that can be composed with given block counts, before any of it is.
///
/// A job in service holds `L` cache slots, one for each block. Where it takes `m_ij ≤ m_j` blocks of server `j` it spends
/// `τc_j + τp_j·m_ij ≥ m_ij·t̃_j` there, with the amortized time `t̃_j = τc_j/m_j + τp_j` (eq. 8): no less than `t̃_j`
/// for each slot. So `n` jobs complete at a rate `Σ 1/T_i` of at most
///
///     g(n) = 1/(t_1 + … + t_L) + 1/(t_{L+1} + … + t_{2L}) + …      (n terms; t_1 ≤ t_2 ≤ … the slots' times)
///
/// whatever the chains are: sharing the slots out in order makes the sums as unequal as they can be, and `1/T` is convex.
/// `g` is concave, so in a steady state, in which jobs complete at rate `λ`, `λ ≤ E g(N) ≤ g(E N)` (Jensen): `E N` is at
/// least the `n` with `g(n) = λ`, and Little's law turns it into a mean response time.
struct SlotBound {
    /// Lower bound on the mean response time of any rule that does not preempt, seconds; infinite where `g` stays below `λ`.
    let meanResponseTime: Double
    /// Upper bound on the total service rate of any set of chains, 1/s.
    let totalRate: Double

    /// - Parameter shares: the slots of each server, in increasing order of `t̃_j`.
    /// - Complexity: O(number of servers + number of jobs they hold).
    init(_ shares: some Sequence<Share>, blockCount: Int, arrivalRate: Double) {
        var rate = 0.0
        var jobs = 0.0
        var jobsNeeded: Double?
        /// What the job being put together has so far.
        var slots = 0
        var time = 0.0
        for share in shares {
            var left = share.slots
            while left > 0 {
                // Whole jobs on this server alone all take the same time.
                let whole = slots == 0 ? left / blockCount : 0
                let taken = whole > 0 ? whole * blockCount : min(left, blockCount - slots)
                left -= taken
                let jobTime: Double
                if whole > 0 {
                    jobTime = share.slotTime * Double(blockCount)
                } else {
                    slots += taken
                    time += share.slotTime * Double(taken)
                    guard slots == blockCount else { continue }
                    jobTime = time
                    (slots, time) = (0, 0)
                }
                let added = Double(max(1, whole))
                if jobsNeeded == nil, rate + added / jobTime >= arrivalRate {
                    jobsNeeded = jobs + (arrivalRate - rate) * jobTime
                }
                jobs += added
                rate += added / jobTime
            }
        }
        // What is left over, fewer than L slots, holds no job.
        totalRate = rate
        meanResponseTime = jobsNeeded.map { $0 / arrivalRate } ?? .infinity
    }

    /// Slots of one server.
    struct Share {
        var slots: Int
        /// `t̃_j`, seconds.
        var slotTime: Double
    }
}

extension SlotBound {
    /// The bound for all compositions of one run of Algorithm 1, wherever it stops.
    init(_ greedy: GreedyPlacement, _ cluster: Cluster) {
        // Algorithm 1 takes servers in increasing order of t̃ already; ranges fixed by hand come on top.
        var shares = greedy.steps.map { Share($0.server, $0.range.count, cluster) }
        var fixed: [Share] = []
        for (position, range) in cluster.manualPlacement.ranges.enumerated() {
            if let range { fixed.append(Share(ServerIndex(position), range.count, cluster)) }
        }
        if !fixed.isEmpty {
            shares += fixed
            shares.sort { $0.slotTime < $1.slotTime }
        }
        self.init(
            shares, blockCount: cluster.model.blockCount, arrivalRate: cluster.demand.arrivalRate)
    }
}

extension SlotBound.Share {
    fileprivate init(_ server: ServerIndex, _ blockCount: Int, _ cluster: Cluster) {
        slots = cluster.cacheSlots(of: server, hosting: blockCount)
        slotTime =
            cluster[server].communicationTimeSeconds / Double(blockCount) + cluster[server].blockTimeSeconds
    }
}
