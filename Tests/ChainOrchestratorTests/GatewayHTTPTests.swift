import NIOCore
import Testing

@testable import ChainOrchestrator

/// HTTP itself, where clients differ from each other.
@Suite("Gateway: other people's HTTP", .timeLimit(.minutes(5)))
struct GatewayHTTPTests {
    private static let paths = ["/v1/chat/completions", "/tokenize"]

    private static func body(of path: String) -> String {
        path == "/tokenize" ? #"{"prompt":"ab"}"# : chatBody()
    }

    @Test("HTTP/1.0: one request a connection, whose end ends the answer; no chunks")
    func old() async throws {
        let service = ScriptedService(script: ScriptedService.tokens(["Hello", " world"]))
        try await withGateway(service) { port in
            for (method, path, body, ending) in [
                ("POST", "/v1/chat/completions", chatBody(), "}"),
                ("POST", "/v1/chat/completions", chatBody(stream: true), "data: [DONE]\n\n"),
                ("POST", "/tokenize", #"{"prompt":"ab"}"#, "}"), ("GET", "/health", "", "}"),
            ] {
                for fields in ["", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n"] {
                    let client = try await TestClient(port: port)
                    let request =
                        "\(method) \(path) HTTP/1.0\r\n\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
                    try await client.send(request)
                    let answer = await client.rest()
                    #expect(answer.hasPrefix("HTTP/1.0 200 "))
                    #expect(answer.lowercased().contains("\r\nconnection: close\r\n"))
                    #expect(!answer.lowercased().contains("transfer-encoding"))
                    #expect(answer.hasSuffix(ending))
                }
            }
            #expect(service.cancelled.isEmpty)
        }
    }

    @Test(
        "a client that says in any way that it closes is told the same, and the connection ends",
        arguments: ["close", "Close", "TE, close", "keep-alive,CLOSE"])
    func closing(connection: String) async throws {
        try await withGateway(ScriptedService()) { port in
            for (path, stream) in [
                ("/v1/chat/completions", false), ("/v1/chat/completions", true), ("/tokenize", false),
            ] {
                let client = try await TestClient(port: port)
                let body = stream ? chatBody(stream: true) : Self.body(of: path)
                let answer = try await client.post(path, body, headers: ["Connection": connection])
                #expect(answer.status == 200)
                #expect(answer.headers["connection"] == "close")
                #expect(await client.rest().isEmpty)
            }
            for path in Self.paths + ["/nothing"] {
                let refused = try await TestClient(port: port).post(
                    path, Self.body(of: path), headers: ["Connection": connection, "X-Request-ID": "a b"])
                #expect(refused.status == 400)
                #expect(refused.headers["connection"] == "close")
            }
            let client = try await TestClient(port: port)
            for _ in 0..<2 {
                let answer = try await client.post(
                    "/tokenize", #"{"prompt":"ab"}"#, headers: ["Connection": "TE, keep-alive"])
                #expect(answer.headers["connection"] == nil)
            }
        }
    }

    @Test("a body that is no HTTP is refused with a reason", arguments: paths)
    func brokenBody(path: String) async throws {
        try await withGateway(ScriptedService()) { port in
            for (framing, body) in [
                ("Transfer-Encoding: chunked", "zz\r\n{}"), ("Transfer-Encoding: chunked", "2\r\n{}more"),
                ("Transfer-Encoding: chunked", "fffffffffffffffffff\r\n{}"),
                ("Content-Length: 2\r\nTransfer-Encoding: chunked", "2\r\n{}\r\n0\r\n\r\n"),
                ("Content-Length: 2\r\nContent-Length: 3", "{}"), ("Content-Length: two", "{}"),
            ] {
                let client = try await TestClient(port: port)
                try await client.send("POST \(path) HTTP/1.1\r\nHost: x\r\n\(framing)\r\n\r\n\(body)")
                let answer = try await client.answer()
                #expect(answer.status == 400)
                #expect(answer.headers["connection"] == "close")
                #expect(answer.error["code"] == "invalid_http")
                let message = answer.error["message"].text ?? ""
                #expect(message.hasPrefix("this is not valid HTTP/1.1 (") && !message.contains("unknown"))
                #expect(await client.rest().isEmpty)
            }
        }
    }

    @Test("a broken body behind a request is refused after that one's answer", arguments: paths)
    func brokenBodyBehind(path: String) async throws {
        let service = ScriptedService { request, feed in
            try? await Task.sleep(for: .milliseconds(100))
            await ScriptedService.echo(request, feed)
        }
        try await withGateway(service) { port in
            let body = chatBody()
            let client = try await TestClient(port: port)
            try await client.send(
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
                    + "POST \(path) HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}")
            #expect(try await client.answer().status == 200)
            #expect(try await client.answer().status == 400)
            #expect(await client.rest().isEmpty)
        }
    }

    @Test(
        "a broken body of a request that was refused by its head, or waits behind another, is no second answer's cause"
    )
    func brokenBodyOfRefused() async throws {
        let service = ScriptedService { request, feed in
            try? await Task.sleep(for: .milliseconds(50))
            await ScriptedService.echo(request, feed)
        }
        try await withGateway(service) { port in
            let broken =
                "POST /v1/chat/completions HTTP/1.1\r\nx-request-id: a b\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}"
            let body = chatBody()
            let other =
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
            let later = broken.replacing("zz", with: "4\r\nabcd\r\nzz")
            for (before, statuses) in [
                ("", [400]), (other, [200, 400]), ("PUT /health HTTP/1.1\r\n\r\n", [405, 400]),
                ("GET /health HTTP/1.1\r\n\r\n", [200, 400]),
            ] {
                let client = try await TestClient(port: port)
                try await client.send(before + broken)
                for status in statuses { #expect(try await client.answer().status == status) }
                #expect(await client.rest().isEmpty)
                let another = try await TestClient(port: port)
                try await another.send(before + later)
                for status in statuses { #expect(try await another.answer().status == status) }
                #expect(await another.rest().isEmpty)
            }
        }
    }

    @Test("who asks before sending a body is told to when it is that request's turn")
    func welcome() async throws {
        let service = ScriptedService { request, feed in
            try? await Task.sleep(for: .milliseconds(100))
            await ScriptedService.echo(request, feed)
        }
        try await withGateway(service) { port in
            for path in Self.paths {
                let body = Self.body(of: path)
                let client = try await TestClient(port: port)
                try await client.send("POST", "/v1/chat/completions", body: chatBody(stream: true))
                try await client.send(
                    "POST \(path) HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: \(body.utf8.count)\r\n\r\n"
                )
                #expect(try await client.answer().body.hasSuffix("data: [DONE]\n\n"))
                #expect(try await client.head().status == 100)
                try await client.send(body)
                #expect(try await client.answer().status == 200)
            }
        }
    }

    @Test(
        "after the last request, whichever way it took, nothing is answered", arguments: paths + ["/health"])
    func nothingAfter(path: String) async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            for head in [
                "HTTP/1.1\r\nconnection: close", "HTTP/1.0", "HTTP/1.0\r\nconnection: keep-alive",
            ] {
                let body = path == "/health" ? "" : Self.body(of: path)
                let method = body.isEmpty ? "GET" : "POST"
                let more = chatBody()
                let client = try await TestClient(port: port)
                try await client.send(
                    "\(method) \(path) \(head)\r\ncontent-length: \(body.utf8.count)\r\n\r\n\(body)"
                        + "POST /v1/chat/completions HTTP/1.1\r\ncontent-length: \(more.utf8.count)\r\n\r\n\(more)nonsense\r\n"
                )
                let answers = await client.rest()
                #expect(answers.ranges(of: "HTTP/1.").count == 1)
            }
            #expect(service.submitted.count == (path == "/v1/chat/completions" ? 3 : 0))
        }
    }

    @Test("a broken body of a request whose answer is under way does not end up in that answer")
    func brokenBodyOfAnswered() async throws {
        try await withGateway(ScriptedService(), configured { $0.bodyTimeout = .milliseconds(300) }) { port in
            let client = try await TestClient(port: port)
            try await client.send(
                "GET /dashboard/events HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n")
            #expect(try await client.head().status == 200)
            #expect(try await client.chunk() != nil)
            try await client.send("zz\r\n")
            #expect(await !client.rest().contains("HTTP/1."))
        }
    }

    @Test("a compressed body is refused by that name", arguments: paths)
    func compressedBody(path: String) async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            let answer = try await client.post(
                path, "\u{1F}\u{8B}\u{8}", headers: ["Content-Encoding": "gzip"])
            #expect(answer.status == 415)
            #expect(answer.error["param"] == "Content-Encoding")
            let body = Self.body(of: path)
            #expect(
                try await client.post(path, body, headers: ["Content-Encoding": "identity"]).status == 200)
            #expect(try await client.post(path, "{", headers: ["Content-Encoding": "identity"]).status == 400)
        }
    }

    @Test("a long body behind a long stream is waited for until the stream has ended")
    func heldBody() async throws {
        let service = ScriptedService { request, feed in
            for _ in 0..<(request.requestID == "first" ? 20 : 1) {
                feed.yield(.token(GeneratedToken(id: 1, text: "x")))
                try? await Task.sleep(for: .milliseconds(50))
            }
            feed.yield(
                .finished(GenerationResult(reason: .stop, promptTokens: 1, completionTokens: 1, chain: "a")))
        }
        // Longer than what the socket holds.
        let long = chatBody() + String(repeating: " ", count: 3_000_000)
        try await withGateway(service, configured { $0.bodyTimeout = .milliseconds(200) }) { port in
            let client = try await TestClient(port: port)
            try await client.send(
                "POST", "/v1/chat/completions", headers: ["X-Request-ID": "first"],
                body: chatBody(stream: true))
            let second =
                "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: \(long.utf8.count)\r\n\r\n\(long)"
            client.channel.writeAndFlush(ByteBuffer(string: second), promise: nil)
            let first = try await client.answer()
            #expect(first.body.hasSuffix("data: [DONE]\n\n"))
            #expect(try await client.answer().status == 200)
        }
    }

    @Test(
        "whatever clients send at once, a strict reader gets whole answers, in turn, and none after the last")
    func anything() async throws {
        let times = configured {
            $0.bodyTimeout = .milliseconds(150)
            $0.idleTimeout = .milliseconds(150)
        }
        try await withGateway(ScriptedService(), times) { port in
            for round in 0..<8 {
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for client in 0..<32 {
                        group.addTask {
                            var clients = RandomClient(seed: UInt64(round * 32 + client))
                            let (text, whole) = clients.requests()
                            let client = try await TestClient(port: port)
                            try await client.send(text)
                            let answers = try StrictReader.statuses(in: Array(await client.rest().utf8))
                            #expect(answers.allSatisfy { $0 < 500 })
                            // Damage may make two requests of one, but what is whole before it is answered.
                            #expect(answers.filter { $0 != 100 }.count >= whole)
                        }
                    }
                    try await group.waitForAll()
                }
            }
        }
    }
}
