import ChainModel
import ChainPlanning
import ChainSimulation
import Testing

@testable import ChainExperiments

@Suite struct Figure6Tests {
    @Test func gridOfThePaper() {
        let grid = Figure6.grid()
        #expect(grid.count == 16)
        #expect(Set(grid.map(\.serverCount)) == [10, 20, 30, 40])
        #expect(grid.allSatisfy { $0.arrivalRate == 0.2 && $0.requestCount == 300 })
    }

    @Test func namesTellSystemsApart() {
        for setting in PaperSetting.allCases.map(Figure6.Setting.init) + [.dissected()] {
            #expect(Set(setting.systems.map(\.name)).count == setting.systems.count)
            #expect(Set(setting.systems.map(\.title)).count == setting.systems.count)
            #expect(Set(setting.systems.map(\.family)).isSuperset(of: ["petals", "bprr", "proposed"]))
        }
    }

    @Test func requestsStartAtZeroAndStretchWithTheRate() {
        let slow = Figure6.requests(2000, rate: 0.2, seed: 9)
        let fast = Figure6.requests(2000, rate: 0.4, seed: 9)
        #expect(slow[0].arrival == 0)
        #expect(zip(slow, fast).allSatisfy { abs($0.arrival - 2 * $1.arrival) < 1e-6 && $0.size == $1.size })
        // 1999 gaps of mean 5 s; four standard errors are 9 %.
        #expect(abs((slow.last?.arrival ?? 0) / 1999 / 5 - 1) < 0.09)
        let sizes = slow.map { request -> Double in
            if case .multiple(let factor) = request.size { return factor }
            return .nan
        }
        #expect(abs(sizes.reduce(0, +) / 2000 - 1) < 0.09)
        #expect(zip(slow, slow.dropFirst()).allSatisfy { $0.arrival <= $1.arrival })
    }

    @Test func sameSeedSameRun() {
        let cell = Figure6.Cell(serverCount: 10, highShare: 0.3, requestCount: 40)
        let map = RoundTripMap.synthetic()
        let setting = Figure6.Setting(.published)
        let first = Figure6.run(setting, cell, run: 3, on: map)
        #expect(first == Figure6.run(setting, cell, run: 3, on: map))
        #expect(first != Figure6.run(setting, cell, run: 4, on: map))
        #expect(first != Figure6.run(setting, cell, run: 3, seed: 43, on: map))
        #expect(first.map(\.system) == setting.systems)
        #expect(first.allSatisfy { $0.infeasible == nil && $0.times.count == 40 })
    }

    /// 24 + 9·4 blocks are fewer than 70: never placed with the cap of 4, always without.
    @Test func infeasibleRunsAreCounted() {
        let cell = Figure6.Cell(serverCount: 10, highShare: 0.1, requestCount: 10)
        let map = RoundTripMap.synthetic()
        let coded = (0..<3).map { Figure6.run(Figure6.Setting(.asCoded), cell, run: $0, on: map) }
        let summaries = ComparedSummary.summarise(coded, proposed: .proposedAsCoded)
        #expect(summaries[0].infeasibleRuns == 3 && summaries[0].runs == 3)
        #expect(summaries[0].meanResponse.isNaN && summaries[0].reduction.isNaN)
        #expect(coded[0][0].infeasible?.contains("block") == true)
        #expect(summaries[2].infeasibleRuns == 0 && summaries[2].reduction == 0)
        let fair = Figure6.run(Figure6.Setting(.fair), cell, run: 0, on: map)
        #expect(fair.allSatisfy { $0.infeasible == nil })
    }

    /// Means of two runs, the second of which one system cannot serve.
    @Test func summariesCompareLikeWithLike() {
        func run(_ system: ComparedSystem, _ responses: [Double]?, wait: Double = 0) -> ComparedRun {
            var run = ComparedRun(system: system)
            guard let responses else {
                run.infeasible = "no"
                return run
            }
            for (number, response) in responses.enumerated() {
                run.times.append(
                    arrival: Double(number), wait: wait * Double(number), service: 1, response: response)
            }
            return run
        }
        let petals = ComparedSystem.petals(.sum)
        let runs = [
            [run(petals, [8, 12], wait: 100), run(.jffcOnly, [4, 6])],
            [run(petals, nil), run(.jffcOnly, [1, 1])],
        ]
        let summaries = ComparedSummary.summarise(runs, proposed: .jffcOnly)
        #expect(summaries[0].meanResponse == 10 && summaries[0].deviation.isNaN)
        #expect(summaries[0].infeasibleRuns == 1 && summaries[0].unstableRuns == 1)
        #expect(summaries[0].isUnstable && !summaries[1].isUnstable)
        // Over the first run alone: 1 − 5/10. Each over its own runs it would be 1 − 3/10.
        #expect(summaries[0].reduction == 0.5)
        #expect(summaries[1].meanResponse == 3)
        #expect(abs(summaries[1].deviation - 8.0.squareRoot()) < 1e-12)
        #expect(summaries[0].columns.map(\.name).contains("unstable_runs"))
    }

    /// Values of an independent implementation of the same description, on the measured round trips with its own
    /// random numbers: mean and deviation over 20 runs of `J` = 20, `η` = 0.2.
    @Test(.enabled(if: RipeAtlas.text != nil, "the measured round trips are not at ../shared/data: skipped"))
    func agreesWithAnIndependentImplementation() throws {
        let map = try RoundTripMap(ripeAtlas: try #require(RipeAtlas.text))
        let expected: [(system: ComparedSystem, mean: Double, deviation: Double)] = [
            (.petals(.sum), 12.1, 2.2), (.bprr(codedLoad: true, .loadShare), 14.6, 4.1),
            (.bprr(codedLoad: true, .release), 10.1, 1.2),
            (.bprr(codedLoad: true, .release, asap: true), 9.9, 1.2),
            (.proposed(.tuned(by: .lowerBound)), 7.5, 0.5), (.proposed(.fixed(7)), 7.5, 0.5),
        ]
        let setting = Figure6.Setting(
            name: "check", profile: .code, draw: .coded, systems: expected.map(\.system),
            proposed: .proposed(.fixed(7)))
        let cell = Figure6.Cell(serverCount: 20, highShare: 0.2)
        let runs = (0..<5).map { Figure6.run(setting, cell, run: $0, on: map) }
        let summaries = ComparedSummary.summarise(runs, proposed: setting.proposed)
        for (summary, value) in zip(summaries, expected) {
            let error = value.deviation * (1.0 / 20 + 1.0 / 5).squareRoot()
            #expect(abs(summary.meanResponse - value.mean) < 3.5 * error, "\(summary.system.name)")
        }
    }
}

@Suite struct Table1Tests {
    private let map = RoundTripMap.synthetic()

    /// One request every ten seconds, then 150 at once.
    private var trace: [Table1.TraceRequest] {
        (0..<20).map { .init(arrival: Double($0) * 10, inputTokens: 1000, outputTokens: 10) }
            + (0..<150).map { _ in .init(arrival: 300, inputTokens: 2000, outputTokens: 50) }
    }

    private func pool(_ profile: PaperProfile, high: Int) -> PaperPool {
        var generator = PaperStream(seed: 1, .servers)
        return PaperPool(
            .llama2x7B(profile), count: 9, highShare: Double(high) / 9, arrivalRate: 2.57, profile: profile,
            draw: .published, on: map, using: &generator)
    }

    /// 3·24 + 6·5 requests at once over whole models, as the paper has it.
    @Test func capacityOfWholeModels() throws {
        for profile in PaperProfile.allCases {
            let plan = try Planner.plan(
                pool(profile, high: 3).cluster, options: PlanningOptions(placement: .wholeModel))
            #expect(plan.totalCapacity == 102)
        }
        #expect(pool(.paper, high: 3).isHigh.filter { $0 }.count == 3)
    }

    /// The rounded cache size costs PETALS one of two requests on every server.
    @Test func roundedCacheHalvesPetals() {
        let parameters = { (pool: PaperPool) in
            PetalsParameters(
                blockSize: pool.model.petalsBlock, cacheSize: pool.model.petalsCache,
                reserve: pool.model.petalsReserve)
        }
        let exact = pool(.paper, high: 3)
        let rounded = pool(.code, high: 3)
        #expect(PetalsSystem(exact.routed, .init(placement: parameters(exact))).sessions == 2)
        #expect(PetalsSystem(rounded.routed, .init(placement: parameters(rounded))).sessions == 1)
    }

    @Test func burstsWaitWhereSlotsAreFew() throws {
        let runs = (0..<2).map { Table1.run(Table1.Setting(.fair), run: $0, trace: trace, on: map) }
        let rows = Table1.summarise(runs, petals: Table1.Setting(.fair).petals)
        let jffc = try #require(rows.first { $0.system == .jffcOnly })
        let petals = rows[0]
        #expect(petals.system.family == "petals" && petals.responseReduction == 0)
        let value = { (row: Table1.Row, name: String) in row.means.first { $0.name == name }?.value ?? .nan }
        // 102 slots for 150 requests, so that the last wait for one service; 18 places under PETALS.
        #expect(value(jffc, "max_wait") > 0 && value(jffc, "median_wait") == 0)
        #expect(value(petals, "max_wait") > 3 * value(jffc, "max_wait"))
        #expect(jffc.waitReduction > 0.5 && jffc.responseReduction > 0)
        #expect(value(jffc, "requests") == 170)
        #expect(rows.allSatisfy { $0.infeasibleRuns == 0 })
        // Service of the shortest by hand is not below that of 32 blocks on a fast server.
        let fast = PaperDevice.high(.paper).times(.llama2x7B(.paper), roundTrip: 0)
        #expect(
            value(jffc, "min_service") > fast.communication(input: 1000, output: 10)
                + 32 * fast.block(input: 1000, output: 10))
    }

    @Test func onlyTheFirstThousandRequests() {
        let long = (0..<1100).map {
            Table1.TraceRequest(arrival: Double($0), inputTokens: 100, outputTokens: 2)
        }
        let runs = Table1.run(Table1.Setting(.published), run: 0, trace: long, on: map)
        #expect(runs.allSatisfy { $0.times.count == 1000 })
        let again = Table1.run(Table1.Setting(.published), run: 0, trace: long, on: map)
        #expect(runs == again)
    }

    /// The programs' rate is above what nine servers complete: nothing there may be read as a steady state.
    @Test func codedRateIsUnstable() {
        let runs = Table1.run(Table1.Setting(.asCoded), run: 0, trace: [], on: map)
        let jffc = runs.first { $0.system == .jffcOnly }
        #expect(jffc?.load ?? 0 > 1 && jffc?.isUnstable == true)
        #expect(runs.last?.infeasible != nil)
        #expect(jffc?.times.count == 300)
    }

    @Test func stretchedServiceIsLonger() {
        let plain = Table1.run(Table1.Setting(.published), run: 0, trace: Array(trace.prefix(5)), on: map)
        let stretched = Table1.run(
            Table1.Setting.stretched(.published), run: 0, trace: Array(trace.prefix(5)), on: map)
        for (one, other) in zip(plain, stretched) where one.system == .jffcOnly {
            let ratio = other.times.meanService / one.times.meanService
            #expect(abs(ratio - Table1.publishedStretch) < 1e-9)
        }
    }
}
