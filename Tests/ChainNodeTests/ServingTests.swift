import ChainEngine
import ChainModel
import ChainWire
import Testing

@testable import ChainNode
@testable import ChainOrchestrator

/// Jobs on one server over a real loopback socket.
@Suite struct ServingTests {
    let row: [Float] = [1, 2, 3, 4, 5, 6, 7, 8]

    @Test func introducesItself() async throws {
        try await withServer { test in
            let link = try await test.connect()
            #expect(link.name == "node")
            #expect(link.memory == ByteCount(64 << 20))
            #expect(link.isEmulated)
            #expect(link.stepTokens == 512)
            #expect(try await link.ping().state == .waiting)
            await link.shutdown()
        }
    }

    @Test func carriesAJobThroughItsBlocks() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            #expect(try await link.open(job: EngineJobID(7), firstBlock: 1, blockCount: 4) == 36)
            let prompt = try await link.step(
                job: EngineJobID(7), position: 0, tokenCount: 2, hidden: row + row)
            #expect(prompt == (row + row).map { $0 + 4 })
            let next = try await link.step(job: EngineJobID(7), position: 2, tokenCount: 1, hidden: row)
            #expect(next == row.map { $0 + 4 })
            let health = try await link.ping()
            #expect(health.state == .ready)
            #expect((health.unitsUsed, health.unitsTotal) == (4, 40))
            #expect((health.openJobs, health.stepsRun) == (1, 2))
            link.close(job: EngineJobID(7))
            await test.waitForNoJobs()
            await link.shutdown()
        }
    }

    @Test func returnsTheLastTokenAloneAfterTheLastBlock() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded(TestModel(blocksBeyond: 0))
            try await link.open(job: EngineJobID(7), firstBlock: 1, blockCount: 4)
            let result = try await link.step(
                job: EngineJobID(7), position: 0, tokenCount: 2, hidden: row.map { -$0 } + row)
            #expect(result == row.map { $0 + 4 })
            link.close(job: EngineJobID(7))
            await test.waitForNoJobs()
            await link.shutdown()
        }
    }

    @Test func entersMidRange() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded(first: 2, count: 3)
            try await link.open(job: EngineJobID(1), firstBlock: 4, blockCount: 1)
            #expect(try await link.ping().unitsUsed == 1)
            let result = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            #expect(result == row.map { $0 + 1 })
            for (first, count) in [(1, 4), (2, 2), (5, 1)] {
                let error = await linkError {
                    try await link.open(job: EngineJobID(2), firstBlock: first, blockCount: count)
                }
                #expect(error?.refusalCode == .blocksNotHosted)
            }
            await link.shutdown()
        }
    }

    @Test func batchesJobsThatWait() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            for job in 1...8 {
                let first = 1 + job % 4
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: first, blockCount: 5 - first)
            }
            test.probe.closeGate()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for job in 1...8 {
                    group.addTask {
                        let input = [Float](repeating: Float(job * 100), count: 8)
                        let output = try await link.step(
                            job: EngineJobID(UInt64(job)), position: 0, tokenCount: 1, hidden: input)
                        let blocks = Float(5 - (1 + job % 4))
                        #expect(output == input.map { $0 + blocks })
                    }
                }
                await eventually("all steps are there") { test.server.health.queueDepth == 8 }
                test.probe.openGate()
                try await group.waitForAll()
            }
            #expect(test.probe.batchSizes.reduce(0, +) == 8)
            #expect(test.probe.batchSizes.count <= 2)
            await link.shutdown()
        }
    }

    @Test func oneBadStepOfABatchFailsAlone() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            for job in 1...4 {
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: 1, blockCount: 4)
            }
            test.probe.closeGate()
            let holding = Task {
                try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            }
            await eventually("the first step is there") { test.probe.batchSizes.count == 1 }
            let others = (2...4).map { job in
                Task {
                    try await link.step(
                        job: EngineJobID(UInt64(job)), position: job == 3 ? 9 : 0, tokenCount: 1, hidden: row)
                }
            }
            await eventually("all steps are there") { test.server.health.queueDepth == 4 }
            test.probe.openGate()
            _ = try await holding.value
            #expect(try await others[0].value == row.map { $0 + 4 })
            let error = await linkError { _ = try await others[1].value }
            #expect(error?.refusalCode == .wrongPosition)
            #expect(try await others[2].value == row.map { $0 + 4 })
            // The job that failed goes on.
            let again = try await link.step(job: EngineJobID(3), position: 0, tokenCount: 1, hidden: row)
            #expect(again == row.map { $0 + 4 })
            await link.shutdown()
        }
    }

    @Test func batchKeepsWithinStepTokens() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded(stepTokens: 4)
            for job in 1...4 {
                try await link.open(job: EngineJobID(UInt64(job)), firstBlock: 1, blockCount: 4)
            }
            test.probe.closeGate()
            try await withThrowingTaskGroup(of: Void.self) { group in
                for job in 1...4 {
                    group.addTask {
                        let hidden = [Float](repeating: 1, count: 24)
                        _ = try await link.step(
                            job: EngineJobID(UInt64(job)), position: 0, tokenCount: 3, hidden: hidden)
                    }
                }
                await eventually("all steps are there") { test.server.health.queueDepth == 4 }
                test.probe.openGate()
                try await group.waitForAll()
            }
            #expect(test.probe.batchSizes == [1, 1, 1, 1])
            let error = await linkError {
                _ = try await link.step(
                    job: EngineJobID(1), position: 3, tokenCount: 5, hidden: [Float](repeating: 1, count: 40))
            }
            #expect(error?.refusalCode == .stepTooLarge)
            await link.shutdown()
        }
    }

    @Test func refusesJobsBeyondItsUnits() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded(unitCount: 10)
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            try await link.open(job: EngineJobID(2), firstBlock: 1, blockCount: 4)
            for _ in 1...3 {
                let error = await linkError {
                    try await link.open(job: EngineJobID(3), firstBlock: 1, blockCount: 4)
                }
                #expect(error == .refused(.cacheFull, "the job needs 4 cache units, 2 are free"))
            }
            #expect(try await link.open(job: EngineJobID(4), firstBlock: 3, blockCount: 2) == 0)
            #expect(try await link.ping().openJobs == 3)
            link.close(job: EngineJobID(1))
            #expect(try await link.open(job: EngineJobID(3), firstBlock: 1, blockCount: 4) == 0)
            let error = await linkError {
                try await link.open(job: EngineJobID(3), firstBlock: 1, blockCount: 4)
            }
            #expect(error?.refusalCode == .jobAlreadyOpen)
            await link.shutdown()
        }
    }

    @Test func refusesWrongSteps() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            func code(_ job: UInt64, _ position: Int, _ count: Int, _ hidden: [Float]) async -> Refusal.Code?
            {
                await linkError {
                    _ = try await link.step(
                        job: EngineJobID(job), position: position, tokenCount: count, hidden: hidden)
                }?.refusalCode
            }
            #expect(await code(9, 0, 1, row) == .jobUnknown)
            #expect(await code(1, 1, 1, row) == .wrongPosition)
            #expect(await code(1, 0, 2, row) == .wrongShape)
            #expect(await code(1, 0, 0, []) == .wrongShape)
            #expect(await code(1, 0, 513, [Float](repeating: 0, count: 513 * 8)) == .stepTooLarge)
            #expect(await code(1, 0, 1, [1, 2, 3, .nan, 5, 6, 7, 8]) == .notFinite)
            #expect(await code(1, 0, 1, row) == nil)
            #expect(link.closed == nil)
            await link.shutdown()
        }
    }

    @Test func carriesALargeStepInPieces() async throws {
        try await withServer { test in
            let model = TestModel(width: 2048)
            let link = try await test.connectLoaded(model)
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            try await link.open(job: EngineJobID(2), firstBlock: 2, blockCount: 3)
            let hidden = (0..<512 * 2048).map { Float($0 % 65536) }
            async let first = link.step(job: EngineJobID(1), position: 0, tokenCount: 512, hidden: hidden)
            async let second = link.step(job: EngineJobID(2), position: 0, tokenCount: 512, hidden: hidden)
            #expect(try await first == hidden.map { $0 + 4 })
            #expect(try await second == hidden.map { $0 + 3 })
            await link.shutdown()
        }
    }

    @Test func resultsThatAreNotFiniteAreTold() async throws {
        try await withServer { test in
            let link = try await test.connectLoaded()
            try await link.open(job: EngineJobID(1), firstBlock: 1, blockCount: 4)
            test.probe.poison.withLock { $0 = .infinity }
            let error = await linkError {
                _ = try await link.step(job: EngineJobID(1), position: 0, tokenCount: 1, hidden: row)
            }
            #expect(error == .notFinite("the result of job 1's step is not finite"))
            await link.shutdown()
        }
    }
}
