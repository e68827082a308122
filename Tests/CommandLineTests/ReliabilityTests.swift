import Foundation
import Testing

extension CommandLineSuite {
    /// What is promised of a service whose parts are killed, paused, restarted or stopped.
    @Suite("Reliability", .serialized)
    struct ReliabilityTests {
        private func start(_ place: Place, _ more: [String] = []) async throws -> RunningService {
            let file = try place.write("pool.yaml", EmulatedPool.text(place))
            return try await RunningService.start(
                ["up", file, "--no-prompt", "--port", "0", "--journal", place.path("journal.db")] + more,
                in: place)
        }

        private func body(_ place: Place, tokens: Int) -> String {
            "{\"model\": \"toy-\(place.token)\", \"stream\": true, \"max_tokens\": \(tokens), "
                + "\"prompt\": \"Hello\"}"
        }

        private func expected(_ tokens: Int) -> String { EmulatedPool.answer(afterBytes: 5, tokens: tokens) }

        private func text(_ events: some Sequence<String>) throws -> String {
            try events.filter { $0 != "[DONE]" }.compactMap { try JSON.parse($0)["choices"][0]["text"].text }
                .joined()
        }

        /// The data of numbered events, and their numbers.
        private func numbered(_ answer: Answer) -> (numbers: [Int], data: [String]) {
            var result: (numbers: [Int], data: [String]) = ([], [])
            for event in answer.text.components(separatedBy: "\n\n") {
                let lines = event.components(separatedBy: "\n")
                guard lines.count == 2, lines[0].hasPrefix("id: "), lines[1].hasPrefix("data: ") else {
                    continue
                }
                result.numbers.append(Int(lines[0].dropFirst(4)) ?? -1)
                result.data.append(String(lines[1].dropFirst(6)))
            }
            return result
        }

        @Test func requestsGoOnAfterTheOrchestratorIsKilled() async throws {
            try await Place.with { place in
                let first = try await start(place)
                let tokens = 120
                var streams: [Connection] = []
                for _ in 0..<2 {
                    streams.append(try first.service.begin("/v1/completions", body(place, tokens: tokens)))
                }
                var names: [String] = []
                for stream in streams {
                    try await stream.wait { $0.received.count > 3000 }
                    let seen = String(decoding: stream.received, as: UTF8.self)
                    let start = try #require(seen.range(of: "\"id\":\"cmpl-"))
                    names.append(String(seen[start.upperBound...].prefix { $0 != "\"" }))
                }
                first.command.send(SIGKILL)
                _ = try await first.command.ended()
                try await eventually("its servers ended") { place.processes().isEmpty }

                let second = try await start(place)
                let whole = try await second.service.get("/v1/requests/\(names[0])/stream")
                #expect(whole.status == 200)
                let events = numbered(whole)
                #expect(try text(events.data) == expected(tokens))
                #expect(events.numbers == Array(1...events.numbers.count))
                #expect(events.data.last == "[DONE]")
                // The other one from its 31st event on, by the answer's own identifier.
                let rest = numbered(
                    try await second.service.get("/v1/requests/cmpl-\(names[1])/stream?from=31"))
                #expect(rest.numbers.first == 31)
                #expect(try text(rest.data) == String(expected(tokens).dropFirst(30)))
                // A finished answer is given again, not computed again.
                let again = numbered(try await second.service.get("/v1/requests/\(names[0])/stream"))
                #expect(again.data == events.data)
                #expect(try await second.service.get("/v1/requests/nobody/stream").status == 404)
                #expect(try await second.stop().status == 0)

                let replay = try await place.run("replay", place.path("journal.db"))
                #expect(replay.status == 0, "\(replay.output)\(replay.errors)")
                let list = try await place.run("journal", "list", place.path("journal.db"))
                #expect(list.output.components(separatedBy: "resumed").count == 3)
                #expect(list.output.components(separatedBy: "finished").count == 3)
                let show = try await place.run("journal", "show", place.path("journal.db"), names[0])
                #expect(
                    show.status == 0 && show.output.contains("jobArrived")
                        && show.output.contains("jobRestored"))
            }
        }

        @Test func drainsOnSIGTERM() async throws {
            try await Place.with { place in
                let running = try await start(place)
                let stream = try running.service.begin("/v1/completions", body(place, tokens: 60))
                try await stream.wait { $0.received.count > 1000 }
                running.command.send(SIGTERM)
                try await eventually("new requests are refused") {
                    let answer = try await running.service.post("/v1/completions", body(place, tokens: 1))
                    return answer.status == 503 && answer.headers["x-chainserve-drop-reason"] == "draining"
                }
                let answer = try await running.service.answer(stream)
                #expect(try text(answer.events) == expected(60))
                #expect(try await running.command.ended().status == 0)
            }
        }

        @Test func restartsServersWithoutFailingARequest() async throws {
            try await Place.with { place in
                let running = try await start(place)
                let url = "http://127.0.0.1:\(running.service.port)"
                let before = try await running.status(in: place)["servers"].items.map { $0["pid"].integer }
                let restart = try place.start("restart", "--all", "--url", url)
                var answers = 0
                while restart.isRunning || answers < 3 {
                    let answer = try await running.service.post("/v1/completions", body(place, tokens: 30))
                    #expect(answer.status == 200 && answer.events.last == "[DONE]")
                    #expect(try text(answer.events) == expected(30))
                    answers += 1
                }
                let outcome = try await restart.ended()
                #expect(outcome.status == 0, "\(outcome.errors)")
                let after = try await running.status(in: place)["servers"].items
                for (index, server) in after.enumerated() where server["block_count"].integer ?? 0 > 0 {
                    #expect(server["pid"].integer != before[index])
                    #expect(outcome.output.contains("restarted \(server["name"].text ?? "?")"))
                }
                let unknown = try await place.run("restart", "nobody", "--url", url)
                #expect(unknown.status == 2 && unknown.errors.contains("nobody"))
                #expect(try await running.stop().status == 0)
            }
        }

        @Test func timeLimitsAndTickets() async throws {
            try await Place.with { place in
                let running = try await start(place, ["--queue-limit", "1"])
                let service = running.service
                let wrong = try await service.post(
                    "/v1/completions", body(place, tokens: 1), headers: ["X-Request-Timeout": "soon"])
                #expect(wrong.status == 400)
                var streams: [Connection] = []
                var refused: Answer?
                while refused == nil, streams.count < 200 {
                    let stream = try service.begin("/v1/completions", body(place, tokens: 400))
                    try await stream.wait { $0.received.range(of: Data("\r\n\r\n".utf8)) != nil }
                    if String(decoding: stream.received, as: UTF8.self).hasPrefix("HTTP/1.1 429") {
                        refused = try await service.answer(stream)
                    } else {
                        streams.append(stream)
                    }
                }
                let answer = try #require(refused)
                #expect(answer.headers["x-chainserve-drop-reason"] == "queue-full")
                #expect(answer.headers["retry-after"] != nil && answer.headers["retry-after-ms"] != nil)
                #expect(UInt64(answer.headers["x-chainserve-ticket"] ?? "", radix: 16) != nil)
                // One that may not wait so long is told so at once, and keeps no place.
                let hasty = try await service.post(
                    "/v1/completions", body(place, tokens: 1), headers: ["X-Request-Timeout": "0.01"])
                #expect(hasty.status == 429 && hasty.headers["x-chainserve-drop-reason"] == "deadline")
                streams = []
                try await eventually("those whose clients left are gone") {
                    let status = try await running.status(in: place)
                    return status["queue_length"].integer == 0
                        && status["chains"].items.allSatisfy { $0["running"].integer == 0 }
                }
                #expect(try await running.stop().status == 0)
            }
        }

        /// Some random kills and pauses; `make chaos` makes a hundred.
        @Test func chaos() async throws {
            try await Place.with { place in
                let script = Program.packageRoot.appendingPathComponent("Scripts/chaos.py").path
                let command = try RunningCommand(
                    [
                        "python3", script, "--binary", try Program.path(), "--faults", "6", "--gap", "1.5",
                        "--seed", "5", "--json",
                    ], executable: "/usr/bin/env", in: place)
                let outcome = try await command.ended(within: 120)
                #expect(outcome.status == 0, "\(outcome.output)\n\(outcome.errors)")
                let result = try JSON.parse(outcome.output)
                #expect(result["lost"].integer == 0 && result["wrong"].integer == 0)
                #expect(result["duplicated"].integer == 0 && result["completed"].integer ?? 0 > 0)
            }
        }

        /// An emulated job takes what its plan says, however many run beside it.
        @Test func emulatedTimes() async throws {
            try await Place.with { place in
                let running = try await start(place)
                let chain = try #require(try await running.status(in: place)["chains"].items.first)
                let names = chain["servers"].items.compactMap(\.text)
                let blocks = chain["blocks"].items.compactMap(\.integer)
                // As in EmulatedPool: seconds of communication and of a block, of a mean job.
                let times = [(0.080, 0.040), (0.080, 0.040), (0.100, 0.060), (0.120, 0.060), (0.100, 0.050)]
                var service = 0.0
                for (name, count) in zip(names, blocks) {
                    let index = (Int(String(name.suffix(1))) ?? 1) - 1
                    service += times[index].0 + times[index].1 * Double(count)
                }
                let tokens = 2 * EmulatedPool.meanOutputTokens
                let began = Date()
                let answer = try await running.service.post("/v1/completions", body(place, tokens: tokens))
                let seconds = Date().timeIntervalSince(began)
                #expect(answer.events.last == "[DONE]")
                // Never less; how much more depends on what else this machine does.
                #expect(
                    seconds > 2 * service * 0.999 && seconds < 2 * service * 1.5 + 2, "\(seconds), \(service)"
                )
                #expect(try await running.stop().status == 0)
            }
        }
    }
}
