import ChainModel
import Foundation
import Testing

@testable import ChainDispatch

private typealias Action = ControlPlane.Action

/// Servers: proofs, signs of life, losses, returns.
@Suite struct ControlServerTests {
    @Test func jobsRunOnceServersHaveProvedTheirBlocks() {
        var rig = ControlRig([[0, 1]], prove: false)
        #expect(rig.arrive(1) == [.queue(JobID(1), ahead: 0)])
        rig.send(.serverConnected(ServerIndex(0), rig.incarnation(0), holds: rig.holdings[0]))
        let wrong = rig.send(
            .serverConnected(ServerIndex(1), rig.incarnation(1), holds: RangeChecksum(7)))
        #expect(wrong == [.load(ServerIndex(1), rig.incarnation(1))])
        let right = rig.send(.serverLoaded(ServerIndex(1), rig.incarnation(1), rig.holdings[1]!))
        #expect(right == [.start(JobID(1), attempt: 1, ChainIndex(0))])
    }

    @Test func aLoadThatEndsWithTheWrongBlocksIsRefused() {
        var rig = ControlRig([[0]], prove: false)
        rig.arrive(1)
        rig.send(.serverConnected(ServerIndex(0), rig.incarnation(0), holds: nil))
        let actions = rig.send(.serverLoaded(ServerIndex(0), rig.incarnation(0), RangeChecksum(7)))
        #expect(actions == [.disconnect(ServerIndex(0), rig.incarnation(0))])
        // Sought again after the quarantine, not before.
        #expect(rig.wait(4.9).isEmpty)
        #expect(rig.wait(0.1).first == .connect(ServerIndex(0), rig.incarnation(0)))
    }

    @Test func aSilentServerIsNoticedWithinTwoSeconds() {
        var rig = ControlRig([[0], [1]])
        for start in 0..<20 {
            rig.wait(10 + Double(start) * 0.0371)
            rig.arrive(UInt64(start) + 1)
            rig.mute = [0]
            #expect(rig.wait(2).contains(.abandon(JobID(UInt64(start) + 1), attempt: 1)))
            rig.mute = []
            rig.wait(10)
            rig.send(.jobCompleted(JobID(UInt64(start) + 1), attempt: 2))
        }
    }

    @Test func aServerThatAnswersIsNeverTakenForDead() {
        var rig = ControlRig([[0]])
        rig.arrive(1)
        #expect(rig.wait(300).isEmpty)
    }

    @Test func aClosedConnectionIsNoticedAtOnce() {
        var rig = ControlRig([[0], [1]])
        rig.arrive(1)
        let actions = rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        #expect(
            actions == [.abandon(JobID(1), attempt: 1), .start(JobID(1), attempt: 2, ChainIndex(1))])
    }

    @Test func whatOldConnectionsReportIsDropped() {
        var rig = ControlRig([[0]])
        rig.wait(1)
        let old = rig.incarnation(0)
        rig.send(.serverLost(ServerIndex(0), old, .closed))
        rig.wait(1)
        #expect(rig.incarnation(0) != old)
        rig.arrive(1)
        #expect(rig.send(.serverLost(ServerIndex(0), old, .closed)).isEmpty)
        #expect(rig.send(.serverLeaving(ServerIndex(0), old)).isEmpty)
        #expect(
            rig.send(.jobFailed(JobID(1), attempt: 1, .server(ServerIndex(0), old, .malformed)))
                == [.start(JobID(1), attempt: 2, ChainIndex(0))])
        rig.mute = [0]
        rig.wait(1)
        // Signs of life of the old connection are none of the new one.
        for _ in 0..<10 {
            rig.send(.serverHeard(ServerIndex(0), old))
            rig.wait(0.1)
        }
        #expect(rig.plane.dispatcher.state(of: ServerIndex(0)) != .ready)
    }

    @Test func reconnectsBackOffToTheBound() {
        var rig = ControlRig([[0]], prove: false)
        var times: [Double] = []
        for _ in 0..<7 {
            let lost = rig.now
            rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .unreachable))
            while rig.wait(0.1).isEmpty {}
            times.append(((rig.now - lost).seconds * 10).rounded() / 10)
        }
        #expect(times == [0.2, 0.4, 0.8, 1.6, 2, 2, 2])
    }

    @Test func aStalledDriverDoesNotLoseTheServersItDidNotListenTo() {
        var rig = ControlRig([[0], [1]])
        rig.wait(5)
        rig.arrive(1)
        // Suspended for a minute: no timer went off.
        rig.now = rig.now + .seconds(60)
        #expect(rig.send(.tick).isEmpty)
        #expect(rig.wait(10).isEmpty)
        rig.mute = [0]
        #expect(rig.wait(2).contains(.abandon(JobID(1), attempt: 1)))
    }

    @Test func aClockThatGoesBackStandsStill() {
        var rig = ControlRig([[0]])
        rig.wait(5)
        let before = rig.plane.now
        rig.now = .origin
        rig.arrive(1)
        #expect(rig.plane.now == before)
    }

    @Test func aServerGoneForGoodIsReplacedByASpare() {
        var rig = ControlRig([[0]], spares: 1)
        rig.arrive(1)
        rig.mute = [0]
        rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        let actions = rig.wait(61)
        #expect(actions.contains(.recompose(excluding: [ServerIndex(0)], plan: 2)))
        // Newcomers wait meanwhile.
        #expect(rig.arrive(2) == [.queue(JobID(2), ahead: 1)])
        rig.holdings = [nil, RangeChecksum(55)]
        let installed = rig.send(
            .planInstalled(
                PlanInstallation(number: 2, chains: [ControlRig.chain([1])], checksums: rig.holdings)))
        #expect(installed.contains(.start(JobID(1), attempt: 2, ChainIndex(0))))
    }

    @Test func withoutHopeNewcomersAreRefusedAndAcceptedJobsWait() {
        var rig = ControlRig([[0]])
        rig.arrive(1, timeout: 100)
        rig.mute = [0]
        rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        rig.wait(61)
        rig.send(.recompositionFailed(plan: 2))
        guard case .refuse(_, let refusal)? = rig.arrive(2).first else {
            Issue.record("accepted without hope")
            return
        }
        #expect(refusal.reason == .noChain && refusal.reason.status == 503)
        #expect(rig.plane.dispatcher.queueLength == 1)
        rig.mute = []
        #expect(rig.wait(10).contains(.start(JobID(1), attempt: 2, ChainIndex(0))))
    }
}

/// Deadlines, limits, drains, restarts of the service.
@Suite struct ControlJobTests {
    @Test func aJobWithoutPathWaitsUntilItsDeadline() {
        var rig = ControlRig([[0]], prove: false)
        rig.mute = [0]
        rig.arrive(1, timeout: 5)
        #expect(!rig.wait(4.9).contains(.fail(JobID(1), .deadline)))
        #expect(rig.wait(0.1).contains(.fail(JobID(1), .deadline)))
    }

    @Test func aRunningJobOutlivesItsDeadlineUntilItWouldWait() {
        var rig = ControlRig([[0]])
        rig.arrive(1, timeout: 2)
        #expect(rig.wait(10).isEmpty)
        let actions = rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        #expect(actions == [.abandon(JobID(1), attempt: 1), .fail(JobID(1), .deadline)])
    }

    @Test func clientsAreLimitedApart() {
        var bounds = ControlConfiguration()
        bounds.clientLimit = 2
        var rig = ControlRig([[0]], capacity: 5, configuration: bounds)
        rig.arrive(1, client: 1)
        rig.arrive(2, client: 1)
        guard case .refuse(JobID(3), let refusal)? = rig.arrive(3, client: 1).first else {
            Issue.record("a third job of one client was accepted")
            return
        }
        #expect(refusal.reason == .clientLimit && refusal.retryAfter != nil)
        #expect(rig.arrive(4, client: 2) == [.start(JobID(4), attempt: 1, ChainIndex(0))])
        rig.send(.jobCompleted(JobID(1), attempt: 1))
        #expect(rig.arrive(5, client: 1) == [.start(JobID(5), attempt: 1, ChainIndex(0))])
    }

    @Test func aWaitLongerThanTheJobAllowsIsRefused() {
        var rig = ControlRig([[0]], seconds: 10)
        rig.arrive(1)
        rig.arrive(2)
        guard case .refuse(_, let refusal)? = rig.arrive(3, timeout: 15).first else {
            Issue.record("accepted although it cannot start in time")
            return
        }
        #expect(refusal.reason == .deadline && refusal.retryAfter == .seconds(5))
    }

    @Test func theQueueIsBoundedByPredictedWait() {
        var bounds = ControlConfiguration()
        bounds.waitLimit = .seconds(3.5)
        var rig = ControlRig([[0]], seconds: 1, configuration: bounds)
        for job in UInt64(1)...4 { rig.arrive(job) }
        guard case .refuse(_, let refusal)? = rig.arrive(5).first else {
            Issue.record("a wait of 4 s was accepted")
            return
        }
        #expect(refusal.reason == .queueFull && refusal.hasTicket)
    }

    @Test func aTicketKeepsAPlaceForItsHolderAlone() {
        var bounds = ControlConfiguration()
        bounds.queueLimit = 4
        var rig = ControlRig([[0]], configuration: bounds)
        for job in UInt64(1)...5 { rig.arrive(job) }
        guard case .refuse(_, let refusal)? = rig.arrive(6, holder: 60).first, refusal.hasTicket,
            let told = refusal.retryAfter
        else {
            Issue.record("no ticket")
            return
        }
        // Who comes early is told the rest of the time.
        rig.wait(1)
        guard case .refuse(_, let again)? = rig.arrive(7, holder: 60).first else {
            Issue.record("came early and was accepted")
            return
        }
        #expect(again.retryAfter == told - .seconds(1) && again.hasTicket)
        for job in UInt64(1)...3 { rig.send(.jobCompleted(JobID(job), attempt: 1)) }
        rig.wait(told.seconds - 1)
        #expect(rig.plane.ticketCount == 1)
        // Others come first, as many as may.
        for job in UInt64(10)...20 { rig.arrive(job) }
        let places = rig.plane.dispatcher.queueLength
        #expect(rig.arrive(21, holder: 60) == [.queue(JobID(21), ahead: places)])
        // It is used up.
        #expect(rig.plane.tickets.first(of: TicketHolder(60)) == nil)
    }

    @Test func aForeseenRefusalIsTheOneGivenAndChangesNothing() {
        var bounds = ControlConfiguration()
        bounds.queueLimit = 2
        bounds.ticketLimit = 2
        var rig = ControlRig([[0]], configuration: bounds)
        var kinds: Set<String> = []
        for job in UInt64(1)...8 {
            let arrival = JobArrival(job: JobID(job), client: ClientID(job), holder: TicketHolder(job))
            let before = rig.plane.ticketCount
            let foreseen = rig.plane.foreseenRefusal(of: arrival, at: rig.now)
            #expect(rig.plane.ticketCount == before)
            let actions = rig.send(.jobArrived(arrival))
            if case .refuse(_, let refusal)? = actions.first {
                #expect(foreseen?.refusal == refusal)
                #expect(foreseen?.isRecorded == (rig.plane.ticketCount > before))
                kinds.insert("\(refusal.reason)")
            } else {
                #expect(foreseen == nil)
                kinds.insert("accepted")
            }
        }
        #expect(kinds == ["accepted", "queueFull", "overloaded"])
    }

    @Test func ticketsExpireAndAreBounded() {
        var bounds = ControlConfiguration()
        bounds.queueLimit = 1
        bounds.ticketLimit = 3
        var rig = ControlRig([[0]], configuration: bounds)
        var outright = 0
        for job in UInt64(1)...8 {
            if case .refuse(_, let refusal)? = rig.arrive(job).first, !refusal.hasTicket {
                #expect(refusal.reason == .overloaded)
                outright += 1
            }
        }
        #expect(rig.plane.ticketCount == 3 && outright == 3)
        rig.wait(120)
        rig.arrive(20)
        #expect(rig.plane.ticketCount <= 1)
    }

    @Test func waitsBeyondTheLongestAreRefusedOutright() {
        var bounds = ControlConfiguration()
        bounds.queueLimit = 2
        var rig = ControlRig([[0]], seconds: 50, configuration: bounds)
        for job in UInt64(1)...3 { rig.arrive(job) }
        guard case .refuse(_, let refusal)? = rig.arrive(4).first else {
            Issue.record("accepted")
            return
        }
        #expect(refusal.reason == .overloaded && !refusal.hasTicket)
        #expect(refusal.retryAfter! > .seconds(120))
    }

    @Test func aDrainGivesUpWhatIsLeftAtItsDeadline() {
        var rig = ControlRig([[0]])
        rig.arrive(1)
        rig.arrive(2)
        #expect(rig.send(.drainStarted(within: .seconds(5))).isEmpty)
        guard case .refuse(_, let refusal)? = rig.arrive(3).first else {
            Issue.record("accepted while draining")
            return
        }
        #expect(refusal.reason == .draining)
        #expect(rig.wait(4.9).isEmpty)
        #expect(
            rig.wait(0.2) == [
                .fail(JobID(2), .drainDeadline), .abandon(JobID(1), attempt: 1),
                .fail(JobID(1), .drainDeadline), .drained,
            ])
    }

    @Test func restoredJobsGoOnInTheirOrder() {
        var rig = ControlRig([[0]])
        let deadline = rig.now + .seconds(100)
        #expect(
            rig.send(.jobRestored(JobID(4), ClientID(1), deadline: deadline, attempts: 2))
                == [.start(JobID(4), attempt: 3, ChainIndex(0))])
        #expect(
            rig.send(.jobRestored(JobID(6), ClientID(1), deadline: deadline, attempts: 0))
                == [.queue(JobID(6), ahead: 0)])
        #expect(rig.send(.jobRestored(JobID(5), ClientID(1), deadline: deadline, attempts: 0)).isEmpty)
        #expect(rig.arrive(7) == [.queue(JobID(7), ahead: 1)])
    }

    @Test func rearrangementsDoNotCountAsAttempts() {
        var bounds = ControlConfiguration()
        bounds.maximumAttempts = 2
        bounds.restPatience = .seconds(1)
        var rig = ControlRig([[0], [1]], configuration: bounds)
        rig.arrive(1)
        for _ in 0..<5 {
            rig.send(.rolloutStarted([ServerIndex(0), ServerIndex(1)]))
            rig.wait(20)
        }
        guard case .running(let attempt, _, _)? = rig.plane.dispatcher.state(of: JobID(1)) else {
            Issue.record("the job does not run any more")
            return
        }
        #expect(attempt > 2)
    }
}

/// Plans, rollouts, journals.
@Suite struct ControlPlanTests {
    @Test func chainsThatStayRunOnAndOthersMove() {
        var rig = ControlRig([[0], [1], [2]])
        for job in UInt64(1)...3 { rig.arrive(job) }
        rig.holdings[1] = RangeChecksum(77)
        let actions = rig.send(
            .planInstalled(
                PlanInstallation(
                    number: 5,
                    chains: [ControlRig.chain([2]), ControlRig.chain([0], capacity: 2, seconds: 3)],
                    checksums: [rig.holdings[0], rig.holdings[1], rig.holdings[2]])))
        #expect(
            actions == [
                .abandon(JobID(2), attempt: 1), .start(JobID(2), attempt: 2, ChainIndex(1)),
                .disconnect(ServerIndex(1), Incarnation(1)), .connect(ServerIndex(1), Incarnation(2)),
            ])
        #expect(
            rig.plane.dispatcher.state(of: JobID(3)) == .running(attempt: 1, ChainIndex(0), since: rig.now))
        // A plan of a lower number comes too late.
        #expect(
            rig.send(.planInstalled(PlanInstallation(number: 4, chains: [], checksums: rig.holdings)))
                .isEmpty)
    }

    @Test func aChainThatShrinksLetsTheYoungestGo() {
        var rig = ControlRig([[0]], capacity: 2)
        rig.arrive(1)
        rig.arrive(2)
        let actions = rig.send(
            .planInstalled(
                PlanInstallation(number: 2, chains: [ControlRig.chain([0])], checksums: rig.holdings)))
        #expect(actions == [.abandon(JobID(2), attempt: 1), .queue(JobID(2), ahead: 0)])
    }

    @Test func aPlanOlderThanTheOneAskedForIsDropped() {
        var rig = ControlRig([[0], [1]], spares: 1)
        #expect(
            rig.send(.serverLost(ServerIndex(1), rig.incarnation(1), .unfit))
                .contains(.recompose(excluding: [ServerIndex(1)], plan: 2)))
        #expect(
            rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .unfit))
                .contains(.recompose(excluding: [ServerIndex(0), ServerIndex(1)], plan: 3)))
        // Plan 2 still needs server 0.
        let late = PlanInstallation(
            number: 2, chains: [ControlRig.chain([0])], checksums: [rig.holdings[0], nil, nil])
        #expect(rig.send(.planInstalled(late)).isEmpty)
        #expect(rig.plane.plan.number == 1)
        let awaited = PlanInstallation(
            number: 3, chains: [ControlRig.chain([2])], checksums: [nil, nil, RangeChecksum(3)])
        rig.send(.planInstalled(awaited))
        #expect(rig.plane.plan.number == 3)
    }

    @Test func aMovedJobKeepsItsPlace() {
        var rig = ControlRig([[0], [1]])
        for job in UInt64(1)...4 { rig.arrive(job) }
        rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        #expect(rig.plane.dispatcher.waitingJobs == [JobID(1), JobID(3), JobID(4)])
    }

    @Test func aRolloutRestartsServersOneByOneAndFailsNothing() {
        var rig = ControlRig([[0], [1]])
        rig.arrive(1)
        rig.arrive(2)
        let list = [ServerIndex(0), ServerIndex(1)]
        #expect(rig.send(.rolloutStarted(list)).isEmpty)
        #expect(rig.wait(1).isEmpty)
        let incarnation = rig.incarnation(0)
        #expect(rig.send(.jobCompleted(JobID(1), attempt: 1)) == [.restart(ServerIndex(0), incarnation)])
        // Nothing new starts there, and the other one is left alone.
        #expect(rig.arrive(3) == [.queue(JobID(3), ahead: 0)])
        rig.send(.serverLost(ServerIndex(0), incarnation, .closed))
        let back = rig.wait(1)
        #expect(back.contains(.start(JobID(3), attempt: 1, ChainIndex(0))))
        #expect(!back.contains(.restart(ServerIndex(1), rig.incarnation(1))))
        let last = rig.incarnation(1)
        #expect(rig.send(.jobCompleted(JobID(2), attempt: 1)) == [.restart(ServerIndex(1), last)])
        rig.send(.serverLost(ServerIndex(1), last, .closed))
        #expect(rig.wait(1).contains(.rolloutEnded(skipped: [])))
    }

    @Test func aRolloutEndsWhenAServerDoesNotComeBack() {
        var rig = ControlRig([[0], [1]])
        rig.mute = [0]
        let list = [ServerIndex(0), ServerIndex(1)]
        #expect(rig.send(.rolloutStarted(list)) == [.restart(ServerIndex(0), rig.incarnation(0))])
        let actions = rig.wait(200)
        #expect(actions.contains(.rolloutEnded(skipped: list)))
    }

    @Test func whatIsReportedCountsBeforeTimers() {
        var rig = ControlRig([[0]])
        rig.wait(1)
        rig.arrive(1)
        rig.send(.rolloutStarted([ServerIndex(0)]))
        // The driver is late: when it reports the end, the job's time to be moved has come as well.
        rig.now = rig.now + .seconds(31)
        let actions = rig.send(.jobCompleted(JobID(1), attempt: 1))
        #expect(!actions.contains(.abandon(JobID(1), attempt: 1)))
        #expect(rig.plane.dispatcher.jobCount == 0)
    }

    @Test func aServerThatLeavesIsLetGoWhenItsJobsAreDone() {
        var rig = ControlRig([[0], [1]])
        rig.arrive(1)
        #expect(rig.send(.serverLeaving(ServerIndex(0), rig.incarnation(0))).isEmpty)
        let incarnation = rig.incarnation(0)
        #expect(rig.arrive(2) == [.start(JobID(2), attempt: 1, ChainIndex(1))])
        #expect(
            rig.send(.jobCompleted(JobID(1), attempt: 1)) == [.disconnect(ServerIndex(0), incarnation)])
    }

    @Test func aJournalReplaysAndADifferenceIsFound() throws {
        var rig = ControlRig([[0], [1]])
        for job in UInt64(1)...5 { rig.arrive(job) }
        rig.send(.serverLost(ServerIndex(0), rig.incarnation(0), .closed))
        rig.wait(5)
        rig.send(.jobCompleted(JobID(1), attempt: 2))
        let (bounds, count) = (rig.plane.configuration, 2)
        #expect(Replay.check(rig.journal, configuration: bounds, serverCount: count) == nil)
        // Through JSON and back.
        let text = try JSONEncoder().encode(rig.journal)
        let read = try JSONDecoder().decode([JournalRecord].self, from: text)
        #expect(read == rig.journal)
        var changed = rig.journal
        let position = try #require(
            changed.firstIndex { if case .jobArrived = $0.event { true } else { false } })
        changed[position].event = .jobCancelled(JobID(1))
        #expect(
            Replay.check(changed, configuration: bounds, serverCount: count)?.record.sequence
                == changed[position].sequence)
        var shortened = rig.journal
        shortened.remove(at: 3)
        #expect(
            Replay.check(shortened, configuration: bounds, serverCount: count)?.kind
                == .sequence(expected: 4))
    }
}
