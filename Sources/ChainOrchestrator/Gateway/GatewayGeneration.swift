import ChainSecurity
import HTTPTypes
import Hummingbird
import NIOCore

/// The routes that generate text, and those that turn text into tokens and back.
extension GatewayResponder {
    nonisolated(nonsending) func generate(
        _ shape: AnswerShape, _ request: Request, _ requestID: String, _ channel: any Channel,
        _ client: String?
    ) async throws -> Response {
        let clock = MonotonicClock()
        let body = try await body(of: request)
        var (generation, options) = try GenerationRequestReader.read(body, shape: shape, requestID: requestID)
        generation.presentation = AnswerPresentation(shape: shape, options: options, created: now())
        generation.client = client ?? ""
        try readLimits(of: request, channel, into: &generation)
        try checkModel(generation.model)
        let entry = try enter(requestID, try access.enter(client))
        logPrompt(of: generation)
        let stream = try await Self.withTraceContext(of: request) { try await submit(generation) }
        var delivery = AnswerDelivery(
            stream: stream,
            writer: AnswerWriter(
                request: generation, shape: shape, options: options, created: now(),
                isEmulated: service.modelCard.isEmulated),
            stop: generation.stop, channel: channel, entry: entry, pingInterval: configuration.pingInterval,
            events: EventNumbering(isShown: request.headers[.numberedEvents].map { $0 != "0" } ?? false))
        delivery.clock = clock
        return options.isStreamed ? streamed(delivery) : try await whole(delivery)
    }

    private func enter(_ requestID: String, _ place: KeyRing.Place?) throws -> RequestRegistry.Entry {
        do {
            return try registry.enter(requestID, place)
        } catch .duplicate {
            throw APIError.requestIDInUse(requestID)
        } catch .full {
            throw GenerationRefusal.overloaded(retryAfter: 1, reason: "too-many-requests")
        }
    }

    private nonisolated(nonsending) func submit(_ request: GenerationRequest) async throws -> GenerationStream
    {
        do {
            return try await service.submit(request)
        } catch .promptTooLong(let tokens, let limit) {
            var error = APIError(.promptTooLong(tokens: tokens, limit: limit))
            if case .chat = request.input {} else { error.parameter = "prompt" }
            throw error
        }
    }

    private nonisolated(nonsending) func whole(_ delivery: AnswerDelivery) async throws -> Response {
        let answer = try await delivery.whole()
        var response = Self.response(json: answer.body)
        response.headers[.chain] = Self.headerText(answer.ending.chain)
        response.headers[.attempts] = "\(answer.ending.attempts)"
        return response
    }

    func streamed(_ delivery: AnswerDelivery) -> Response {
        Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
                // Reverse proxies must pass each token on.
                .accelBuffering: "no",
            ],
            body: ResponseBody { output in
                try await delivery.stream(to: &output)
                try await output.finish(nil)
            })
    }

    /// Server names may hold any character; header fields may not.
    private static func headerText(_ text: String) -> String {
        String(decoding: text.utf8.map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }

    private func checkModel(_ name: String?) throws(GenerationRefusal) {
        if let name, name != service.modelCard.id { throw .unknownModel(name) }
    }

    // MARK: Tokens

    /// vLLM's `/tokenize`: a prompt or messages in, tokens out.
    func tokenize(_ body: JSONValue) throws -> Response {
        var fields = try RequestFields(body)
        try checkModel(try fields.string("model"))
        let prompt = try fields.string("prompt")
        let addsSpecial = try fields.bool("add_special_tokens")
        let tokens: [Int32]
        if let prompt {
            if fields.take("messages") != nil {
                throw fields.problem("messages", "must not be given together with 'prompt'")
            }
            tokens = try service.tokenize(prompt, addSpecial: addsSpecial ?? true)
        } else {
            tokens = try service.tokenize(try ChatMessage.read(from: &fields))
            if addsSpecial == true {
                throw fields.problem("add_special_tokens", "is for 'prompt'; the chat template adds its own")
            }
        }
        let withStrings = try fields.bool("return_token_strs") ?? false
        try fields.acceptOnlyNeutral(
            UnsupportedField.generation.filter {
                ["add_generation_prompt", "continue_final_message"].contains($0.name)
            })
        try fields.finish()
        let strings = withStrings ? try tokens.map { try service.detokenize([$0]) } : nil
        return Self.json { writer in
            writer.field("count", tokens.count)
            writer.field("max_model_len", service.modelCard.maximumModelLength)
            writer.name("tokens")
            writer.array(tokens) { $0.value(Int($1)) }
            writer.name("token_strs")
            if let strings { writer.array(strings) { $0.value($1) } } else { writer.null() }
        }
    }

    /// vLLM's `/detokenize`.
    func detokenize(_ body: JSONValue) throws -> Response {
        var fields = try RequestFields(body)
        try checkModel(try fields.string("model"))
        guard let value = fields.take("tokens") else {
            throw fields.problem("tokens", "is missing: give an array of tokens", code: "missing")
        }
        guard case .array(let values) = value else {
            throw fields.problem(
                "tokens", "must be an array of tokens; got \(value.kind)", code: "invalid_type")
        }
        let tokens = values.isEmpty ? [] : try TokenList.read(values, name: "tokens", in: fields)
        try fields.finish()
        let text = try service.detokenize(tokens)
        return Self.json { $0.field("prompt", text) }
    }
}
