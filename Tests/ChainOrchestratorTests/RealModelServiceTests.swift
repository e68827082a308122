import CLlama
import ChainModel
import Foundation
import Testing

@testable import ChainEngine
@testable import ChainOrchestrator

/// Where `chainserve fetch` keeps the default model, or `CHAINSERVE_MODEL`.
private let modelPath: String? = {
    let environment = ProcessInfo.processInfo.environment
    if let given = environment["CHAINSERVE_MODEL"] { return given }
    let base =
        environment["CHAINSERVE_CACHE"]
        ?? (environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache") + "/chainserve"
    let path = base + "/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    return FileManager.default.fileExists(atPath: path) ? path : nil
}()

/// Greedy tokens of libllama running the whole file in this process.
private func referenceTokens(path: String, prompts: [[Int32]], count: Int) throws -> [[Int32]] {
    llama_log_set({ _, _, _ in }, nil)
    var modelParameters = llama_model_default_params()
    modelParameters.n_gpu_layers = 0
    let model = try #require(llama_model_load_from_file(path, modelParameters))
    defer { llama_model_free(model) }
    var parameters = llama_context_default_params()
    parameters.n_ctx = 2048
    parameters.n_batch = 2048
    parameters.n_ubatch = 512
    parameters.n_threads = 1
    parameters.n_threads_batch = 1
    parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED
    let context = try #require(llama_init_from_model(model, parameters))
    defer { llama_free(context) }
    let greedy = try #require(llama_sampler_init_greedy())
    defer { llama_sampler_free(greedy) }
    return prompts.map { prompt in
        llama_memory_clear(llama_get_memory(context), true)
        var next = prompt
        var tokens: [Int32] = []
        for _ in 0..<count {
            let status = next.withUnsafeMutableBufferPointer {
                llama_decode(context, llama_batch_get_one($0.baseAddress, Int32($0.count)))
            }
            #expect(status == 0)
            next = [llama_sampler_sample(greedy, context, -1)]
            tokens += next
        }
        return tokens
    }
}

@Suite(
    "A service over the default model",
    .enabled(if: modelPath != nil, "the default model is not in the cache: run `make test`"), .serialized)
struct RealModelServiceTests {
    private static let prompts = [
        "The capital of France is", "Once upon a time, in a small village,", "2 + 2 =",
        String(repeating: "Chains of servers carry the hidden states of many jobs. ", count: 50)
            + "Therefore",
    ]

    private static func wish(_ model: LlamaFile, ranges: [(Int, Int)], jobs: Int) -> ServiceFixture.Wish {
        let shape = model.shape(name: "smollm2", sequenceLength: 1024)
        let servers = ranges.enumerated().map { index, range in
            Server(
                name: "s\(index)",
                memory: shape.computeSize + shape.blockSize * range.1 + shape.cacheSize * (range.1 * jobs),
                communicationTimeSeconds: 0.01, blockTimeSeconds: 0.01 * Double(index + 1))
        }
        var wish = ServiceFixture.Wish(
            cluster: Cluster(model: shape, demand: Demand(arrivalRate: 0.1), servers: servers),
            placement: ranges.map { BlockRange(first: $0.0, count: $0.1) })
        wish.sequenceLength = 1024
        wish.model = model
        return wish
    }

    @Test(
        "Answers over the wire, together and entering mid-range, are libllama's; a lost server changes nothing"
    )
    func equalsLibllama() async throws {
        let path = try #require(modelPath)
        let model = try LlamaFile(path: path)
        let vocabulary = try Vocabulary(path: path)
        let tokenized = Self.prompts.map { vocabulary.tokenize($0, addSpecial: true, parseSpecial: true) }
        #expect(tokenized.contains { $0.count > 512 })
        let expected = try referenceTokens(path: path, prompts: tokenized, count: 64)
        // s0 > s2 enters s2 in the middle of its range, at 13; when s2 is lost, s1 > s3 goes on from block 9.
        var wish = Self.wish(model, ranges: [(1, 12), (1, 8), (9, 22), (9, 22)], jobs: 4)
        wish.withoutFile = [2]  // is sent its blocks over the wire
        try await ServiceFixture.with(wish) { pool in
            try await pool.orchestrator.waitUntilReady()
            let lost = Task {
                try await eventually("a job is well under way on s2") { pool.unitsUsed(2) > 0 }
                try await Task.sleep(for: .milliseconds(1500))
                await pool.lose(2)
            }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (index, prompt) in tokenized.enumerated() {
                    group.addTask {
                        let answer = try await pool.generate(
                            pool.request("m\(index)", .tokens(prompt), tokens: 64))
                        #expect(answer.tokens == expected[index], "prompt \(index): \(answer.text)")
                    }
                }
                try await group.waitForAll()
            }
            try await lost.value
        }
    }

    @Test("A server whose own file is another model is refused by name")
    func wrongModel() async throws {
        let path = try #require(modelPath)
        let model = try LlamaFile(path: path)
        let tensor = try #require(
            try model.manifest(modelName: "m", range: BlockRange(first: 20, count: 1)).tensors.last)
        // A copy of the file with one changed byte in a block of s1.
        let other =
            FileManager.default.temporaryDirectory.path + "/chainserve-other-\(UUID().uuidString).gguf"
        try FileManager.default.copyItem(atPath: path, toPath: other)
        defer { try? FileManager.default.removeItem(atPath: other) }
        let place = try #require(model.file.tensor(named: tensor.name)).fileOffset
        let handle = try FileHandle(forUpdating: URL(fileURLWithPath: other))
        try handle.seek(toOffset: UInt64(place))
        let byte = try #require(try handle.read(upToCount: 1)?.first)
        try handle.seek(toOffset: UInt64(place))
        try handle.write(contentsOf: [byte ^ 1])
        try handle.close()
        var wish = Self.wish(model, ranges: [(1, 15), (16, 15)], jobs: 1)
        wish.localPaths[1] = other
        try await ServiceFixture.with(wish) { pool in
            let error = await #expect(throws: StartError.self) {
                try await pool.orchestrator.waitUntilReady()
            }
            guard case .refused(let server, let reason)? = error else {
                Issue.record("\(String(describing: error))")
                return
            }
            #expect(server == "s1" && reason.contains(tensor.name))
        }
    }
}
