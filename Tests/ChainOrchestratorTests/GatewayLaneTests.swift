import Foundation
import NIOPosix
import Testing

@testable import ChainOrchestrator

/// Requests that generate go another way through a connection than the others; nobody may notice.
@Suite("Gateway: the lane of requests that generate", .timeLimit(.minutes(5)))
struct GatewayLaneTests {
    private static func request(_ method: String, _ path: String, _ headers: String = "", body: String = "")
        -> String
    {
        let length = method == "POST" ? "content-length: \(body.utf8.count)\r\n" : ""
        return "\(method) \(path) HTTP/1.1\r\nhost: x\r\n\(headers)\(length)\r\n\(body)"
    }

    @Test("requests sent at once over one connection are answered in their order, whichever way they take")
    func order() async throws {
        let service = ScriptedService { request, feed in
            try? await Task.sleep(for: .milliseconds(20))
            await ScriptedService.tokens([request.requestID])(request, feed)
        }
        let kinds = ["whole", "models", "stream", "health", "wrong", "missing", "tokenize"]
        func text(_ kind: String, _ number: Int) -> String {
            let id = "x-request-id: \(kind)-\(number)\r\n"
            return switch kind {
            case "whole": Self.request("POST", "/v1/chat/completions", id, body: chatBody())
            case "stream": Self.request("POST", "/v1/chat/completions", id, body: chatBody(stream: true))
            case "models": Self.request("GET", "/v1/models", id)
            case "health": Self.request("GET", "/health", id)
            case "wrong": Self.request("POST", "/v1/completions", id, body: "{")
            case "tokenize": Self.request("POST", "/tokenize", id, body: #"{"prompt":"ab"}"#)
            default: Self.request("GET", "/nothing", id)
            }
        }
        try await withGateway(service) { port in
            for round in 0..<8 {
                var generator = SplitMix(state: UInt64(round))
                let order = (0..<20).map { (kinds.randomElement(using: &generator) ?? "", $0) }
                let client = try await TestClient(port: port)
                try await client.send(order.map { text($0.0, $0.1) }.joined())
                for (kind, number) in order {
                    let answer = try await client.answer()
                    #expect(answer.headers["x-request-id"] == "\(kind)-\(number)")
                    switch kind {
                    case "whole":
                        #expect(
                            answer.json["choices"][0]["message"]["content"].text == "\(kind)-\(number)")
                    case "stream":
                        #expect(answer.body.contains("\(kind)-\(number)"))
                        #expect(answer.body.hasSuffix("data: [DONE]\n\n"))
                    case "wrong": #expect(answer.status == 400)
                    case "missing": #expect(answer.status == 404)
                    case "tokenize": #expect(answer.json["count"] == .integer(3))
                    default: #expect(answer.status == 200)
                    }
                }
                try await client.close()
            }
            #expect(service.cancelled.isEmpty)
        }
    }

    @Test("what is no HTTP, sent behind a request, does not end up in that request's answer")
    func nonsenseBehind() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(.started(chain: "a", attempt: 1))
            for _ in 0..<5 {
                feed.yield(.token(GeneratedToken(id: 1, text: "x")))
                try? await Task.sleep(for: .milliseconds(20))
            }
            feed.yield(
                .finished(
                    GenerationResult(reason: .stop, promptTokens: 1, completionTokens: 5, chain: "a")))
        }
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            try await client.send(
                Self.request("GET", "/health")
                    + Self.request("POST", "/v1/chat/completions", body: chatBody(stream: true))
                    + "\u{1}\u{2}\r\n\r\n")
            #expect(try await client.answer().status == 200)
            var body = ""
            #expect(try await client.head().status == 200)
            while let chunk = try await client.chunk() { body += chunk }
            #expect(body.components(separatedBy: "\"content\":\"x\"").count == 6)
            #expect(body.hasSuffix("data: [DONE]\n\n"))
            let rest = await client.rest()
            #expect(rest.isEmpty || rest.hasPrefix("HTTP/1.1 400"))
            #expect(service.cancelled.isEmpty)
        }
    }

    @Test("a body that is refused while it comes leaves the connection usable")
    func refusedBody() async throws {
        try await withGateway(ScriptedService(), configured { $0.bodyLimit = 200 }) { port in
            let long = String(repeating: " ", count: 300)
            let client = try await TestClient(port: port)
            try await client.send(
                Self.request("POST", "/v1/chat/completions", body: long)
                    + "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"
                    + "96\r\n\(String(repeating: " ", count: 150))\r\n96\r\n\(String(repeating: " ", count: 150))\r\n"
                    + "5\r\n12345\r\n0\r\n\r\n"
                    + Self.request("POST", "/v1/chat/completions", body: chatBody()))
            for status in [413, 413, 200] { #expect(try await client.answer().status == status) }
        }
    }

    @Test("after Connection: close nothing more is answered, and the connection ends")
    func lastRequest() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            for (stream, isLate) in [(false, false), (true, false), (false, true), (true, true)] {
                let client = try await TestClient(port: port, keepsItsSideOpen: isLate)
                let body = chatBody(stream: stream)
                let more = Self.request("POST", "/v1/chat/completions", body: body)
                try await client.send(
                    Self.request("POST", "/v1/chat/completions", "connection: close\r\n", body: body)
                        + (isLate ? "" : more))
                #expect(try await client.answer().status == 200)
                if isLate {
                    try await client.send(more)
                    try await Task.sleep(for: .milliseconds(100))
                    try await client.close()
                }
                #expect(await client.rest().isEmpty)
            }
            #expect(service.submitted.count == 4, "one for each connection")
        }
    }

    @Test(
        "paths may be written in several ways; with another method they are 405",
        arguments: [
            "/v1/chat/completions", "/v1/chat/completions/", "//v1//chat/completions",
            "/v1/%63hat/completions", "/v1/chat/completions?x=1",
        ])
    func paths(path: String) async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            #expect(try await client.post(path, chatBody()).status == 200)
            let text = #"{"model":"test/model","prompt":"a"}"#
            let other = path.replacingOccurrences(of: "chat/", with: "")
                .replacingOccurrences(of: "%63hat/", with: "")
            #expect(try await client.post(other, text).json["object"] == .string("text_completion"))
            for method in ["GET", "PUT", "DELETE"] {
                try await client.send(method, path)
                let answer = try await client.answer()
                #expect(answer.status == 405)
                #expect(answer.headers["allow"] == "POST")
            }
            try await client.send("POST", "/v1/requests/x/stream", body: "")
            let answer = try await client.answer()
            #expect(answer.status == 405)
            #expect(answer.headers["allow"] == "GET")
            #expect(try await client.get("/v1/requests/x/stream/").status == 404)
        }
    }

    @Test("a long prompt is dealt with elsewhere: it holds up no other request of its event loop")
    func longPrompt() async throws {
        let isLongUnderWay = Held(false)
        let service = ScriptedService(
            onSubmission: { request in
                guard request.requestID == "long" else { return }
                isLongUnderWay.set(true)
                Thread.sleep(forTimeInterval: 2)
                isLongUnderWay.set(false)
            })
        let eventLoops = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        try await withGateway(service, eventLoops: eventLoops) { port in
            let (slow, quick) = (try await TestClient(port: port), try await TestClient(port: port))
            let text = String(repeating: "word ", count: 20_000)
            try await slow.send(
                "POST", "/v1/completions", headers: ["X-Request-ID": "long"],
                body: #"{"model":"test/model","prompt":"\#(text)"}"#)
            while !isLongUnderWay.value { try await Task.sleep(for: .milliseconds(5)) }
            #expect(try await quick.post("/v1/chat/completions", chatBody()).status == 200)
            #expect(isLongUnderWay.value)
            #expect(try await slow.answer().status == 200)
        }
        try await eventLoops.shutdownGracefully()
    }

    @Test(
        "moments as HTTP writes them",
        arguments: [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"), (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"), (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
        ])
    func date(second: Int, text: String) {
        #expect(HTTPDate.text(of: second) == text)
        let date = HTTPDate()
        #expect(date.text(at: second) == text && date.text(at: second) == text)
        #expect(date.text(at: 1_800_000_000) == "Fri, 15 Jan 2027 08:00:00 GMT")
    }
}
