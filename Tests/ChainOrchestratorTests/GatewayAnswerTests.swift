import Testing

@testable import ChainOrchestrator

@Suite("Gateway: answers", .timeLimit(.minutes(10)))
struct GatewayAnswerTests {
    private let headers = ["X-Request-ID": "r"]

    @Test("a whole chat answer, to the byte")
    func chat() async throws {
        try await withGateway(ScriptedService()) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/chat/completions", chatBody(), headers: headers)
            #expect(answer.status == 200)
            #expect(answer.headers["content-type"] == "application/json")
            #expect(answer.headers["x-request-id"] == "r")
            #expect(answer.headers["x-chainserve-chain"] == "a > b")
            #expect(answer.headers["x-chainserve-attempts"] == "1")
            #expect(answer.headers["x-chainserve-engine"] == nil)
            #expect(
                try answer.untimed == #"{"id":"chatcmpl-r","object":"chat.completion","created":1800000000,"#
                    + #""model":"test/model","choices":[{"index":0,"message":{"role":"assistant","#
                    + #""content":"Hello world","refusal":null},"logprobs":null,"finish_reason":"stop"}],"#
                    + #""usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9},"#
                    + #""chainserve":{"chain":"a > b","attempts":1}}"#)
        }
    }

    @Test("a server's name cannot write header fields of its own")
    func namesInHeaders() async throws {
        let script = ScriptedService.tokens(["a"], chain: "é\r\nx-evil: 1")
        try await withGateway(ScriptedService(script: script)) { port in
            let answer = try await TestClient(port: port).post("/v1/chat/completions", chatBody())
            #expect(answer.status == 200)
            #expect(answer.headers["x-chainserve-chain"] == "????x-evil: 1")
            #expect(answer.headers["x-evil"] == nil)
        }
    }

    @Test("a whole completion, to the byte, stopped by length")
    func completion() async throws {
        let service = ScriptedService(script: ScriptedService.tokens(["a", "\n\"é"], reason: .length))
        try await withGateway(service) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/completions", #"{"model":"test/model","prompt":"x","max_tokens":2}"#, headers: headers)
            #expect(
                try answer.untimed == #"{"id":"cmpl-r","object":"text_completion","created":1800000000,"#
                    + #""model":"test/model","choices":[{"index":0,"text":"a\n\"é","logprobs":null,"#
                    + #""finish_reason":"length"}],"#
                    + #""usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9},"#
                    + #""chainserve":{"chain":"a > b","attempts":1}}"#)
            #expect(service.submitted.first?.maximumTokens == 2)
        }
    }

    @Test("a chat stream, to the byte: the role with the first token, [DONE] last")
    func chatStream() async throws {
        try await withGateway(ScriptedService()) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/chat/completions", chatBody(stream: true), headers: headers)
            #expect(answer.status == 200)
            #expect(answer.headers["content-type"] == "text/event-stream; charset=utf-8")
            #expect(answer.headers["cache-control"] == "no-cache")
            let start =
                #"data: {"id":"chatcmpl-r","object":"chat.completion.chunk","created":1800000000,"#
                + #""model":"test/model","choices":[{"index":0,"delta":{"#
            #expect(
                try answer.untimed == start
                    + #""role":"assistant","content":"Hello"},"logprobs":null,"finish_reason":null}]}"#
                    + "\n\n" + start + #""content":" world"},"logprobs":null,"finish_reason":null}]}"#
                    + "\n\n"
                    + start + #"},"logprobs":null,"finish_reason":"stop"}],"#
                    + #""chainserve":{"chain":"a > b","attempts":1}}"# + "\n\n" + "data: [DONE]\n\n")
        }
    }

    @Test("a completion stream with usage at the end and null before, to the byte")
    func completionStream() async throws {
        try await withGateway(ScriptedService()) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/completions",
                #"{"model":"test/model","prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#,
                headers: headers)
            let start =
                #"data: {"id":"cmpl-r","object":"text_completion","created":1800000000,"#
                + #""model":"test/model","choices":["#
            #expect(
                try answer.untimed == start
                    + #"{"index":0,"text":"Hello","logprobs":null,"finish_reason":null}],"usage":null}"#
                    + "\n\n"
                    + start
                    + #"{"index":0,"text":" world","logprobs":null,"finish_reason":null}],"usage":null}"#
                    + "\n\n" + start + #"{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"#
                    + #""usage":null,"chainserve":{"chain":"a > b","attempts":1}}"# + "\n\n" + start
                    + #"],"usage":{"prompt_tokens":7,"completion_tokens":2,"total_tokens":9}}"# + "\n\n"
                    + "data: [DONE]\n\n")
        }
    }

    @Test("continuous usage: in every chunk, and counting")
    func continuousUsage() async throws {
        try await withGateway(ScriptedService()) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/chat/completions",
                chatBody(
                    #""stream_options":{"include_usage":true,"continuous_usage_stats":true}"#, stream: true))
            let counts = events(answer.body).map { $0["usage"]["completion_tokens"] }
            #expect(counts == [.integer(1), .integer(2), .integer(2), .integer(2)])
            #expect(events(answer.body).last?["choices"] == .array([]))
        }
    }

    private func events(_ body: String) -> [JSONValue] {
        body.components(separatedBy: "\n\n").compactMap { event in
            guard event.hasPrefix("data: {") else { return nil }
            return try? JSONParser.parse(Array(event.utf8.dropFirst(6)))
        }
    }

    @Test("no answer at all: still one role and a finish")
    func empty() async throws {
        try await withGateway(ScriptedService(script: ScriptedService.tokens([]))) { port in
            let client = try await TestClient(port: port)
            let answer = try await client.post("/v1/chat/completions", chatBody(stream: true))
            let chunks = events(answer.body)
            #expect(chunks.count == 1)
            #expect(chunks[0]["choices"][0]["delta"] == .object(["role": "assistant", "content": ""]))
            #expect(
                try await client.post("/v1/chat/completions", chatBody()).json["choices"][0]["message"][
                    "content"] == "")
        }
    }

    @Test("while queued: pings and nothing else, then tokens")
    func pings() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(.queued(position: 2))
            try? await Task.sleep(for: .milliseconds(350))
            await ScriptedService.echo(
                GenerationRequest(requestID: "", model: "", input: .text("")), feed)
        }
        try await withGateway(service, configured { $0.pingInterval = .milliseconds(100) }) { port in
            let answer = try await TestClient(port: port).post(
                "/v1/chat/completions", chatBody(stream: true))
            let parts = answer.body.components(separatedBy: "\n\n")
            let pings = parts.prefix { $0 == ": ping" }.count
            #expect(pings >= 1, "\(parts.prefix(6))")
            #expect(parts[pings].contains("\"role\":\"assistant\""))
            #expect(!parts.dropFirst(pings).contains(": ping"))
        }
    }

    @Test("log probabilities in both shapes, whole and streamed")
    func logprobs() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(
                .token(
                    GeneratedToken(
                        id: 1, text: "", bytes: [0xC3], logprob: -0.5,
                        topLogprobs: [
                            TokenLogprob(id: 1, bytes: [0xC3], logprob: -0.5),
                            TokenLogprob(id: 2, bytes: [0x61], logprob: -.infinity),
                        ])))
            feed.yield(.token(GeneratedToken(id: 3, text: "é", bytes: [0xA9], logprob: 0)))
            feed.yield(
                .finished(GenerationResult(reason: .stop, promptTokens: 7, completionTokens: 2, chain: "a")))
        }
        let broken = "\u{FFFD}"
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            var answer = try await client.post(
                "/v1/chat/completions", chatBody(#""logprobs":true,"top_logprobs":2"#))
            #expect(service.submitted.last?.sampling.logprobs == 2)
            #expect(
                answer.body.contains(
                    #""logprobs":{"content":[{"token":"\#(broken)","logprob":-0.5,"bytes":[195],"#
                        + #""top_logprobs":[{"token":"\#(broken)","logprob":-0.5,"bytes":[195]},"#
                        + #"{"token":"a","logprob":-9999.0,"bytes":[97]}]},"#
                        + #"{"token":"\#(broken)","logprob":0.0,"bytes":[169],"top_logprobs":[]}],"#
                        + #""refusal":null}"#
                ))
            answer = try await client.post(
                "/v1/completions", #"{"model":"test/model","prompt":"x","logprobs":2}"#)
            #expect(
                answer.body.contains(
                    #""logprobs":{"tokens":["\#(broken)","\#(broken)"],"token_logprobs":[-0.5,0.0],"#
                        + #""top_logprobs":[{"\#(broken)":-0.5,"a":-9999.0},{}],"text_offset":[0,0]}"#))
            answer = try await client.post(
                "/v1/chat/completions", chatBody(#""logprobs":true"#, stream: true))
            let chunks = events(answer.body).map { $0["choices"][0] }
            #expect(chunks.map { $0["logprobs"]["content"].count } == [1, 1, 0])
            #expect(chunks.map { $0["delta"]["content"] } == ["", "é", .null])
            answer = try await client.post(
                "/v1/completions", #"{"model":"test/model","prompt":"x","logprobs":0,"stream":true}"#)
            #expect(events(answer.body).map { $0["choices"][0]["logprobs"]["tokens"].count } == [1, 1, 0])
        }
    }

    @Test("a stop sequence over tokens cuts the text, ends with stop and gives the job up")
    func stopSequences() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(.started(chain: "a", attempt: 2))
            for text in ["one ", "E", "N", "D", " two"] {
                feed.yield(.token(GeneratedToken(id: 0, text: text)))
            }
            try? await Task.sleep(for: .seconds(60))
        }
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            let whole = try await client.post(
                "/v1/chat/completions", chatBody(#""stop":["END"]"#), headers: ["X-Request-ID": "whole"])
            #expect(whole.json["choices"][0]["message"]["content"] == "one ")
            #expect(whole.json["choices"][0]["finish_reason"] == "stop")
            #expect(whole.json["usage"]["completion_tokens"] == .integer(4))
            #expect(whole.headers["x-chainserve-chain"] == "a")
            let streamed = try await client.post(
                "/v1/chat/completions", chatBody(#""stop":"END""#, stream: true),
                headers: ["X-Request-ID": "stream"])
            let texts = events(streamed.body).map { $0["choices"][0]["delta"]["content"].text ?? "-" }
            #expect(texts == ["one ", "", "", "", "-"])
            #expect(events(streamed.body).last?["choices"][0]["finish_reason"] == "stop")
            #expect(events(streamed.body).last?["chainserve"]["attempts"] == .integer(2))
            #expect(try await service.waitForCancellation(of: ["whole", "stream"]))
        }
    }

    @Test("what was held back for a stop sequence is shown when the answer ends without it")
    func heldBackText() async throws {
        try await withGateway(ScriptedService(script: ScriptedService.tokens(["go ", "EN"]))) { port in
            let client = try await TestClient(port: port)
            let whole = try await client.post("/v1/chat/completions", chatBody(#""stop":["END"]"#))
            #expect(whole.json["choices"][0]["message"]["content"] == "go EN")
            let streamed = try await client.post(
                "/v1/chat/completions", chatBody(#""stop":["END"]"#, stream: true))
            let texts = events(streamed.body).map { $0["choices"][0]["delta"]["content"].text ?? "-" }
            #expect(texts == ["go ", "", "EN", "-"])
        }
    }

    @Test("clamped to the model's length: finish_reason length, and the vendor field says so")
    func clamped() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(.token(GeneratedToken(id: 0, text: "a")))
            feed.yield(
                .finished(
                    GenerationResult(
                        reason: .length, promptTokens: 127, completionTokens: 1, clampedFrom: 500, chain: "a",
                        trailingText: "\u{FFFD}")))
        }
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            let whole = try await client.post("/v1/chat/completions", chatBody(#""max_tokens":500"#))
            #expect(whole.json["choices"][0]["finish_reason"] == "length")
            #expect(whole.json["choices"][0]["message"]["content"] == "a\u{FFFD}")
            #expect(whole.json["chainserve"]["max_tokens_clamped_from"] == .integer(500))
            let streamed = try await client.post(
                "/v1/chat/completions", chatBody(#""max_tokens":500"#, stream: true))
            #expect(events(streamed.body).last?["chainserve"]["max_tokens_clamped_from"] == .integer(500))
        }
    }
}

extension String {
    func components(separatedBy separator: String) -> [String] {
        split(separator: separator, omittingEmptySubsequences: true).map(String.init)
    }
}

extension TestClient.Answer {
    /// The body without the times of the request, which must be there.
    var untimed: String {
        get throws {
            let times = try #require(body.firstMatch(of: /,"wait_ms":[0-9.e-]+,"service_ms":[0-9.e-]+/))
            return body.replacingCharacters(in: times.range, with: "")
        }
    }
}

extension String {
    fileprivate func replacingCharacters(in range: Range<String.Index>, with text: String) -> String {
        self[..<range.lowerBound] + text + self[range.upperBound...]
    }
}
