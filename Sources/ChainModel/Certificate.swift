/// Re-derives every constraint of a plan from the cluster alone.
///
/// Shares no code with the planner: an error there cannot hide here. Comparisons of real numbers allow a relative
/// difference of 1e-9; everything in bytes, blocks and slots is exact.
public struct Certificate {
    /// Relative difference that rounding may make.
    static let tolerance = 1e-9

    private let cluster: Cluster
    let plan: Plan
    private var violations: [PlanViolation] = []

    /// All violations, in the order: placement, chains, totals, predictions. Empty for a sound plan.
    /// - Complexity: O(J + total hops).
    public static func violations(of plan: Plan, for cluster: Cluster) -> [PlanViolation] {
        guard plan.placement.ranges.count == cluster.servers.count else {
            let message = "\(plan.placement.ranges.count) ranges for \(cluster.servers.count) servers"
            return [PlanViolation(.unknownServer, message)]
        }
        for chain in plan.chains {
            for hop in chain.hops where !cluster.servers.indices.contains(hop.server.rawValue) {
                let message = "a chain uses server number \(hop.server.rawValue) of \(cluster.servers.count)"
                return [PlanViolation(.unknownServer, message)]
            }
        }
        var certificate = Certificate(cluster: cluster, plan: plan)
        certificate.checkPlacement()
        // Chains over ranges that do not exist have no meaning.
        let hasRanges = !certificate.violations.contains { $0.constraint == .blockRange }
        guard hasRanges else { return certificate.violations }
        certificate.checkChains()
        certificate.checkSlots()
        certificate.checkTotals()
        certificate.checkPredictions()
        certificate.checkThresholds()
        return certificate.violations
    }

    private init(cluster: Cluster, plan: Plan) {
        self.cluster = cluster
        self.plan = plan
    }

    mutating func report(_ constraint: PlanViolation.Constraint, _ message: String) {
        violations.append(PlanViolation(constraint, message))
    }

    static func agree(_ given: Double, _ derived: Double) -> Bool {
        (given - derived).magnitude <= tolerance * max(given.magnitude, derived.magnitude)
    }

    // MARK: Placement

    private mutating func checkPlacement() {
        var spare: [ServerIndex] = []
        var placed = 0
        for (position, server) in cluster.servers.enumerated() {
            let index = ServerIndex(position)
            if let fixed = cluster.manualPlacement[index], plan.placement[index] != fixed {
                report(
                    .manualPlacement,
                    "\(server.name) is fixed to \(fixed.text) but hosts \(plan.placement[index]?.text ?? "nothing")"
                )
            }
            guard let range = plan.placement[index] else {
                spare.append(index)
                continue
            }
            if checkRange(range, of: index) { placed += range.count }
        }
        if plan.spareServers != spare {
            let names = spare.map { cluster[$0].name }.joined(separator: ", ")
            report(.spareServers, "the servers that host nothing are [\(names)]")
        }
        let most = placed / cluster.model.blockCount
        if plan.disjointChains < 0 || plan.disjointChains > most {
            report(
                .disjointChains,
                "\(plan.disjointChains) disjoint chains, but \(placed) placed blocks make at most \(most)")
        }
    }

    /// Whether the range lies within the model.
    private mutating func checkRange(_ range: BlockRange, of server: ServerIndex) -> Bool {
        let name = cluster[server].name
        let blockCount = cluster.model.blockCount
        // Written so that no sum overflows for a hostile file.
        guard range.first >= 1, range.count >= 1, range.first <= blockCount,
            range.count <= blockCount - range.first + 1
        else {
            report(
                .blockRange,
                "\(name): first block \(range.first), \(range.count) blocks; the model has 1 … \(blockCount)")
            return false
        }
        let memory = cluster[server].memory.rawValue - cluster.model.computeSize.rawValue
        let (needed, overflow) = cluster.model.blockSize.rawValue.multipliedReportingOverflow(by: range.count)
        if overflow || needed > memory {
            report(.memory, "\(name): \(range.count) blocks need \(needed) bytes of \(memory) (eq. 1)")
        }
        return true
    }

    // MARK: Chains

    private mutating func checkChains() {
        if plan.chains.isEmpty { report(.noChain, "no chain serves the model") }
        var previousTime = -Double.infinity
        for (position, chain) in plan.chains.enumerated() {
            checkPath(chain, number: position + 1)
            if chain.capacity < 1 {
                report(.capacity, "chain \(position + 1) has capacity \(chain.capacity)")
            }
            let derived = chain.hops.reduce(0.0) { sum, hop in
                let server = cluster[hop.server]
                return sum + server.communicationTimeSeconds + server.blockTimeSeconds
                    * Double(hop.blockCount)
            }
            if !Self.agree(chain.serviceTimeSeconds, derived) {
                report(
                    .serviceTime,
                    "chain \(position + 1) says \(chain.serviceTimeSeconds) s, its hops make \(derived) s (eq. 2)"
                )
            }
            if chain.serviceTimeSeconds < previousTime * (1 - Self.tolerance) {
                report(.chainOrder, "chain \(position + 1) is faster than the one before it")
            }
            previousTime = chain.serviceTimeSeconds
        }
    }

    /// Links, blocks computed at each hop, and coverage of all blocks.
    private mutating func checkPath(_ chain: ServerChain, number: Int) {
        var next = 1
        for hop in chain.hops {
            let name = cluster[hop.server].name
            guard let range = plan.placement[hop.server], range.contains(next), hop.firstBlock == next else {
                let hosted = plan.placement[hop.server]?.text ?? "nothing"
                report(.link, "chain \(number) needs block \(next) at \(name), which hosts \(hosted)")
                return
            }
            guard hop.blockCount == range.end - next else {
                report(
                    .blocksComputed,
                    "chain \(number) computes \(hop.blockCount) blocks at \(name) from block \(next), "
                        + "to the end of its range it is \(range.end - next)")
                return
            }
            next = range.end
        }
        if next != cluster.model.blockCount + 1 {
            report(.coverage, "chain \(number) ends before block \(next) of \(cluster.model.blockCount)")
        }
    }

    /// Slot conservation: what all chains may hold at once fits beside the blocks (eqs. 1 and 3).
    private mutating func checkSlots() {
        var used = [Int](repeating: 0, count: cluster.servers.count)
        for chain in plan.chains {
            for hop in chain.hops {
                let (product, first) = hop.blockCount.multipliedReportingOverflow(by: chain.capacity)
                let (sum, second) = used[hop.server.rawValue].addingReportingOverflow(product)
                used[hop.server.rawValue] = first || second ? Int.max : sum
            }
        }
        for (position, slots) in used.enumerated() where slots > 0 {
            let index = ServerIndex(position)
            let memory = cluster[index].memory.rawValue - cluster.model.computeSize.rawValue
            let hosted = plan.placement[index]?.count ?? 0
            let (blocks, first) = cluster.model.blockSize.rawValue.multipliedReportingOverflow(by: hosted)
            let (caches, second) = cluster.model.cacheSize.rawValue.multipliedReportingOverflow(by: slots)
            let (total, third) = blocks.addingReportingOverflow(caches)
            if first || second || third || total > memory {
                let room = first ? 0 : max(0, memory - blocks) / cluster.model.cacheSize.rawValue
                report(
                    .slots, "\(cluster[index].name): the chains take \(slots) cache slots of \(room) (eq. 3)")
            }
        }
    }

    // MARK: Totals

    private mutating func checkTotals() {
        var capacity = 0
        var rate = 0.0
        for chain in plan.chains {
            let (sum, overflow) = capacity.addingReportingOverflow(chain.capacity)
            capacity = overflow ? Int.max : sum
            rate += Double(chain.capacity) / chain.serviceTimeSeconds
        }
        if plan.totalCapacity != capacity {
            report(.totalCapacity, "says \(plan.totalCapacity), the chains make \(capacity)")
        }
        if !Self.agree(plan.totalServiceRate, rate) {
            report(
                .totalServiceRate, "says \(plan.totalServiceRate) 1/s, the chains make \(rate) 1/s (eq. 4)")
        }
        let load = plan.demand.arrivalRate / rate
        if !Self.agree(plan.load, load) {
            report(.load, "says \(plan.load), λ/ν is \(load)")
        }
        let target = plan.demand.loadTarget
        let nearlyEqual = Self.agree(load, target)
        if !nearlyEqual, plan.loadTargetMet != (load <= target) {
            report(
                .loadTarget,
                "says met: \(plan.loadTargetMet), but the load is \(load) and the target \(target)")
        }
    }

    // MARK: Predictions

    private mutating func checkPredictions() {
        let mean = plan.meanResponseTime
        let figures = [mean.lower, mean.upper, mean.exact, plan.meanWaitingTime, plan.waitProbability]
        let stable = plan.load < 1
        guard stable else {
            if figures.contains(where: { $0 != nil }) || plan.unstable == nil {
                report(
                    .meanResponseTime, "the load is \(plan.load): there is no mean, and `unstable` says why")
            }
            return
        }
        if plan.unstable != nil {
            report(.meanResponseTime, "`unstable` is set at load \(plan.load)")
        }
        guard let lower = mean.lower, let upper = mean.upper, let exact = mean.exact else {
            report(.meanResponseTime, "lower, upper and exact are all known at load \(plan.load)")
            return
        }
        let slack = 1 + Self.tolerance
        if !(lower <= exact * slack && exact <= upper * slack) {
            report(.meanResponseTime, "not lower ≤ exact ≤ upper: \(lower), \(exact), \(upper)")
        }
        checkBounds(lower: lower, upper: upper)
        if let probability = plan.waitProbability, !(0...1).contains(probability) {
            report(.meanResponseTime, "a wait probability of \(probability)")
        }
        if let wait = plan.meanWaitingTime, !(wait >= 0 && wait <= exact) {
            report(.meanResponseTime, "a mean wait of \(wait) s in a mean response of \(exact) s")
        }
    }

    private mutating func checkThresholds() {
        let thresholds = plan.dispatch.thresholds
        guard thresholds.count == plan.chains.count else {
            report(.thresholds, "\(thresholds.count) thresholds for \(plan.chains.count) chains")
            return
        }
        let ascending = zip(thresholds, thresholds.dropFirst()).allSatisfy { $0 <= $1 }
        if let first = thresholds.first, first != 1 || !ascending {
            report(.thresholds, "not 1 = n_1 ≤ n_2 ≤ …: \(thresholds)")
        }
        if plan.dispatch.rule == .jffc, thresholds.contains(where: { $0 != 1 }) {
            report(.thresholds, "JFFC has all thresholds 1, not \(thresholds)")
        }
    }
}

extension BlockRange {
    fileprivate var text: String { "\(count) blocks from \(first)" }
}
