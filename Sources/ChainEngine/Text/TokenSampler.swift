import CLlama

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// How the next token is chosen.
public struct SamplerSettings: Hashable, Sendable {
    /// 0 takes the likeliest token.
    public var temperature: Float
    /// Smallest set of tokens with this much probability; 1 for all.
    public var topP: Float
    /// The `topK` likeliest tokens; 0 for all.
    public var topK: Int32
    public var frequencyPenalty: Float
    public var presencePenalty: Float
    public var seed: UInt32

    public init(
        temperature: Float = 0, topP: Float = 1, topK: Int32 = 0, frequencyPenalty: Float = 0,
        presencePenalty: Float = 0, seed: UInt32 = 0
    ) {
        self.temperature = temperature
        self.topP = topP
        self.topK = topK
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.seed = seed
    }
}

/// A token with the natural logarithm of its probability before any sampling setting was applied.
public struct ScoredToken: Hashable, Sendable {
    public var token: Int32
    public var logProbability: Float

    public init(token: Int32, logProbability: Float) {
        self.token = token
        self.logProbability = logProbability
    }
}

/// Chooses tokens with libllama's samplers. One per job; its random state goes on from token to token, so a
/// job that is moved to another chain keeps its text. Belongs to one task.
public final class TokenSampler {
    /// `llama_sampler *`.
    private let chain: UnsafeMutablePointer<llama_sampler>

    /// Tokens that penalties look back on: all that a job can have.
    private static let penaltyWindow: Int32 = 1 << 20

    public init(_ settings: SamplerSettings, vocabularySize: Int) {
        guard let chain = llama_sampler_chain_init(llama_sampler_chain_default_params()) else {
            preconditionFailure("libllama could not make a sampler")
        }
        self.chain = chain
        func add(_ sampler: UnsafeMutablePointer<llama_sampler>?) { llama_sampler_chain_add(chain, sampler) }
        if settings.frequencyPenalty != 0 || settings.presencePenalty != 0 {
            add(
                llama_sampler_init_penalties(
                    Int32(vocabularySize), Self.penaltyWindow, 1, settings.frequencyPenalty,
                    settings.presencePenalty))
        }
        if settings.temperature > 0 {
            if settings.topK > 0 { add(llama_sampler_init_top_k(settings.topK)) }
            if settings.topP < 1 { add(llama_sampler_init_top_p(settings.topP, 1)) }
            add(llama_sampler_init_temp(settings.temperature))
            add(llama_sampler_init_dist(settings.seed))
        } else {
            add(llama_sampler_init_greedy())
        }
    }

    deinit { llama_sampler_free(chain) }

    /// The next token after these `logits` (one for each token of the vocabulary).
    public func next(_ logits: ArraySlice<Float>) -> Int32 {
        var candidates = [llama_token_data](unsafeUninitializedCapacity: logits.count) { buffer, filled in
            for (token, logit) in logits.enumerated() {
                buffer[token] = llama_token_data(id: Int32(token), logit: logit, p: 0)
            }
            filled = logits.count
        }
        let token = candidates.withUnsafeMutableBufferPointer { buffer in
            var array = llama_token_data_array(
                data: buffer.baseAddress, size: buffer.count, selected: -1, sorted: false)
            llama_sampler_apply(chain, &array)
            precondition(array.selected >= 0 && array.selected < array.size, "the sampler chose nothing")
            return array.data[Int(array.selected)].id
        }
        llama_sampler_accept(chain, token)
        return token
    }

    /// The likeliest `count` tokens and the one chosen, with log-probabilities. Ties go to the smaller token
    /// number.
    /// - Complexity: O(vocabulary · count).
    public static func score(
        _ logits: ArraySlice<Float>, chosen: Int32, count: Int
    ) -> (chosen: ScoredToken, top: [ScoredToken]) {
        func logit(_ token: Int32) -> Float { logits[logits.startIndex + Int(token)] }
        let largest = Double(logits.max() ?? 0)
        let logTotal = log(logits.reduce(0.0) { $0 + exp(Double($1) - largest) })
        func scored(_ token: Int32) -> ScoredToken {
            ScoredToken(token: token, logProbability: Float(Double(logit(token)) - largest - logTotal))
        }
        var best: [Int32] = []
        for token in 0..<Int32(logits.count) where count > 0 {
            let value = logit(token)
            if best.count == count, let last = best.last, logit(last) >= value { continue }
            best.insert(token, at: best.firstIndex { logit($0) < value } ?? best.count)
            if best.count > count { best.removeLast() }
        }
        return (scored(chosen), best.map(scored))
    }
}
