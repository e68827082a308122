import ChainModel

/// What the gateway needs of whoever generates text. A real boundary: the gateway knows HTTP and OpenAI's
/// shapes and nothing of chains; the conformer knows chains and nothing of HTTP.
///
/// All members may be called from any task and concurrently.
package protocol GenerationService: Sendable {
    /// The one model served. Constant while the service lives.
    var modelCard: ModelCard { get }

    /// Whether requests can be served now. Cheap: asked by `/ready` every few seconds.
    func readiness() async -> Readiness

    /// Takes a request in, or refuses it: `done` is called once the prompt is tokenized and the job is running or
    /// queued, on any thread, and at once by a service that need not wait for anything. Waiting in the queue happens in
    /// the stream.
    ///
    /// The gateway has checked every field's type and range and the model's name. It has not checked the
    /// prompt's length in tokens nor that token identifiers are in the vocabulary.
    /// - Parameter done: called once; a `GenerationRefusal` becomes an HTTP status.
    func submit(
        _ request: GenerationRequest,
        done: @escaping @Sendable (Result<GenerationStream, GenerationRefusal>) -> Void)

    /// Gives up the job with this identifier: its stream ends with `.failed(.cancelled)` and its caches are
    /// freed on every server. Returns `false` when no such job is queued or running.
    func cancel(requestID: String) async -> Bool

    /// Tokens of `text`, with the model's own special tokens put around it when `addSpecial`.
    func tokenize(_ text: String, addSpecial: Bool) throws -> [Int32]

    /// Tokens of the prompt that `messages` make under the model's chat template, ready for the answer.
    func tokenize(_ messages: [ChatMessage]) throws -> [Int32]

    /// - Throws: `GenerationRefusal.invalid` when a token is not in the vocabulary.
    func detokenize(_ tokens: [Int32]) throws -> String

    /// A snapshot of what is running.
    func status() async -> PoolStatus

    /// As `status`, from what is known already: asks no server. For looking every second.
    func glance() async -> PoolStatus

    /// What the plan in service predicts; `nil` when there is no plan.
    func outlook() async -> PoolOutlook?

    /// Goes on with a request that an earlier life of the service accepted, or gives its finished answer again.
    /// - Parameter client: who asks; requests of others are unknown to them. `nil` when nobody is told apart.
    /// - Throws: `ReopeningRefusal`.
    func reopen(requestID: String, of client: String?) async throws(ReopeningRefusal) -> ReopenedRequest

    /// Restarts block servers one after another; returns when that is over. `names` empty: all of the plan.
    /// - Throws: `GenerationRefusal.invalid` when there is no such server.
    func restart(servers names: [String]) async throws(GenerationRefusal) -> RestartOutcome
}

/// A request that a client has come back for.
package struct ReopenedRequest: Sendable {
    package var request: GenerationRequest
    /// From the answer's first token on.
    package var stream: GenerationStream
}

/// Why a request cannot be gone on with.
package enum ReopeningRefusal: Error, Hashable, Sendable {
    /// Nothing is known of it, or nothing any more.
    case unknown
    /// It is being answered over another connection.
    case inFlight
    /// It was cut off and cannot be gone on with: why.
    case interrupted(String)
    /// It ended, and not well: how.
    case ended(String)
    case unavailable(String)
}

package struct RestartOutcome: Hashable, Sendable {
    package var restarted: [String]
    package var skipped: [String]
}

extension GenerationService {
    /// As `submit(_:done:)`, for tasks.
    package func submit(_ request: GenerationRequest) async throws(GenerationRefusal) -> GenerationStream {
        let result = await withCheckedContinuation { answer in
            submit(request) { answer.resume(returning: $0) }
        }
        return try result.get()
    }

    package func glance() async -> PoolStatus { await status() }
    package func outlook() async -> PoolOutlook? { nil }

    package func reopen(requestID: String, of client: String?) async throws(ReopeningRefusal)
        -> ReopenedRequest
    {
        throw .unknown
    }

    package func restart(servers names: [String]) async throws(GenerationRefusal) -> RestartOutcome {
        throw .invalid(message: "this service has no block servers", parameter: nil, code: nil)
    }
}

/// The model as `/v1/models` shows it.
package struct ModelCard: Hashable, Sendable {
    /// The name that requests must carry in `model`.
    package var id: String
    /// When the service began to offer it: seconds since 1970.
    package var created: Int
    package var ownedBy: String
    /// Where the weights come from: the name of the GGUF file or of the original model.
    package var root: String
    /// Longest sequence, prompt and answer together, in tokens.
    package var maximumModelLength: Int
    /// `true` when no real model computes the answers. Shown in every response.
    package var isEmulated: Bool

    package init(
        id: String, created: Int, ownedBy: String = "chainserve", root: String? = nil,
        maximumModelLength: Int,
        isEmulated: Bool = false
    ) {
        self.id = id
        self.created = created
        self.ownedBy = ownedBy
        self.root = root ?? id
        self.maximumModelLength = maximumModelLength
        self.isEmulated = isEmulated
    }
}

package enum Readiness: Hashable, Sendable {
    /// Not yet: servers are loading. The text says what is awaited.
    case starting(String)
    case ready
    /// Finishing what is accepted, taking nothing new.
    case draining
    /// No chain can serve. The text says why.
    case unavailable(String)
}

/// One job as a client asked for it, every field checked.
package struct GenerationRequest: Hashable, Codable, Sendable {
    /// Unique among the requests that this gateway has in flight. The client's `X-Request-ID`, or a new
    /// one.
    package var requestID: String
    package var model: String
    package var input: GenerationInput
    /// Most tokens to generate, at least 1; `nil` means up to the model's length.
    package var maximumTokens: Int?
    package var sampling: SamplingParameters
    /// Stop sequences, none empty. The gateway finds them in the text, cuts the text there and cancels the
    /// job; a service need not look at them.
    package var stop: [String]
    /// Go on to `maximumTokens` even when the model ends its answer.
    package var ignoreEndOfSequence: Bool
    /// Whose it is: what the limit per client counts by. The gateway's word for a key or an address.
    package var client = ""
    /// How long it may wait for a path, from its acceptance; `nil` for the service's default.
    package var timeout: Duration?
    /// The ticket of an earlier refusal (`GenerationRefusal.overloaded`), sent back.
    package var ticket: UInt64?
    /// The answer's form, kept for a client that comes back for it; the gateway's own.
    var presentation: AnswerPresentation?

    package init(
        requestID: String, model: String, input: GenerationInput, maximumTokens: Int? = nil,
        sampling: SamplingParameters = SamplingParameters(), stop: [String] = [],
        ignoreEndOfSequence: Bool = false
    ) {
        self.requestID = requestID
        self.model = model
        self.input = input
        self.maximumTokens = maximumTokens
        self.sampling = sampling
        self.stop = stop
        self.ignoreEndOfSequence = ignoreEndOfSequence
    }
}

package enum GenerationInput: Hashable, Codable, Sendable {
    /// At least one message; the model's chat template turns them into a prompt.
    case chat([ChatMessage])
    /// Tokenized as it is, with the model's special tokens around it.
    case text(String)
    /// Taken as they are; never empty and none negative.
    case tokens([Int32])
}

package struct ChatMessage: Hashable, Codable, Sendable {
    package enum Role: String, Hashable, Codable, Sendable {
        case system, user, assistant
    }
    package var role: Role
    package var content: String

    package init(role: Role, content: String) {
        self.role = role
        self.content = content
    }
}

/// How the next token is drawn. The defaults are OpenAI's.
package struct SamplingParameters: Hashable, Codable, Sendable {
    /// In [0, 2]; 0 is greedy.
    package var temperature: Double
    /// In (0, 1].
    package var topP: Double
    /// At least 1; `nil` considers the whole vocabulary.
    package var topK: Int?
    /// The same seed and request give the same text; `nil` lets the service choose.
    package var seed: UInt64?
    /// In [-2, 2].
    package var frequencyPenalty: Double
    /// In [-2, 2].
    package var presencePenalty: Double
    /// `nil`: no log probabilities. Otherwise the chosen token's, with this many of the likeliest (0 to 20).
    package var logprobs: Int?

    package init(
        temperature: Double = 1, topP: Double = 1, topK: Int? = nil, seed: UInt64? = nil,
        frequencyPenalty: Double = 0, presencePenalty: Double = 0, logprobs: Int? = nil
    ) {
        self.temperature = temperature
        self.topP = topP
        self.topK = topK
        self.seed = seed
        self.frequencyPenalty = frequencyPenalty
        self.presencePenalty = presencePenalty
        self.logprobs = logprobs
    }
}
