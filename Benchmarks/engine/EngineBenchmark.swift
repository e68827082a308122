import ArgumentParser
import ChainEngine
import Foundation

/// The engine beside libllama on one device: the same file, whole there, cut into ranges here.
@main
struct EngineBenchmark: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "benchmark-engine",
        abstract: "The engine beside libllama on one device: answers and speed.")

    @Option(help: "A GGUF file; without it random weights are made.") var model: String?
    @Option(help: "Shape of the random weights.") var shape = "smollm2-135m"
    @Option(help: "Type of the random weights: f16, q8_0 or q4_0.") var type = "q4_0"
    @Option(help: "Folder for the file of random weights.") var folder = NSTemporaryDirectory()
    @Option(help: "A ggml device: auto, cpu, CUDA0, …") var device = "auto"
    @Option(help: "Ranges that the model is cut into.") var parts = 3
    @Option(help: "Compute threads.") var threads = 1
    @Option(help: "Tokens of a prompt.") var prompt = 512
    @Option(help: "Tokens generated in a measurement.") var decode = 64
    @Option(help: "Jobs at once, for batched steps.") var jobs: [Int] = [1, 4, 16]
    @Option(help: "Runs of each measurement; the best is printed.") var runs = 3
    @Flag(help: "Compare with the CPU, too.") var compareWithCPU = false

    func validate() throws {
        guard prompt > 0, prompt <= 512 else { throw ValidationError("--prompt is from 1 to 512") }
        guard parts > 0, threads > 0, decode > 0, runs > 0, !jobs.isEmpty, jobs.allSatisfy({ $0 > 0 }) else {
            throw ValidationError("--parts, --threads, --decode, --runs and --jobs are positive")
        }
        guard SyntheticWeights.types[type] != nil else {
            throw ValidationError(
                "--type is one of \(SyntheticWeights.types.keys.sorted().joined(separator: ", "))")
        }
        guard SyntheticWeights.shapes.contains(where: { $0.name == shape }) else {
            throw ValidationError(
                "--shape is one of \(SyntheticWeights.shapes.map(\.name).joined(separator: ", "))")
        }
    }

    mutating func run() throws {
        var made: String?
        defer { if let made { try? FileManager.default.removeItem(atPath: made) } }
        let path: String
        if let model {
            path = model
        } else {
            path = (folder as NSString).appendingPathComponent("chainserve-\(shape)-\(type).gguf")
            made = path
            let weights = SyntheticWeights.shapes.first { $0.name == shape }!
            try weights.write(to: path, type: SyntheticWeights.types[type]!, seed: 1)
        }
        let most = jobs.max() ?? 1
        let rows = (prompt + decode + 255) / 256 * 256
        let ours = try ChainedEngines(
            path: path, parts: parts, device: device, threads: threads, jobs: most, rows: rows)
        let onGPU = ours.deviceName.lowercased() != "cpu"
        guard
            let theirs = LibllamaPeer(
                path: path, onGPU: onGPU, threads: threads, jobs: most, rows: rows)
        else { throw ValidationError("libllama cannot load \(path)") }
        print("device \(ours.deviceName)")
        print(
            "model \(model == nil ? "\(shape) \(type), random weights" : URL(filePath: path).lastPathComponent)"
        )
        print("megabytes_on_device \(Int((Double(ours.memoryUsed) / 1e6).rounded()))")
        try compareAnswers(ours, theirs, name: "libllama")
        if compareWithCPU, onGPU {
            let cpu = try ChainedEngines(
                path: path, parts: parts, device: "cpu", threads: threads, jobs: 1, rows: rows)
            try compareAnswers(ours, cpu, name: "cpu")
        }
        try measure(ours, theirs)
    }

    // MARK: Answers

    /// A prompt and some tokens after it, each the other's most likely one.
    private func compareAnswers(_ ours: ChainedEngines, _ theirs: some Peer, name: String) throws {
        var words = RandomWords(state: 7)
        var tokens = words.tokens(prompt, vocabulary: ours.ends.vocabularySize)
        try ours.open(1)
        try theirs.begin(1)
        var position = 0
        var worst = 0.0
        var same = 0
        let steps = 17
        for _ in 0..<steps {
            let left = try ours.step([tokens], position: position)[0]
            let right = try theirs.advance([tokens], position: position)[0]
            worst = max(worst, Self.relativeError(left, right))
            let chosen = Self.mostLikely(right)
            if Self.mostLikely(left) == chosen { same += 1 }
            position += tokens.count
            tokens = [chosen]
        }
        print("\(name)_relative_error \(worst)")
        print("\(name)_same_tokens \(same)/\(steps)")
    }

    /// `‖x − y‖ / ‖y‖`.
    private static func relativeError(_ left: [Float], _ right: [Float]) -> Double {
        var difference = 0.0
        var size = 0.0
        for (x, y) in zip(left, right) {
            difference += Double(x - y) * Double(x - y)
            size += Double(y) * Double(y)
        }
        return left.count == right.count ? (difference / size).squareRoot() : .infinity
    }

    private static func mostLikely(_ logits: [Float]) -> Int32 {
        Int32(logits.indices.max { (logits[$0], $1) < (logits[$1], $0) } ?? 0)
    }

    // MARK: Speed

    private func measure(_ ours: ChainedEngines, _ theirs: LibllamaPeer) throws {
        var words = RandomWords(state: 11)
        let vocabulary = ours.ends.vocabularySize
        let text = words.tokens(prompt, vocabulary: vocabulary)
        // In turn, and the best of each: other work on the machine only ever makes a run slower.
        var best = (ours: 0.0, theirs: 0.0)
        for _ in 0..<runs {
            best.ours = max(best.ours, try Self.rate(prompt) { try prefill(ours, text) })
            best.theirs = max(best.theirs, try Self.rate(prompt) { try prefill(theirs, text) })
        }
        report("prefill_\(prompt)", best)
        for count in jobs {
            let next = (0..<count).map { _ in words.tokens(1, vocabulary: vocabulary) }
            best = (0, 0)
            for _ in 0..<runs {
                best.ours = max(best.ours, try generate(ours, next))
                best.theirs = max(best.theirs, try generate(theirs, next))
            }
            report("decode_\(count)", best)
        }
    }

    private func report(_ name: String, _ best: (ours: Double, theirs: Double)) {
        func text(_ value: Double) -> String { String(format: "%.1f", value) }
        print(
            "\(name) \(text(best.ours)) tokens/s, libllama \(text(best.theirs)), ratio"
                + String(format: " %.2f", best.ours / best.theirs))
    }

    private func prefill(_ peer: some Peer, _ text: [Int32]) throws {
        try peer.begin(1)
        _ = try peer.advance([text], position: 0)
    }

    /// Tokens per second of all jobs together, after a prompt of 64 tokens each and some steps to warm up.
    private func generate(_ peer: some Peer, _ next: [[Int32]]) throws -> Double {
        try peer.begin(next.count)
        var position = 0
        let opening = [Int32](repeating: 1, count: 8)
        for _ in 0..<4 {
            // At most 512 tokens a step: jobs by eights.
            _ = try peer.advance(next.map { _ in opening }, position: position)
            position += opening.count
        }
        for _ in 0..<4 {
            _ = try peer.advance(next, position: position)
            position += 1
        }
        return try Self.rate(decode * next.count) {
            for _ in 0..<decode {
                _ = try peer.advance(next, position: position)
                position += 1
            }
        }
    }

    private static func rate(_ count: Int, _ body: () throws -> Void) rethrows -> Double {
        let time = try ContinuousClock().measure { try body() }
        return Double(count) / (Double(time.components.seconds) + Double(time.components.attoseconds) * 1e-18)
    }
}

/// What is compared: jobs that begin together and advance in step.
protocol Peer {
    func begin(_ jobs: Int) throws
    func advance(_ tokens: [[Int32]], position: Int) throws -> [[Float]]
}

extension ChainedEngines: Peer {
    func begin(_ jobs: Int) throws { try open(jobs) }
    func advance(_ tokens: [[Int32]], position: Int) throws -> [[Float]] {
        try step(tokens, position: position)
    }
}

extension LibllamaPeer: Peer {
    func begin(_ jobs: Int) { clear() }
    func advance(_ tokens: [[Int32]], position: Int) -> [[Float]] { step(tokens, position: position) }
}
