import ChainEngine
import ChainModel
import Testing

@testable import ChainOrchestrator

/// Four servers over six blocks: two ways through each half, so that every chain shares servers with another.
///
///     s0 1–3   s1 1–4   s2 4–6   s3 4–6 (entered at 5 after s1)
private func emulatedWish(queueLimit: Int = 256) -> ServiceFixture.Wish {
    let model = ModelShape(
        name: "emulated", blockCount: 6, blockSize: ByteCount(10_000), cacheSize: ByteCount(777))
    func server(_ name: String, units: Int, blocks: Int, time: Double) -> Server {
        Server(
            name: name, memory: model.blockSize * blocks + model.cacheSize * units,
            communicationTimeSeconds: 0.01,
            blockTimeSeconds: time)
    }
    let cluster = Cluster(
        model: model, demand: Demand(arrivalRate: 1),
        servers: [
            server("s0", units: 6, blocks: 3, time: 0.01), server("s1", units: 8, blocks: 4, time: 0.02),
            server("s2", units: 6, blocks: 3, time: 0.01), server("s3", units: 6, blocks: 3, time: 0.03),
        ])
    var wish = ServiceFixture.Wish(
        cluster: cluster,
        placement: [
            BlockRange(first: 1, count: 3), BlockRange(first: 1, count: 4), BlockRange(first: 4, count: 3),
            BlockRange(first: 4, count: 3),
        ])
    wish.queueLimit = queueLimit
    return wish
}

/// What the emulated frontend "answers" after a prompt of so many bytes.
private func emulatedText(after promptBytes: Int, count: Int) -> String {
    let text = Array("This text is made by an emulated engine. ".utf8)
    return String(decoding: (0..<count).map { text[(promptBytes - 1 + $0) % text.count] }, as: UTF8.self)
}

@Suite("A service over emulated servers")
struct ServiceTests {
    @Test("Forty requests at once all get their own answer, over more than one chain")
    func manyAtOnce() async throws {
        try await ServiceFixture.with(emulatedWish()) { pool in
            try await pool.orchestrator.waitUntilReady()
            let chains = try await withThrowingTaskGroup(of: String.self) { group in
                for number in 0..<40 {
                    group.addTask {
                        let prompt = String(repeating: "x", count: 1 + number * 5)
                        let answer = try await pool.generate(
                            pool.request("r\(number)", .text(prompt), tokens: 20 + number))
                        #expect(answer.text == emulatedText(after: prompt.utf8.count, count: 20 + number))
                        guard case .finished(let result)? = answer.end else {
                            Issue.record("request \(number) ended with \(String(describing: answer.end))")
                            return ""
                        }
                        #expect(result.completionTokens == 20 + number)
                        #expect(result.reason == .length && result.attempts == 1 && result.clampedFrom == nil)
                        return result.chain
                    }
                }
                return try await group.reduce(into: Set<String>()) { $0.insert($1) }
            }
            #expect(chains.count > 1)
        }
    }

    @Test("Giving a request up frees its caches on every server at once, running or queued")
    func cancelling() async throws {
        var wish = emulatedWish()
        wish.profile = EmulatedProfile(stepSeconds: 0.01)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let total = pool.plan.totalCapacity
            var streams: [GenerationStream] = []
            for number in 0..<total + 3 {
                streams.append(
                    try await pool.orchestrator.submit(
                        pool.request("c\(number)", .text("hello"), tokens: 400)))
            }
            try await eventually("all chains are full") {
                await pool.orchestrator.status().chains.allSatisfy { $0.running == $0.capacity }
            }
            #expect(await pool.orchestrator.status().queueLength == 3)
            // Half by name, as an operator would, which ends the stream with a word; half by letting go of the stream.
            for (number, stream) in streams.enumerated().reversed() {
                if number % 2 == 0 {
                    #expect(await pool.orchestrator.cancel(requestID: "c\(number)"))
                    var last: GenerationEvent?
                    for await event in stream.events { last = event }
                    #expect(last == .failed(.cancelled))
                } else {
                    stream.cancel()
                }
            }
            #expect(await pool.orchestrator.cancel(requestID: "c0") == false)
        }
    }

    @Test("A full queue refuses with the time until there is room")
    func queueFull() async throws {
        var wish = emulatedWish(queueLimit: 2)
        wish.profile = EmulatedProfile(stepSeconds: 0.02)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            var streams: [GenerationStream] = []
            for number in 0..<pool.plan.totalCapacity + 2 {
                streams.append(
                    try await pool.orchestrator.submit(
                        pool.request("q\(number)", .text("hello"), tokens: 400)))
            }
            let refusal = await #expect(throws: GenerationRefusal.self) {
                _ = try await pool.orchestrator.submit(
                    pool.request("one too many", .text("hello"), tokens: 4))
            }
            guard case .overloaded(let wait, let reason, _)? = refusal else {
                Issue.record("refused with \(String(describing: refusal))")
                return
            }
            #expect(reason == "queue-full" && wait > 0)
            for stream in streams { stream.cancel() }
        }
    }

    @Test("Losing a server in mid-generation changes no text; a server that returns is used again")
    func losingAServer() async throws {
        var wish = emulatedWish()
        wish.profile = EmulatedProfile(stepSeconds: 0.005)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            // The fastest chain is s0 > s2.
            let stream = try await pool.orchestrator.submit(
                pool.request("moved", .text("hello"), tokens: 100))
            var text = ""
            var chains: [String] = []
            var seen = 0
            for await event in stream.events {
                switch event {
                case .started(let chain, _): chains.append(chain)
                case .token(let token):
                    text += token.text
                    seen += 1
                    if seen == 10 { await pool.lose(2) }
                case .finished(let result): #expect(result.attempts == 2)
                case .queued: break
                case .failed(let failure): Issue.record("failed: \(failure)")
                }
            }
            #expect(text == emulatedText(after: 5, count: 100))
            #expect(chains == ["s0 > s2", "s1 > s3"])
            try await pool.bringBack(2)
            try await eventually("the server is ready again") {
                await pool.orchestrator.status().servers[2].state == .ready
            }
            let again = try await pool.generate(pool.request("after", .text("hello"), tokens: 8))
            guard case .finished(let result)? = again.end else { return }
            #expect(result.chain == "s0 > s2")
        }
    }

    @Test("With no path left a request waits for a server that is expected back")
    func waitingForAServer() async throws {
        try await ServiceFixture.with(emulatedWish()) { pool in
            try await pool.orchestrator.waitUntilReady()
            await pool.lose(0)
            await pool.lose(1)
            try await eventually("both are known to be lost") {
                await pool.orchestrator.status().servers.filter { $0.state == .lost }.count == 2
            }
            async let waiting = pool.generate(pool.request("patient", .text("hello"), tokens: 8))
            try await eventually("it is queued") { await pool.orchestrator.status().queueLength == 1 }
            try await pool.bringBack(1)
            #expect(try await waiting.text == emulatedText(after: 5, count: 8))
        }
    }

    @Test("A server that stays away makes the service say so: refused, not queued")
    func givingUp() async throws {
        var wish = emulatedWish()
        wish.recoveryLimit = .milliseconds(300)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            // What is left is too small for the model, however it is composed.
            for server in 0..<3 { await pool.lose(server) }
            try await eventually("the service is unavailable") {
                if case .unavailable = await pool.orchestrator.readiness() { true } else { false }
            }
            let refusal = await #expect(throws: GenerationRefusal.self) {
                _ = try await pool.orchestrator.submit(pool.request("late", .text("hello"), tokens: 4))
            }
            guard case .unavailable? = refusal else {
                Issue.record("refused with \(String(describing: refusal))")
                return
            }
        }
    }

    @Test("A request beyond the model's length is clamped and says so; a prompt beyond it is refused")
    func lengths() async throws {
        try await ServiceFixture.with(emulatedWish()) { pool in
            try await pool.orchestrator.waitUntilReady()
            let prompt = String(repeating: "y", count: 500)
            let answer = try await pool.generate(pool.request("long", .text(prompt), tokens: 50))
            guard case .finished(let result)? = answer.end else { return }
            #expect(result.completionTokens == 12 && result.reason == .length && result.clampedFrom == 50)
            for length in [512, 600] {
                let refusal = await #expect(throws: GenerationRefusal.self) {
                    _ = try await pool.orchestrator.submit(
                        pool.request("p\(length)", .text(String(repeating: "y", count: length)), tokens: 1))
                }
                #expect(refusal == .promptTooLong(tokens: length, limit: 512))
            }
            let empty = await #expect(throws: GenerationRefusal.self) {
                _ = try await pool.orchestrator.submit(pool.request("none", .text(""), tokens: 1))
            }
            guard case .invalid? = empty else {
                Issue.record("refused with \(String(describing: empty))")
                return
            }
        }
    }

    @Test("A server that cannot be reached is named, with its address")
    func unreachable() async throws {
        var wish = emulatedWish()
        wish.absent = [3]
        wish.startLimit = .seconds(5)
        try await ServiceFixture.with(wish) { pool in
            let error = await #expect(throws: StartError.self) {
                try await pool.orchestrator.waitUntilReady()
            }
            guard case .unreachable(let server, let address, _)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(server == "s3" && address.port == pool.ports[3])
        }
    }

    @Test("A drain lets accepted requests finish and refuses new ones")
    func draining() async throws {
        var wish = emulatedWish()
        wish.profile = EmulatedProfile(stepSeconds: 0.002)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            async let running = pool.generate(pool.request("running", .text("hello"), tokens: 60))
            try await eventually("it runs") {
                await pool.orchestrator.status().chains.contains { $0.running > 0 }
            }
            async let drained: Void = pool.orchestrator.drain()
            try await eventually("the service is draining") {
                await pool.orchestrator.readiness() == .draining
            }
            let refusal = await #expect(throws: GenerationRefusal.self) {
                _ = try await pool.orchestrator.submit(pool.request("late", .text("hello"), tokens: 1))
            }
            guard case .unavailable(_, "draining")? = refusal else {
                Issue.record("refused with \(String(describing: refusal))")
                return
            }
            #expect(try await running.text == emulatedText(after: 5, count: 60))
            await drained
        }
    }
}
