#if os(Linux)
    import CPolling
    import NIOCore
    import NIOPosix
    import Testing

    @Suite("Event loops that look for events before they sleep", .serialized, .timeLimit(.minutes(2)))
    struct PollingTests {
        /// Runs `body` with an event loop that looks for `longest` milliseconds, and tells what it did meanwhile.
        private func counts(
            longest: Int64, _ body: (any EventLoop) throws -> Void
        ) throws -> chainserve_polling_counts {
            let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
            defer { try? group.syncShutdownGracefully() }
            let eventLoop = group.next()
            try eventLoop.submit { chainserve_poll_before_sleep(longest * 1_000_000) }.wait()
            try body(eventLoop)
            return try eventLoop.submit { chainserve_polling_counts() }.wait()
        }

        @Test("events close together are found awake")
        func close() throws {
            // Whenever somebody else needs the processor it sleeps: not all the time.
            for attempt in 1...100 {
                let counts = try counts(longest: 200) { eventLoop in
                    // As long as it knows of no events that are close, it sleeps.
                    try eventLoop.scheduleTask(in: .milliseconds(5)) {}.futureResult.wait()
                    for _ in 0..<500 { try eventLoop.submit {}.wait() }
                }
                #expect(counts.slept >= 1)
                if counts.found > 50 { return }
                #expect(attempt < 100, "nothing was ever found awake")
            }
        }

        @Test("in quiet times it sleeps at once")
        func quiet() throws {
            let counts = try counts(longest: 1) { eventLoop in
                for _ in 0..<20 {
                    try eventLoop.scheduleTask(in: .milliseconds(5)) {}.futureResult.wait()
                }
            }
            #expect(counts.found <= 2)
            #expect(counts.slept >= 20)
        }

        @Test("it sleeps when nothing comes for too long, and is woken")
        func wakes() throws {
            let counts = try counts(longest: 2) { eventLoop in
                for _ in 0..<10 {
                    for _ in 0..<50 { try eventLoop.submit {}.wait() }
                    try eventLoop.scheduleTask(in: .milliseconds(20)) {}.futureResult.wait()
                }
            }
            #expect(counts.slept >= 10)
        }

        @Test("timers keep their time while it looks", arguments: [0, 50])
        func timers(longest: Int64) throws {
            _ = try counts(longest: longest) { eventLoop in
                for _ in 0..<100 { try eventLoop.submit {}.wait() }
                for milliseconds in [1, 10, 30] {
                    let start = NIODeadline.now()
                    let wait = TimeAmount.milliseconds(Int64(milliseconds))
                    try eventLoop.scheduleTask(in: wait) {}.futureResult.wait()
                    #expect(NIODeadline.now() - start >= wait)
                }
            }
        }

        @Test("unless told to, it does not look")
        func off() throws {
            let counts = try counts(longest: 0) { eventLoop in
                for _ in 0..<100 { try eventLoop.submit {}.wait() }
            }
            #expect(counts.found == 0 && counts.slept == 0)
        }
    }
#endif
