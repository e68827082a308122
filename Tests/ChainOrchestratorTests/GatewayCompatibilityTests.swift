import Foundation
import Testing

@testable import ChainOrchestrator

/// Runs `Tests/Compatibility/openai_client.py` where Python has the official client.
@Suite(
    "Gateway: the official openai client", .timeLimit(.minutes(10)),
    .enabled("Python has no module openai: Scripts/clients.sh installs it") { await Python.hasClient() })
struct GatewayCompatibilityTests {
    /// Log probabilities as they were asked for.
    private static func token(_ id: Int32, _ text: String, for request: GenerationRequest) -> GenerationEvent
    {
        guard let count = request.sampling.logprobs else { return .token(GeneratedToken(id: id, text: text)) }
        let likeliest = (0..<count).map {
            TokenLogprob(id: Int32($0), bytes: Array("t\($0)".utf8), logprob: -0.5 - Double($0))
        }
        return .token(GeneratedToken(id: id, text: text, logprob: -0.5, topLogprobs: likeliest))
    }

    @Test("chat, completions, streams, usage, log probabilities, errors")
    func general() async throws {
        let service = ScriptedService { request, feed in
            feed.yield(.started(chain: "a > b", attempt: 1))
            for (index, text) in ["Once", " upon", " a", " time"].enumerated() {
                feed.yield(Self.token(Int32(index), text, for: request))
            }
            feed.yield(
                .finished(
                    GenerationResult(reason: .length, promptTokens: 7, completionTokens: 4, chain: "a > b")))
        }
        try await withGateway(service) { try await expectSuccess($0, []) }
    }

    @Test("retries after 429 and 503, as long as told")
    func retries() async throws {
        // Twice refused, then served; first for lack of room, then for lack of servers.
        let full = GenerationRefusal.overloaded(retryAfter: 0.2, reason: "scripted")
        let lost = GenerationRefusal.unavailable(retryAfter: 0.2, reason: "scripted")
        let service = ScriptedService()
        service.refuseNext([full, full, nil, lost, lost])
        try await withGateway(service) { try await expectSuccess($0, ["retries"]) }
    }

    @Test("an error within a stream")
    func streamError() async throws {
        let service = ScriptedService { _, feed in
            feed.yield(.token(GeneratedToken(id: 0, text: "a")))
            feed.yield(.failed(.unavailable(message: "paris-1 is lost")))
        }
        try await withGateway(service) { try await expectSuccess($0, ["stream_error"]) }
    }

    private func expectSuccess(_ port: Int, _ checks: [String]) async throws {
        let script = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .appending(path: "Compatibility/openai_client.py").path
        let result = try await Python.run([script, "http://127.0.0.1:\(port)/v1", "test/model"] + checks)
        #expect(result.status == 0, "\(result.output)")
        #expect(result.output.contains(": ok"), "\(result.output)")
    }
}

/// Runs the Python of `Scripts/clients.sh` where it is there, else `python3`.
enum Python {
    static func hasClient() async -> Bool { (try? await run(["-c", "import openai"]))?.status == 0 }

    private static var path: String {
        let values = ProcessInfo.processInfo.environment
        let shared = values["XDG_CACHE_HOME"] ?? NSHomeDirectory() + "/.cache"
        let own = (values["CHAINSERVE_CACHE"] ?? shared + "/chainserve") + "/clients/bin/python"
        return FileManager.default.isExecutableFile(atPath: own) ? own : "python3"
    }

    static func run(_ arguments: [String]) async throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(filePath: "/usr/bin/env")
        process.arguments = [path] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        let (exits, continuation) = AsyncStream.makeStream(of: Int32.self)
        process.terminationHandler = {
            continuation.yield($0.terminationStatus)
            continuation.finish()
        }
        try process.run()
        var status: Int32 = -1
        for await exit in exits { status = exit }
        // What the script prints fits a pipe's buffer.
        let output = pipe.fileHandleForReading.readDataToEndOfFile()
        return (status, String(decoding: output, as: UTF8.self))
    }
}
