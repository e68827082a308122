import ChainDispatch
import ChainEngine
import ChainModel
import Testing

@testable import ChainOrchestrator

/// Two ways through each half of six blocks, every server behind a proxy.
private func wish() -> ServiceFixture.Wish {
    let model = ModelShape(
        name: "emulated", blockCount: 6, blockSize: ByteCount(10_000), cacheSize: ByteCount(777))
    func server(_ name: String, time: Double) -> Server {
        Server(
            name: name, memory: model.blockSize * 3 + model.cacheSize * 12, communicationTimeSeconds: 0.01,
            blockTimeSeconds: time)
    }
    var wish = ServiceFixture.Wish(
        cluster: Cluster(
            model: model, demand: Demand(arrivalRate: 1),
            servers: [
                server("s0", time: 0.01), server("s1", time: 0.02), server("s2", time: 0.01),
                server("s3", time: 0.03),
            ]),
        placement: [
            BlockRange(first: 1, count: 3), BlockRange(first: 1, count: 3), BlockRange(first: 4, count: 3),
            BlockRange(first: 4, count: 3),
        ])
    wish.profile = EmulatedProfile(stepSeconds: 0.004)
    wish.hasProxies = true
    wish.control.quarantine = .milliseconds(200)
    return wish
}

private func text(after promptBytes: Int, count: Int) -> String {
    let text = Array("This text is made by an emulated engine. ".utf8)
    return String(decoding: (0..<count).map { text[(promptBytes - 1 + $0) % text.count] }, as: UTF8.self)
}

@Suite("Servers that are cut off, hang or send wrong bytes")
struct FaultTests {
    @Test(
        "The stream goes on, no token lost, repeated or changed, and the server returns",
        arguments: [FaultyProxy.Fault.cut, .corrupt, .pause], [0, 2])
    func streamGoesOn(_ fault: FaultyProxy.Fault, server: Int) async throws {
        try await ServiceFixture.with(wish()) { pool in
            try await pool.orchestrator.waitUntilReady()
            // The fastest chain is s0 > s2.
            let stream = try await pool.orchestrator.submit(
                pool.request("moved", .text("hello"), tokens: 120))
            var answer = ""
            var chains: [String] = []
            var count = 0
            for await event in stream.events {
                switch event {
                case .started(let chain, _): chains.append(chain)
                case .token(let token):
                    answer += token.text
                    count += 1
                    if count == 20 { pool.proxies[server].set(fault) }
                case .finished(let result): #expect(result.completionTokens == 120)
                case .queued: break
                case .failed(let failure): Issue.record("failed: \(failure)")
                }
            }
            #expect(answer == text(after: 5, count: 120))
            #expect(chains.count == 2 && chains.first == "s0 > s2")
            #expect(chains.last?.contains(server == 0 ? "s0" : "s2") == false)
            pool.proxies[server].set(.none)
            pool.proxies[server].cutAll()
            try await eventually("the server is in service again") {
                await pool.orchestrator.status().servers[server].state == .ready
            }
        }
    }

    @Test(
        "A fault in the prompt's own step loses nothing either", arguments: [FaultyProxy.Fault.cut, .corrupt])
    func faultInThePrompt(_ fault: FaultyProxy.Fault) async throws {
        var wish = wish()
        wish.profile = EmulatedProfile(stepSeconds: 0.15)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let stream = try await pool.orchestrator.submit(pool.request("early", .text("hello"), tokens: 3))
            var answer = ""
            var attempts = 0
            for await event in stream.events {
                if case .started(_, 1) = event { pool.proxies[0].set(fault) }
                if case .token(let token) = event { answer += token.text }
                if case .finished(let result) = event { attempts = result.attempts }
            }
            #expect(answer == text(after: 5, count: 3))
            #expect(attempts >= 2)
        }
    }

    @Test(
        "A damaged step is not computed: the server goes on, so does every job, with the right text",
        arguments: FrameDamage.allCases)
    func damageTowardsServers(_ damage: FrameDamage) async throws {
        // The first hop and the second of s0 > s2.
        let server = FrameDamage.allCases.firstIndex(of: damage)! % 2 == 0 ? 0 : 2
        var wish = wish()
        // How long a step may wait for values that do not come.
        wish.stepTimeout = .milliseconds(500)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            async let other = pool.generate(pool.request("other", .text("hello you"), tokens: 60))
            let stream = try await pool.orchestrator.submit(
                pool.request("damaged", .text("hello"), tokens: 60))
            var answer = ""
            for await event in stream.events {
                if case .token(let token) = event {
                    answer += token.text
                    if answer.count == 20 { pool.proxies[server].set(.damage(damage)) }
                }
                if case .failed(let failure) = event { Issue.record("failed: \(failure)") }
            }
            #expect(answer == text(after: 5, count: 60))
            #expect(try await other.text == text(after: 9, count: 60))
            #expect(pool.proxies[server].damagedFrames == 1)
            try await eventually("the server is in service again") {
                await pool.orchestrator.status().servers[server].state == .ready
            }
        }
    }

    @Test("A slow server is not a dead one: a step far longer than the bound of silence moves nothing")
    func slowIsNotDead() async throws {
        var wish = wish()
        wish.control.silenceLimit = .milliseconds(900)
        wish.control.heartbeatInterval = .milliseconds(200)
        wish.profile = EmulatedProfile(stepSeconds: 1.5)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let answer = try await pool.generate(pool.request("slow", .text("hello"), tokens: 1))
            guard case .finished(let result)? = answer.end else {
                Issue.record("ended with \(String(describing: answer.end))")
                return
            }
            #expect(result.attempts == 1)
        }
    }

    @Test("A spare takes over the range of a server that is gone for good, and waiting requests go on")
    func spareTakesOver() async throws {
        let model = ModelShape(
            name: "emulated", blockCount: 4, blockSize: ByteCount(10_000), cacheSize: ByteCount(777))
        let servers = (0..<3).map {
            Server(
                name: "s\($0)", memory: model.blockSize * 2 + model.cacheSize * 8,
                communicationTimeSeconds: 0.01, blockTimeSeconds: 0.01)
        }
        var wish = ServiceFixture.Wish(
            cluster: Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers),
            placement: [BlockRange(first: 1, count: 2), BlockRange(first: 3, count: 2)])
        wish.profile = EmulatedProfile(stepSeconds: 0.004)
        wish.recoveryLimit = .milliseconds(400)
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let stream = try await pool.orchestrator.submit(pool.request("moved", .text("hi"), tokens: 60))
            var answer = ""
            var chains: [String] = []
            for await event in stream.events {
                if case .started(let chain, _) = event { chains.append(chain) }
                if case .token(let token) = event {
                    answer += token.text
                    if answer.count == 10 { await pool.lose(1) }
                }
                if case .failed(let failure) = event { Issue.record("failed: \(failure)") }
            }
            #expect(answer == text(after: 2, count: 60))
            #expect(chains == ["s0 > s1", "s0 > s2"])
            #expect(await pool.orchestrator.status().servers[2].firstBlock == 3)
        }
    }

    @Test("A request whose time is up ends with that word; one with time left waits")
    func deadlines() async throws {
        var wish = wish()
        wish.hasProxies = false
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            await pool.lose(0)
            await pool.lose(1)
            try await eventually("both are known to be lost") {
                await pool.orchestrator.status().servers.filter { $0.state == .lost }.count == 2
            }
            var short = pool.request("short", .text("hello"), tokens: 4)
            short.timeout = .milliseconds(300)
            async let patient = pool.generate(pool.request("patient", .text("hello"), tokens: 4))
            let ended = try await pool.generate(short)
            guard case .failed(.deadlineExceeded)? = ended.end else {
                Issue.record("ended with \(String(describing: ended.end))")
                return
            }
            try await pool.bringBack(0)
            #expect(try await patient.text == text(after: 5, count: 4))
        }
    }
}
