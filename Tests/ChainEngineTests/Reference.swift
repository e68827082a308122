import CLlama
import ChainModel
import Foundation

@testable import ChainEngine

/// Where `chainserve fetch` keeps the default model, or `CHAINSERVE_MODEL`.
let defaultModelPath: String? = {
    let environment = ProcessInfo.processInfo.environment
    if let given = environment["CHAINSERVE_MODEL"] { return given }
    let base =
        environment["CHAINSERVE_CACHE"]
        ?? (environment["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache") + "/chainserve"
    let path = base + "/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    return FileManager.default.fileExists(atPath: path) ? path : nil
}()

/// libllama running a whole GGUF in this process: what right answers are.
final class ReferenceModel {
    let model: OpaquePointer
    let context: OpaquePointer
    let vocabulary: OpaquePointer
    let vocabularySize: Int

    init?(path: String, threads: Int32 = 1, contextLength: UInt32 = 2048, sequences: UInt32 = 1) {
        llama_log_set({ _, _, _ in }, nil)
        llama_backend_init()
        _ = GGMLDevice.available
        var modelParameters = llama_model_default_params()
        modelParameters.n_gpu_layers = 0
        guard let model = llama_model_load_from_file(path, modelParameters) else { return nil }
        var parameters = llama_context_default_params()
        parameters.n_ctx = contextLength
        parameters.n_batch = contextLength
        parameters.n_ubatch = 512
        parameters.n_seq_max = sequences
        parameters.n_threads = threads
        parameters.n_threads_batch = threads
        parameters.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED
        guard let context = llama_init_from_model(model, parameters) else {
            llama_model_free(model)
            return nil
        }
        self.model = model
        self.context = context
        vocabulary = llama_model_get_vocab(model)
        vocabularySize = Int(llama_vocab_n_tokens(vocabulary))
    }

    deinit {
        llama_free(context)
        llama_model_free(model)
    }

    /// The logits after each of: the prompt, and every following greedy token.
    func greedy(prompt: [Int32], count: Int) -> (tokens: [Int32], logits: [[Float]]) {
        llama_memory_clear(llama_get_memory(context), true)
        var tokens: [Int32] = []
        var all: [[Float]] = []
        var next = prompt
        for _ in 0..<count {
            let status = next.withUnsafeMutableBufferPointer {
                llama_decode(context, llama_batch_get_one($0.baseAddress, Int32($0.count)))
            }
            precondition(status == 0, "llama_decode failed: \(status)")
            let logits = logits(at: -1)
            let token = argmax(logits)
            all.append(logits)
            tokens.append(token)
            next = [token]
        }
        return (tokens, all)
    }

    /// The logits after `tokens`, one of each sequence, in one call of `llama_decode`; the prompts are
    /// decoded before, one by one.
    /// - Precondition: the model was made for as many sequences.
    func batched(prompts: [[Int32]], tokens: [Int32]) -> [[Float]] {
        llama_memory_clear(llama_get_memory(context), true)
        for (sequence, prompt) in prompts.enumerated() {
            decode(prompt.enumerated().map { ($1, $0, sequence) }, outputs: prompt.count - 1)
        }
        decode(zip(prompts, tokens).enumerated().map { ($1.1, $1.0.count, $0) }, outputs: 0)
        return prompts.indices.map { logits(at: Int32($0)) }
    }

    private func decode(_ entries: [(token: Int32, position: Int, sequence: Int)], outputs first: Int) {
        var batch = llama_batch_init(Int32(entries.count), 0, 1)
        defer { llama_batch_free(batch) }
        batch.n_tokens = Int32(entries.count)
        for (index, entry) in entries.enumerated() {
            batch.token[index] = entry.token
            batch.pos[index] = Int32(entry.position)
            batch.n_seq_id[index] = 1
            batch.seq_id[index]![0] = Int32(entry.sequence)
            batch.logits[index] = index >= first ? 1 : 0
        }
        precondition(llama_decode(context, batch) == 0, "llama_decode failed")
    }

    private func logits(at index: Int32) -> [Float] {
        Array(UnsafeBufferPointer(start: llama_get_logits_ith(context, index), count: vocabularySize))
    }
}

/// Index of the largest value, the first of equal ones.
func argmax(_ values: [Float]) -> Int32 {
    values.withUnsafeBufferPointer { buffer in
        guard let base = buffer.baseAddress else { return 0 }
        var best = 0
        var index = 1
        while index < buffer.count {
            if base[index] > base[best] { best = index }
            index += 1
        }
        return Int32(best)
    }
}

/// Whether all values are equal to the last bit.
func identical(_ left: [[Float]], _ right: [[Float]]) -> Bool {
    left.count == right.count
        && zip(left, right).allSatisfy { pair in
            pair.0.count == pair.1.count
                && pair.0.withUnsafeBytes { leftBytes in
                    pair.1.withUnsafeBytes { rightBytes in
                        leftBytes.count == 0
                            || memcmp(leftBytes.baseAddress!, rightBytes.baseAddress!, leftBytes.count) == 0
                    }
                }
        }
}

/// The largest difference between values of the same place.
func distance(_ left: [[Float]], _ right: [[Float]]) -> Float {
    zip(left, right).reduce(0) { largest, pair in
        zip(pair.0, pair.1).reduce(largest) { max($0, abs($1.0 - $1.1)) }
    }
}

/// Block servers in one process: engines over ranges of a file.
final class InProcessPool {
    let file: LlamaFile
    let ends: ModelEnds
    var engines: [GGMLEngine] = []
    private var nextJob: UInt64 = 1

    init(
        path: String, ranges: [(first: Int, count: Int)], units: Int, sequenceLength: Int = 1024,
        threads: Int = 1
    ) throws {
        file = try LlamaFile(path: path)
        ends = try ModelEnds(model: file, options: EngineOptions(threads: threads, device: "cpu"))
        let shape = file.shape(name: "test", sequenceLength: sequenceLength)
        for range in ranges {
            let blocks = BlockRange(first: range.first, count: range.count)
            let manifest = try file.manifest(modelName: "test", range: blocks)
            let limits = EngineLimits(
                range: blocks, width: file.parameters.embeddingWidth, unitCount: units,
                sequenceLength: sequenceLength)
            engines.append(
                try GGMLEngine(
                    manifest: manifest, source: file, limits: limits,
                    options: EngineOptions(threads: threads, computeSize: shape.computeSize, device: "cpu")))
        }
    }

    /// A path through the engines: each computes from `first` to the end of its range.
    struct Path { var hops: [(engine: Int, first: Int)] }

    /// The path through engines `order`, each taking over where the one before ended.
    func path(_ order: [Int]) -> Path {
        var next = 1
        var hops: [(engine: Int, first: Int)] = []
        for engine in order {
            hops.append((engine, next))
            next = engines[engine].limits.range.end
        }
        precondition(next == file.parameters.blockCount + 1, "the path does not cover the model")
        return Path(hops: hops)
    }

    func open(_ path: Path) throws -> EngineJobID {
        let job = EngineJobID(nextJob)
        nextJob += 1
        for hop in path.hops {
            try engines[hop.engine].open(
                job, firstBlock: hop.first, blockCount: engines[hop.engine].limits.range.end - hop.first)
        }
        return job
    }

    func close(_ job: EngineJobID) { for engine in engines { engine.close(job) } }

    /// Carries `tokens` from `position` on through the path; returns the last hidden state.
    func step(_ job: EngineJobID, _ path: Path, tokens: [Int32], position: Int) throws -> [Float] {
        var hidden = try ends.embed(tokens)
        for hop in path.hops {
            hidden = try engines[hop.engine].run([
                EngineStep(
                    job: job, position: position, tokenCount: tokens.count, hidden: hidden,
                    lastRowOnly: engines[hop.engine].limits.range.end > file.parameters.blockCount)
            ])[0]
        }
        precondition(hidden.count == ends.width)
        return hidden
    }

    /// Greedy generation with prompt steps of 512 tokens, alone on the engines.
    func greedy(_ path: Path, prompt: [Int32], count: Int) throws -> (tokens: [Int32], logits: [[Float]]) {
        let job = try open(path)
        defer { close(job) }
        var tokens: [Int32] = []
        var all: [[Float]] = []
        var position = 0
        var last: [Float] = []
        while position < prompt.count {
            let chunk = Array(prompt[position..<min(prompt.count, position + 512)])
            last = try step(job, path, tokens: chunk, position: position)
            position += chunk.count
        }
        for index in 0..<count {
            let logits = try ends.logits(last)
            all.append(logits)
            tokens.append(argmax(logits))
            if index + 1 < count {
                last = try step(job, path, tokens: [tokens[index]], position: position)
                position += 1
            }
        }
        return (tokens, all)
    }

    /// The logits after `tokens`, one of each job, carried along `path` in one step; the prompts are
    /// computed before, one by one.
    func batched(_ path: Path, prompts: [[Int32]], tokens: [Int32]) throws -> [[Float]] {
        let jobs = try prompts.map { prompt in
            let job = try open(path)
            _ = try step(job, path, tokens: prompt, position: 0)
            return job
        }
        defer { for job in jobs { close(job) } }
        var hidden = try tokens.prefix(jobs.count).map { try ends.embed([$0]) }
        for hop in path.hops {
            hidden = try engines[hop.engine].run(
                jobs.indices.map {
                    EngineStep(
                        job: jobs[$0], position: prompts[$0].count, tokenCount: 1, hidden: hidden[$0])
                })
        }
        let all = try ends.logits(hidden.flatMap { $0 })
        let size = ends.vocabularySize
        return jobs.indices.map { Array(all[$0 * size..<($0 + 1) * size]) }
    }
}
