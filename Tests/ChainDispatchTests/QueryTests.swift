import ChainModel
import Testing

@testable import ChainDispatch

@Suite struct QueryTests {
    /// ν = 2·1 + 1·0.5 = 2.5 jobs per second.
    static let chains = [chain(0, capacity: 2), chain(1, seconds: 2)]

    @Test func availableRateFollowsTheServers() {
        var timeline = Timeline(Self.chains, allReady: false)
        #expect(timeline.dispatcher.availableRate == 0)
        #expect(timeline.dispatcher.mayRecover)
        timeline.play("ready 1")
        #expect(timeline.dispatcher.availableRate == 0.5)
        #expect(timeline.dispatcher.availableChainCount == 1)
        timeline.play("ready 0")
        #expect(timeline.dispatcher.availableRate == 2.5)
        timeline.play("lose 1")
        #expect(timeline.dispatcher.availableRate == 2)
        #expect(!timeline.dispatcher.isAvailable(ChainIndex(1)))
        timeline.play("lose 0")
        #expect(timeline.dispatcher.availableRate == 0)
        #expect(!timeline.dispatcher.mayRecover)
    }

    /// Each departure from the queue takes 1/ν = 0.4 s while all slots are busy.
    @Test func expectedWaitsCountDepartures() {
        var timeline = Timeline(Self.chains, queueLimit: 2)
        timeline.play("arrive 1 -> start 1#1@0\narrive 2 -> start 2#1@0")
        #expect(timeline.dispatcher.expectedWait() == .zero)
        timeline.play("arrive 3 -> start 3#1@1")
        #expect(timeline.dispatcher.expectedWait() == .seconds(0.4))
        #expect(timeline.dispatcher.expectedWaitForRoom() == .zero)
        timeline.play("arrive 4 -> queue 4+0\narrive 5 -> queue 5+1")
        #expect(timeline.dispatcher.queueRoom == 0)
        #expect(timeline.dispatcher.refusalOfArrival == .queueFull)
        #expect(timeline.dispatcher.expectedWait() == .seconds(1.2))
        #expect(timeline.dispatcher.expectedWaitForRoom() == .seconds(0.4))
    }

    /// Two jobs wait again ahead of two newcomers: three must leave, at the one rate 0.5 left, before there
    /// is room.
    @Test func jobsThatWaitAgainComeBeforeRoom() {
        var timeline = Timeline(Self.chains, queueLimit: 2)
        timeline.play(
            """
            arrive 1 -> start 1#1@0
            arrive 2 -> start 2#1@0
            arrive 3 -> start 3#1@1
            arrive 4 -> queue 4+0
            arrive 5 -> queue 5+1
            restart 0 -> abandon 1#1@0, abandon 2#1@0, queue 1+0, queue 2+1
            """)
        #expect(timeline.dispatcher.expectedWaitForRoom() == .seconds(6))
        #expect(timeline.dispatcher.expectedWait() == .seconds(10))
        timeline.play("restart 1 -> abandon 3#1@1, queue 3+2")
        #expect(timeline.dispatcher.expectedWaitForRoom() == nil)
        #expect(timeline.dispatcher.expectedWait() == nil)
        #expect(timeline.dispatcher.queueLength == 5)
        #expect(timeline.dispatcher.runningCount == 0)
    }

    @Test func withoutAQueueRoomIsASlot() {
        var timeline = Timeline([chain(0, capacity: 4, seconds: 2)], queueLimit: 0)
        #expect(timeline.dispatcher.expectedWaitForRoom() == .zero)
        for job in 1...4 { timeline.play("arrive \(job) -> start \(job)#1@0") }
        #expect(timeline.dispatcher.expectedWaitForRoom() == .seconds(0.5))
    }

    /// Rates 1 and 0.1, the slow chain from three waiting jobs on. A third would make the head start at
    /// once and then be behind one other. Behind three, all slots busy, lengths 4 and 3 pass at rate 1.1, 2
    /// and 1 at 1.
    @Test func expectedWaitsUseTheChainsThatTakeTheHead() {
        var timeline = Timeline(
            [chain(0), chain(1, seconds: 10)], rule: .jffcWait(thresholds: [1, 3]))
        timeline.play("arrive 1 -> start 1#1@0\narrive 2 -> queue 2+0")
        #expect(timeline.dispatcher.expectedWait() == .seconds(2))
        timeline.play("arrive 3 -> queue 3+1")
        #expect(timeline.dispatcher.expectedWait() == .seconds(2))
        timeline.play("arrive 4 -> start 2#1@1, queue 4+1\narrive 5 -> queue 5+2")
        #expect(timeline.dispatcher.expectedWait() == .seconds(2 / 1.1 + 2))
    }

    @Test func statesAndTimesOfJobs() {
        var timeline = Timeline([chain(0)])
        timeline.play("1s arrive 1 -> start 1#1@0\n2s arrive 2 -> queue 2+0")
        #expect(
            timeline.dispatcher.state(of: JobID(1))
                == .running(attempt: 1, ChainIndex(0), since: .seconds(1))
        )
        #expect(timeline.dispatcher.state(of: JobID(2)) == .waiting(attempts: 0, since: .seconds(2)))
        timeline.play("3s restart 0 -> abandon 1#1@0, queue 1+0")
        #expect(timeline.dispatcher.state(of: JobID(1)) == .waiting(attempts: 1, since: .seconds(3)))
        #expect(timeline.dispatcher.waitingJobs == [JobID(1), JobID(2)])
        timeline.play("4s ready 0 -> start 1#2@0\n5s finish 1#2 -> start 2#1@0")
        #expect(timeline.dispatcher.state(of: JobID(1)) == nil)
        #expect(timeline.dispatcher.jobs(on: ChainIndex(0)) == [JobID(2)])
        #expect(timeline.dispatcher.state(of: ServerIndex(0)) == .ready)
        #expect(!timeline.dispatcher.isDraining)
    }

    @Test func waitsThatNoDurationHoldsAreCut() {
        let slow = DispatchChain(
            servers: [ServerIndex(0)], capacity: 1, serviceTime: Duration(nanoseconds: .max))
        var timeline = Timeline([slow])
        for job in UInt64(1)...9 { timeline.dispatcher.handleIgnoringActions(.jobArrived(JobID(job))) }
        #expect(timeline.dispatcher.expectedWait() == .seconds(3.15e9))
    }

    @Test func plannedChainsConvert() {
        let planned = ServerChain(
            hops: [
                ChainHop(server: ServerIndex(3), firstBlock: 1, blockCount: 2),
                ChainHop(server: ServerIndex(1), firstBlock: 3, blockCount: 1),
            ], capacity: 5, serviceTimeSeconds: 0.25)
        #expect(DispatchChain(planned) == chain(3, 1, capacity: 5, seconds: 0.25))
    }
}

extension Dispatcher {
    fileprivate mutating func handleIgnoringActions(_ event: Event) {
        var actions: [Action] = []
        handle(event, at: .origin, into: &actions)
    }
}
