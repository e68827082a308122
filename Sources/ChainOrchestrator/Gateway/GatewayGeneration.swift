import ChainSecurity
import HTTPTypes
import Hummingbird
import NIOCore
import NIOHTTP1

/// A request that generates, or gives an answer again: the routes that `GenerationLane` takes.
enum GenerationRoute: Hashable {
    case answer(AnswerShape)
    /// `GET /v1/requests/{id}/stream`
    case reopening(id: String)

    /// `nil` for every other request.
    init?(_ head: HTTPRequest) {
        guard head.method == .post || head.method == .get, let path = head.path else { return nil }
        // Nearly all of them.
        if head.method == .post, path == "/v1/chat/completions" {
            self = .answer(.chat)
            return
        }
        let segments = GatewayResponder.segments(
            of: path.utf8.firstIndex(of: UInt8(ascii: "?")).map { path[..<$0] } ?? path[...])
        guard let (route, method) = Self.at(segments), method == head.method else { return nil }
        self = route
    }

    /// What is at a path, and the only method for it.
    static func at(_ segments: [String]) -> (GenerationRoute, HTTPRequest.Method)? {
        switch segments.count {
        case 2 where segments == ["v1", "completions"]: (.answer(.completion), .post)
        case 3 where segments == ["v1", "chat", "completions"]: (.answer(.chat), .post)
        case 4 where segments[0] == "v1" && segments[1] == "requests" && segments[3] == "stream":
            (.reopening(id: segments[2]), .get)
        default: nil
        }
    }
}

/// The head of a request that generates, of somebody who may.
final class IncomingGeneration: Sendable {
    let id: String
    let route: GenerationRoute
    let head: HTTPRequest
    /// Whose it is; `nil` where no keys are asked for.
    let client: String?
    let arrival: GenerationFeed.Time

    init(id: String, route: GenerationRoute, head: HTTPRequest, client: String?, arrival: GenerationFeed.Time)
    {
        self.id = id
        self.route = route
        self.head = head
        self.client = client
        self.arrival = arrival
    }
}

/// The routes that generate text, and those that turn text into tokens and back.
extension GatewayResponder {
    /// Looks at a request's head.
    /// - Returns: how the request is called, and what it is, or why it is refused before its body has come.
    func begin(
        _ head: HTTPRequest, _ route: GenerationRoute
    ) -> (id: String, begun: Result<IncomingGeneration, APIError>) {
        let arrival = ContinuousClock.now
        let id: String
        do throws(APIError) { id = try requestID(of: head) } catch {
            return (Self.newID(), .failure(error))
        }
        do throws(APIError) {
            let client = try access.admit(head, for: .generate)
            if let length = head.headerFields[.contentLength].flatMap({ Int($0) }),
                length > configuration.bodyLimit
            {
                throw .bodyTooLarge(limit: configuration.bodyLimit)
            }
            let request = IncomingGeneration(
                id: id, route: route, head: head, client: client, arrival: arrival)
            return (id, .success(request))
        } catch {
            return (id, .failure(error))
        }
    }

    /// Has a request accepted.
    /// - Parameter done: called once, on any thread, at once where nothing is to be waited for.
    func generate(
        _ incoming: IncomingGeneration, _ body: ByteBuffer, _ channel: any Channel,
        done: @escaping @Sendable (Result<AnswerDelivery, APIError>) -> Void
    ) {
        switch incoming.route {
        case .reopening(let id):
            Task {
                do {
                    done(.success(try await reopen(id, incoming)))
                } catch {
                    done(.failure(APIError(any: error)))
                }
            }
        case .answer(let shape):
            do {
                try answer(shape, incoming, body, channel, done: done)
            } catch {
                done(.failure(APIError(any: error)))
            }
        }
    }

    private func answer(
        _ shape: AnswerShape, _ incoming: IncomingGeneration, _ body: ByteBuffer, _ channel: any Channel,
        done: @escaping @Sendable (Result<AnswerDelivery, APIError>) -> Void
    ) throws {
        let json = try Self.json(in: body, of: incoming.head)
        let (read, options) = try GenerationRequestReader.read(json, shape: shape, requestID: incoming.id)
        var request = read
        let created = now()
        request.presentation = AnswerPresentation(shape: shape, options: options, created: created)
        request.client = incoming.client ?? ""
        try readLimits(of: incoming.head, channel, into: &request)
        try checkModel(request.model)
        let entry = try enter(incoming.id, try access.enter(incoming.client))
        logPrompt(of: request)
        let writer = AnswerWriter(
            request: request, shape: shape, options: options, created: created,
            isEmulated: service.modelCard.isEmulated)
        let numbering = EventNumbering(
            isShown: incoming.head.headerFields[.numberedEvents].map { $0 != "0" } ?? false)
        let stop = request.stop
        let arrival = incoming.arrival
        Self.withTraceContext(of: incoming.head) {
            service.submit(request) { result in
                done(
                    result.map { stream in
                        AnswerDelivery(
                            of: stream, writer: writer, stop: stop, entry: entry, numbering: numbering,
                            arrival: arrival)
                    }.mapError { Self.error($0, shape) })
            }
        }
    }

    private static func error(_ refusal: GenerationRefusal, _ shape: AnswerShape) -> APIError {
        var error = APIError(refusal)
        if case .promptTooLong = refusal, shape == .completion { error.parameter = "prompt" }
        return error
    }

    func enter(_ requestID: String, _ place: KeyRing.Place?) throws -> RequestRegistry.Entry {
        do {
            return try registry.enter(requestID, place)
        } catch .duplicate {
            throw APIError.requestIDInUse(requestID)
        } catch .full {
            throw GenerationRefusal.overloaded(retryAfter: 1, reason: "too-many-requests")
        }
    }

    // MARK: Heads of answers

    func wholeHead(_ ending: AnswerWriter.Ending, length: Int, _ requestID: String) -> HTTPResponseHead {
        head(
            .ok, requestID,
            [
                (.contentType, "application/json"), (.contentLength, "\(length)"),
                (.chain, Self.headerText(ending.chain)), (.attempts, "\(ending.attempts)"),
            ])
    }

    func streamHead(_ requestID: String) -> HTTPResponseHead {
        head(
            .ok, requestID,
            [
                (.contentType, "text/event-stream; charset=utf-8"), (.cacheControl, "no-cache"),
                // Reverse proxies must pass each token on.
                (.accelBuffering, "no"),
            ])
    }

    func errorHead(_ error: APIError, length: Int, _ requestID: String) -> HTTPResponseHead {
        head(
            error.status, requestID,
            [(.contentType, "application/json"), (.contentLength, "\(length)")]
                + error.headers.map { ($0.name, $0.value) })
    }

    /// - Parameter fields: their values go out as they are, for nobody after this checks them: printable ASCII.
    private func head(
        _ status: HTTPResponse.Status, _ requestID: String, _ fields: [(HTTPField.Name, String)]
    ) -> HTTPResponseHead {
        var headers = fields.map { ($0.rawName, $1) }
        finish(status, requestID: requestID) { headers.append(($0.rawName, $1)) }
        // Hummingbird adds it to the others.
        headers.append((HTTPField.Name.date.rawName, date.text(at: now())))
        return HTTPResponseHead(
            version: .http1_1, status: HTTPResponseStatus(statusCode: status.code),
            headers: HTTPHeaders(headers))
    }

    /// Server names may hold any character; header fields may not.
    private static func headerText(_ text: String) -> String {
        if text.utf8.allSatisfy({ $0 >= 0x20 && $0 < 0x7F }) { return text }
        return String(
            decoding: text.utf8.map { $0 >= 0x20 && $0 < 0x7F ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
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
