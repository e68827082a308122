import ChainEngine
import ChainModel

/// A request while it is served: its tokens so far and the state of its sampler. An attempt that is lost leaves all
/// of that as it is, and the next one goes on from it, so that the text does not depend on what the pool does.
///
/// `@unchecked Sendable`: its state is touched by `run` alone, and each attempt waits for the return of the one before.
final class GenerationJob: @unchecked Sendable {
    let prompt: [Int32]
    /// Most tokens to generate.
    let tokenLimit: Int
    /// What was asked for, when the model's length allows fewer.
    let clampedFrom: Int?
    private let ignoreEnd: Bool
    private let logprobs: Int?
    let frontend: any ModelFrontend
    private let feed: GenerationFeed
    private let sampler: TokenSampler
    private var assembler = TextAssembler()
    private(set) var generated: [Int32] = []
    /// Caches on servers that a next attempt may go on with, as far as it is known what is in them.
    var caches: [HopCache] = []
    let states: KeptStates
    /// What left the last block for the last of the rows that it has computed; empty before the first.
    var last: [Float] = []
    /// What left a hop last: an emulated pool's time goes on from there.
    var moment: [Float] = []
    /// Set when the last token has been sent. An attempt that finishes while its server is being lost may be followed
    /// by another, which has nothing left to do.
    private var finished: GenerationResult?

    init(
        prompt: [Int32], tokenLimit: Int, clampedFrom: Int?, request: GenerationRequest, seed: UInt32,
        frontend: any ModelFrontend, statesBudget: KeptStatesBudget,
        feed: GenerationFeed
    ) {
        self.prompt = prompt
        self.tokenLimit = tokenLimit
        self.clampedFrom = clampedFrom
        self.frontend = frontend
        self.feed = feed
        states = KeptStates(width: frontend.width, budget: statesBudget)
        ignoreEnd = request.ignoreEndOfSequence
        logprobs = request.sampling.logprobs
        sampler = TokenSampler(
            SamplerSettings(
                temperature: Float(request.sampling.temperature), topP: Float(request.sampling.topP),
                topK: Int32(clamping: request.sampling.topK ?? 0),
                frequencyPenalty: Float(request.sampling.frequencyPenalty),
                presencePenalty: Float(request.sampling.presencePenalty), seed: seed),
            vocabularySize: frontend.vocabularySize)
    }

    /// Runs the job on a chain until it ends, fails or the attempt is given up. Caches that no attempt goes on with are
    /// freed; after a loss the conductor does that, which knows what comes next.
    ///
    /// - Precondition: the attempt before has returned.
    nonisolated(nonsending) func run(_ attempt: Attempt) async -> AttemptOutcome {
        let outcome = await outcome(of: attempt)
        switch outcome {
        case .finished, .failed:
            for hop in attempt.hops { hop.close() }
            states.drop()
        case .lost, .abandoned:
            for hop in attempt.ending.left(of: attempt.hops) { hop.close() }
        }
        return outcome
    }

    private nonisolated(nonsending) func outcome(of attempt: Attempt) async -> AttemptOutcome {
        if let finished { return .finished(finished, generated) }
        do {
            try attempt.checkWanted()
            open(attempt)
            let result = try await generate(attempt)
            finished = result
            return .finished(result, generated)
        } catch let failure as HopFailure {
            return attempt.isUnwanted
                ? .abandoned : .lost(failure.hop.server, failure.hop.incarnation, failure.error)
        } catch let error as EngineError {
            return .failed(error.description)
        } catch {
            return .abandoned
        }
    }

    private nonisolated(nonsending) func generate(_ attempt: Attempt) async throws -> GenerationResult {
        try await rebuild(attempt)
        while true {
            try attempt.checkWanted()
            let logits = try await frontend.logits(last)
            // From here to the next `await` nothing can come between: a token is chosen, kept and sent, or none is.
            try attempt.checkWanted()
            let token = sampler.next(logits[...])
            if frontend.endsGeneration(token) && !ignoreEnd { return result(.stop, attempt) }
            generated.append(token)
            feed.yield(.token(describe(token, logits)))
            if generated.count >= tokenLimit { return result(.length, attempt) }
            try await carry([token], from: prompt.count + generated.count - 1, attempt)
        }
    }

    // MARK: - Results

    private func describe(_ token: Int32, _ logits: [Float]) -> GeneratedToken {
        let bytes = frontend.bytes(of: token)
        var described = GeneratedToken(id: token, text: assembler.append(bytes), bytes: bytes)
        if let logprobs {
            let scores = TokenSampler.score(logits[...], chosen: token, count: logprobs)
            described.logprob = Double(scores.chosen.logProbability)
            described.topLogprobs = scores.top.map {
                TokenLogprob(
                    id: $0.token, bytes: frontend.bytes(of: $0.token), logprob: Double($0.logProbability))
            }
        }
        return described
    }

    private func result(_ reason: FinishReason, _ attempt: Attempt) -> GenerationResult {
        GenerationResult(
            reason: reason, promptTokens: prompt.count, completionTokens: generated.count,
            clampedFrom: reason == .length && generated.count == tokenLimit ? clampedFrom : nil,
            chain: attempt.chainName, attempts: attempt.number, trailingText: assembler.finish())
    }
}
