import NIOCore
import NIOPosix
import Testing

@testable import ChainOrchestrator

@Suite("Gateway: connections", .timeLimit(.minutes(10)))
struct GatewayConnectionTests {
    @Test(
        "a client that goes away gives its job up: streamed or not, running or queued, closed or half-closed",
        arguments: [true, false], [true, false])
    func disconnect(isStreamed: Bool, isRunning: Bool) async throws {
        let service = ScriptedService(script: isRunning ? ScriptedService.hanging : ScriptedService.waiting)
        // Nothing is written in the meantime: a failed write is not what tells.
        try await withGateway(service, configured { $0.pingInterval = .seconds(600) }) { port in
            for isHalfClosed in [false, true] {
                let id = "\(isHalfClosed)"
                let client = try await TestClient(port: port)
                try await client.send(
                    "POST", "/v1/chat/completions", headers: ["X-Request-ID": id],
                    body: chatBody(stream: isStreamed))
                if isStreamed {
                    #expect(try await client.head().status == 200)
                    if isRunning { #expect(try await client.chunk()?.contains("\"content\":\"x\"") == true) }
                }
                try await waitUntil { service.submitted.contains { $0.requestID == id } }
                #expect(!service.cancelled.contains(id))
                if isHalfClosed {
                    try await client.channel.close(mode: .output)
                } else {
                    try await client.close()
                }
                #expect(try await service.waitForCancellation(of: [id]))
            }
        }
    }

    private func waitUntil(_ condition: () -> Bool) async throws {
        for _ in 0..<500 where !condition() { try await Task.sleep(for: .milliseconds(10)) }
        #expect(condition())
    }

    @Test("a disconnect between requests, or after the answer, gives nothing up")
    func keptJobs() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            for stream in [false, true, false] {
                #expect(try await client.post("/v1/chat/completions", chatBody(stream: stream)).status == 200)
            }
            try await client.close()
            try await Task.sleep(for: .milliseconds(50))
            #expect(service.cancelled.isEmpty)
            #expect(service.submitted.count == 3, "all over one connection")
        }
    }

    @Test("cancel by identifier, either way; the client is told")
    func cancel() async throws {
        let service = ScriptedService(script: ScriptedService.hanging)
        try await withGateway(service) { port in
            let other = try await TestClient(port: port)
            for (method, path, isStreamed) in [
                ("DELETE", "/v1/requests/a", false), ("POST", "/v1/requests/a/cancel", true),
                ("DELETE", "/v1/requests/chatcmpl-a", true),
            ] {
                let client = try await TestClient(port: port)
                try await client.send(
                    "POST", "/v1/chat/completions", headers: ["X-Request-ID": "a"],
                    body: chatBody(stream: isStreamed))
                try await waitUntil { service.submitted.count == service.cancelled.count + 1 }
                try await other.send(method, path)
                let cancelled = try await other.answer()
                #expect(cancelled.body == #"{"id":"a","object":"request","cancelled":true}"#)
                let answer = try await client.answer()
                #expect(answer.status == (isStreamed ? 200 : 499))
                #expect(answer.body.contains(#""code":"request_cancelled""#))
            }
            try await other.send("DELETE", "/v1/requests/a")
            let again = try await other.answer()
            #expect(again.status == 404)
            #expect(again.error["code"] == "request_not_found")
        }
    }

    @Test("an identifier in flight is refused with 409, and free again afterwards")
    func duplicates() async throws {
        let service = ScriptedService(script: ScriptedService.hanging)
        try await withGateway(service) { port in
            let first = try await TestClient(port: port)
            let second = try await TestClient(port: port)
            try await first.send(
                "POST", "/v1/chat/completions", headers: ["X-Request-ID": "a"], body: chatBody(stream: true))
            _ = try await first.head()
            let refused = try await second.post(
                "/v1/chat/completions", chatBody(), headers: ["X-Request-ID": "a"])
            #expect(refused.status == 409)
            #expect(refused.error["param"] == "X-Request-ID")
            try await first.close()
            #expect(try await service.waitForCancellation(of: ["a"]))
            try await Task.sleep(for: .milliseconds(50))
            try await second.send(
                "POST", "/v1/chat/completions", headers: ["X-Request-ID": "a"], body: chatBody(stream: true))
            #expect(try await second.head().status == 200)
        }
    }

    @Test("requests above the limit are 429; the place is free once one ends")
    func requestLimit() async throws {
        let service = ScriptedService(script: ScriptedService.hanging)
        try await withGateway(service, configured { $0.requestLimit = 2 }) { port in
            var clients: [TestClient] = []
            for index in 0..<2 {
                let client = try await TestClient(port: port)
                try await client.send(
                    "POST", "/v1/chat/completions", headers: ["X-Request-ID": "\(index)"],
                    body: chatBody(stream: true))
                _ = try await client.head()
                clients.append(client)
            }
            let extra = try await TestClient(port: port)
            let refused = try await extra.post("/v1/chat/completions", chatBody())
            #expect(refused.status == 429)
            #expect(refused.headers["x-chainserve-drop-reason"] == "too-many-requests")
            #expect(refused.headers["retry-after"] == "1")
            #expect(try await extra.get("/health").status == 200)
            try await clients[0].close()
            #expect(try await service.waitForCancellation(of: ["0"]))
            try await Task.sleep(for: .milliseconds(50))
            try await extra.send("POST", "/v1/chat/completions", body: chatBody(stream: true))
            #expect(try await extra.head().status == 200)
        }
    }

    @Test("64 streams at once, each its own text, whole and in order")
    func manyStreams() async throws {
        let service = ScriptedService { request, feed in
            for index in 0..<50 {
                feed.yield(.token(GeneratedToken(id: 0, text: "\(request.requestID):\(index) ")))
                await Task.yield()
            }
            feed.yield(
                .finished(
                    GenerationResult(reason: .length, promptTokens: 1, completionTokens: 50, chain: "a")))
        }
        try await withGateway(service) { port in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for client in 0..<64 {
                    group.addTask {
                        let answer = try await TestClient(port: port).post(
                            "/v1/chat/completions", chatBody(stream: true),
                            headers: ["X-Request-ID": "c\(client)"])
                        let texts = answer.body.components(separatedBy: "\n\n").compactMap {
                            event -> String? in
                            let chunk = try? JSONParser.parse(Array(event.utf8.dropFirst(6)))
                            return chunk?["choices"][0]["delta"]["content"].text
                        }
                        #expect(texts == (0..<50).map { "c\(client):\($0) " })
                        #expect(answer.body.hasSuffix("data: [DONE]\n\n"))
                    }
                }
                try await group.waitForAll()
            }
            #expect(service.cancelled.isEmpty)
        }
    }

    @Test("a body that does not come, and a connection that says nothing, are closed in time")
    func slowClients() async throws {
        try await withGateway(ScriptedService(), configured { $0.bodyTimeout = .milliseconds(100) }) { port in
            let client = try await TestClient(port: port)
            try await client.send("POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{")
            #expect(await client.rest().isEmpty)
        }
        try await withGateway(ScriptedService(), configured { $0.idleTimeout = .milliseconds(100) }) { port in
            let head = try await TestClient(port: port)
            try? await head.send("POST /v1/completions HTTP/1.1\r\nhost: x\r\n")
            #expect(await head.rest().isEmpty)
            let silent = try await TestClient(port: port)
            #expect(await silent.rest().isEmpty)
        }
    }

    @Test("a client that does not read what it is sent loses its connection and its job")
    func stalledReader() async throws {
        let service = ScriptedService { _, feed in
            let text = String(repeating: "x", count: 100_000)
            for _ in 0..<400 { feed.yield(.token(GeneratedToken(id: 0, text: text))) }
            try? await Task.sleep(for: .seconds(60))
        }
        try await withGateway(service, configured { $0.writeTimeout = .milliseconds(300) }) { port in
            let client = try await TestClient(port: port)
            try await client.channel.setOption(.autoRead, value: false).get()
            try await client.send(
                "POST", "/v1/chat/completions", headers: ["X-Request-ID": "a"], body: chatBody(stream: true))
            #expect(try await service.waitForCancellation(of: ["a"]))
        }
    }

    @Test("connections above the limit wait for one to close")
    func connectionLimit() async throws {
        try await withGateway(ScriptedService(), configured { $0.connectionLimit = 1 }) { port in
            let first = try await TestClient(port: port)
            #expect(try await first.get("/health").status == 200)
            let second = try await TestClient(port: port)
            try await second.send("GET", "/health")
            try await Task.sleep(for: .milliseconds(100))
            try await first.close()
            #expect(try await second.answer().status == 200)
        }
    }

    @Test("stopping the gateway gives all jobs up and returns")
    func stop() async throws {
        let service = ScriptedService(script: ScriptedService.hanging)
        var clients: [TestClient] = []
        try await withGateway(service) { port in
            for (index, stream) in [true, false].enumerated() {
                let client = try await TestClient(port: port)
                try await client.send(
                    "POST", "/v1/chat/completions", headers: ["X-Request-ID": "\(index)"],
                    body: chatBody(stream: stream))
                clients.append(client)
            }
            try await waitUntil { service.submitted.count == 2 }
        }
        #expect(try await service.waitForCancellation(of: ["0", "1"]))
    }
}
