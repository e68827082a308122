import ChainModel
import Testing

/// The plan of the paper's example (section 3.1.4), written down by hand, and every way to break it.
@Suite struct CertificateTests {
    /// Sizes in units of 0.1 GB, `ε = 0.01`.
    static let cluster: Cluster = {
        let servers = [(20, 1.0), (30, 2.0), (20, 1.0), (20, 1.0), (20, 1.0)].enumerated().map {
            number, entry in
            Server(
                name: "s\(number + 1)", memory: ByteCount(entry.0), communicationTimeSeconds: entry.1,
                blockTimeSeconds: 0.01 * Double(number + 1))
        }
        return Cluster(
            model: ModelShape(
                name: "example", blockCount: 3, blockSize: ByteCount(10), cacheSize: ByteCount(1)),
            demand: Demand(arrivalRate: 0.45), servers: servers)
    }()

    static let plan: Plan = {
        func chain(_ hops: [(Int, Int)], _ time: Double) -> ServerChain {
            var next = 1
            var result: [ChainHop] = []
            for (server, count) in hops {
                result.append(ChainHop(server: ServerIndex(server), firstBlock: next, blockCount: count))
                next += count
            }
            return ServerChain(hops: result, capacity: 5, serviceTimeSeconds: time)
        }
        let rate = 5 / 3.05 + 5 / 3.1 + 5 / 3.12
        return Plan(
            modelName: "example", demand: cluster.demand, placementMethod: .gbpCR, capacityParameter: 1,
            tunedBy: .exact,
            placement: Placement(ranges: [
                BlockRange(first: 1, count: 1), BlockRange(first: 2, count: 2),
                BlockRange(first: 1, count: 1),
                BlockRange(first: 2, count: 1), BlockRange(first: 3, count: 1),
            ]),
            spareServers: [],
            chains: [
                chain([(0, 1), (1, 2)], 3.05), chain([(0, 1), (3, 1), (4, 1)], 3.1),
                chain([(2, 1), (3, 1), (4, 1)], 3.12),
            ],
            disjointChains: 2, totalCapacity: 15, totalServiceRate: rate, load: 0.45 / rate,
            loadTargetMet: true,
            meanResponseTime: MeanResponse(lower: 3.0501286, upper: 3.1199427, exact: 3.0505159),
            meanWaitingTime: 1e-12, waitProbability: 2.7e-11, unstable: nil,
            dispatch: DispatchPlan(rule: .jffc, thresholds: [1, 1, 1]))
    }()

    @Test func soundPlan() {
        #expect(Certificate.violations(of: Self.plan, for: Self.cluster).isEmpty)
    }

    struct Corruption: CustomTestStringConvertible {
        var testDescription: String
        var constraint: PlanViolation.Constraint
        var apply: @Sendable (inout Plan, inout Cluster) -> Void

        init(
            _ name: String, _ constraint: PlanViolation.Constraint,
            _ apply: @escaping @Sendable (inout Plan, inout Cluster) -> Void
        ) {
            testDescription = name
            self.constraint = constraint
            self.apply = apply
        }
    }

    static let placementCorruptions: [Corruption] = [
        Corruption("a server too many in the placement", .unknownServer) { plan, _ in
            plan.placement.ranges.append(nil)
        },
        Corruption("a chain over a server that does not exist", .unknownServer) { plan, _ in
            plan.chains[0].hops[0].server = ServerIndex(9)
        },
        Corruption("a range past the last block", .blockRange) { plan, _ in
            plan.placement.ranges[1] = BlockRange(first: 3, count: 2)
        },
        Corruption("a range before the first block", .blockRange) { plan, _ in
            plan.placement.ranges[0] = BlockRange(first: 0, count: 1)
        },
        Corruption("an empty range", .blockRange) { plan, _ in
            plan.placement.ranges[0] = BlockRange(first: 1, count: 0)
        },
        Corruption("a range whose end overflows", .blockRange) { plan, _ in
            plan.placement.ranges[4] = BlockRange(first: 3, count: Int.max)
        },
        Corruption("blocks beyond the memory", .memory) { plan, _ in
            plan.placement.ranges[2] = BlockRange(first: 1, count: 3)
        },
        Corruption("memory taken by compute buffers", .memory) { _, cluster in
            cluster.model.computeSize = ByteCount(11)
        },
        Corruption("a manual placement ignored", .manualPlacement) { _, cluster in
            cluster.manualPlacement.ranges[1] = BlockRange(first: 1, count: 2)
        },
        Corruption("a placed server called spare", .spareServers) { plan, _ in
            plan.spareServers = [ServerIndex(2)]
        },
        Corruption("a spare server left out", .spareServers) { plan, cluster in
            cluster.servers.append(cluster.servers[0])
            cluster.manualPlacement.ranges.append(nil)
            plan.placement.ranges.append(nil)
        },
        Corruption("more disjoint chains than blocks", .disjointChains) { plan, _ in plan.disjointChains = 3
        },
        Corruption("a negative number of disjoint chains", .disjointChains) { plan, _ in
            plan.disjointChains = -1
        },
    ]

    static let chainCorruptions: [Corruption] = [
        Corruption("no chains", .noChain) { plan, _ in plan.chains = [] },
        Corruption("a hop to a server without the next block", .link) { plan, _ in
            plan.chains[0].hops[1].server = ServerIndex(4)
        },
        Corruption("a hop to a server that hosts nothing more", .link) { plan, _ in
            plan.chains[1].hops[1].server = ServerIndex(2)
        },
        Corruption("a hop that starts elsewhere", .link) { plan, _ in plan.chains[0].hops[1].firstBlock = 3 },
        Corruption("a hop that stops early", .blocksComputed) { plan, _ in
            plan.chains[0].hops[1].blockCount = 1
        },
        Corruption("a chain that ends early", .coverage) { plan, _ in plan.chains[1].hops.removeLast() },
        Corruption("a chain without hops", .coverage) { plan, _ in plan.chains[1].hops = [] },
        Corruption("a capacity of zero", .capacity) { plan, _ in plan.chains[2].capacity = 0 },
        Corruption("a negative capacity", .capacity) { plan, _ in plan.chains[2].capacity = -5 },
        Corruption("one job too many", .slots) { plan, _ in plan.chains[0].capacity = 6 },
        Corruption("a capacity that overflows", .slots) { plan, _ in plan.chains[0].capacity = Int.max },
        Corruption("a wrong service time", .serviceTime) { plan, _ in
            plan.chains[1].serviceTimeSeconds = 3.1001
        },
        Corruption("a service time that is no number", .serviceTime) { plan, _ in
            plan.chains[1].serviceTimeSeconds = .nan
        },
        Corruption("chains out of order", .chainOrder) { plan, _ in plan.chains.swapAt(0, 2) },
    ]

    static let totalCorruptions: [Corruption] = [
        Corruption("a wrong total capacity", .totalCapacity) { plan, _ in plan.totalCapacity = 14 },
        Corruption("a wrong total rate", .totalServiceRate) { plan, _ in plan.totalServiceRate *= 1.000001 },
        Corruption("a wrong load", .load) { plan, _ in plan.load = 0.1 },
        Corruption("another arrival rate", .load) { plan, _ in plan.demand.arrivalRate = 0.46 },
        Corruption("a met target called missed", .loadTarget) { plan, _ in plan.loadTargetMet = false },
        Corruption("a missed target called met", .loadTarget) { plan, _ in plan.demand.loadTarget = 0.05 },
        Corruption("a lower bound above the exact mean", .meanResponseTime) { plan, _ in
            plan.meanResponseTime.lower = 3.06
        },
        Corruption("an upper bound below the exact mean", .meanResponseTime) { plan, _ in
            plan.meanResponseTime.upper = 3.0502
        },
        Corruption("a mean below the fastest chain", .meanResponseTime) { plan, _ in
            plan.meanResponseTime.lower = 3.04
        },
        Corruption("a lower bound that is too low", .meanResponseTime) { plan, _ in
            plan.meanResponseTime.lower = 3.0501
        },
        Corruption("an upper bound that is too high", .meanResponseTime) { plan, _ in
            plan.meanResponseTime.upper = 3.2
        },
        Corruption("a missing mean", .meanResponseTime) { plan, _ in plan.meanResponseTime.exact = nil },
        Corruption("a probability above one", .meanResponseTime) { plan, _ in plan.waitProbability = 1.5 },
        Corruption("a wait longer than the response", .meanResponseTime) { plan, _ in plan.meanWaitingTime = 4
        },
        Corruption("a stable plan called unstable", .meanResponseTime) { plan, _ in plan.unstable = "why not"
        },
        Corruption("means at a load above one", .meanResponseTime) { plan, _ in
            plan.demand.arrivalRate = 50
            plan.load = 50 / plan.totalServiceRate
            plan.loadTargetMet = false
        },
        Corruption("thresholds under JFFC", .thresholds) { plan, _ in plan.dispatch.thresholds = [1, 1, 2] },
        Corruption("a threshold too few", .thresholds) { plan, _ in plan.dispatch.thresholds = [1, 1] },
        Corruption("a first threshold above one", .thresholds) { plan, _ in
            plan.dispatch = DispatchPlan(rule: .jffcWait, thresholds: [2, 2, 2])
        },
        Corruption("falling thresholds", .thresholds) { plan, _ in
            plan.dispatch = DispatchPlan(rule: .jffcWait, thresholds: [1, 3, 2])
        },
    ]

    @Test(arguments: placementCorruptions + chainCorruptions + totalCorruptions)
    func corruption(_ corruption: Corruption) {
        var plan = Self.plan
        var cluster = Self.cluster
        corruption.apply(&plan, &cluster)
        let found = Certificate.violations(of: plan, for: cluster)
        #expect(found.contains { $0.constraint == corruption.constraint }, "found only \(found)")
    }

    /// What the names of a file break is found where the file is read.
    @Test func everyConstraintIsProvoked() {
        let byNames: Set<PlanViolation.Constraint> = [.duplicateServer, .placementOrder]
        let provoked = Set(
            (Self.placementCorruptions + Self.chainCorruptions + Self.totalCorruptions).map(\.constraint))
        #expect(provoked.union(byNames) == Set(PlanViolation.Constraint.allCases))
    }

    @Test func messagesNameTheServer() {
        var plan = Self.plan
        plan.chains[0].capacity = 6
        let messages = Certificate.violations(of: plan, for: Self.cluster).map(\.description)
        #expect(messages.contains { $0.contains("slots") && $0.contains("s2") && $0.contains("12") })
    }
}

@Suite struct ClusterTests {
    @Test func slotsAreExact() {
        let model = ModelShape(name: "m", blockCount: 9, blockSize: ByteCount(10), cacheSize: ByteCount(3))
        let server = Server(
            name: "s", memory: ByteCount(32), communicationTimeSeconds: 0, blockTimeSeconds: 0)
        var cluster = Cluster(model: model, demand: Demand(arrivalRate: 1), servers: [server])
        #expect(
            [0, 1, 2, 3, 4].map { cluster.cacheSlots(of: ServerIndex(0), hosting: $0) } == [10, 7, 4, 0, 0])
        #expect(cluster.cacheSlots(of: ServerIndex(0), hosting: Int.max) == 0)
        cluster.model.computeSize = ByteCount(3)
        #expect(cluster.cacheSlots(of: ServerIndex(0), hosting: 2) == 3)
        cluster.model.computeSize = ByteCount(40)
        #expect(cluster.blockMemory(of: ServerIndex(0)) == .zero)
    }

    @Test func reservedSlots() {
        let slots = (0..<5).map { CertificateTests.plan.reservedSlots(of: ServerIndex($0)) }
        #expect(slots == [10, 10, 5, 10, 10])
    }
}
