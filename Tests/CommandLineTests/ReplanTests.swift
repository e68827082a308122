import Foundation
import Testing

extension CommandLineSuite {
    /// A service that is asked more of than it was planned for.
    @Suite("Replanning", .serialized)
    struct ReplanTests {
        /// Half a request a second was planned for, on three servers; five come, which those cannot serve. The service moves
        /// to a plan over more servers, and whoever was being answered or waiting gets the whole of the right text.
        @Test func movesToAPlanForTheNewRate() async throws {
            try await Place.with { place in
                let text = EmulatedPool.text(place)
                    .replacingOccurrences(of: "arrival_rate: 2,", with: "arrival_rate: 0.5,")
                let file = try place.write("pool.yaml", text)
                let running = try await RunningService.start(
                    [
                        "up", file, "--no-prompt", "--port", "0", "--replan", "auto", "--replan-window", "6",
                        "--log-level", "notice",
                    ],
                    in: place)
                let before = try await running.status(in: place)
                let capacity = before["chains"].items.compactMap { $0["capacity"].integer }.reduce(0, +)
                let tokens = 30
                let expected = EmulatedPool.answer(
                    afterBytes: EmulatedPool.promptBytes("Hello"), tokens: tokens)
                let body =
                    "{\"model\": \"toy-\(place.token)\", \"max_tokens\": \(tokens), \"messages\": "
                    + "[{\"role\": \"user\", \"content\": \"Hello\"}]}"
                let service = running.service
                try await withThrowingTaskGroup(of: Void.self) { group in
                    for number in 0..<75 {
                        group.addTask {
                            try await pause(number * 200)
                            let answer = try await service.post("/v1/chat/completions", body)
                            #expect(answer.status == 200)
                            #expect(try answer.json["choices"][0]["message"]["content"].text == expected)
                        }
                    }
                    try await group.waitForAll()
                }
                let after = try await running.status(in: place)
                let newCapacity = after["chains"].items.compactMap { $0["capacity"].integer }.reduce(0, +)
                #expect(newCapacity > capacity, "\(capacity) jobs at once before, \(newCapacity) after")
                #expect(after["queue_length"].integer == 0)
                let hosting = after["servers"].items.filter { ($0["block_count"].integer ?? 0) > 0 }
                #expect(hosting.allSatisfy { $0["state"].text == "ready" })
                let outcome = try await running.stop()
                #expect(outcome.status == 0)
                #expect(outcome.errors.contains("the service moves to it"))
            }
        }
    }
}
