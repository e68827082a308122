import Testing

@testable import ChainOrchestrator

@Suite("Gateway: refusals and failures", .timeLimit(.minutes(10)))
struct GatewayErrorTests {
    @Test("each refusal has its status, nested error and headers; streaming makes no difference")
    func refusals() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            let cases: [(GenerationRefusal, Int, String, String?, String?)] = [
                (
                    .invalid(message: "no", parameter: "prompt", code: "invalid_value"), 400,
                    "invalid_request_error", "prompt", "invalid_value"
                ),
                (.unknownModel("x"), 404, "invalid_request_error", "model", "model_not_found"),
                (
                    .promptTooLong(tokens: 200, limit: 128), 400, "invalid_request_error", "messages",
                    "context_length_exceeded"
                ),
                (
                    .overloaded(retryAfter: 2.2, reason: "queue-full"), 429, "rate_limit_error", nil,
                    "overloaded"
                ),
                (
                    .unavailable(retryAfter: 0, reason: "starting"), 503, "service_unavailable_error", nil,
                    "unavailable"
                ),
                (.internal(message: "broken"), 500, "server_error", nil, "internal_error"),
            ]
            for (refusal, status, type, parameter, code) in cases {
                service.refuse(refusal)
                for stream in [false, true] {
                    let answer = try await client.post("/v1/chat/completions", chatBody(stream: stream))
                    #expect(answer.status == status)
                    #expect(answer.headers["content-type"] == "application/json")
                    #expect(answer.headers["x-request-id"] != nil)
                    #expect(answer.error["type"].text == type)
                    #expect(answer.error["param"].text == parameter)
                    #expect(answer.error["code"].text == code)
                    #expect(answer.error["message"].text?.isEmpty == false)
                }
            }
            service.refuse(.promptTooLong(tokens: 200, limit: 128))
            let answer = try await client.post("/v1/completions", #"{"model":"test/model","prompt":"x"}"#)
            #expect(answer.error["param"] == "prompt")
        }
    }

    @Test(
        "429 and 503 say when and why",
        arguments: [
            (2.2, "3", "2200"), (0.05, "1", "50"), (0, "1", "1"), (119.999, "120", "119999"), (-1, "1", "1"),
            (.nan, "1", "1000"), (.infinity, "86400", "86400000"),
        ])
    func retryAfter(seconds: Double, whole: String, milliseconds: String) async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            for refusal in [
                GenerationRefusal.overloaded(retryAfter: seconds, reason: "queue-full"),
                .unavailable(retryAfter: seconds, reason: "queue-full"),
            ] {
                service.refuse(refusal)
                let answer = try await client.post("/v1/chat/completions", chatBody())
                #expect(answer.headers["retry-after"] == whole)
                #expect(answer.headers["retry-after-ms"] == milliseconds)
                #expect(answer.headers["x-chainserve-drop-reason"] == "queue-full")
            }
        }
    }

    @Test("a failure of an accepted request: its status when whole, an error event in a stream")
    func failures() async throws {
        for (failure, status, code) in [
            (GenerationFailure.cancelled, 499, "request_cancelled"),
            (.deadlineExceeded(message: "waited 60 s"), 504, "deadline_exceeded"),
            (.unavailable(message: "paris-1 is lost"), 503, "unavailable"),
            (.internal(message: "broken"), 500, "internal_error"),
        ] {
            let service = ScriptedService { _, feed in
                feed.yield(.token(GeneratedToken(id: 0, text: "a")))
                feed.yield(.failed(failure))
            }
            try await withGateway(service) { port in
                let client = try await TestClient(port: port)
                let whole = try await client.post("/v1/chat/completions", chatBody())
                #expect(whole.status == status)
                #expect(whole.error["code"].text == code)
                let streamed = try await client.post("/v1/chat/completions", chatBody(stream: true))
                #expect(streamed.status == 200)
                let parts = streamed.body.components(separatedBy: "\n\n")
                #expect(parts.count == 2)
                #expect(parts.last?.hasPrefix(#"data: {"error":{"message":""#) == true)
                #expect(parts.last?.contains(#""code":"\#(code)"}}"#) == true)
                #expect(try await client.get("/health").status == 200, "the connection goes on")
            }
        }
    }

    @Test("a service that ends a stream without a result is told on, not waited for")
    func silentEnd() async throws {
        try await withGateway(ScriptedService { _, _ in }) { port in
            let client = try await TestClient(port: port)
            #expect(try await client.post("/v1/chat/completions", chatBody()).status == 500)
            let streamed = try await client.post("/v1/chat/completions", chatBody(stream: true))
            #expect(streamed.body.contains(#""code":"internal_error""#))
        }
    }

    @Test("bodies that are not JSON, not objects, for another model")
    func bodies() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            for (body, status, code) in [
                ("", 400, "invalid_json"), ("{", 400, "invalid_json"), (#"{"a":1,}"#, 400, "invalid_json"),
                (#"{"model":"a","model":"b"}"#, 400, "invalid_json"), ("[]", 400, "invalid_type"),
                ("\"text\"", 400, "invalid_type"),
                (#"{"model":"other","messages":[{"role":"user","content":"a"}]}"#, 404, "model_not_found"),
            ] {
                for path in ["/v1/chat/completions", "/v1/completions"]
                where status == 400 || path.contains("chat") {
                    let answer = try await client.post(path, body)
                    #expect(answer.status == status, "\(body)")
                    #expect(answer.error["code"].text == code, "\(body)")
                }
            }
            #expect(service.submitted.isEmpty)
            // Content types do not matter: curl's -d sends another.
            try await client.send(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: text/plain\r\n"
                    + "content-length: \(chatBody().utf8.count)\r\n\r\n\(chatBody())")
            #expect(try await client.answer().status == 200)
        }
    }

    @Test("a body above the limit is 413, with its length declared and without")
    func bodyLimit() async throws {
        try await withGateway(ScriptedService(), configured { $0.bodyLimit = 1000 }) { port in
            let long = chatBody(#""user":"\#(String(repeating: "x", count: 2000))""#)
            let client = try await TestClient(port: port)
            let declared = try await client.post("/v1/chat/completions", long)
            #expect(declared.status == 413)
            #expect(declared.error["code"] == "body_too_large")
            #expect(try await client.get("/health").status == 200)
            try await client.send(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                    + "\(String(long.utf8.count, radix: 16))\r\n\(long)\r\n0\r\n\r\n")
            #expect(try await client.answer().status == 413)
            #expect(try await client.get("/health").status == 200)
        }
    }

    @Test("a body of megabytes, the client asking first")
    func bigBody() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            let text = String(repeating: "0123456789", count: 300_000)
            let body = #"{"model":"test/model","prompt":"\#(text)"}"#
            try await client.send(
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                    + "content-length: \(body.utf8.count)\r\n\r\n")
            #expect(try await client.head().status == 100)
            try await client.send(body)
            #expect(try await client.answer().status == 200)
            #expect(service.submitted.last?.input == .text(text))
            try await client.send(
                "POST /v1/completions HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\n"
                    + "content-length: 99999999\r\n\r\n")
            #expect(try await client.head().status == 413)
        }
    }

    @Test("heads too long and lines that are not HTTP close the connection, not the server")
    func badHeads() async throws {
        try await withGateway(ScriptedService(), configured { $0.headerLimit = 4096 }) { port in
            for text in [
                "GET /health HTTP/1.1\r\nx: \(String(repeating: "y", count: 10_000))\r\n\r\n",
                "NONSENSE\r\n\r\n",
                "GET / HTTP/1.1\r\n" + String(repeating: "a: b\r\n", count: 2000) + "\r\n",
                "\u{0}\u{1}\u{2}\r\n\r\n",
            ] {
                let client = try await TestClient(port: port)
                try? await client.send(text)
                let rest = await client.rest()
                let isAnswered = ["HTTP/1.1 400", "HTTP/1.1 431"].contains { rest.hasPrefix($0) }
                #expect(rest.isEmpty || isAnswered, "\(rest)")
            }
            #expect(try await TestClient(port: port).get("/health").status == 200)
        }
    }
}
