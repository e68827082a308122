import ChainModel
import Testing

@testable import ChainPlanning

/// Against an independent implementation of the paper's algorithms. No golden instance depends on ties.
@Suite(.enabled(if: GoldenData.isPresent("composition.json"), Comment(rawValue: GoldenData.missing)))
struct GoldenCompositionTests {
    let instances: [GoldenData.Instance]

    init() throws {
        instances = try GoldenData.load(GoldenData.Compositions.self, from: "composition.json").instances
    }

    @Test func fixturesAreThere() { #expect(instances.count >= 12) }

    @Test func placement() throws {
        for instance in instances {
            let plan = try Planner.plan(
                instance.cluster, options: PlanningOptions(capacity: .fixed(instance.c)))
            var expected = [BlockRange?](repeating: nil, count: instance.servers.count)
            for (server, first) in instance.out.gbp_cr.a_1based {
                let index = try #require(Int(server))
                let count = try #require(instance.out.gbp_cr.m[server])
                expected[index] = BlockRange(first: first, count: count)
            }
            #expect(plan.placement.ranges == expected, "\(instance.id)")
            #expect(plan.disjointChains == instance.out.gbp_cr.K, "\(instance.id)")
        }
    }

    @Test func disjointChains() {
        for instance in instances {
            let cluster = instance.cluster
            let counts = BlockCapacity(cluster).blockCounts(capacity: instance.c)
            let greedy = GreedyPlacement(cluster, counts: counts, capacity: instance.c)
            var rate = 0.0
            for (chain, expected) in zip(greedy.chains, instance.out.gbp_cr.complete_chains) {
                rate += 1 / expected.T
                #expect(chain.servers.map(\.rawValue) == expected.servers, "\(instance.id)")
                #expect(difference(chain.accumulatedRate, rate) < 1e-12, "\(instance.id)")
            }
        }
    }

    @Test func allocation() throws {
        for instance in instances {
            let plan = try Planner.plan(
                instance.cluster, options: PlanningOptions(capacity: .fixed(instance.c)))
            let expected = instance.out.gca
            #expect(plan.chains.count == expected.chains.count, "\(instance.id)")
            for (chain, golden) in zip(plan.chains, expected.chains) {
                #expect(chain.hops.map(\.server.rawValue) == golden.servers, "\(instance.id)")
                #expect(chain.hops.map(\.blockCount) == golden.m_ij, "\(instance.id)")
                #expect(chain.capacity == golden.capacity, "\(instance.id)")
                #expect(difference(chain.serviceTimeSeconds, golden.T) < 1e-12, "\(instance.id)")
            }
            #expect(plan.totalCapacity == expected.C, "\(instance.id)")
            #expect(difference(plan.totalServiceRate, expected.nu) < 1e-12, "\(instance.id)")
        }
    }

    @Test func means() throws {
        var compared = 0
        for instance in instances {
            let plan = try Planner.plan(
                instance.cluster, options: PlanningOptions(capacity: .fixed(instance.c)))
            let mean = plan.meanResponseTime
            #expect((mean.lower == nil) == (instance.out.theorem4?.ET_lower == nil), "\(instance.id)")
            guard let bounds = instance.out.theorem4, let lower = bounds.ET_lower, let upper = bounds.ET_upper
            else {
                #expect(plan.unstable != nil, "\(instance.id)")
                continue
            }
            #expect(difference(mean.lower, lower) < 1e-9, "\(instance.id)")
            #expect(difference(mean.upper, upper) < 1e-9, "\(instance.id)")
            if let exact = instance.out.exact?.ET {
                #expect(difference(mean.exact, exact) < 1e-9, "\(instance.id)")
                compared += 1
            }
            if let wait = instance.out.exact?.P_wait {
                #expect(difference(plan.waitProbability, wait) < 1e-6, "\(instance.id)")
            }
        }
        #expect(compared >= 6)
    }

    /// Every `c` of the scan, not only those that tuning keeps.
    @Test func scan() {
        for instance in instances {
            let composer = Composer(instance.cluster)
            for row in instance.out.c_scan {
                guard let value = row[0].number, let chainCount = row[1].number, let met = row[2].flag else {
                    continue
                }
                let composition = composer.compose(capacity: Int(value))
                #expect(composition.disjointChains == Int(chainCount), "\(instance.id) c=\(value)")
                #expect(composition.reservedRateMet == met, "\(instance.id) c=\(value)")
                guard let rate = row[5].number else { continue }
                #expect(
                    Double(composition.allocation.chains.count) == row[3].number, "\(instance.id) c=\(value)")
                #expect(
                    Double(composition.allocation.totalCapacity) == row[4].number, "\(instance.id) c=\(value)"
                )
                #expect(
                    difference(composition.allocation.totalServiceRate, rate) < 1e-12,
                    "\(instance.id) c=\(value)")
                let chains = ParallelChains(composition.allocation.chains)
                let lower = ResponseBounds.lower(chains, arrivalRate: instance.lambda)
                #expect((lower == nil) == (row[6].number == nil), "\(instance.id) c=\(value)")
                if let lower, let golden = row[6].number {
                    #expect(difference(lower, golden) < 1e-9, "\(instance.id)")
                }
            }
        }
    }

    @Test(arguments: [
        (TuningCriterion.lowerBound, "theorem4_lower"),
        (.upperBound, "theorem4_upper (argmin over scan, smallest c on ties)"),
        (.surrogate, "surrogate_restricted_to_rate_met"),
    ])
    func tunedCapacity(criterion: TuningCriterion, key: String) throws {
        var compared = 0
        for instance in instances {
            guard let entry = instance.out.c_star[key], let expected = entry else { continue }
            let options = PlanningOptions(capacity: .tuned(by: criterion), ignoreLoadTarget: true)
            let plan = try Planner.plan(instance.cluster, options: options)
            #expect(plan.capacityParameter == expected, "\(instance.id)")
            #expect(plan.tunedBy == criterion)
            compared += 1
        }
        #expect(compared >= 6)
    }

    /// The greedy chains of instance 37 strand a server at `c = 1` and miss the rate that the reserved chains reach.
    @Test func reservedChainsWhereTheGreedyOnesFallShort() throws {
        var cluster = try #require(instances.first { $0.id.description == "37" }).cluster
        cluster.demand.arrivalRate = 0.143
        let plan = try Planner.plan(cluster, options: PlanningOptions(capacity: .fixed(1)))
        let greedy = CacheAllocation(cluster, placement: plan.placement)
        #expect(difference(greedy.totalServiceRate, 0.20040270120114298) < 1e-12)
        #expect(plan.totalServiceRate >= 0.143 / 0.7)
        #expect(plan.loadTargetMet)
        #expect(Certificate.violations(of: plan, for: cluster).isEmpty)
    }

    @Test func everyPlanIsCertified() throws {
        for instance in instances {
            for capacity in [
                PlanningOptions.Capacity.fixed(instance.c), .tuned(by: .exact), .tuned(by: .surrogate),
            ] {
                let plan = try Planner.plan(instance.cluster, options: PlanningOptions(capacity: capacity))
                #expect(Certificate.violations(of: plan, for: instance.cluster).isEmpty, "\(instance.id)")
            }
        }
    }
}
