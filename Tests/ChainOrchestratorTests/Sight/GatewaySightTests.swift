import ChainSecurity
import Foundation
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import ChainOrchestrator

@Suite("Sight: metrics, dashboard and keys over HTTP", .timeLimit(.minutes(5)))
struct GatewaySightTests {
    private func sample(_ text: String, _ start: String) -> Double? {
        text.split(separator: "\n").first { $0.hasPrefix(start) }
            .flatMap { $0.split(separator: " ").last.flatMap { Double($0) } }
    }

    @Test("/metrics counts requests, however they end, and shows the pool")
    func metrics() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            _ = try await client.post("/v1/chat/completions", chatBody(stream: true))
            _ = try await client.post("/v1/chat/completions", chatBody(#""stop":["wor"]"#))
            service.refuseNext([.overloaded(retryAfter: 1, reason: "queue-full")])
            _ = try await client.post("/v1/chat/completions", chatBody())
            _ = try await client.get("/nothing")
            let answer = try await client.get("/metrics")
            #expect(answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8")
            let text = answer.body
            #expect(sample(text, "chainserve_requests_total") == 3)
            #expect(
                sample(
                    text,
                    #"chainserve_requests_refused_total{engine="ggml",model_name="test/model",reason="queue-full"}"#
                ) == 1)
            // One by itself, one by a stop sequence; neither was given up.
            #expect(sample(text, #"vllm:request_success_total{engine="ggml",finished_reason="stop""#) == 2)
            #expect(sample(text, #"vllm:request_success_total{engine="ggml",finished_reason="abort""#) == 0)
            #expect(sample(text, #"chainserve_http_responses_total{code="429""#) == 1)
            #expect(sample(text, #"chainserve_http_responses_total{code="404""#) == 1)
            #expect(sample(text, "chainserve_queue_length") == 2)
            #expect(sample(text, "vllm:num_requests_running") == 1)
            #expect(sample(text, "vllm:kv_cache_usage_perc") == 3.0 / 80)
            #expect(
                text.contains(
                    #"chainserve_server_state{engine="ggml",model_name="test/model",server="b",state="lost"} 1"#
                ))
            #expect(
                text.contains(
                    #"chainserve_chain_capacity{chain="a > b",engine="ggml",model_name="test/model"} 4"#))
            for line in text.split(separator: "\n") where !line.hasPrefix("#") {
                #expect(
                    !line.contains("cmpl-") && !line.contains("request_id"),
                    "no label is a request's: \(line)")
            }
        }
    }

    @Test("the dashboard's parts come from here, and it may load nothing from elsewhere")
    func dashboard() async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            for (path, type) in [
                ("/", "text/html"), ("/dashboard", "text/html"), ("/dashboard/style.css", "text/css"),
                ("/dashboard/script.js", "text/javascript"),
            ] {
                let answer = try await client.get(path)
                #expect(answer.status == 200 && answer.headers["content-type"]?.hasPrefix(type) == true)
                let policy = answer.headers["content-security-policy"] ?? ""
                #expect(policy.hasPrefix("default-src 'none'") && !policy.contains("unsafe"))
                #expect(
                    answer.body.matches(of: /https?:\/\//).allSatisfy { match in
                        answer.body[match.startIndex...].hasPrefix("http://www.w3.org/2000/svg")
                    })
            }
            let state = try await client.get("/dashboard/state")
            let sight = try JSONDecoder().decode(PoolSight.self, from: Data(state.body.utf8))
            #expect(sight.status.servers.map(\.name) == ["a", "b"] && sight.readiness == "ready")
            #expect(
                Set(sight.events.map(\.text)) == [
                    "server a is ready", "server b is lost", "the service is ready",
                ])
            try await client.send("POST", "/metrics")
            #expect(try await client.answer().status == 405)
        }
    }

    @Test("the dashboard's stream tells the state again and again, and what changed")
    func stream() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            try await client.send("GET", "/dashboard/events")
            let head = try await client.head()
            #expect(head.headers["content-type"]?.hasPrefix("text/event-stream") == true)
            #expect(try await client.chunk() == "retry: 2000\n\n")
            let first = try await client.chunk() ?? ""
            #expect(first.hasPrefix("event: sight\ndata: {") && first.hasSuffix("}\n\n"))
            service.set(.unavailable("all is lost"))
            var seen = ""
            for _ in 0..<10 where !seen.contains("no chain can serve") {
                seen += try await client.chunk() ?? ""
            }
            #expect(seen.contains("no chain can serve") && seen.contains(#""readiness":"unavailable""#))
            try await client.close()
        }
    }

    // MARK: Keys

    private func file() throws -> (file: KeyFile, keys: [String: String]) {
        var file = KeyFile()
        var keys: [String: String] = [:]
        keys["ann"] = try file.add("ann", rights: [.generate], requestsInFlight: 1, requestsPerMinute: nil)
        keys["bob"] = try file.add("bob", rights: [.generate], requestsInFlight: nil, requestsPerMinute: 2)
        keys["eve"] = try file.add("eve", rights: [.observe], requestsInFlight: nil, requestsPerMinute: nil)
        return (file, keys)
    }

    private func bearer(_ key: String?) -> [String: String] { ["Authorization": "Bearer \(key ?? "")"] }

    @Test("without a key 401, with a wrong one 401, with one of other rights 403; health needs none")
    func rejected() async throws {
        let (file, keys) = try file()
        let service = ScriptedService()
        try await withGateway(service, configured { $0.keys = KeyRing(file) }) { port in
            let client = try await TestClient(port: port)
            #expect(try await client.get("/health").status == 200)
            #expect(try await client.get("/ready").status == 200)
            for path in ["/v1/models", "/status", "/metrics", "/", "/dashboard/events"] {
                let answer = try await client.get(path)
                #expect(answer.status == 401 && answer.error["code"] == "missing_api_key", "\(path)")
                #expect(answer.headers["www-authenticate"] == #"Bearer realm="ChainServe""#)
            }
            let page = try await client.get("/", headers: ["Accept": "text/html,*/*"])
            #expect(page.headers["www-authenticate"]?.hasPrefix("Basic") == true, "a browser asks its user")
            for header in ["Bearer cs-wrong", "Bearer", "Bearer ", "Digest x", "Basic !!", keys["ann"] ?? ""]
            {
                let answer = try await client.post(
                    "/v1/chat/completions", chatBody(), headers: ["Authorization": header])
                #expect(answer.status == 401, "\(header)")
            }
            let forbidden = try await client.post(
                "/v1/chat/completions", chatBody(), headers: bearer(keys["eve"]))
            #expect(forbidden.status == 403 && forbidden.error["type"] == "permission_error")
            #expect(try await client.get("/metrics", headers: bearer(keys["ann"])).status == 403)
            let basic = Data("any:\(keys["eve"] ?? "")".utf8).base64EncodedString()
            let text = try await client.get("/metrics", headers: ["Authorization": "Basic \(basic)"])
            #expect(text.status == 200)
            #expect(
                sample(
                    text.body,
                    #"chainserve_keys_rejected_total{engine="ggml",model_name="test/model",reason="unknown""#)
                    == 1)
            #expect(keys.values.allSatisfy { !text.body.contains($0) })
            #expect(service.submitted.isEmpty)
            #expect(
                try await client.post("/v1/chat/completions", chatBody(), headers: bearer(keys["ann"])).status
                    == 200)
            #expect(service.submitted.map(\.client) == ["ann"])
        }
    }

    @Test("each client has its own limits, and may give up only its own requests")
    func limits() async throws {
        let (file, keys) = try file()
        let service = ScriptedService(script: ScriptedService.hanging)
        try await withGateway(service, configured { $0.keys = KeyRing(file) }) { port in
            let ann = try await TestClient(port: port)
            try await ann.send(
                "POST", "/v1/chat/completions",
                headers: bearer(keys["ann"]).merging(["X-Request-ID": "a"]) { $1 },
                body: chatBody(stream: true))
            #expect(try await ann.head().status == 200)
            let other = try await TestClient(port: port)
            let second = try await other.post(
                "/v1/chat/completions", chatBody(), headers: bearer(keys["ann"]))
            #expect(second.status == 429 && second.error["code"] == "rate_limit_exceeded")
            #expect(second.headers["x-chainserve-drop-reason"] == "client-concurrency")
            try await other.send("DELETE", "/v1/requests/a", headers: bearer(keys["bob"]))
            #expect(try await other.answer().status == 404, "bob knows nothing of ann's requests")
            try await other.send("DELETE", "/v1/requests/a", headers: bearer(keys["ann"]))
            #expect(try await other.answer().status == 200)
            #expect(try await service.waitForCancellation(of: ["a"]))
            for id in ["b1", "b2", "b3"] {
                let bob = try await TestClient(port: port)
                try await bob.send(
                    "POST", "/v1/chat/completions",
                    headers: bearer(keys["bob"]).merging(["X-Request-ID": id]) { $1 },
                    body: chatBody(stream: true))
                let head = try await bob.head()
                #expect(head.status == (id == "b3" ? 429 : 200))
                if id == "b3" {
                    #expect(head.headers["x-chainserve-drop-reason"] == "client-rate")
                    let wait = head.headers["retry-after"].flatMap { Int($0) } ?? 0
                    #expect((25...30).contains(wait), "two a minute: one every thirty seconds")
                }
                try await bob.close()
            }
        }
    }

    // MARK: What is no HTTP

    @Test(
        "what cannot be read is answered with 400 or 431 and a reason, and the connection closed",
        arguments: [
            ("BLAH\r\n\r\n", 400), ("GET / HTTP/9.9\r\n\r\n", 400),
            ("\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: x\r\nbad header\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nhost: x\r\nx: LONG\r\n\r\n", 431),
        ])
    func unreadable(text: String, status: Int) async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            try await client.send(
                text.replacingOccurrences(of: "LONG", with: String(repeating: "y", count: 40_000)))
            let answer = try await client.answer()
            #expect(answer.status == status)
            #expect(answer.headers["connection"] == "close")
            #expect(answer.error["message"].text != nil && answer.error["type"] == "invalid_request_error")
            #expect(await client.rest().isEmpty)
        }
    }

    @Test("beyond loopback it listens only with TLS or when plain text is asked for")
    func plainText() async throws {
        let refused = Gateway(
            service: ScriptedService(), configuration: GatewayConfiguration(host: "0.0.0.0", port: 0),
            logger: .init(label: "test"))
        await #expect(throws: SecurityError.plainText(host: "0.0.0.0")) { try await refused.run() }
    }

    @Test("an accept that fails for the moment does not end the server")
    func acceptErrors() async throws {
        let told = Atomic(0)
        let channel = try await ServerChannelPair.make { _ in told.add(1, ordering: .relaxed) }
        channel.pipeline.fireErrorCaught(ChannelError.operationUnsupported)
        try await eventually("the error is told") { told.load(ordering: .relaxed) == 1 }
        #expect(channel.isActive)
        try await channel.close().get()
    }
}

private enum ServerChannelPair {
    /// A listening channel with the filter; errors that pass it close the channel.
    static func make(_ onError: @escaping @Sendable (any Error) -> Void) async throws -> any Channel {
        let channel = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .bind(host: "127.0.0.1", port: 0).get()
        try await channel.pipeline.addHandler(AcceptErrorFilter(onError: onError), position: .first).get()
        try await channel.pipeline.addHandler(Closer()).get()
        return channel
    }

    private final class Closer: ChannelInboundHandler, Sendable {
        typealias InboundIn = Channel
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
