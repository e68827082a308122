import Foundation
import Testing

@testable import ChainOrchestrator

@Suite("Gateway: reading requests")
struct GatewayRequestTests {
    private func read(
        _ body: String, _ shape: AnswerShape = .chat
    ) throws -> (request: GenerationRequest, options: AnswerOptions) {
        let (request, options) = try GenerationRequestReader.read(
            try JSONParser.parse(Array(body.utf8)), shape: shape, requestID: "r")
        return (request, options)
    }

    private func completion(_ more: String) -> String { #"{"model":"m","# + more + "}" }

    @Test(
        "identifiers that the gateway gives: 32 hexadecimal digits, in the order of their time, never one twice"
    )
    func identifiers() throws {
        // More than the count in them can hold.
        let given = (0..<70_000).map { _ in GatewayResponder.newID() }
        #expect(Set(given).count == given.count)
        #expect(Set(given.map { $0.suffix(16) }).count == given.count, "also by chance alone")
        let digits = Set("0123456789abcdef")
        #expect(given.allSatisfy { $0.utf8.count == 32 && $0.allSatisfy(digits.contains) })
        let times = given.map { $0.prefix(12) }
        #expect(times == times.sorted())
        let time = try #require(UInt64(times[0], radix: 16))
        #expect(abs(Double(time) / 1000 - Date().timeIntervalSince1970) < 60)
    }

    @Test("defaults are OpenAI's")
    func defaults() throws {
        let chat = try read(chatBody())
        #expect(
            chat.request
                == GenerationRequest(
                    requestID: "r", model: "test/model",
                    input: .chat([ChatMessage(role: .user, content: "Hi")])))
        #expect(chat.options == AnswerOptions())
        let text = try read(completion(#""prompt":"Hi""#), .completion)
        #expect(text.request.input == .text("Hi"))
        #expect(text.request.maximumTokens == 16)
        #expect(text.request.sampling.logprobs == nil)
    }

    @Test("every supported field arrives")
    func supported() throws {
        let fields =
            #""max_completion_tokens":9,"stop":["a","b"],"temperature":0,"top_p":0.5,"top_k":40,"seed":-1,"#
            + #""frequency_penalty":-2,"presence_penalty":1.5,"logprobs":true,"top_logprobs":20,"n":1,"#
            + #""ignore_eos":true,"stream":true,"user":"someone","#
            + #""stream_options":{"include_usage":true,"continuous_usage_stats":true}"#
        let (request, options) = try read(chatBody(fields))
        #expect(request.maximumTokens == 9)
        #expect(request.stop == ["a", "b"])
        #expect(
            request.sampling
                == SamplingParameters(
                    temperature: 0, topP: 0.5, topK: 40, seed: .max, frequencyPenalty: -2,
                    presencePenalty: 1.5,
                    logprobs: 20))
        #expect(request.ignoreEndOfSequence)
        #expect(
            options == AnswerOptions(isStreamed: true, includesUsage: true, includesContinuousUsage: true))
    }

    @Test(
        "the forms of a prompt",
        arguments: [
            (#""prompt":"a""#, GenerationInput.text("a")), (#""prompt":["a"]"#, .text("a")),
            (#""prompt":[1,2]"#, .tokens([1, 2])), (#""prompt":[[1,2]]"#, .tokens([1, 2])),
        ])
    func prompts(field: String, input: GenerationInput) throws {
        #expect(try read(completion(field), .completion).request.input == input)
    }

    @Test("the forms of a message: roles, parts, an answer sent back as it came")
    func messages() throws {
        let body =
            #"{"model":"m","messages":[{"role":"developer","content":"d"},"#
            + #"{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"#
            + #"{"role":"assistant","content":"c","refusal":null,"annotations":[],"tool_calls":null},"#
            + #"{"role":"system","content":""}]}"#
        let expected = [
            ChatMessage(role: .system, content: "d"), ChatMessage(role: .user, content: "ab"),
            ChatMessage(role: .assistant, content: "c"), ChatMessage(role: .system, content: ""),
        ]
        #expect(try read(body).request.input == .chat(expected))
    }

    @Test(
        "accepted because it asks for nothing else than what is done",
        arguments: [
            #""max_tokens":null,"stop":null,"temperature":null,"logprobs":null,"stream_options":null"#,
            #""max_tokens":5,"max_completion_tokens":5"#, #""max_tokens":5.0"#, #""stop":[]"#, #""stop":"x""#,
            #""top_k":-1"#, #""top_k":0"#, #""logprobs":false,"top_logprobs":0"#,
            #""repetition_penalty":1.0"#,
            #""tools":[],"tool_choice":"none","response_format":{"type":"text"}"#,
            #""logit_bias":{},"store":false"#,
            #""ignore_eos":true,"min_tokens":5,"max_tokens":5"#, #""min_p":0,"service_tier":"auto","n":null"#,
            #""stream":true,"stream_options":{}"#,
        ])
    func neutral(fields: String) throws {
        #expect(throws: Never.self) { try read(chatBody(fields)) }
    }

    @Test(
        "refused in chat, naming the field",
        arguments: [
            ("max_tokens", #""max_tokens":0"#), ("max_tokens", #""max_tokens":-1"#),
            ("max_tokens", #""max_tokens":1.5"#),
            ("max_tokens", #""max_tokens":"5""#), ("max_tokens", #""max_tokens":true"#),
            ("max_tokens", #""max_tokens":1e30"#), ("max_completion_tokens", #""max_completion_tokens":0"#),
            ("max_tokens", #""max_tokens":5,"max_completion_tokens":6"#), ("min_tokens", #""min_tokens":1"#),
            ("temperature", #""temperature":2.1"#), ("temperature", #""temperature":-0.1"#),
            ("temperature", #""temperature":"hot""#), ("temperature", #""temperature":false"#),
            ("top_p", #""top_p":0"#), ("top_p", #""top_p":1.01"#), ("top_k", #""top_k":-2"#),
            ("top_k", #""top_k":[]"#),
            ("seed", #""seed":1.5"#),
            ("frequency_penalty", #""frequency_penalty":3"#),
            ("presence_penalty", #""presence_penalty":-2.5"#), ("logprobs", #""logprobs":3"#),
            ("top_logprobs", #""logprobs":true,"top_logprobs":21"#), ("top_logprobs", #""top_logprobs":3"#),
            ("n", #""n":2"#), ("n", #""n":0"#), ("ignore_eos", #""ignore_eos":1"#),
            ("stream", #""stream":"true""#),
            ("stream_options", #""stream_options":{"include_usage":true}"#),
            ("stream_options", #""stream":true,"stream_options":[]"#),
            ("stream_options.include_usage", #""stream":true,"stream_options":{"include_usage":1}"#),
            ("stream_options.include_use", #""stream":true,"stream_options":{"include_use":true}"#),
            ("stop", #""stop":1"#), ("stop", #""stop":["a",1]"#), ("stop", #""stop":"""#),
            ("stop", #""stop":["a",""]"#),
            ("stop", #""stop":["a","b","c","d","e"]"#), ("user", #""user":1"#),
            ("tools", #""tools":[{"type":"function"}]"#), ("tool_choice", #""tool_choice":"auto""#),
            ("response_format", #""response_format":{"type":"json_object"}"#),
            ("functions", #""functions":[{}]"#),
            ("logit_bias", #""logit_bias":{"5":1}"#), ("audio", #""audio":{}"#),
            ("modalities", #""modalities":["text","audio"]"#), ("best_of", #""best_of":2"#),
            ("echo", #""echo":true"#),
            ("suffix", #""suffix":"x""#), ("store", #""store":true"#), ("prompt", #""prompt":"x""#),
            ("temprature", #""temprature":1"#), ("frobnicate", #""frobnicate":1"#),
            ("nothing", #""nothing":null"#),
        ])
    func refusedInChat(parameter: String, fields: String) throws {
        try expectRefusal(of: chatBody(fields), .chat, naming: parameter)
    }

    @Test(
        "refused messages and models, naming the place",
        arguments: [
            ("model", #"{"messages":[{"role":"user","content":"a"}]}"#),
            ("model", #"{"model":1,"messages":[{"role":"user","content":"a"}]}"#),
            ("messages", #"{"model":"m"}"#), ("messages", #"{"model":"m","messages":[]}"#),
            ("messages", #"{"model":"m","messages":"Hi"}"#),
            ("messages[0]", #"{"model":"m","messages":["Hi"]}"#),
            ("messages[0].role", #"{"model":"m","messages":[{"content":"a"}]}"#),
            ("messages[0].role", #"{"model":"m","messages":[{"role":"tool","content":"a"}]}"#),
            ("messages[0].content", #"{"model":"m","messages":[{"role":"user"}]}"#),
            ("messages[0].content", #"{"model":"m","messages":[{"role":"user","content":null}]}"#),
            ("messages[0].content", #"{"model":"m","messages":[{"role":"user","content":5}]}"#),
            ("messages[0].content", #"{"model":"m","messages":[{"role":"user","content":[]}]}"#),
            (
                "messages[0].content[1].type",
                #"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":""},{}]}]}"#
            ),
            (
                "messages[0].content[0].text",
                #"{"model":"m","messages":[{"role":"user","content":[{"type":"text"}]}]}"#
            ),
            ("messages[0].name", #"{"model":"m","messages":[{"role":"user","content":"a","name":"x"}]}"#),
            (
                "messages[0].contents",
                #"{"model":"m","messages":[{"role":"user","content":"a","contents":"x"}]}"#
            ),
        ])
    func refusedMessages(parameter: String, body: String) throws {
        try expectRefusal(of: body, .chat, naming: parameter)
    }

    @Test(
        "refused in completions, naming the field",
        arguments: [
            ("prompt", ""), ("prompt", #""prompt":"""#), ("prompt", #""prompt":[]"#),
            ("prompt", #""prompt":["a","b"]"#),
            ("prompt", #""prompt":[[1],[2]]"#), ("prompt", #""prompt":[1,"a"]"#),
            ("prompt", #""prompt":[-1]"#),
            ("prompt", #""prompt":[1.5]"#), ("prompt", #""prompt":[2147483648]"#),
            ("prompt", #""prompt":{}"#),
            ("logprobs", #""prompt":"a","logprobs":6"#), ("logprobs", #""prompt":"a","logprobs":true"#),
            ("top_logprobs", #""prompt":"a","top_logprobs":1"#), ("messages", #""prompt":"a","messages":[]"#),
            ("echo", #""prompt":"a","echo":true"#), ("suffix", #""prompt":"a","suffix":"b""#),
            ("best_of", #""prompt":"a","best_of":3"#),
        ])
    func refusedInCompletions(parameter: String, fields: String) throws {
        let body = fields.isEmpty ? #"{"model":"m"}"# : completion(fields)
        try expectRefusal(of: body, .completion, naming: parameter)
    }

    private func expectRefusal(of body: String, _ shape: AnswerShape, naming parameter: String) throws {
        let refusal = #expect(throws: GenerationRefusal.self, "\(body)") { try read(body, shape) }
        guard case .invalid(let message, let named, let code)? = refusal else {
            Issue.record("\(body): \(String(describing: refusal))")
            return
        }
        #expect(named == parameter, "\(body)")
        #expect(message.contains("'\(parameter)'"), "\(message)")
        #expect(code != nil)
    }

    @Test("the texts say what was found and what to do")
    func texts() {
        func message(_ fields: String) -> String {
            do {
                _ = try read(chatBody(fields))
                return "accepted"
            } catch GenerationRefusal.invalid(let message, _, _) {
                return message
            } catch {
                return "\(error)"
            }
        }
        #expect(message(#""temperature":3"#) == "'temperature' must be from 0.0 to 2.0; got 3")
        #expect(
            message(#""max_tokens":"x""#) == "'max_tokens' must be a whole number at least 1; got a string")
        #expect(
            message(#""n":2"#)
                == "'n' must be 1, one choice a request (send several requests for more); got 2")
        #expect(
            message(#""temprature":1"#) == "'temprature' is not a known field; did you mean 'temperature'?")
        #expect(message(#""tools":[1]"#) == "'tools' is not supported: remove it, there is no tool calling")
    }
}
