import ChainModel
import Testing

@testable import ChainDispatch

private typealias Action = ControlPlane.Action

/// Demand that leaves the plan's rate, and plans that follow it.
@Suite struct ControlDemandTests {
    private static var configuration: ControlConfiguration {
        var configuration = ControlConfiguration()
        configuration.demand = DemandBounds()
        configuration.demand?.window = .seconds(100)
        return configuration
    }

    /// Questions asked while jobs arrive at these moments and end at once.
    private static func questions(
        _ rig: inout ControlRig, from first: UInt64, count: Int, gap: () -> Double
    ) -> [(rate: Double, plan: Int)] {
        var found: [(rate: Double, plan: Int)] = []
        for job in first..<first + UInt64(count) {
            rig.wait(gap())
            for action in rig.arrive(job) {
                if case .reconsider(let rate, _, let plan) = action { found.append((rate, plan)) }
            }
            rig.send(.jobCompleted(JobID(job), attempt: 1))
        }
        return found
    }

    @Test func demandThatChangesIsAskedAboutOnce() throws {
        var rig = ControlRig([[0]], capacity: 4, arrivalRate: 1, configuration: Self.configuration)
        let before = Self.questions(&rig, from: 1, count: 300) { 1 }
        #expect(before.isEmpty)
        let asked = Self.questions(&rig, from: 1000, count: 400) { 0.5 }
        let question = try #require(asked.first)
        #expect((1.2...2.2).contains(question.rate))
        // Asked again only because nobody answered within the time for that.
        let patience = Self.configuration.recompositionLimit.seconds
        #expect(Double(asked.count) <= 1 + 200 / patience)
        rig.send(.planKept(plan: rig.plane.nextPlanNumber - 1, arrivalRate: 2))
        let settled = Self.questions(&rig, from: 2000, count: 400) { 0.5 }
        #expect(settled.isEmpty)
        // Back to half of that, and to nearly nothing.
        let fewer = Self.questions(&rig, from: 3000, count: 200) { 1 }
        let less = try #require(fewer.first)
        #expect((0.9...1.6).contains(less.rate))
        rig.send(.planKept(plan: rig.plane.nextPlanNumber - 1, arrivalRate: 1))
        rig.wait(5000)
        let afterwards = Self.questions(&rig, from: 4000, count: 1) { 1 }
        let last = try #require(afterwards.first)
        #expect(last.rate > 0 && last.rate < 0.1)
        let replayed = Replay.check(rig.journal, configuration: Self.configuration, serverCount: 1)
        #expect(replayed == nil)
    }

    /// Exponential gaps at the planned rate, and bursts of three at the same mean rate, over a hundred windows. In long runs
    /// no window of Poisson arrivals in 10,000 raised a false alarm, and about one in 200 with bursts.
    @Test func chanceIsNotTakenForChange() {
        for burst in [1, 3] {
            var rig = ControlRig([[0]], capacity: 4, arrivalRate: 0.5, configuration: Self.configuration)
            var state = UInt64(7)
            var left = 0
            let asked = Self.questions(&rig, from: 1, count: 5000) {
                left -= 1
                if left > 0 { return 0.001 }
                left = burst
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                // The logarithm of a uniform number by its mean over halvings: an exponential gap without Foundation.
                var uniform = Double(state >> 11) / 9_007_199_254_740_992
                var gap = 0.0
                while uniform < 0.5 {
                    uniform *= 2
                    gap += 0.693_147_18
                }
                gap += 1 - uniform + (1 - uniform) * (1 - uniform) / 2
                return gap * 2 * Double(burst)
            }
            #expect(asked.count <= (burst == 1 ? 0 : 2), "bursts of \(burst): \(asked)")
        }
    }

    @Test func aPlanForAnotherRateLetsJobsRunOn() {
        var rig = ControlRig([[0], [1]], arrivalRate: 1, configuration: Self.configuration)
        _ = Self.questions(&rig, from: 1, count: 300) { 0.3 }
        rig.arrive(1000)
        let chains = rig.plane.plan.chains
        let next = PlanInstallation(
            number: rig.plane.nextPlanNumber - 1, chains: chains, thresholds: [1, 2],
            checksums: rig.holdings, arrivalRate: 3.3)
        #expect(rig.send(.planInstalled(next)).isEmpty)
        #expect(rig.plane.plan.thresholds == [1, 2])
        // The second chain now waits for a second job.
        #expect(rig.arrive(1001) == [.queue(JobID(1001), ahead: 0)])
        #expect(
            rig.arrive(1002) == [
                .start(JobID(1001), attempt: 1, ChainIndex(1)), .queue(JobID(1002), ahead: 0),
            ])
    }

    @Test func aLostServerComesBeforeDemand() {
        var rig = ControlRig([[0], [1]], spares: 1, arrivalRate: 1, configuration: Self.configuration)
        let asked = Self.questions(&rig, from: 1, count: 300) { 0.3 }
        #expect(!asked.isEmpty)
        let number = rig.plane.nextPlanNumber - 1
        rig.mute = [1]  // It does not come back.
        rig.send(.serverLost(ServerIndex(1), rig.incarnation(1), .unfit))
        #expect(!rig.plane.accepts(plan: number))
        let late = PlanInstallation(
            number: number, chains: rig.plane.plan.chains, checksums: rig.holdings, arrivalRate: 3)
        #expect(rig.send(.planInstalled(late)).isEmpty)
        #expect(rig.plane.plan.number == 1)
        // Nothing more is asked until the pool is whole again.
        let meanwhile = Self.questions(&rig, from: 2000, count: 300) { 0.3 }
        #expect(meanwhile.isEmpty)
    }

    /// Four times what one slot serves: most are refused, and those with a ticket come again, which is not more demand.
    @Test func whoComesAgainIsCountedOnce() {
        var configuration = Self.configuration
        configuration.queueLimit = 2
        func asked(again: Int) -> [Double] {
            var rig = ControlRig([[0]], arrivalRate: 4, configuration: configuration)
            var rates: [Double] = []
            var job = UInt64(0)
            for holder in UInt64(1)...800 {
                rig.wait(0.25)
                var tries = 1 + again
                while tries > 0 {
                    tries -= 1
                    job += 1
                    var mayComeAgain = false
                    for action in rig.arrive(job, holder: holder) {
                        if case .reconsider(let rate, _, _) = action { rates.append(rate) }
                        if case .refuse(_, let refusal) = action { mayComeAgain = refusal.hasTicket }
                    }
                    if !mayComeAgain { tries = 0 }
                }
                if let running = rig.plane.dispatcher.runningJobs.first, holder.isMultiple(of: 4) {
                    rig.send(.jobCompleted(running, attempt: 1))
                }
            }
            return rates
        }
        #expect(asked(again: 0).isEmpty)
        #expect(asked(again: 3).isEmpty)
    }

    @Test func boundsThatCannotBeKeptAreNamed() {
        var configuration = Self.configuration
        configuration.demand?.window = .milliseconds(100)
        #expect(configuration.problem?.contains("window") == true)
        configuration.demand?.window = .seconds(10)
        configuration.demand?.leastChange = .nan
        #expect(configuration.problem?.contains("leastChange") == true)
    }
}
