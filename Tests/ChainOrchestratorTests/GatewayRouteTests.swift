import Testing

@testable import ChainOrchestrator

@Suite("Gateway: routes", .timeLimit(.minutes(10)))
struct GatewayRouteTests {
    @Test("health is 200 whatever the pool does; ready says why not")
    func healthAndReadiness() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let client = try await TestClient(port: port)
            var answer = try await client.get("/ready")
            #expect(answer.status == 200)
            #expect(answer.body == #"{"status":"ready"}"#)
            for (readiness, word) in [
                (Readiness.starting("2 of 5 servers loaded"), "starting"), (.draining, "draining"),
                (.unavailable("paris-1 is lost"), "unavailable"),
            ] {
                service.set(readiness)
                answer = try await client.get("/ready")
                #expect(answer.status == 503)
                #expect(answer.json["status"] == .string(word))
                #expect(answer.error["message"] == answer.json["reason"])
                answer = try await client.get("/health")
                #expect(answer.status == 200)
                #expect(answer.body == #"{"status":"ok","ready":false,"emulated":false}"#)
            }
        }
    }

    @Test("models: the list, one by its name with a slash in either form, an unknown one")
    func models() async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            let card =
                #"{"id":"test/model","object":"model","created":1700000000,"owned_by":"chainserve","#
                + #""root":"model.gguf","parent":null,"max_model_len":128}"#
            #expect(try await client.get("/v1/models").body == #"{"object":"list","data":[\#(card)]}"#)
            #expect(try await client.get("/v1/models/test/model").body == card)
            #expect(try await client.get("/v1/models/test%2Fmodel").body == card)
            let missing = try await client.get("/v1/models/gpt-4")
            #expect(missing.status == 404)
            #expect(missing.error["code"] == "model_not_found")
        }
    }

    @Test("status has the documented names and reads back")
    func status() async throws {
        let service = ScriptedService()
        try await withGateway(service) { port in
            let answer = try await TestClient(port: port).get("/status")
            #expect(
                answer.body == #"{"model":"test/model","engine":"scripted","emulated":false,"servers":["#
                    + #"{"name":"a","address":"127.0.0.1:7001","pid":42,"state":"ready","first_block":1,"#
                    + #""block_count":10,"slots_used":3,"slots_total":40},"#
                    + #"{"name":"b","address":"10.0.0.2:7001","state":"lost","first_block":11,"#
                    + #""block_count":20,"slots_used":0,"slots_total":40}],"#
                    + #""chains":[{"servers":["a","b"],"blocks":[10,20],"capacity":4,"running":1}],"#
                    + #""queue_length":2}"#)
        }
    }

    @Test("tokenize and detokenize in vLLM's shapes")
    func tokens() async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            var answer = try await client.post("/tokenize", #"{"model":"test/model","prompt":"ab"}"#)
            #expect(
                answer.body == #"{"count":3,"max_model_len":128,"tokens":[1,97,98],"token_strs":null}"#)
            answer = try await client.post(
                "/tokenize", #"{"prompt":"é","add_special_tokens":false,"return_token_strs":true}"#)
            #expect(
                answer.body == #"{"count":1,"max_model_len":128,"tokens":[233],"token_strs":["é"]}"#)
            answer = try await client.post(
                "/tokenize", #"{"messages":[{"role":"user","content":"four"}],"add_generation_prompt":true}"#)
            #expect(answer.json["tokens"] == .array([.integer(4)]))
            answer = try await client.post("/detokenize", #"{"tokens":[97,8364]}"#)
            #expect(answer.body == #"{"prompt":"a€"}"#)
            answer = try await client.post("/detokenize", #"{"tokens":[2000000]}"#)
            #expect(answer.status == 400)
            #expect(answer.error["param"] == "tokens")
            for (path, body, parameter) in [
                ("/tokenize", "{}", "messages"), ("/tokenize", #"{"prompt":1}"#, "prompt"),
                ("/tokenize", #"{"prompt":"a","model":"other"}"#, "model"),
                ("/detokenize", "{}", "tokens"), ("/detokenize", #"{"tokens":[-1]}"#, "tokens"),
                ("/detokenize", #"{"tokens":"a"}"#, "tokens"),
                ("/detokenize", #"{"tokens":[1],"token":1}"#, "token"),
            ] {
                answer = try await client.post(path, body)
                #expect(answer.status == (parameter == "model" ? 404 : 400), "\(path) \(body)")
                #expect(answer.error["param"].text == parameter, "\(path) \(body)")
            }
        }
    }

    @Test("an unknown path is 404 and a wrong method 405, nested; HEAD is GET without its body")
    func pathsAndMethods() async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            for path in [
                "/v1", "/dashboard/nothing", "/v1/embeddings", "/healthz", "/v1/chat", "/v1/requests",
                "/v1/requests/a/b",
            ] {
                let answer = try await client.get(path)
                #expect(answer.status == 404, "\(path)")
                #expect(answer.error["code"] == "unknown_path")
                #expect(answer.error["message"].text?.isEmpty == false)
            }
            for (method, path, allowed) in [
                ("GET", "/v1/chat/completions", "POST"), ("GET", "/v1/completions", "POST"),
                ("POST", "/health", "GET"), ("DELETE", "/v1/models", "GET"),
                ("GET", "/v1/requests/a", "DELETE"),
                ("DELETE", "/v1/requests/a/cancel", "POST"), ("PUT", "/tokenize", "POST"),
            ] {
                try await client.send(method, path, body: "{}")
                let answer = try await client.answer()
                #expect(answer.status == 405, "\(method) \(path)")
                #expect(answer.headers["allow"] == allowed)
                #expect(answer.error["type"] == "invalid_request_error")
            }
            try await client.send("HEAD", "/health")
            let head = try await client.head()
            #expect(head.status == 200)
            #expect(head.headers["content-length"] == "45")
            #expect(try await client.get("/health").status == 200, "the connection goes on")
        }
    }

    @Test("X-Request-ID is echoed, made when absent, refused when unusable")
    func requestIDs() async throws {
        try await withGateway(ScriptedService()) { port in
            let client = try await TestClient(port: port)
            var answer = try await client.get("/health", headers: ["X-Request-ID": "abc-1"])
            #expect(answer.headers["x-request-id"] == "abc-1")
            let first = try await client.get("/health").headers["x-request-id"]
            let second = try await client.get("/nowhere").headers["x-request-id"]
            #expect(first?.count == 32 && second?.count == 32 && first != second)
            for bad in ["two words", String(repeating: "x", count: 129), "é"] {
                answer = try await client.get("/health", headers: ["X-Request-ID": bad])
                #expect(answer.status == 400)
                #expect(answer.error["param"] == "X-Request-ID")
            }
            answer = try await client.post(
                "/v1/chat/completions", chatBody(), headers: ["X-Request-ID": "mine"])
            #expect(answer.json["id"] == "chatcmpl-mine")
        }
    }

    @Test("a port in use is a typed error that says what to do")
    func portInUse() async throws {
        try await withGateway(ScriptedService()) { port in
            let error = await #expect(throws: GatewayError.self) {
                try await withGateway(ScriptedService(), configured { $0.port = port }) { _ in }
            }
            #expect(error == .portInUse(port: port))
            #expect(error?.description == "port \(port) is in use; choose another with --port")
            await #expect(throws: GatewayError.self) {
                let configuration = configured {
                    $0.host = "192.0.2.1"
                    $0.allowsPlainText = true
                }
                try await withGateway(ScriptedService(), configuration) { _ in }
            }
            await #expect(throws: GatewayError.self) {
                let configuration = configured {
                    $0.host = "no such host"
                    $0.allowsPlainText = true
                }
                try await withGateway(ScriptedService(), configuration) { _ in }
            }
        }
    }

    @Test("an emulated engine is named in every response")
    func emulated() async throws {
        try await withGateway(ScriptedService(isEmulated: true)) { port in
            let client = try await TestClient(port: port)
            for path in ["/health", "/v1/models", "/nowhere"] {
                #expect(try await client.get(path).headers["x-chainserve-engine"] == "emulated")
            }
            let answer = try await client.post("/v1/chat/completions", chatBody())
            #expect(answer.headers["x-chainserve-engine"] == "emulated")
            #expect(answer.json["chainserve"]["engine"] == "emulated")
            let stream = try await client.post("/v1/chat/completions", chatBody(stream: true))
            #expect(stream.headers["x-chainserve-engine"] == "emulated")
            #expect(stream.body.contains(#""engine":"emulated""#))
        }
    }
}

extension JSONValue: ExpressibleByStringLiteral {
    public init(stringLiteral value: String) { self = .string(value) }
}
