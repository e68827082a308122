import Foundation
import Testing

extension CommandLineSuite {
    /// `chainserve up` over a pool that is only emulated: everything but the model's arithmetic.
    @Suite("Emulated service", .serialized)
    struct EmulatedServiceTests {
        private func start(_ place: Place, _ more: [String] = []) async throws -> RunningService {
            let file = try place.write("pool.yaml", EmulatedPool.text(place))
            return try await RunningService.start(
                ["up", file, "--no-prompt", "--port", "0"] + more, in: place)
        }

        /// A chat of one message, for the pool's model.
        private func body(_ place: Place, _ more: String) -> String {
            "{\"model\": \"toy-\(place.token)\", \"messages\": "
                + "[{\"role\": \"user\", \"content\": \"Hello\"}]\(more)}"
        }

        @Test func answersAndStops() async throws {
            try await Place.with { place in
                let running = try await start(place)
                let service = running.service
                let model = "toy-\(place.token)"
                #expect(running.announcement.contains("EMULATED"))
                #expect(running.command.output.contains("\(model): 14 blocks over"), "the plan as a table")

                #expect(try await service.get("/health").status == 200)
                #expect(try await service.get("/ready").status == 200)
                let entry = try await service.get("/v1/models").json["data"][0]
                #expect(entry["id"].text == model)
                #expect(
                    entry.keys.isSuperset(of: [
                        "id", "object", "created", "owned_by", "root", "max_model_len",
                    ]))

                let expected = EmulatedPool.answer(afterBytes: EmulatedPool.promptBytes("Hello"), tokens: 12)
                let answer = try await service.post(
                    "/v1/chat/completions", body(place, ", \"max_tokens\": 12"))
                #expect(answer.status == 200)
                #expect(answer.headers["x-request-id"] != nil)
                let json = try answer.json
                #expect(json["choices"][0]["message"]["content"].text == expected)
                #expect(json["choices"][0]["finish_reason"].text == "length")
                #expect(json["usage"]["completion_tokens"].integer == 12)
                #expect(json["usage"]["prompt_tokens"].integer == EmulatedPool.promptBytes("Hello"))

                try await expectStream(service, place, expected)
                try await expectStatus(running, place)
                try await OfficialClient.check(
                    running, model: model, modules: ["openai", "llm"], in: place)

                let outcome = try await running.stop()
                #expect(outcome.status == 0 && !outcome.wasSignalled)
                #expect(place.processes().isEmpty, "servers outlived the service")
                #expect(throws: Failure.self) { _ = try Connection(port: service.port) }
            }
        }

        private func expectStream(_ service: Service, _ place: Place, _ expected: String) async throws {
            let answer = try await service.post(
                "/v1/chat/completions",
                body(
                    place,
                    ", \"max_tokens\": 12, \"stream\": true, \"stream_options\": {\"include_usage\": true}"))
            #expect(answer.headers["content-type"]?.hasPrefix("text/event-stream") == true)
            let events = answer.events
            #expect(events.last == "[DONE]")
            let chunks = try events.dropLast().map { try JSON.parse($0) }
            let text = chunks.compactMap { $0["choices"][0]["delta"]["content"].text }.joined()
            #expect(text == expected)
            #expect(chunks.last?["usage"]["completion_tokens"].integer == 12)
            #expect(chunks.last?["choices"] == .list([]))
        }

        private func expectStatus(_ running: RunningService, _ place: Place) async throws {
            let status = try await running.status(in: place)
            #expect(status.keys == ["model", "engine", "emulated", "servers", "chains", "queue_length"])
            #expect(status["engine"].text == "emulated" && status["emulated"] == .bool(true))
            #expect(status["servers"].items.count == EmulatedPool.serverCount)
            for server in status["servers"].items {
                #expect(
                    server.keys == [
                        "name", "address", "pid", "state", "first_block", "block_count", "slots_used",
                        "slots_total",
                    ])
                #expect(server["state"].text == "ready")
                #expect(server["slots_used"].integer == 0)
            }
            #expect(!status["chains"].items.isEmpty)
            for chain in status["chains"].items {
                #expect(chain.keys == ["servers", "blocks", "capacity", "running"])
                let blocks = chain["blocks"].items.compactMap(\.integer)
                #expect(blocks.reduce(0, +) == EmulatedPool.blockCount)
            }
            #expect(status["queue_length"].integer == 0)
            let text = try await place.run("status", "--url", "http://127.0.0.1:\(running.service.port)")
            #expect(text.status == 0 && text.output.contains("EMULATED"))
        }

        @Test(arguments: [SIGINT, SIGTERM])
        func stopsInMidAnswer(_ signal: Int32) async throws {
            try await Place.with { place in
                let running = try await start(place, ["--drain-limit", "1"])
                let stream = try running.service.begin(
                    "/v1/chat/completions", body(place, ", \"max_tokens\": 2000, \"stream\": true"))
                try await stream.wait { $0.received.range(of: Data("content".utf8)) != nil }
                let began = Date()
                let outcome = try await running.stop(signal)
                #expect(outcome.status == 0 && !outcome.wasSignalled)
                #expect(Date().timeIntervalSince(began) < 8)
                #expect(place.processes().isEmpty, "servers outlived the service")
            }
        }

        /// At whatever moment of the start: it ends as asked, not as failed.
        @Test(arguments: [0, 60, 150])
        func stopsWhileStarting(_ milliseconds: Int) async throws {
            try await Place.with { place in
                let file = try place.write("pool.yaml", EmulatedPool.text(place))
                let command = try place.start("up", file, "--no-prompt", "--port", "0")
                _ = try await command.line(startingWith: "starting ")
                try await pause(milliseconds)
                command.send(SIGTERM)
                let outcome = try await command.ended(within: 10)
                #expect(outcome.status == 0 && !outcome.wasSignalled, "\(outcome.errors)")
                #expect(!outcome.errors.contains("error"), "\(outcome.errors)")
            }
        }

        /// Whatever ends the parent, its servers notice.
        @Test func serversEndWithAKilledParent() async throws {
            try await Place.with { place in
                let running = try await start(place)
                #expect(place.processes().count == EmulatedPool.serverCount + 1)
                running.command.send(SIGKILL)
                _ = try await running.command.ended()
                try await eventually("all servers ended", within: 5) { place.processes().isEmpty }
            }
        }

        @Test func streamSurvivesAKilledServer() async throws {
            try await Place.with { place in
                let running = try await start(place)
                let tokens = 150
                let stream = try running.service.begin(
                    "/v1/chat/completions", body(place, ", \"max_tokens\": \(tokens), \"stream\": true"))
                try await stream.wait { $0.received.count > 4000 }
                let before = try await running.status(in: place)
                let chain = try #require(before["chains"].items.first { $0["running"].integer == 1 })
                let name = try #require(chain["servers"][1].text)
                let victim = try #require(before["servers"].items.first { $0["name"].text == name })
                kill(Int32(try #require(victim["pid"].integer)), SIGKILL)

                let answer = try await running.service.answer(stream)
                #expect(answer.events.last == "[DONE]")
                let chunks = try answer.events.dropLast().map { try JSON.parse($0) }
                let text = chunks.compactMap { $0["choices"][0]["delta"]["content"].text }.joined()
                #expect(
                    text == EmulatedPool.answer(afterBytes: EmulatedPool.promptBytes("Hello"), tokens: tokens)
                )

                try await eventually("\(name) is back") {
                    let server = try await running.status(in: place)["servers"].items
                        .first { $0["name"].text == name }
                    return server?["state"].text == "ready" && server?["pid"] != victim["pid"]
                }
                #expect(running.command.errors.contains(name), "the loss is told")
                #expect(try await running.stop().status == 0)
            }
        }

        /// Blocks of over a gigabyte: nothing is really reserved for them.
        @Test func servesModelsThatThisMachineHasNoRoomFor() async throws {
            try await Place.with { place in
                let text = EmulatedPool.text(place, blockSize: "1.32 GB", cacheSize: "0.11 GB", unit: " GB")
                let file = try place.write("pool.yaml", text)
                let outcome = try await place.run("up", file, "--prompt", "Hello", "--max-tokens", "12")
                #expect(outcome.status == 0)
                #expect(
                    outcome.output.contains(
                        EmulatedPool.answer(afterBytes: EmulatedPool.promptBytes("Hello"), tokens: 12)))
            }
        }
    }
}
