import ChainModel
import Testing

@testable import ChainDispatch

@Suite struct JobTimelines {
    @Test func arrivalsTakeTheFastestFreeChainThenTheQueueThenAreRefused() {
        var timeline = Timeline([chain(0, capacity: 2), chain(1, seconds: 2)], queueLimit: 2)
        timeline.play(
            """
            0.0s arrive 1   -> start 1#1@0
            0.1s arrive 2   -> start 2#1@0
            0.2s arrive 3   -> start 3#1@1
            0.3s arrive 4   -> queue 4+0
            0.4s arrive 5   -> queue 5+1
            0.5s arrive 6   -> refuse 6 queueFull
            1.0s finish 3#1 -> start 4#1@1
            1.1s arrive 7   -> queue 7+1
            1.2s finish 1#1 -> start 5#1@0
            1.3s finish 2#1 -> start 7#1@0
            1.4s finish 5#1
            1.5s finish 4#1
            1.6s arrive 8   -> start 8#1@0
            """)
        #expect(
            timeline.dispatcher.state(of: JobID(7))
                == .running(attempt: 1, ChainIndex(0), since: .seconds(1.3)))
        #expect(timeline.dispatcher.running(on: ChainIndex(1)) == 0)
    }

    @Test func equallyFastChainsFillInOrder() {
        var timeline = Timeline([chain(0), chain(1), chain(2)])
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> start 2#1@1
            finish 1#1
            arrive 3   -> start 3#1@0
            arrive 4   -> start 4#1@2
            """)
    }

    @Test func aQueueLimitOfZeroIsALossSystem() {
        var timeline = Timeline([chain(0)], queueLimit: 0)
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> refuse 2 queueFull
            retry 1#1  -> start 1#2@0
            arrive 3   -> refuse 3 queueFull
            finish 1#2
            arrive 4   -> start 4#1@0
            """)
    }

    @Test func staleAndUnknownReportsChangeNothing() {
        var timeline = Timeline([chain(0)], queueLimit: 1)
        timeline.play("arrive 1 -> start 1#1@0\narrive 2 -> queue 2+0\nretry 1#1 -> start 1#2@0")
        let before = timeline.dispatcher
        timeline.play(
            """
            finish 1#1
            retry 1#1
            break 1#3
            finish 2#0
            finish 2#1
            break 2#0
            finish 9#1
            cancel 9
            """)
        #expect(timeline.dispatcher == before)
    }

    @Test func aNumberThatDoesNotRiseIsADuplicate() {
        var timeline = Timeline([chain(0)], queueLimit: 0)
        timeline.play(
            """
            arrive 5   -> start 5#1@0
            arrive 5   -> refuse 5 duplicate
            arrive 6   -> refuse 6 queueFull
            finish 5#1
            arrive 4   -> refuse 4 duplicate
            arrive 5   -> refuse 5 duplicate
            arrive 6   -> refuse 6 duplicate
            arrive 7   -> start 7#1@0
            """)
    }

    @Test func failuresAreRetriedUpToTheBound() {
        var timeline = Timeline([chain(0)], attempts: 2)
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> queue 2+0
            retry 1#1  -> start 1#2@0
            retry 1#2  -> fail 1 attemptsExhausted, start 2#1@0
            break 2#1  -> fail 2 notRetryable
            """)
        #expect(timeline.dispatcher.jobCount == 0)
    }

    @Test func cancelFreesAtOnceWhereverTheJobIs() {
        var timeline = Timeline([chain(0)], queueLimit: 2)
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> queue 2+0
            arrive 3   -> queue 3+1
            cancel 2
            arrive 4   -> queue 4+1
            cancel 1   -> abandon 1#1@0, start 3#1@0
            finish 1#1
            cancel 4
            finish 3#1
            """)
        #expect(timeline.dispatcher.jobCount == 0)
    }

    @Test func aDrainFinishesWhatIsThereAndEndsOnce() {
        var timeline = Timeline([chain(0)])
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> queue 2+0
            drain
            arrive 3   -> refuse 3 draining
            arrive 2   -> refuse 2 duplicate
            finish 1#1 -> start 2#1@0
            drain
            retry 2#1  -> start 2#2@0
            finish 2#2 -> drained
            drain
            arrive 4   -> refuse 4 draining
            """)
        var idle = Timeline([chain(0)])
        idle.play("drain -> drained")
    }
}

@Suite struct ServerTimelines {
    @Test func jobsQueueWhileServersStart() {
        var timeline = Timeline([chain(0, 1), chain(1, 2, seconds: 2)], queueLimit: 2, allReady: false)
        timeline.play(
            """
            arrive 1 -> queue 1+0
            arrive 2 -> queue 2+1
            arrive 3 -> refuse 3 queueFull
            ready 0
            ready 2
            ready 1  -> start 1#1@0, start 2#1@1
            ready 1
            """)
    }

    @Test func aLossRequeuesAtTheHeadInOrderOfArrival() {
        var timeline = Timeline(
            [chain(0, 2), chain(1, 2, seconds: 2), chain(1, seconds: 3)], queueLimit: 1)
        timeline.play(
            """
            1s arrive 1   -> start 1#1@0
            2s arrive 2   -> start 2#1@1
            3s arrive 3   -> start 3#1@2
            4s arrive 4   -> queue 4+0
            5s finish 1#1 -> start 4#1@0
            6s arrive 5   -> queue 5+0
            7s restart 2  -> abandon 2#1@1, abandon 4#1@0, queue 2+0, queue 4+1
            8s arrive 6   -> refuse 6 queueFull
            9s finish 3#1 -> start 2#2@2
            10s restart 1 -> abandon 2#2@2, queue 2+0
            11s ready 2   -> start 2#3@0
            12s ready 1   -> start 4#2@1, start 5#1@2
            """)
        #expect(timeline.dispatcher.waitingJobs.isEmpty)
    }

    @Test func anAbandonedJobMayStartElsewhereAtOnce() {
        var timeline = Timeline([chain(0), chain(1, seconds: 2)])
        timeline.play(
            """
            arrive 1 -> start 1#1@0
            lose 0   -> abandon 1#1@0, start 1#2@1
            arrive 2 -> queue 2+0
            ready 0  -> start 2#1@0
            """)
    }

    @Test func lossesCountAsAttempts() {
        var timeline = Timeline([chain(0), chain(0, seconds: 2)], attempts: 2)
        timeline.play(
            """
            arrive 1  -> start 1#1@0
            restart 0 -> abandon 1#1@0, queue 1+0
            arrive 2  -> queue 2+1
            ready 0   -> start 1#2@0, start 2#1@1
            restart 0 -> abandon 1#2@0, abandon 2#1@1, fail 1 attemptsExhausted, queue 2+0
            """)
    }

    @Test func withoutHopeJobsFailAndArrivalsAreRefused() {
        var timeline = Timeline([chain(0, 1), chain(1, 2, seconds: 2)])
        timeline.play(
            """
            arrive 1  -> start 1#1@0
            arrive 2  -> start 2#1@1
            arrive 3  -> queue 3+0
            lose 0    -> abandon 1#1@0, queue 1+0
            restart 1 -> abandon 2#1@1, queue 2+1
            restart 1
            arrive 4  -> queue 4+3
            lose 2    -> fail 1 noChain, fail 2 noChain, fail 3 noChain, fail 4 noChain
            arrive 5  -> refuse 5 noChain
            restart 2
            arrive 6  -> queue 6+0
            lose 1    -> fail 6 noChain
            ready 1
            arrive 7  -> queue 7+0
            ready 2   -> start 7#1@1
            """)
    }

    @Test func aFinalLossFailsWhatItInterrupts() {
        var timeline = Timeline([chain(0, capacity: 2)], attempts: 1)
        timeline.play(
            """
            arrive 1 -> start 1#1@0
            drain
            lose 0   -> abandon 1#1@0, fail 1 attemptsExhausted, drained
            """)
        var retried = Timeline([chain(0, capacity: 2)], attempts: 2)
        retried.play(
            """
            arrive 1 -> start 1#1@0
            arrive 2 -> start 2#1@0
            arrive 3 -> queue 3+0
            lose 0   -> abandon 1#1@0, abandon 2#1@0, fail 1 noChain, fail 2 noChain, fail 3 noChain
            """)
    }

    @Test func noChainsAtAllRefuseEverything() {
        var timeline = Timeline([])
        timeline.play("arrive 1 -> refuse 1 noChain\ndrain -> drained")
        #expect(timeline.dispatcher.expectedWait() == nil)
    }
}

@Suite struct ThresholdTimelines {
    @Test func theHeadWaitsForAFasterChainUntilEnoughWait() {
        var timeline = Timeline(
            [chain(0), chain(1, seconds: 10), chain(2, seconds: 20)],
            rule: .jffcWait(thresholds: [1, 3, 3]))
        timeline.play(
            """
            arrive 1   -> start 1#1@0
            arrive 2   -> queue 2+0
            arrive 3   -> queue 3+1
            arrive 4   -> start 2#1@1, queue 4+1
            arrive 5   -> start 3#1@2, queue 5+1
            arrive 6   -> queue 6+2
            finish 2#1 -> start 4#1@1
            finish 3#1
            finish 1#1 -> start 5#1@0
            """)
    }

    @Test func allOnesIsJoinTheFastestFreeChain() {
        var timeline = Timeline(
            [chain(0), chain(1, seconds: 10)], rule: .jffcWait(thresholds: [1, 1]))
        timeline.play("arrive 1 -> start 1#1@0\narrive 2 -> start 2#1@1\narrive 3 -> queue 3+0")
    }

    @Test func theFastestAvailableChainTakesTheHeadWhateverItsThreshold() {
        var timeline = Timeline(
            [chain(0), chain(1, seconds: 10), chain(2, seconds: 20)],
            rule: .jffcWait(thresholds: [1, 4, 5]))
        timeline.play(
            """
            arrive 1  -> start 1#1@0
            arrive 2  -> queue 2+0
            restart 0 -> abandon 1#1@0, start 1#2@1
            arrive 3  -> queue 3+1
            restart 1 -> abandon 1#2@1, start 1#3@2
            ready 0   -> start 2#1@0
            """)
    }

    @Test func aThresholdAboveTheQueueLimitDoesNotRefuseBesideAFreeSlot() {
        var timeline = Timeline(
            [chain(0), chain(1, seconds: 10)], queueLimit: 1, rule: .jffcWait(thresholds: [1, 100]))
        timeline.play(
            """
            arrive 1  -> start 1#1@0
            arrive 2  -> queue 2+0
            arrive 3  -> start 2#1@1, queue 3+0
            arrive 4  -> refuse 4 queueFull
            """)
    }
}

extension Instant {
    /// Seconds after the origin.
    static func seconds(_ seconds: Double) -> Instant { .origin + Duration(seconds: seconds) }
}
