import ChainModel
import ChainPlanning
import Testing

@testable import ChainOptimum

/// The solver, when it is installed; what it cannot do is said otherwise.
private let solver = try? HighsSolver()

@Suite struct SlotProgramTests {
    /// Two unequal servers that each hold the model, and one chain over both halves of it.
    private static func cluster(rate: Double) -> Cluster {
        let model = ModelShape(name: "m", blockCount: 2, blockSize: ByteCount(10), cacheSize: ByteCount(1))
        let servers = [(24, 1.0), (28, 2.0), (15, 0.5)].enumerated().map { number, entry in
            Server(
                name: "s\(number)", memory: ByteCount(entry.0), communicationTimeSeconds: entry.1,
                blockTimeSeconds: 0.1)
        }
        return Cluster(model: model, demand: Demand(arrivalRate: rate, loadTarget: 0.5), servers: servers)
    }

    private static var placement: Placement {
        Placement(ranges: [
            BlockRange(first: 1, count: 2), BlockRange(first: 1, count: 2), BlockRange(first: 2, count: 1),
        ])
    }

    @Test func program() {
        let cluster = Self.cluster(rate: 1)
        let chains = ExhaustivePlacements.chains(cluster, Self.placement)
        #expect(chains.map { $0.hops.map(\.server.rawValue) } == [[0], [1]])
        #expect(chains.map(\.capacity) == [2, 4])
        let slots = SlotProgram(cluster, placement: Self.placement, chains: chains)
        #expect(slots.requiredRate == 2)
        #expect(slots.program.rows.count == 3)
        #expect(slots.program.rows[1].upper == 4 && slots.program.rows[1].coefficients == [2])
        #expect(slots.trivialBound == 3)
        // Two at 1/1.2 and one at 1/2.2 make 2.12.
        #expect(slots.greedyJobs == 3)
    }

    @Test func everyPlacementOfATinyPool() {
        var count = 0
        ExhaustivePlacements.forEach(Self.cluster(rate: 1)) { _ in count += 1 }
        // Nothing, either block, or both; the third server holds one.
        #expect(count == 4 * 4 * 3)
        #expect(ExhaustivePlacements.count(Self.cluster(rate: 1)) == 48)
    }

    @Test func whatToInstall() throws {
        let error = #expect(throws: SolverError.self) { try HighsSolver(path: "/nowhere/libhighs.so") }
        #expect("\(try #require(error))".contains("pip install highsbox"))
    }

    @Test(.enabled(if: solver != nil, "HiGHS is not installed: skipped"))
    func knapsack() throws {
        let solver = try #require(solver)
        // min x + y, 3x + 2y ≥ 7, x ≤ 3: 3 at (1, 2) or (2, 1), relaxed 7/3.
        let rows = [
            IntegerProgram.Row(lower: 7, upper: .infinity, columns: [0, 1], coefficients: [3, 2]),
            IntegerProgram.Row(lower: 0, upper: 6, columns: [0], coefficients: [2]),
        ]
        let program = IntegerProgram(costs: [1, 1], rows: rows)
        #expect(try solver.solve(program)?.objective.rounded() == 3)
        #expect(abs((try solver.solve(program, relaxed: true)?.objective ?? 0) - 7.0 / 3) < 1e-9)
        var impossible = program
        impossible.rows.append(.init(lower: 0, upper: 1, columns: [1, 0], coefficients: [1, 1]))
        #expect(try solver.solve(impossible) == nil)
    }

    /// Against trying every `c` by hand.
    @Test(.enabled(if: solver != nil, "HiGHS is not installed: skipped"))
    func agreesWithExhaustion() throws {
        let solver = try #require(solver)
        for rate in stride(from: 0.1, to: 2.5, by: 0.2) {
            let cluster = Self.cluster(rate: rate)
            let chains = ExhaustivePlacements.chains(cluster, Self.placement)
            let slots = SlotProgram(cluster, placement: Self.placement, chains: chains)
            var best: Int?
            for first in 0...2 {
                for second in 0...4
                where Double(first) * chains[0].serviceRate + Double(second) * chains[1].serviceRate
                    >= slots.requiredRate
                {
                    best = min(best ?? .max, first + second)
                }
            }
            #expect(try slots.optimum(solver) == best)
            if let best, let relaxed = try slots.relaxation(solver) {
                #expect(relaxed <= Double(best) + 1e-9)
            }
        }
    }

    /// No plan is better than the best of all placements; GCA's chains need no fewer jobs than the joint
    /// optimum.
    @Test(.enabled(if: solver != nil, "HiGHS is not installed: skipped"))
    func jointOptimumBoundsThePlan() throws {
        let solver = try #require(solver)
        for rate in [0.1, 0.4, 0.8] {
            let cluster = Self.cluster(rate: rate)
            let joint = try JointOptimum(cluster, solver: solver)
            #expect(joint.placements == 48)
            let plan = try Planner.plan(cluster, options: PlanningOptions(useAllServers: true, improve: true))
            if let mean = plan.meanResponseTime.exact {
                #expect((joint.leastMean ?? .infinity) <= mean * (1 + 1e-9))
            }
            let program = SlotProgram(cluster, placement: plan.placement, chains: plan.chains)
            if let jobs = program.greedyJobs { #expect((joint.fewestJobs ?? .max) <= jobs) }
        }
    }
}
