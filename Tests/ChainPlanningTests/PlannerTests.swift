import ChainModel
import Testing

@testable import ChainPlanning

@Suite struct TuningTests {
    /// The tuned plan is the best over every `c`, within the best grade of load.
    @Test(arguments: [TuningCriterion.exact, .lowerBound, .upperBound])
    func bestOverEveryCapacity(criterion: TuningCriterion) throws {
        try forEachSeed(60) { seed, generator in
            var cluster = Cluster.random(servers: 2...7, blocks: 1...8, using: &generator)
            let total = Composer(cluster).compose(capacity: 1).allocation.totalServiceRate
            guard total > 0 else { return }
            cluster.demand.arrivalRate = total * Double.random(in: 0.2...1.05, using: &generator)
            for ignores in [false, true] {
                let plan = try Planner.plan(
                    cluster,
                    options: PlanningOptions(capacity: .tuned(by: criterion), ignoreLoadTarget: ignores))
                let all = try (1...Composer(cluster).largestFeasibleCapacity).compactMap {
                    capacity -> Plan? in
                    let options = PlanningOptions(capacity: .fixed(capacity))
                    do {
                        return try Planner.plan(cluster, options: options)
                    } catch PlanningError.noChain {
                        return nil
                    }
                }
                var candidates = all.filter(\.loadTargetMet)
                if candidates.isEmpty || ignores { candidates = all.filter { $0.unstable == nil } }
                guard !candidates.isEmpty else {
                    #expect(plan.totalServiceRate == all.map(\.totalServiceRate).max(), "seed \(seed)")
                    continue
                }
                func value(_ plan: Plan) -> Double {
                    switch criterion {
                    case .lowerBound: plan.meanResponseTime.lower ?? .infinity
                    case .upperBound: plan.meanResponseTime.upper ?? .infinity
                    default: plan.meanResponseTime.exact ?? .infinity
                    }
                }
                let best = candidates.map(value).min() ?? .infinity
                #expect(value(plan) <= best * (1 + 2e-9), "seed \(seed) ignores \(ignores)")
                let smallest = candidates.first { value($0) <= best * (1 + 1e-13) }
                #expect(plan.capacityParameter ?? .max <= smallest?.capacityParameter ?? 0, "seed \(seed)")
                #expect(ignores || plan.loadTargetMet || all.allSatisfy { !$0.loadTargetMet }, "seed \(seed)")
                #expect(Certificate.violations(of: plan, for: cluster).isEmpty, "seed \(seed)")
            }
        }
    }

    @Test func surrogateCountsReservedSlots() throws {
        try forEachSeed(60) { seed, generator in
            let cluster = Cluster.random(servers: 2...7, blocks: 1...8, using: &generator)
            let plan = try Planner.plan(cluster, options: PlanningOptions(capacity: .tuned(by: .surrogate)))
            var best: (capacity: Int, slots: Int)?
            for capacity in 1...Composer(cluster).largestFeasibleCapacity {
                guard let naive = NaiveComposition.placement(cluster, capacity: capacity), naive.rateMet
                else { continue }
                let slots = capacity * naive.chainCount
                if slots < best?.slots ?? .max { best = (capacity, slots) }
            }
            if let best { #expect(plan.capacityParameter == best.capacity, "seed \(seed)") }
        }
    }
}

@Suite struct PlannerTests {
    private static let fixedOne = PlanningOptions(capacity: .fixed(1))

    @Test func certifiedWhateverTheOptions() throws {
        try forEachSeed(120) { seed, generator in
            var cluster = Cluster.random(servers: 1...8, blocks: 1...10, using: &generator)
            for position in cluster.servers.indices where Int.random(in: 0..<4, using: &generator) == 0 {
                let fits = cluster.servers[position].memory.wholeUnits(of: cluster.model.blockSize)
                guard fits > 0 else { continue }
                let count = Int.random(in: 1...min(fits, cluster.model.blockCount), using: &generator)
                let first = Int.random(in: 1...(cluster.model.blockCount - count + 1), using: &generator)
                cluster.manualPlacement.ranges[position] = BlockRange(first: first, count: count)
            }
            for placement in PlacementMethod.allCases {
                for dispatch in DispatchRule.allCases {
                    do {
                        let plan = try Planner.plan(
                            cluster, options: PlanningOptions(placement: placement, dispatch: dispatch))
                        let violations = Certificate.violations(of: plan, for: cluster)
                        #expect(violations.isEmpty, "seed \(seed) \(placement) \(violations)")
                    } catch let error as PlanningError {
                        #expect(Self.isExpected(error), "seed \(seed) \(placement) \(error)")
                    }
                }
            }
        }
    }

    private static func isExpected(_ error: PlanningError) -> Bool {
        switch error {
        case .noChain, .modelDoesNotFit, .noServerHoldsWholeModel: true
        case .invalidInput(let text): text.contains("placed by hand")
        default: false
        }
    }

    /// A pool where the free servers alone do not cover the model: they fill the gap that the fixed one leaves.
    @Test func plannerFillsTheGapOfAManualPlacement() throws {
        let model = ModelShape(name: "m", blockCount: 4, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let servers = ["free-1", "fixed", "free-2"].map {
            Server(
                name: $0, memory: ByteCount($0 == "fixed" ? 30 : 15), communicationTimeSeconds: 1,
                blockTimeSeconds: 1)
        }
        var cluster = Cluster(model: model, demand: Demand(arrivalRate: 0.1), servers: servers)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 2, count: 2)
        let plan = try Planner.plan(cluster, options: Self.fixedOne)
        #expect(plan.placement.ranges.map { $0?.first } == [1, 2, 4])
        #expect(plan.disjointChains == 1)
        #expect(plan.chains.count == 1)
    }

    /// Of two fixed servers that host the block needed, the one that reaches further joins the chain.
    @Test func reservedChainsUseTheFixedServerThatReachesFurthest() {
        let model = ModelShape(name: "m", blockCount: 3, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let servers = [14, 28, 14].map {
            Server(name: "s\($0)", memory: ByteCount($0), communicationTimeSeconds: 1, blockTimeSeconds: 1)
        }
        var cluster = Cluster(model: model, demand: Demand(arrivalRate: 0.1), servers: servers)
        cluster.manualPlacement.ranges[0] = BlockRange(first: 1, count: 1)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 1, count: 2)
        let greedy = GreedyPlacement(cluster, counts: [0, 0, 1], capacity: 1)
        #expect(greedy.chains.map { $0.servers.map(\.rawValue) } == [[1, 2]])
    }

    @Test func manualPlacementAloneLeavesTheOthersSpare() throws {
        var cluster = Cluster.paperExample
        cluster.manualPlacement.ranges[0] = BlockRange(first: 1, count: 1)
        cluster.manualPlacement.ranges[1] = BlockRange(first: 2, count: 2)
        let plan = try Planner.plan(cluster, options: PlanningOptions(placement: .manual))
        #expect(plan.spareServers.map(\.rawValue) == [2, 3, 4])
        #expect(plan.chains.map(\.capacity) == [5])
        #expect(plan.capacityParameter == nil)
        #expect(plan.tunedBy == nil)
    }

    /// Section C of the experiments: nine servers of LLaMA-2-7B, three large and six small.
    @Test func wholeModelOnEveryServer() throws {
        let model = ModelShape(
            name: "llama-2-7b", blockCount: 32, blockSize: ByteCount(437_500_000),
            cacheSize: ByteCount(33_600_000))
        let servers = (0..<9).map { number in
            Server(
                name: "s\(number)", memory: ByteCount(number < 3 ? 40_000_000_000 : 20_000_000_000),
                communicationTimeSeconds: 0.1, blockTimeSeconds: number < 3 ? 0.0238 : 0.0466)
        }
        let cluster = Cluster(model: model, demand: Demand(arrivalRate: 2.57), servers: servers)
        let plan = try Planner.plan(cluster, options: PlanningOptions(placement: .wholeModel))
        #expect(plan.totalCapacity == 3 * 24 + 6 * 5)
        #expect(plan.chains.count == 9)
        #expect(plan.disjointChains == 9)
        #expect(plan.chains.allSatisfy { $0.hops.count == 1 })
    }

    @Test func poolThatCannotHoldTheModel() {
        var cluster = Cluster.paperExample
        cluster.servers.removeLast(3)
        cluster.model.blockCount = 9
        cluster.manualPlacement = Placement(ranges: [nil, nil])
        let error = #expect(throws: PlanningError.self) { try Planner.plan(cluster) }
        #expect(error == .modelDoesNotFit(blocksPlaceable: 3, blockCount: 9, missing: ByteCount(6 * 11)))
        #expect("\(error!)".contains("66 more bytes"))
    }

    @Test func manualPlacementWithAGap() {
        var cluster = Cluster.paperExample
        for position in cluster.servers.indices {
            cluster.manualPlacement.ranges[position] = BlockRange(first: 1, count: 1)
        }
        let error = #expect(throws: PlanningError.self) { try Planner.plan(cluster) }
        #expect(error == .noChain(firstMissingBlock: 2))
    }

    @Test func manualPlacementThatIsEmpty() {
        let error = #expect(throws: PlanningError.self) {
            try Planner.plan(.paperExample, options: PlanningOptions(placement: .manual))
        }
        #expect("\(error!)".contains("add `placement`"))
    }

    @Test(arguments: [0, -3, 1_000_000])
    func capacityOutOfRange(capacity: Int) {
        let error = #expect(throws: PlanningError.self) {
            try Planner.plan(.paperExample, options: PlanningOptions(capacity: .fixed(capacity)))
        }
        #expect(error == .capacityOutOfRange(requested: capacity, largest: 10))
    }

    @Test func chainsThatTakeNoTime() {
        var cluster = Cluster.paperExample
        for position in cluster.servers.indices {
            cluster.servers[position].communicationTimeSeconds = 0
            cluster.servers[position].blockTimeSeconds = 0
        }
        #expect(throws: PlanningError.chainTakesNoTime(servers: ["s1", "s2"])) { try Planner.plan(cluster) }
        // So little that the rate is not a number takes none either.
        for position in cluster.servers.indices {
            cluster.servers[position].communicationTimeSeconds = .leastNonzeroMagnitude
        }
        // In which order the servers come is a matter of rounding.
        #expect {
            try Planner.plan(cluster)
        } throws: { error in
            guard case .chainTakesNoTime(let servers)? = error as? PlanningError else { return false }
            return Set(servers) == ["s1", "s2"]
        }
        cluster.servers[0].blockTimeSeconds = 1e200
        #expect(throws: PlanningError.self) { try Planner.plan(cluster) }
    }

    /// Every slot of every chain is walked through: a cache size that is wrong by a unit must not take hours.
    @Test func moreJobsThanCanBeAnalysed() {
        var cluster = Cluster.paperExample
        cluster.servers[0].memory = ByteCount(1_000_000_000)
        let error = #expect(throws: PlanningError.self) { try Planner.plan(cluster) }
        #expect(error?.description.contains("cache_size") == true)
    }

    @Test(arguments: [Double.nan, 0, -1, .infinity])
    func arrivalRateThatIsNone(rate: Double) {
        var cluster = Cluster.paperExample
        cluster.demand.arrivalRate = rate
        #expect(throws: PlanningError.self) { try Planner.plan(cluster) }
    }

    @Test func notAvailableYet() {
        for options in [
            PlanningOptions(capacity: .tuned(by: .simulated))
        ] {
            let error = #expect(throws: PlanningError.self) {
                try Planner.plan(.paperExample, options: options)
            }
            guard case .unsupported(let text)? = error else {
                Issue.record("not refused: \(options)")
                continue
            }
            #expect(text.contains("use "))
        }
    }

    @Test func overload() throws {
        var cluster = Cluster.paperExample
        cluster.demand.arrivalRate = 50
        let plan = try Planner.plan(cluster)
        #expect(plan.unstable != nil)
        #expect(plan.meanResponseTime == MeanResponse())
        #expect(plan.meanWaitingTime == nil)
        #expect(!plan.loadTargetMet)
        #expect(Certificate.violations(of: plan, for: cluster).isEmpty)
    }
}

@Suite struct WaitThresholdTests {
    /// Optimal policies of a Markov decision process solved elsewhere, and the best thresholds below them.
    @Test(arguments: [
        ([1, 0.1], [3, 10], 2.5, 8, 2.01637), ([1, 0.1], [3, 10], 3.5, 5, 4.0985),
        ([0.13, 0.068], [7, 7], 0.9, 2, 9.3558),
    ])
    func knownOptima(rates: [Double], capacities: [Int], rate: Double, threshold: Int, mean: Double) throws {
        let chains = ParallelChains(rates: rates, capacities: capacities)
        let jffc = try #require(ExactAnalysis(chains, arrivalRate: rate))
        let choice = WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc)
        #expect(choice.thresholds == [1, threshold])
        #expect(difference(choice.analysis.meanResponseTime, mean) < 2e-5)
    }

    @Test func moreJobsWait() throws {
        let chains = ParallelChains(rates: [1, 0.1], capacities: [3, 10])
        let jffc = try #require(ExactAnalysis(chains, arrivalRate: 2.5))
        let choice = WaitThresholds.choose(chains, arrivalRate: 2.5, jffc: jffc)
        #expect(difference(jffc.waitProbability, 0.0977) < 1e-3)
        #expect(difference(choice.analysis.waitProbability, 0.645) < 1e-3)
    }

    /// Never worse than JFFC, and what is reported is what the thresholds give.
    @Test func neverWorse() throws {
        try forEachSeed(25) { seed, generator in
            let count = Int.random(in: 1...8, using: &generator)
            let rates = (0..<count).map { _ in Double.random(in: 0.02...1, using: &generator) }.sorted(by: >)
            let capacities = (0..<count).map { _ in Int.random(in: 1...8, using: &generator) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = chains.totalRate * Double.random(in: 0.1...0.95, using: &generator)
            let jffc = try #require(ExactAnalysis(chains, arrivalRate: rate))
            let choice = WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc)
            #expect(choice.analysis.meanResponseTime <= jffc.meanResponseTime, "seed \(seed)")
            #expect(choice.thresholds.first == 1 && choice.thresholds.count == count, "seed \(seed)")
            #expect(
                zip(choice.thresholds, choice.thresholds.dropFirst()).allSatisfy { $0 <= $1 }, "seed \(seed)")
            let again = try #require(ExactAnalysis(chains, arrivalRate: rate, thresholds: choice.thresholds))
            #expect(difference(again.meanJobs, choice.analysis.meanJobs) < 1e-9, "seed \(seed)")
        }
    }

    /// Small systems: no other thresholds up to 12 are better by more than the descent's step.
    @Test func bestOfAllSmallThresholds() throws {
        try forEachSeed(6) { seed, generator in
            let rates = [1, Double.random(in: 0.1...0.6, using: &generator), 0.08]
            let capacities = (0..<3).map { _ in Int.random(in: 1...3, using: &generator) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = chains.totalRate * Double.random(in: 0.3...0.8, using: &generator)
            let jffc = try #require(ExactAnalysis(chains, arrivalRate: rate))
            let choice = WaitThresholds.choose(chains, arrivalRate: rate, jffc: jffc)
            var best = Double.infinity
            for second in 1...12 {
                for third in second...24 {
                    let means = ExactAnalysis(chains, arrivalRate: rate, thresholds: [1, second, third])
                    best = min(best, means?.meanResponseTime ?? .infinity)
                }
            }
            #expect(choice.analysis.meanResponseTime <= best * 1.0002, "seed \(seed)")
        }
    }
}
