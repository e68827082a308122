import ChainDispatch
import ChainEngine
import ChainModel

/// A hop of an attempt: the connection to a server and the blocks computed there.
struct AttemptHop: Sendable {
    var server: ServerIndex
    var incarnation: Incarnation
    var link: NodeLink
    var firstBlock: Int
    var blockCount: Int
}

/// One start of a job on a chain.
struct Attempt: Sendable {
    var number: Int
    /// The job's name on the servers: different for every attempt, so that nothing of an old one can be mistaken.
    var engineJob: EngineJobID
    var hops: [AttemptHop]
    /// As people read it: `s1 > s3`.
    var chainName: String
}

/// How an attempt ended.
enum AttemptOutcome: Sendable {
    /// With all its tokens.
    case finished(GenerationResult, [Int32])
    /// A server did not do its part over this connection; another path may.
    case lost(ServerIndex, Incarnation, LinkError)
    /// Something that another path would repeat.
    case failed(String)
    /// The attempt was abandoned: nobody waits for its outcome.
    case abandoned
}

/// A request while it is served: its tokens so far and the state of its sampler. An attempt that is lost leaves all
/// of that as it is, and the next one goes on from it, so that the text does not depend on what the pool does.
actor GenerationJob {
    let prompt: [Int32]
    /// Most tokens to generate.
    let tokenLimit: Int
    /// What was asked for, when the model's length allows fewer.
    let clampedFrom: Int?
    private let ignoreEnd: Bool
    private let logprobs: Int?
    private let frontend: any ModelFrontend
    private let events: AsyncStream<GenerationEvent>.Continuation
    private let sampler: TokenSampler
    private var assembler = TextAssembler()
    private var generated: [Int32] = []
    /// Set when the last token has been sent. An attempt that finishes while its server is being lost may be followed
    /// by another, which has nothing left to do.
    private var finished: GenerationResult?

    init(
        prompt: [Int32], tokenLimit: Int, clampedFrom: Int?, request: GenerationRequest, seed: UInt32,
        frontend: any ModelFrontend, events: AsyncStream<GenerationEvent>.Continuation
    ) {
        self.prompt = prompt
        self.tokenLimit = tokenLimit
        self.clampedFrom = clampedFrom
        self.frontend = frontend
        self.events = events
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

    /// Runs the job on a chain until it ends, fails or the task is cancelled. Frees its caches on every hop.
    ///
    /// - Precondition: the attempt before has returned.
    func run(_ attempt: Attempt) async -> AttemptOutcome {
        defer { for hop in attempt.hops { hop.link.close(job: attempt.engineJob) } }
        if let finished { return .finished(finished, generated) }
        do {
            open(attempt)
            let result = try await generate(attempt)
            finished = result
            return .finished(result, generated)
        } catch let failure as HopFailure {
            return Task.isCancelled
                ? .abandoned : .lost(failure.hop.server, failure.hop.incarnation, failure.error)
        } catch let error as EngineError {
            return .failed(error.description)
        } catch {
            return .abandoned
        }
    }

    private struct HopFailure: Error {
        var hop: AttemptHop
        var error: LinkError
    }

    /// Reserves the job's caches on all hops, at once. A hop that refuses says so to its first step.
    private func open(_ attempt: Attempt) {
        for hop in attempt.hops {
            hop.link.openAhead(
                job: attempt.engineJob, firstBlock: hop.firstBlock, blockCount: hop.blockCount)
        }
    }

    private func generate(_ attempt: Attempt) async throws -> GenerationResult {
        var last = try await replay(attempt)
        while true {
            try Task.checkCancellation()
            let logits = try await frontend.logits(last)
            // From here to the next `await` nothing can come between: a token is chosen, kept and sent, or none is.
            try Task.checkCancellation()
            let token = sampler.next(logits[...])
            if frontend.endsGeneration(token) && !ignoreEnd { return result(.stop, attempt) }
            generated.append(token)
            events.yield(.token(describe(token, logits)))
            if generated.count >= tokenLimit { return result(.length, attempt) }
            last = try await feed([token], position: prompt.count + generated.count - 1, after: last, attempt)
        }
    }

    /// Computes everything known so far, with the step boundaries it had when it was first computed, and returns the
    /// hidden state after the last token.
    private func replay(_ attempt: Attempt) async throws -> [Float] {
        var last: [Float] = []
        var position = 0
        for start in stride(from: 0, to: prompt.count, by: EngineMemory.stepTokens) {
            let chunk = Array(prompt[start..<min(prompt.count, start + EngineMemory.stepTokens)])
            last = try await feed(chunk, position: position, after: last, attempt)
            position += chunk.count
        }
        for start in stride(from: 0, to: generated.count, by: frontend.replayRows) {
            let chunk = Array(generated[start..<min(generated.count, start + frontend.replayRows)])
            last = try await feed(chunk, position: position, after: last, attempt)
            position += chunk.count
        }
        return last
    }

    /// Carries tokens through the chain; returns the hidden state of the last one.
    private func feed(
        _ tokens: [Int32], position: Int, after last: [Float], _ attempt: Attempt
    ) async throws -> [Float] {
        var hidden = try await frontend.embed(tokens, position: position)
        frontend.follow(last, in: &hidden)
        for hop in attempt.hops {
            do {
                hidden = try await hop.link.step(
                    job: attempt.engineJob, position: position, tokenCount: tokens.count, hidden: hidden)
            } catch let error as LinkError {
                throw HopFailure(hop: hop, error: error)
            }
        }
        return Array(hidden.suffix(frontend.width))
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
