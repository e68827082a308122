/// What a generation request asks of the gateway, beside what it asks of the service.
struct AnswerOptions: Hashable, Codable, Sendable {
    var isStreamed = false
    /// Streams: one more chunk with the usage at the end.
    var includesUsage = false
    /// Streams: the usage so far in every chunk.
    var includesContinuousUsage = false
}

/// Which of OpenAI's two shapes a request and its answer have.
enum AnswerShape: String, Hashable, Codable, Sendable {
    case chat
    case completion
}

/// The form of an answer, as far as the request decides it.
struct AnswerPresentation: Hashable, Codable, Sendable {
    var shape: AnswerShape
    var options: AnswerOptions
    /// Seconds since 1970.
    var created: Int
}

/// Reads the bodies of `/v1/chat/completions` and `/v1/completions`.
struct GenerationRequestReader {
    private var fields: RequestFields
    private let shape: AnswerShape

    static func read(
        _ body: JSONValue, shape: AnswerShape, requestID: String
    ) throws(GenerationRefusal) -> (GenerationRequest, AnswerOptions) {
        var reader = GenerationRequestReader(fields: try RequestFields(body), shape: shape)
        return try reader.read(requestID: requestID)
    }

    private mutating func read(
        requestID: String
    ) throws(GenerationRefusal) -> (GenerationRequest, AnswerOptions) {
        guard let model = try fields.string("model") else {
            throw fields.problem("model", "is missing; GET /v1/models lists what is served", code: "missing")
        }
        let input = shape == .chat ? try messages() : try prompt()
        let maximumTokens = try self.maximumTokens()
        let sampling = try self.sampling()
        let stop = try self.stop()
        let ignoresEnd = try fields.bool("ignore_eos") ?? false
        let options = try self.options()
        try minimumTokens(ignoresEnd: ignoresEnd, maximumTokens: maximumTokens)
        _ = try fields.integer("n", in: 1...1, "1, one choice a request (send several requests for more)")
        // Who asks, and hints for caching: of no consequence here.
        for name in ["user", "safety_identifier", "prompt_cache_key"] { _ = try fields.string(name) }
        try fields.acceptOnlyNeutral(UnsupportedField.generation)
        try fields.finish()
        let request = GenerationRequest(
            requestID: requestID, model: model, input: input, maximumTokens: maximumTokens,
            sampling: sampling,
            stop: stop, ignoreEndOfSequence: ignoresEnd)
        return (request, options)
    }

    // MARK: Input

    private mutating func messages() throws(GenerationRefusal) -> GenerationInput {
        .chat(try ChatMessage.read(from: &fields))
    }

    private mutating func prompt() throws(GenerationRefusal) -> GenerationInput {
        guard let value = fields.take("prompt") else {
            throw fields.problem("prompt", "is missing: give a string or an array of tokens", code: "missing")
        }
        switch value {
        case .string(let text): return try .text(notEmpty(text))
        case .array(let elements):
            // A batch of one is what it holds; larger ones would be several requests.
            if elements.count == 1, case .string(let text) = elements[0] { return try .text(notEmpty(text)) }
            if elements.count == 1, case .array(let tokens) = elements[0] {
                return try .tokens(self.tokens(tokens))
            }
            if case .integer = elements.first { return try .tokens(self.tokens(elements)) }
            if elements.isEmpty { return try .tokens(self.tokens(elements)) }
            throw fields.problem("prompt", "must be one prompt; send a request for each of several")
        default:
            throw fields.problem(
                "prompt", "must be a string or an array of tokens; got \(value.kind)", code: "invalid_type")
        }
    }

    private func notEmpty(_ text: String) throws(GenerationRefusal) -> String {
        if text.isEmpty { throw fields.problem("prompt", "must not be empty") }
        return text
    }

    private func tokens(_ values: [JSONValue]) throws(GenerationRefusal) -> [Int32] {
        try TokenList.read(values, name: "prompt", in: fields)
    }

    // MARK: Parameters

    /// Benchmarks send both names with one value.
    private mutating func maximumTokens() throws(GenerationRefusal) -> Int? {
        let range = 1...Int(Int32.max)
        let older = try fields.integer("max_tokens", in: range, "at least 1")
        let newer = try fields.integer("max_completion_tokens", in: range, "at least 1")
        if let older, let newer, older != newer {
            throw fields.problem(
                "max_tokens", "is \(older) but 'max_completion_tokens' is \(newer); give one of them")
        }
        return newer ?? older ?? (shape == .completion ? RequestLimits.defaultCompletionTokens : nil)
    }

    /// A minimum is met by itself when the end of sequence is ignored.
    private mutating func minimumTokens(
        ignoresEnd: Bool, maximumTokens: Int?
    ) throws(GenerationRefusal) {
        let minimum = try fields.integer("min_tokens", in: 0...Int(Int32.max), "at least 0") ?? 0
        guard minimum == 0 || (ignoresEnd && minimum <= maximumTokens ?? .max) else {
            throw fields.problem(
                "min_tokens", "is supported only with ignore_eos, and up to max_tokens",
                code: "unsupported_parameter")
        }
    }

    private mutating func sampling() throws(GenerationRefusal) -> SamplingParameters {
        var sampling = SamplingParameters()
        sampling.temperature = try fields.number("temperature", in: 0...2) ?? 1
        sampling.topP = try fields.number("top_p", in: 0...1, excludingLower: true) ?? 1
        let topK = try fields.integer("top_k", in: -1...Int(Int32.max), "at least 1, or 0 or -1 for no limit")
        sampling.topK = topK.flatMap { $0 > 0 ? $0 : nil }
        let seed = try fields.integer("seed", in: Int.min...Int.max, "a 64-bit whole number")
        sampling.seed = seed.map { UInt64(bitPattern: Int64($0)) }
        sampling.frequencyPenalty = try fields.number("frequency_penalty", in: -2...2) ?? 0
        sampling.presencePenalty = try fields.number("presence_penalty", in: -2...2) ?? 0
        sampling.logprobs = try logprobs()
        return sampling
    }

    private mutating func logprobs() throws(GenerationRefusal) -> Int? {
        guard shape == .chat else {
            let limit = RequestLimits.completionLogprobs
            if fields.take("top_logprobs") != nil {
                throw fields.problem(
                    "top_logprobs", "belongs to chat; give 'logprobs' a number from 0 to \(limit)",
                    code: "unsupported_parameter")
            }
            return try fields.integer("logprobs", in: 0...limit, "from 0 to \(limit)")
        }
        let isWanted = try fields.bool("logprobs") ?? false
        let limit = RequestLimits.chatLogprobs
        let count = try fields.integer("top_logprobs", in: 0...limit, "from 0 to \(limit)")
        if let count, count > 0, !isWanted {
            throw fields.problem("top_logprobs", "needs 'logprobs': true")
        }
        return isWanted ? count ?? 0 : nil
    }

    private mutating func stop() throws(GenerationRefusal) -> [String] {
        guard let value = fields.take("stop") else { return [] }
        var stops: [String] = []
        switch value {
        case .string(let text): stops = [text]
        case .array(let elements):
            for element in elements {
                guard case .string(let text) = element else {
                    throw fields.problem(
                        "stop", "must hold strings only; got \(element.kind)", code: "invalid_type")
                }
                stops.append(text)
            }
        default:
            throw fields.problem(
                "stop", "must be a string or an array of strings; got \(value.kind)", code: "invalid_type")
        }
        guard stops.count <= RequestLimits.stopSequences else {
            throw fields.problem(
                "stop", "may hold \(RequestLimits.stopSequences) sequences at most; got \(stops.count)")
        }
        guard stops.allSatisfy({ !$0.isEmpty && $0.utf8.count <= RequestLimits.stopSequenceLength }) else {
            throw fields.problem(
                "stop",
                "must not hold an empty sequence, nor one above \(RequestLimits.stopSequenceLength) bytes")
        }
        return stops
    }

    private mutating func options() throws(GenerationRefusal) -> AnswerOptions {
        var options = AnswerOptions()
        options.isStreamed = try fields.bool("stream") ?? false
        guard var stream = try fields.object("stream_options") else { return options }
        options.includesUsage = try stream.bool("include_usage") ?? false
        options.includesContinuousUsage = try stream.bool("continuous_usage_stats") ?? false
        _ = try stream.bool("include_obfuscation")
        try stream.finish()
        if !options.isStreamed { throw fields.problem("stream_options", "needs 'stream': true") }
        return options
    }
}

extension ChatMessage {
    /// Reads the field `messages`.
    static func read(from fields: inout RequestFields) throws(GenerationRefusal) -> [ChatMessage] {
        guard let value = fields.take("messages") else {
            throw fields.problem("messages", "is missing: give an array of messages", code: "missing")
        }
        guard case .array(let elements) = value else {
            throw fields.problem(
                "messages", "must be an array of messages; got \(value.kind)", code: "invalid_type")
        }
        guard (1...RequestLimits.messages).contains(elements.count) else {
            throw fields.problem(
                "messages", "must hold 1 to \(RequestLimits.messages) messages; got \(elements.count)")
        }
        var messages: [ChatMessage] = []
        for (index, element) in elements.enumerated() {
            var message = try RequestFields(element, path: "messages[\(index)]")
            messages.append(try ChatMessage(reading: &message))
        }
        return messages
    }

    /// Fields of an answer that clients send back as they got it.
    private static let unsupportedFields: [UnsupportedField] = [
        UnsupportedField("name", "put the name into the content"),
        UnsupportedField("tool_calls", "there is no tool calling", neutral: .array([])),
        UnsupportedField("tool_call_id", "there is no tool calling"),
        UnsupportedField("function_call", "there is no function calling"),
        UnsupportedField("refusal", "remove it", neutral: .string("")),
        UnsupportedField("annotations", "remove it", neutral: .array([])),
        UnsupportedField("audio", "only text is possible"),
    ]

    private init(reading fields: inout RequestFields) throws(GenerationRefusal) {
        guard let name = try fields.string("role") else {
            throw fields.problem("role", "is missing: give system, user or assistant", code: "missing")
        }
        switch name {
        case "system", "developer": role = .system
        case "user": role = .user
        case "assistant": role = .assistant
        default:
            throw fields.problem(
                "role", "must be system, developer, user or assistant; got '\(name.prefix(64))'")
        }
        switch fields.take("content") {
        case nil: throw fields.problem("content", "is missing: give a string", code: "missing")
        case .string(let text): content = text
        case .array(let parts): content = try Self.text(of: parts, in: fields)
        case let other?:
            throw fields.problem(
                "content", "must be a string or an array of text parts; got \(other.kind)",
                code: "invalid_type")
        }
        try fields.acceptOnlyNeutral(Self.unsupportedFields)
        try fields.finish()
    }

    private static func text(
        of parts: [JSONValue], in fields: RequestFields
    ) throws(GenerationRefusal) -> String {
        if parts.isEmpty { throw fields.problem("content", "must hold at least one text part") }
        var text = ""
        for (index, part) in parts.enumerated() {
            var part = try RequestFields(part, path: fields.parameter("content[\(index)]"))
            let type = try part.string("type") ?? ""
            guard type == "text" else {
                throw part.problem(
                    "type", "must be \"text\", the only kind supported; got '\(type.prefix(64))'",
                    code: "unsupported_parameter")
            }
            guard let piece = try part.string("text") else {
                throw part.problem("text", "is missing: give a string", code: "missing")
            }
            try part.finish()
            text += piece
        }
        return text
    }
}

enum TokenList {
    /// Tokens given as JSON numbers, at least one.
    static func read(
        _ values: [JSONValue], name: String, in fields: RequestFields
    ) throws(GenerationRefusal) -> [Int32] {
        if values.isEmpty { throw fields.problem(name, "must hold at least one token") }
        var tokens: [Int32] = []
        tokens.reserveCapacity(values.count)
        for value in values {
            guard case .integer(let number) = value, let token = Int32(exactly: number), token >= 0 else {
                throw fields.problem(name, "must hold token numbers, from 0; got \(value.kind)")
            }
            tokens.append(token)
        }
        return tokens
    }
}
