import ChainSecurity
import NIOCore

/// Makes the JSON of one answer, whole or in chunks, in OpenAI's shapes. Pure: bytes out, no I/O.
struct AnswerWriter: Sendable {
    struct Usage: Hashable, Sendable {
        var promptTokens: Int
        var completionTokens: Int
    }

    /// How long the request waited for its first start, and how long it was served.
    struct Times: Hashable, Sendable {
        var wait: Swift.Duration
        var service: Swift.Duration
    }

    /// How the answer ended, for the vendor field `chainserve`.
    struct Ending: Hashable, Sendable {
        var reason: FinishReason
        var usage: Usage
        var clampedFrom: Int?
        var chain: String
        var attempts: Int
        var times: Times?
    }

    let shape: AnswerShape
    let options: AnswerOptions
    /// `chatcmpl-…` or `cmpl-…`.
    let id: String
    let isEmulated: Bool
    private let showsLogprobs: Bool
    private let created: Int
    private let model: String
    /// Everything of a chunk up to its choices: the same in all of them. Empty for a whole answer.
    private let chunkStart: String

    init(
        request: GenerationRequest, shape: AnswerShape, options: AnswerOptions, created: Int, isEmulated: Bool
    ) {
        self.shape = shape
        self.options = options
        self.isEmulated = isEmulated
        self.created = created
        model = request.model
        showsLogprobs = request.sampling.logprobs != nil
        id = (shape == .chat ? "chatcmpl-" : "cmpl-") + request.requestID
        guard options.isStreamed else {
            chunkStart = ""
            return
        }
        var writer = JSONWriter()
        writer.object { [id, model] in
            $0.field("id", id)
            $0.field("object", shape == .chat ? "chat.completion.chunk" : "text_completion")
            $0.field("created", created)
            $0.field("model", model)
        }
        chunkStart = String(decoding: writer.bytes.dropFirst().dropLast(), as: UTF8.self)
    }

    // MARK: Chunks

    /// A chunk with a piece of text. The first one of a chat carries the role.
    /// - Parameters:
    ///   - token: the token whose log probabilities are shown, when asked for.
    ///   - textOffset: characters of the answer before this piece.
    func chunk(
        text: String, token: GeneratedToken?, isFirst: Bool, textOffset: Int, usage: Usage
    ) -> ByteBuffer {
        event { writer in
            choices(in: &writer, finishReason: nil, text: text, isFirst: isFirst) { writer in
                writeLogprobs(token.map { [$0] } ?? [], firstOffset: textOffset, into: &writer)
            }
            chunkUsage(usage, into: &writer)
        }
    }

    /// The chunk that says why the answer ended.
    /// - Parameter isFirst: no text came before.
    func lastChunk(_ ending: Ending, isFirst: Bool) -> ByteBuffer {
        event { writer in
            choices(in: &writer, finishReason: ending.reason, text: nil, isFirst: isFirst) { $0.null() }
            chunkUsage(ending.usage, into: &writer)
            vendorField(ending, into: &writer)
        }
    }

    /// The chunk with nothing but the usage, or `nil` when it was not asked for.
    func usageChunk(_ usage: Usage) -> ByteBuffer? {
        guard options.includesUsage else { return nil }
        return event { writer in
            writer.arrayField("choices") { _ in }
            write(usage, into: &writer)
        }
    }

    func errorEvent(_ error: APIError) -> ByteBuffer {
        Self.serverSentEvent(JSONWriter.object { error.write(into: &$0) })
    }

    static let done = ByteBuffer(string: "data: [DONE]\n\n")
    static let ping = ByteBuffer(string: ": ping\n\n")

    private func event(_ body: (inout JSONWriter) -> Void) -> ByteBuffer {
        var writer = JSONWriter()
        writer.object { writer in
            writer.raw(chunkStart)
            body(&writer)
        }
        return Self.serverSentEvent(writer.bytes)
    }

    private static func serverSentEvent(_ json: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(json.count + 8)
        buffer.writeStaticString("data: ")
        buffer.writeBytes(json)
        buffer.writeStaticString("\n\n")
        return buffer
    }

    private func choices(
        in writer: inout JSONWriter, finishReason: FinishReason?, text: String?, isFirst: Bool,
        logprobs: (inout JSONWriter) -> Void
    ) {
        writer.arrayField("choices") { choices in
            choices.object { choice in
                choice.field("index", 0)
                switch shape {
                case .chat:
                    choice.objectField("delta") { delta in
                        if isFirst { delta.field("role", "assistant") }
                        if let text {
                            delta.field("content", text)
                        } else if isFirst {
                            delta.field("content", "")
                        }
                    }
                case .completion: choice.field("text", text ?? "")
                }
                choice.name("logprobs")
                logprobs(&choice)
                choice.field("finish_reason", orNull: finishReason?.rawValue)
            }
        }
    }

    private func chunkUsage(_ usage: Usage, into writer: inout JSONWriter) {
        if options.includesContinuousUsage {
            write(usage, into: &writer)
        } else if options.includesUsage {
            writer.nullField("usage")
        }
    }

    // MARK: Whole answers

    func whole(text: String, tokens: [GeneratedToken], ending: Ending) -> [UInt8] {
        var writer = JSONWriter(reserving: text.utf8.count + 512)
        writer.object { writer in
            writer.field("id", id)
            writer.field("object", shape == .chat ? "chat.completion" : "text_completion")
            writer.field("created", created)
            writer.field("model", model)
            writer.arrayField("choices") { choices in
                choices.object { choice in
                    choice.field("index", 0)
                    switch shape {
                    case .chat:
                        choice.objectField("message") { message in
                            message.field("role", "assistant")
                            message.field("content", text)
                            message.nullField("refusal")
                        }
                    case .completion: choice.field("text", text)
                    }
                    choice.name("logprobs")
                    writeLogprobs(tokens, firstOffset: 0, into: &choice)
                    choice.field("finish_reason", ending.reason.rawValue)
                }
            }
            write(ending.usage, into: &writer)
            vendorField(ending, into: &writer)
        }
        return writer.bytes
    }

    // MARK: Parts

    private func write(_ usage: Usage, into writer: inout JSONWriter) {
        writer.objectField("usage") {
            $0.field("prompt_tokens", usage.promptTokens)
            $0.field("completion_tokens", usage.completionTokens)
            $0.field("total_tokens", usage.promptTokens + usage.completionTokens)
        }
    }

    /// To the microsecond.
    private static func milliseconds(_ time: Swift.Duration) -> Double {
        (time.inSeconds * 1_000_000).rounded() / 1000
    }

    private func vendorField(_ ending: Ending, into writer: inout JSONWriter) {
        writer.objectField("chainserve") {
            $0.field("chain", ending.chain)
            $0.field("attempts", ending.attempts)
            if let times = ending.times {
                $0.field("wait_ms", Self.milliseconds(times.wait))
                $0.field("service_ms", Self.milliseconds(times.service))
            }
            // The length that was asked for did not fit the model's; that is why the answer ended where it
            // did.
            if let clampedFrom = ending.clampedFrom { $0.field("max_tokens_clamped_from", clampedFrom) }
            if isEmulated { $0.field("engine", "emulated") }
        }
    }

    private func writeLogprobs(_ tokens: [GeneratedToken], firstOffset: Int, into writer: inout JSONWriter) {
        guard showsLogprobs, !tokens.isEmpty || !options.isStreamed else { return writer.null() }
        switch shape {
        case .chat: writeChatLogprobs(tokens, into: &writer)
        case .completion: writeCompletionLogprobs(tokens, firstOffset: firstOffset, into: &writer)
        }
    }

    private func writeChatLogprobs(_ tokens: [GeneratedToken], into writer: inout JSONWriter) {
        func fields(_ bytes: [UInt8], _ logprob: Double, _ writer: inout JSONWriter) {
            writer.field("token", String(decoding: bytes, as: UTF8.self))
            writer.field("logprob", logprob)
            writer.name("bytes")
            writer.array(bytes) { $0.value(Int($1)) }
        }
        writer.object { writer in
            writer.name("content")
            writer.array(tokens) { writer, token in
                writer.object { entry in
                    fields(token.bytes, token.logprob ?? -.infinity, &entry)
                    entry.name("top_logprobs")
                    entry.array(token.topLogprobs) { list, other in
                        list.object { fields(other.bytes, other.logprob, &$0) }
                    }
                }
            }
            writer.nullField("refusal")
        }
    }

    private func writeCompletionLogprobs(
        _ tokens: [GeneratedToken], firstOffset: Int, into writer: inout JSONWriter
    ) {
        writer.object { writer in
            writer.name("tokens")
            writer.array(tokens) { $0.value(String(decoding: $1.bytes, as: UTF8.self)) }
            writer.name("token_logprobs")
            writer.array(tokens) { $0.value($1.logprob ?? -.infinity) }
            writer.name("top_logprobs")
            writer.array(tokens) { writer, token in
                writer.object { entry in
                    // Distinct tokens may look alike once decoded; a name is given once, the likeliest first.
                    var seen: Set<String> = []
                    for other in token.topLogprobs {
                        let name = String(decoding: other.bytes, as: UTF8.self)
                        if seen.insert(name).inserted { entry.field(named: name, other.logprob) }
                    }
                }
            }
            writer.arrayField("text_offset") { list in
                var offset = firstOffset
                for token in tokens {
                    list.value(offset)
                    offset += token.text.unicodeScalars.count
                }
            }
        }
    }
}
