import ChainEngine
import ChainModel
import Foundation
import Synchronization

/// The parts of serving that know tokens and no blocks: tokenizer, chat template, embedding, output head.
///
/// Two conformers: `LlamaFrontend` over a real model, `EmulatedFrontend` for pools that are only emulated.
package protocol ModelFrontend: Sendable {
    var isEmulated: Bool { get }
    /// Values of a hidden state.
    var width: Int { get }
    var vocabularySize: Int { get }
    /// Tokens generated when a request does not say how many; `nil` goes on to the model's length.
    var defaultOutputTokens: Int? { get }

    /// Most rows in which generated tokens are computed again after a loss, so that they come out as before.
    var replayRows: Int { get }

    func tokenize(_ text: String, addSpecial: Bool) -> [Int32]
    /// Tokens of the prompt that the chat template makes; `nil` when the model has none that is known.
    func tokenize(_ messages: [ChatMessage]) -> [Int32]?
    func bytes(of token: Int32) -> [UInt8]
    func endsGeneration(_ token: Int32) -> Bool
    /// Hidden states entering block 1: row-major `[tokens][width]`.
    func embed(_ tokens: [Int32], position: Int) async throws(EngineError) -> [Float]
    /// Takes over what a step must know of the one before it, whose result was `last` (empty: none). Nothing, unless the
    /// pool is emulated.
    func follow(_ last: [Float], in hidden: inout [Float])
    /// Logits after one hidden state that left the last block.
    func logits(_ hidden: [Float]) async throws(EngineError) -> [Float]
}

extension ModelFrontend {
    package func follow(_ last: [Float], in hidden: inout [Float]) {}
}

/// Tokenizer by libllama, embedding and output head by ggml, for a GGUF file on this machine.
package struct LlamaFrontend: ModelFrontend {
    package let width: Int
    package let vocabularySize: Int
    private let vocabulary: Vocabulary
    private let ends: ModelEndsQueue

    /// - Parameter blocksAreGGML: the blocks are computed by ggml, and rounded as its kernels round.
    package init(model: LlamaFile, threads: Int, blocksAreGGML: Bool = true) throws(EngineError) {
        let ends = try ModelEnds(model: model, options: EngineOptions(threads: threads, device: "cpu"))
        vocabulary = try Vocabulary(path: model.file.path)
        guard vocabulary.size == ends.vocabularySize else {
            throw .modelFile(
                "\(model.file.path): the tokenizer has \(vocabulary.size) tokens, the embedding \(ends.vocabularySize)"
            )
        }
        width = ends.width
        vocabularySize = ends.vocabularySize
        replayRows = !blocksAreGGML || model.computesRowsAlike ? Self.replayRowsBelowOtherKernel : 1
        self.ends = ModelEndsQueue(ends)
    }

    package let replayRows: Int
    package var isEmulated: Bool { false }
    package var defaultOutputTokens: Int? { nil }

    /// ggml's attention takes another kernel, with other rounding, from 64 rows on; the tokens replayed were first
    /// computed one by one.
    private static let replayRowsBelowOtherKernel = 32

    package func tokenize(_ text: String, addSpecial: Bool) -> [Int32] {
        vocabulary.tokenize(text, addSpecial: addSpecial, parseSpecial: false)
    }

    package func tokenize(_ messages: [ChatMessage]) -> [Int32]? {
        vocabulary.applyChatTemplate(messages.map { ($0.role.rawValue, $0.content) })
            .map { vocabulary.tokenize($0, addSpecial: true, parseSpecial: true) }
    }

    package func bytes(of token: Int32) -> [UInt8] { vocabulary.bytes(of: token) }
    package func endsGeneration(_ token: Int32) -> Bool { vocabulary.endsGeneration(token) }

    package func embed(_ tokens: [Int32], position: Int) async throws(EngineError) -> [Float] {
        try await ends.embed(tokens)
    }

    package func logits(_ hidden: [Float]) async throws(EngineError) -> [Float] {
        try await ends.logits(hidden)
    }
}

/// Runs a model's ends on a thread of their own and answers the hidden states that wait there in one product.
///
/// `@unchecked Sendable`: `ends` is touched only in blocks on the serial `queue`; the rest is locked or constant.
final class ModelEndsQueue: @unchecked Sendable {
    /// Most rows of one product.
    static let batchLimit = 64

    private struct Waiting {
        var hidden: [Float]
        var answer: CheckedContinuation<Result<[Float], EngineError>, Never>
    }

    private let ends: ModelEnds
    private let queue = DispatchQueue(label: "chainserve.ends")
    private let waiting = Mutex<[Waiting]>([])

    init(_ ends: ModelEnds) { self.ends = ends }

    func embed(_ tokens: [Int32]) async throws(EngineError) -> [Float] {
        let result = await withCheckedContinuation { answer in
            queue.async {
                answer.resume(returning: Result { () throws(EngineError) in try self.ends.embed(tokens) })
            }
        }
        return try result.get()
    }

    func logits(_ hidden: [Float]) async throws(EngineError) -> [Float] {
        let result = await withCheckedContinuation { answer in
            let isFirst = waiting.withLock {
                $0.append(Waiting(hidden: hidden, answer: answer))
                return $0.count == 1
            }
            if isFirst { queue.async { self.answerWaiting() } }
        }
        return try result.get()
    }

    private func answerWaiting() {
        while true {
            let batch = waiting.withLock { Array($0.prefix(Self.batchLimit)) }
            if batch.isEmpty { return }
            do throws(EngineError) {
                let logits = try ends.logits(batch.flatMap(\.hidden))
                let size = ends.vocabularySize
                for (row, one) in batch.enumerated() {
                    one.answer.resume(returning: .success(Array(logits[row * size..<(row + 1) * size])))
                }
            } catch {
                for one in batch { one.answer.resume(returning: .failure(error)) }
            }
            let isDone = waiting.withLock {
                $0.removeFirst(batch.count)
                return $0.isEmpty
            }
            if isDone { return }
        }
    }
}

/// Stands in for a model in an emulated pool: tokens are bytes, and the "answer" repeats a fixed text. The hidden
/// states carry token and position, which the emulated engines raise by 1 for every block, so that a job that did not
/// pass through every block exactly once is noticed.
package struct EmulatedFrontend: ModelFrontend {
    package static let width = EmulatedState.width
    package var width: Int { Self.width }
    package let vocabularySize = 257
    package let replayRows = 32
    package let defaultOutputTokens: Int?
    private let blockCount: Int
    private static let text = Array("This text is made by an emulated engine. ".utf8)

    package init(blockCount: Int, defaultOutputTokens: Int) {
        self.blockCount = blockCount
        self.defaultOutputTokens = defaultOutputTokens
    }

    package var isEmulated: Bool { true }

    package func tokenize(_ text: String, addSpecial: Bool) -> [Int32] { text.utf8.map(Int32.init) }

    package func tokenize(_ messages: [ChatMessage]) -> [Int32]? {
        tokenize(messages.map { "\($0.role.rawValue): \($0.content)\n" }.joined(), addSpecial: true)
    }

    package func bytes(of token: Int32) -> [UInt8] { (0..<256).contains(token) ? [UInt8(token)] : [] }
    package func endsGeneration(_ token: Int32) -> Bool { token == 256 }

    package func embed(_ tokens: [Int32], position: Int) async throws(EngineError) -> [Float] {
        var hidden: [Float] = []
        for (offset, token) in tokens.enumerated() {
            hidden += [Float(token), Float(position + offset), 0, 0, 0, 0, 0, 0]
        }
        return hidden
    }

    /// The emulated time goes on where the step before ended.
    package func follow(_ last: [Float], in hidden: inout [Float]) {
        guard !hidden.isEmpty else { return }
        let time = last.isEmpty ? EmulatedState.now() : EmulatedState.time(in: last, row: 0)
        EmulatedState.set(time, in: &hidden, row: hidden.count - Self.width)
    }

    package func logits(_ hidden: [Float]) async throws(EngineError) -> [Float] {
        let passed = Int(hidden[2].rounded())
        guard passed == blockCount else {
            throw .unsupportedModel("a hidden state passed \(passed) blocks instead of \(blockCount)")
        }
        let position = Int(hidden[1].rounded()) - blockCount
        var logits = [Float](repeating: 0, count: vocabularySize)
        logits[Int(Self.text[position % Self.text.count])] = 100
        return logits
    }
}
