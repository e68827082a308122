import ChainDispatch
import ChainEngine
import ChainModel
import Testing

@testable import ChainOrchestrator

/// Two ways through the middle third of six blocks; the outer thirds have room for the jobs of both.
private func wish() -> ServiceFixture.Wish {
    let model = ModelShape(
        name: "emulated", blockCount: 6, blockSize: ByteCount(10_000), cacheSize: ByteCount(777))
    func server(_ name: String, jobs: Int, time: Double) -> Server {
        Server(
            name: name, memory: model.blockSize * 2 + model.cacheSize * (2 * jobs),
            communicationTimeSeconds: 0.01, blockTimeSeconds: time)
    }
    var wish = ServiceFixture.Wish(
        cluster: Cluster(
            model: model, demand: Demand(arrivalRate: 1),
            servers: [
                server("s0", jobs: 8, time: 0.01), server("s1", jobs: 4, time: 0.01),
                server("s2", jobs: 8, time: 0.01), server("s3", jobs: 4, time: 0.02),
            ]),
        placement: [
            BlockRange(first: 1, count: 2), BlockRange(first: 3, count: 2), BlockRange(first: 5, count: 2),
            BlockRange(first: 3, count: 2),
        ])
    wish.profile = EmulatedProfile(stepSeconds: 0.004)
    wish.hasProxies = true
    return wish
}

private func text(after promptBytes: Int, count: Int) -> String {
    let text = Array("This text is made by an emulated engine. ".utf8)
    return String(decoding: (0..<count).map { text[(promptBytes - 1 + $0) % text.count] }, as: UTF8.self)
}

@Suite("What is computed again after a loss")
struct RebuildingTests {
    /// Has the middle hop fail; returns the chains taken, the text, and the steps of the first and the last server.
    private static func loseTheMiddle(
        _ wish: ServiceFixture.Wish, _ fault: FaultyProxy.Fault, prompt: Int, at lossToken: Int
    ) async throws -> (chains: [String], text: String, steps: [UInt64]) {
        var chains: [String] = []
        var answer = ""
        var steps: [UInt64] = []
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let input = GenerationInput.text(String(repeating: "x", count: prompt))
            let stream = try await pool.orchestrator.submit(pool.request("moved", input, tokens: 80))
            for await event in stream.events {
                if case .started(let chain, _) = event {
                    chains.append(chain)
                    if lossToken == 0, chains.count == 1 { pool.proxies[1].set(fault) }
                }
                if case .token(let token) = event {
                    answer += token.text
                    if answer.utf8.count == lossToken { pool.proxies[1].set(fault) }
                }
                if case .failed(let failure) = event { Issue.record("failed: \(failure)") }
            }
            steps = [0, 2].map(pool.stepsRun)
        }
        return (chains, answer, steps)
    }

    @Test(
        "Hops that are still there go on with their caches; the lost one gets the states that entered it",
        arguments: [FaultyProxy.Fault.cut, .corrupt, .pause], [0, 20])
    func onlyTheLostHop(_ fault: FaultyProxy.Fault, lossToken: Int) async throws {
        let result = try await Self.loseTheMiddle(wish(), fault, prompt: 20, at: lossToken)
        #expect(result.chains == ["s0 > s1 > s2", "s0 > s3 > s2"])
        #expect(result.text == text(after: 20, count: 80))
        // One for the prompt and one for each token but the last, as if nothing had happened.
        #expect(result.steps[0] == 80 && result.steps[1] == 80)
    }

    @Test("Beyond the bounds of memory everything is computed again from the tokens")
    func fromTokens() async throws {
        var bounds = KeptStatesBounds.none
        for perJob in [0, 30 * EmulatedFrontend.width * 4] {
            bounds.perJob = ByteCount(perJob)
            bounds.inAll = ByteCount(1 << 20)
            var wish = wish()
            wish.keptStates = bounds
            let result = try await Self.loseTheMiddle(wish, .cut, prompt: 20, at: 40)
            #expect(result.chains == ["s0 > s1 > s2", "s0 > s3 > s2"])
            #expect(result.text == text(after: 20, count: 80))
            // The prompt, and the tokens in two steps of at most 32.
            #expect(result.steps[0] == 83)
        }
    }

    @Test("The loss of the first hop needs no states at all: its input follows from the tokens")
    func firstHop() async throws {
        let model = wish().cluster.model
        func server(_ name: String, blocks: Int, jobs: Int, time: Double) -> Server {
            Server(
                name: name, memory: model.blockSize * blocks + model.cacheSize * (blocks * jobs),
                communicationTimeSeconds: 0.01, blockTimeSeconds: time)
        }
        var wish = wish()
        wish.cluster.servers = [
            server("s0", blocks: 4, jobs: 8, time: 0.01), server("s1", blocks: 2, jobs: 4, time: 0.01),
            server("s2", blocks: 2, jobs: 4, time: 0.02),
        ]
        wish.placement = [
            BlockRange(first: 3, count: 4), BlockRange(first: 1, count: 2), BlockRange(first: 1, count: 2),
        ]
        // Too little for what enters the second hop.
        wish.keptStates = KeptStatesBounds(perJob: ByteCount(1), inAll: ByteCount(1 << 20))
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let stream = try await pool.orchestrator.submit(
                pool.request("moved", .text("hello"), tokens: 60))
            var chains: [String] = []
            var answer = ""
            for await event in stream.events {
                if case .started(let chain, _) = event { chains.append(chain) }
                if case .token(let token) = event {
                    answer += token.text
                    if answer.utf8.count == 20 { pool.proxies[1].set(.cut) }
                }
            }
            #expect(answer == text(after: 5, count: 60))
            #expect(chains == ["s1 > s0", "s2 > s0"])
            #expect(pool.stepsRun(0) == 60)
        }
    }

    @Test("Kept states are bounded by job and in all, and given back")
    func bounds() {
        let budget = KeptStatesBudget(KeptStatesBounds(perJob: ByteCount(400), inAll: ByteCount(500)))
        let first = KeptStates(width: 2, budget: budget)
        first.add([Float](repeating: 1, count: 40), from: 0, entering: 4)
        #expect(first.rowCount(entering: 4) == 20 && budget.bytesUsed == 160)
        #expect(first.values(of: 18..<20, entering: 4) == [1, 1, 1, 1])
        #expect(first.values(of: 18..<21, entering: 4) == nil && first.values(of: 0..<1, entering: 5) == nil)
        // What is there stays; what follows is added.
        first.add([9, 9, 2, 2], from: 19, entering: 4)
        #expect(first.values(of: 19..<21, entering: 4) == [1, 1, 2, 2])
        let used = budget.bytesUsed
        do {
            let second = KeptStates(width: 2, budget: budget)
            second.add([Float](repeating: 1, count: 60), from: 0, entering: 4)
            #expect(second.isComplete && budget.bytesUsed == used + 240)
            second.add([Float](repeating: 1, count: 60), from: 0, entering: 7)
            // Too much of one job: it keeps nothing any more.
            #expect(!second.isComplete && second.rowCount(entering: 4) == 0 && budget.bytesUsed == used)
        }
        let third = KeptStates(width: 2, budget: budget)
        third.add([Float](repeating: 1, count: 80), from: 0, entering: 4)
        #expect(!third.isComplete, "there was no room in all")
        first.add([1, 1], from: 40, entering: 4)
        #expect(!first.isComplete && budget.bytesUsed == 0, "a gap makes the rest useless")
    }
}
