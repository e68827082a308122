import ChainEngine
import ChainModel
import ChainWire
import NIOCore
import NIOPosix
import Testing

@testable import ChainNode
@testable import ChainOrchestrator

@Suite struct ConnectionTests {
    let row: [Float] = [1, 2, 3, 4, 5, 6, 7, 8]

    @Test func disconnectFreesUnits() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            for job in 1...3 {
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: 1, blockCount: 4)
            }
            #expect(try await link.ping().unitsUsed == 12)
            await link.shutdown()
            await test.waitForNoJobs()
            let again = try await connectAgain(test)
            #expect(try await again.ping().state == .ready)
            await again.shutdown()
        }
    }

    @Test func badFrameClosesOnlyItsConnection() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            var corrupt = FrameEncoder().bytes(of: .hello(Hello(name: "x")))
            corrupt.setInteger(UInt8(0x55), at: 14)
            var unknown = FrameEncoder().bytes(of: .ping(id: 1))
            unknown.setInteger(UInt8(99), at: 2)
            var long = FrameEncoder().bytes(of: .ping(id: 1))
            long.setInteger(UInt32.max, at: 4)
            for bytes in [ByteBuffer(string: "GET / HTTP/1.1\r\n\r\n"), corrupt, unknown, long] {
                let client = try await RawClient.connect(port: test.port)
                client.send(bytes)
                guard case .goodbye(let goodbye)? = await client.remaining().last else {
                    Issue.record("no goodbye came")
                    continue
                }
                #expect(goodbye.code == .protocolViolation)
            }
            let result = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            #expect(result == row.map { $0 + 4 })
            await link.shutdown()
        }
    }

    @Test func wordsOutOfTurnCloseTheConnection() async throws {
        try await withServer { test in
            for messages: [Message] in [
                [.ping(id: 1)], [.hello(Hello(name: "a")), .hello(Hello(name: "a"))],
                [.hello(Hello(name: "a")), .pong(id: 1, health: NodeHealth())],
            ] {
                let client = try await RawClient.connect(port: test.port)
                for message in messages { client.send(message) }
                guard case .goodbye(let goodbye)? = await client.remaining().last else {
                    Issue.record("no goodbye came")
                    continue
                }
                #expect(goodbye.code == .protocolViolation)
            }
        }
    }

    @Test func otherVersionIsToldSo() async throws {
        try await withServer { test in
            let client = try await RawClient.connect(port: test.port)
            client.send(.hello(Hello(version: 3, name: "from the future")))
            let goodbye = Goodbye(
                .versionMismatch,
                "this server speaks version 2 of the protocol, the orchestrator version 3;"
                    + " run the same release on both")
            #expect(await client.remaining() == [.goodbye(goodbye)])
        }
        let newer = try await RawServer.start { _ in
            [FrameEncoder().bytes(of: .goodbye(Goodbye(.versionMismatch, "no", version: 3)))]
        }
        let error = await linkError { _ = try await connect(newer.port) }
        #expect(error == .versionMismatch(ours: 2, theirs: 3))
        await newer.stop()
    }

    @Test func oneOrchestratorAtATime() async throws {
        try await withServer { test in
            let link = try await test.connect()
            let error = await linkError { _ = try await test.connect() }
            #expect(error?.refusalCode == .busy)
            #expect(error?.text.contains("belongs to the orchestrator test at") == true)
            #expect(try await link.ping().openJobs == 0)
            await link.shutdown()
            await (try connectAgain(test)).shutdown()
        }
    }

    @Test func silentOrchestratorLosesItsSeat() async throws {
        let configure: (inout BlockServerConfiguration) -> Void = { $0.bounds.takeoverSilence = .zero }
        try await withServer(configure) { test in
            let first = try await test.connectLoaded()
            try await first.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            let second = try await test.connect()
            #expect(await first.waitUntilClosed().text.contains("not heard for"))
            await test.waitForNoJobs()
            #expect(try await second.ping().unitsTotal == 40)
            await second.shutdown()
        }
    }

    @Test func silentConnectionsAreClosed() async throws {
        let configure: (inout BlockServerConfiguration) -> Void = {
            $0.bounds.helloTimeout = .milliseconds(50)
            $0.bounds.silenceLimit = .milliseconds(50)
        }
        try await withServer(configure) { test in
            let mute = try await RawClient.connect(port: test.port)
            guard case .goodbye(let first)? = await mute.remaining().last else {
                Issue.record("no goodbye came")
                return
            }
            #expect(first.code == .silent)
            let idle = try await RawClient.connect(port: test.port)
            idle.send(.hello(Hello(name: "idle")))
            guard case .goodbye(let second)? = await idle.remaining().last else {
                Issue.record("no goodbye came")
                return
            }
            #expect(second.code == .silent)
        }
    }

    @Test func tooManyConnectionsAreRefused() async throws {
        let configure: (inout BlockServerConfiguration) -> Void = { $0.bounds.connections = 2 }
        try await withServer(configure) { test in
            let link = try await test.connect()
            let second = try await RawClient.connect(port: test.port)
            let third = try await RawClient.connect(port: test.port)
            guard case .goodbye(let goodbye)? = await third.remaining().last else {
                Issue.record("no goodbye came")
                return
            }
            #expect(goodbye.code == .seatTaken)
            await second.close()
            _ = try await link.ping()
            await link.shutdown()
        }
    }

    // MARK: Waiting calls

    @Test func stepTimesOut() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded { $0.step = .milliseconds(50) }
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            test.probe.closeGate()
            let error = await linkError {
                _ = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            }
            #expect(error == .timedOut("step of job 1"))
            // A server that computes still answers.
            #expect(try await link.ping().queueDepth == 1)
            test.probe.openGate()
            await eventually("the step ends") { test.server.health.queueDepth == 0 }
            #expect(link.closed == nil)
            await link.shutdown()
        }
    }

    /// One timer watches them all.
    @Test func everyStepHasItsOwnTime() async throws {
        try await withServer { test in
            let timeout = Duration.milliseconds(300)
            let link = try await test.connectLoaded { $0.step = timeout }
            for job in [1, 2] as [UInt64] {
                try await link.open(job: EngineJobID(job), firstBlock: 1, blockCount: 4)
            }
            _ = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            try await Task.sleep(for: .milliseconds(150))
            test.probe.closeGate()
            let start = ContinuousClock.now
            let error = await linkError {
                _ = try await link.step(job: EngineJobID(2), position: 0, tokenCount: 1, hidden: row)
            }
            #expect(error == .timedOut("step of job 2"))
            #expect(
                ContinuousClock.now - start >= .nanoseconds(timeout.nanoseconds), "not with the first one")
            test.probe.openGate()
            await eventually("the step ends") { test.server.health.queueDepth == 0 }
            await link.shutdown()
        }
    }

    @Test func cancelledStepFailsAtOnce() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            test.probe.closeGate()
            let step = Task {
                try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            }
            await eventually("the step is being computed") { test.probe.batchSizes == [1] }
            step.cancel()
            await #expect(throws: CancellationError.self) { try await step.value }
            link.close(job: EngineJobID(1))
            test.probe.openGate()
            await test.waitForNoJobs()
            let beforehand = Task {
                withUnsafeCurrentTask { $0?.cancel() }
                try await link.open(job: EngineJobID(2), firstBlock: 1, blockCount: 4)
            }
            await #expect(throws: CancellationError.self) { try await beforehand.value }
            #expect(try await link.ping().openJobs == 0)
            await link.shutdown()
        }
    }

    @Test func closedConnectionFailsAllCalls() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            for job in 1...4 {
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: 1, blockCount: 4)
            }
            test.probe.closeGate()
            let steps = (1...4).map { job in
                Task {
                    try await link.step(
                        job: EngineJobID(UInt64(job)), position: 0, tokenCount: 1, hidden: row)
                }
            }
            await eventually("all steps are there") { test.server.health.queueDepth == 4 }
            async let stopping: Void = test.server.shutdown(drainingFor: .zero)
            for step in steps {
                let error = await linkError { _ = try await step.value }
                #expect(error == .closed("this server is shutting down"))
            }
            test.probe.openGate()
            await stopping
            var events: [LinkEvent] = []
            for await event in link.events { events.append(event) }
            #expect(events.last == .closed(.closed("this server is shutting down")))
            let late = await linkError { _ = try await link.ping() }
            #expect(late == .closed("this server is shutting down"))
        }
    }

    @Test func drainsBeforeItStops() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            async let stopping: Void = test.server.shutdown(drainingFor: .seconds(60))
            await eventually("the link hears of it") { link.isDraining }
            let error = await linkError {
                try await link.open(job: EngineJobID(2), firstBlock: 1, blockCount: 4)
            }
            #expect(error?.refusalCode == .draining)
            #expect(try await link.ping().state == .draining)
            let result = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            #expect(result == row.map { $0 + 4 })
            link.close(job: EngineJobID(1))
            await stopping
            #expect(await link.waitUntilClosed() == .closed("this server is shutting down"))
            await #expect(throws: BlockServerError.self) { try await test.server.start() }
        }
    }

    @Test func busyServerIsNotDead() async throws {
        let configure: (inout BlockServerConfiguration) -> Void = {
            $0.bounds.queuedBytes = 64
            $0.bounds.pausedHealthInterval = .milliseconds(10)
            $0.bounds.silenceLimit = .milliseconds(400)
        }
        try await withServer(configure) { test in
            let link = try await test.connectLoaded {
                $0.heartbeat = .milliseconds(40)
                $0.silenceLimit = .milliseconds(400)
            }
            for job in 1...4 {
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: 1, blockCount: 4)
            }
            test.probe.closeGate()
            let steps = (1...4).map { job in
                Task {
                    try await link.step(
                        job: EngineJobID(UInt64(job)), position: 0, tokenCount: 1, hidden: row)
                }
            }
            // Three steps of 32 bytes pass the bound; the fourth, and every ping, stay unread until it is
            // free.
            await eventually("the server is full") { test.server.health.queueDepth >= 3 }
            let until = ContinuousClock.now + .milliseconds(1200)
            await eventually("three silence limits pass") { ContinuousClock.now >= until }
            #expect(link.closed == nil)
            test.probe.openGate()
            for step in steps { #expect(try await step.value == row.map { $0 + 4 }) }
            await link.shutdown()
        }
    }

    // MARK: Other servers

    func connect(
        _ port: Int, _ change: (inout LinkTimeouts) -> Void = { _ in }
    ) async throws -> NodeLink {
        var timeouts = LinkTimeouts()
        timeouts.silenceLimit = .seconds(60)
        timeouts.connect = .seconds(60)
        timeouts.ping = .seconds(60)
        change(&timeouts)
        return try await NodeLink.connect(
            host: "127.0.0.1", port: port, on: MultiThreadedEventLoopGroup.singleton, timeouts: timeouts,
            logger: quietLogger)
    }

    @Test func unreachable() async throws {
        let server = try await RawServer.start { _ in [] }
        await server.stop()
        guard case .unreachable? = await linkError({ _ = try await connect(server.port) }) else {
            Issue.record("a closed port was reached")
            return
        }
    }

    @Test func somethingElseAnswers() async throws {
        let server = try await RawServer.start { _ in [ByteBuffer(string: "HTTP/1.1 400 Bad Request\r\n\r\n")]
        }
        guard case .malformed? = await linkError({ _ = try await connect(server.port) }) else {
            Issue.record("a web server was taken for a block server")
            return
        }
        await server.stop()
    }

    @Test func nobodyAnswers() async throws {
        let server = try await RawServer.start { _ in [] }
        let error = await linkError {
            _ = try await connect(server.port) { $0.connect = .milliseconds(1000) }
        }
        #expect(error == .timedOut("the server did not introduce itself"))
        await server.stop()
    }

    @Test func hungServerIsNoticed() async throws {
        let server = try await RawServer.start { message in
            guard case .hello = message else { return [] }
            let reply = HelloReply(
                name: "hung", memory: ByteCount(1), isEmulated: false, processID: 1, stepTokens: 512)
            return [FrameEncoder().bytes(of: .helloReply(reply))]
        }
        let link = try await connect(server.port) {
            $0.heartbeat = .milliseconds(20)
            $0.silenceLimit = .milliseconds(100)
        }
        let ping = await linkError { _ = try await link.ping() }
        #expect(ping == .closed("no sign of life for 0.1 s"))
        #expect(await link.waitUntilClosed() == .closed("no sign of life for 0.1 s"))
        await server.stop()
    }

    @Test func wrongResultsAreMalformed() async throws {
        let manifest = TestModel().manifest()
        let server = try await RawServer.start { message in
            let encoder = FrameEncoder()
            switch message {
            case .hello:
                let reply = HelloReply(
                    name: "odd", memory: ByteCount(1), isEmulated: false, processID: 1, stepTokens: 512)
                return [encoder.bytes(of: .helloReply(reply))]
            case .load(let request):
                let report = LoadedReport(
                    load: request.load, firstBlock: 1, blockCount: 4, width: 8, unitCount: 4,
                    sequenceLength: 512,
                    stepTokens: 512, memoryUsed: .zero, isEmulated: false, wasLoaded: false,
                    checksum: 0)
                return [encoder.bytes(of: .loaded(report))]
            case .step(var piece):
                if piece.job == 1 { piece.hidden = ByteBuffer(repeating: 0, count: 36) }
                if piece.job == 2 { piece.position += 1 }
                if piece.job == 3 { piece.job = 4 }
                if piece.job == 5 { piece.offset = 4 }
                return [encoder.bytes(of: .stepResult(piece))]
            default: return []
            }
        }
        let link = try await connect(server.port)
        let assignment = LoadAssignment(manifest: manifest, unitCount: 4, sequenceLength: 512)
        _ = try await link.load(assignment, rangeSource: MemoryModel(manifest))
        for job in [1, 2, 3, 5] as [UInt64] {
            let error = await linkError {
                _ = try await link.step(job: EngineJobID(job), position: 0, tokenCount: 1, hidden: row)
            }
            #expect(error == .malformed("the result of job \(job)'s step does not have its shape"))
        }
        #expect(try await link.step(job: EngineJobID(6), position: 0, tokenCount: 1, hidden: row) == row)
        await link.shutdown()
        await server.stop()
    }

    @Test func portInUse() async throws {
        try await withServer { test in
            var configuration = test.server.configuration
            configuration.port = test.port
            let second = BlockServer(
                configuration: configuration,
                openLocalModel: { _ throws(EngineError) in throw .modelFile("") },
                makeEngine: { _, _, limits, _ throws(EngineError) in
                    EmulatedEngine(limits: limits, profile: .instant)
                }, logger: quietLogger)
            await #expect(throws: BlockServerError.self) { try await second.start() }
        }
    }
}
