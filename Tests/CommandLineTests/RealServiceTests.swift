import Foundation
import Testing

extension CommandLineSuite {
    /// A real model over a pool of servers, through the real commands.
    @Suite(
        "Real service", .serialized,
        .enabled(if: RealModel.path != nil, "the default model is not in the cache: run `chainserve fetch`"))
    struct RealServiceTests {
        /// What somebody does first: no cluster file, no options.
        @Test func defaultPoolAnswers() async throws {
            try await Place.with { place in
                try RealModel.putIntoCache(of: place)
                let prompt = "What is the capital of France?"
                let first = try await place.run(
                    "up", "--prompt", prompt, "--max-tokens", "8", within: 240)
                #expect(first.status == 0, "\(first.errors)")
                for part in [
                    "30 blocks over", "server", "slots", "memory", "chain", "bounds",
                    "> \(prompt)",
                    "[chain ", "tokens/s]",
                ] {
                    #expect(first.output.contains(part), "no '\(part)' in\n\(first.output)")
                }
                #expect(first.output.contains("Paris"))
                #expect(first.errors.contains("measuring the servers"))
                #expect(place.processes().isEmpty)

                // The second start is quick, and the prompt may come from the environment.
                let second = try await RunningCommand(
                    ["up", "--max-tokens", "8"], in: place, environment: ["PROMPT": prompt]
                ).ended(within: 120)
                #expect(second.status == 0 && second.output.contains("> \(prompt)"))
                #expect(second.output.contains("Paris"))
                #expect(second.errors.contains("using the times measured earlier"))

                // Without a terminal it answers one prompt of its own and ends.
                let third = try await place.run("up", "--max-tokens", "4", input: "ignored\n", within: 120)
                #expect(third.status == 0 && third.output.contains("[chain "), "\(third.errors)")
                #expect(!third.output.contains("ignored"))
            }
        }

        private static func chat(_ content: String, _ more: String = "") -> String {
            "{\"model\": \"\(RealModel.name)\", \"messages\": "
                + "[{\"role\": \"user\", \"content\": \"\(content)\"}]"
                + more + "}"
        }

        @Test func handWrittenPoolServes() async throws {
            try await Place.with { place in
                let file = try RealModel.pool(place)
                let running = try await RunningService.start(
                    ["up", file, "--no-prompt", "--port", "0"], in: place)
                #expect(running.announcement.hasPrefix(RealModel.name))
                for part in ["slots", "service", "(bounds "] {
                    #expect(running.command.output.contains(part))
                }
                let service = running.service
                let path = "/v1/chat/completions"

                let answer = try await service.post(
                    path,
                    Self.chat("What is the capital of France?", ", \"max_tokens\": 8, \"temperature\": 0"))
                let content = try answer.json["choices"][0]["message"]["content"].text
                #expect(answer.status == 200 && content?.contains("Paris") == true)

                try await expectBadFieldsRefused(service)
                try await expectLengthsHeld(service)
                try await expectDisconnectFreesSlots(running, place)
                try await OfficialClient.check(running, model: RealModel.name, in: place)
                let outcome = try await running.stop()
                #expect(outcome.status == 0 && !outcome.wasSignalled)
                #expect(place.processes().isEmpty)
            }
        }

        private func expectBadFieldsRefused(_ service: Service) async throws {
            let bad: [(field: String?, body: String)] = [
                (nil, "{"), (nil, "[]"), ("model", "{\"messages\": []}"),
                ("messages", "{\"model\": \"\(RealModel.name)\", \"messages\": \"hi\"}"),
                ("messages", "{\"model\": \"\(RealModel.name)\", \"messages\": []}"),
                (
                    "messages[0].content",
                    "{\"model\": \"\(RealModel.name)\", \"messages\": [{\"role\": \"user\", \"content\": 5}]}"
                ),
                ("max_tokens", Self.chat("hi", ", \"max_tokens\": 0")),
                ("max_tokens", Self.chat("hi", ", \"max_tokens\": -3")),
                ("max_tokens", Self.chat("hi", ", \"max_tokens\": \"many\"")),
                ("temperature", Self.chat("hi", ", \"temperature\": \"hot\"")),
                ("stream", Self.chat("hi", ", \"stream\": 1")),
                ("max_tokns", Self.chat("hi", ", \"max_tokns\": 5")),
            ]
            for (field, body) in bad {
                let answer = try await service.post("/v1/chat/completions", body)
                #expect(answer.status == 400, "\(body)")
                let error = try answer.json["error"]
                #expect(error.keys == ["message", "type", "param", "code"], "\(answer.text)")
                #expect(error["param"] == (field.map { .text($0) } ?? .null), "\(answer.text)")
                if let field { #expect(error["message"].text?.contains(field) == true, "\(answer.text)") }
            }
            let unknown = try await service.post(
                "/v1/chat/completions", Self.chat("hi").replacingOccurrences(of: RealModel.name, with: "gpt"))
            #expect(unknown.status == 404, "\(unknown.text)")
        }

        private func expectLengthsHeld(_ service: Service) async throws {
            let long = String(repeating: "word ", count: RealModel.sequenceLength)
            let refused = try await service.post("/v1/chat/completions", Self.chat(long))
            #expect(refused.status == 400)
            let message = try refused.json["error"]["message"].text ?? ""
            #expect(message.contains("\(RealModel.sequenceLength)"), "\(refused.text)")

            let most = String(repeating: "word ", count: RealModel.sequenceLength - 60)
            let clamped = try await service.post(
                "/v1/chat/completions", Self.chat(most, ", \"max_tokens\": 5000, \"ignore_eos\": true"))
            #expect(clamped.status == 200, "\(clamped.text)")
            let json = try clamped.json
            #expect(json["choices"][0]["finish_reason"].text == "length")
            #expect(json["usage"]["total_tokens"].integer == RealModel.sequenceLength, "\(clamped.text)")
        }

        private func expectDisconnectFreesSlots(_ running: RunningService, _ place: Place) async throws {
            var stream: Connection? = try running.service.begin(
                "/v1/chat/completions",
                Self.chat("Count", ", \"max_tokens\": 200, \"ignore_eos\": true, \"stream\": true"))
            try await stream?.wait { $0.received.range(of: Data("\"content\"".utf8)) != nil }
            stream = nil
            try await eventually("the slots of a client that left are free", within: 5) {
                let status = try await running.status(in: place)
                return status["servers"].items.allSatisfy { $0["slots_used"].integer == 0 }
                    && status["chains"].items.allSatisfy { $0["running"].integer == 0 }
            }
        }

        /// As over several machines: servers started by hand, measured, served over.
        @Test func serversStartedByHand() async throws {
            try await Place.with { place in
                let model = try RealModel.found()
                var nodes: [RunningCommand] = []
                for (index, memory) in RealModel.memories.enumerated() {
                    var arguments = ["node", "--memory", memory, "--name", "\(place.token)-\(index + 1)"]
                    // The first is sent its blocks.
                    if index > 0 { arguments += ["--model", model] }
                    nodes.append(try RunningCommand(arguments, in: place))
                }
                var addresses: [String] = []
                for node in nodes { addresses.append(try await node.line(startingWith: "listening ")) }
                let file = try RealModel.pool(place, hasTimes: false, addresses: addresses)

                let early = try await place.run("serve", file, "--port", "0")
                #expect(early.status == 2 && early.errors.contains("chainserve profile"), "\(early.errors)")

                let measured = place.path("measured.yaml")
                let profile = try await place.run("profile", file, "--output", measured, within: 120)
                #expect(profile.status == 0, "\(profile.errors)")
                #expect(profile.errors.contains("fit within"))
                let plan = try await place.run("plan", measured, "--json", within: 60)
                #expect(plan.status == 0, "\(plan.errors)")
                #expect(try JSON.parse(plan.output)["chains"].items.isEmpty == false)

                let running = try await RunningService.start(["serve", measured, "--port", "0"], in: place)
                let answer = try await running.service.post(
                    "/v1/chat/completions",
                    Self.chat("What is the capital of France?", ", \"max_tokens\": 8, \"temperature\": 0"))
                let content = try answer.json["choices"][0]["message"]["content"].text
                #expect(content?.contains("Paris") == true, "\(answer.text)")
                #expect(try await running.stop().status == 0)

                for node in nodes {
                    #expect(node.isRunning, "servers that somebody else started go on")
                    node.send(SIGTERM)
                    #expect(try await node.ended().status == 0)
                }
            }
        }

        /// What a server is started with and what the cluster file says of it must agree.
        @Test func serversThatAreNotWhatTheFileSays() async throws {
            try await Place.with { place in
                let model = try RealModel.found()
                let damaged = place.path("damaged.gguf")
                var bytes = try Data(contentsOf: URL(fileURLWithPath: model))
                for position in stride(from: bytes.count / 2, to: bytes.count, by: 1 << 20) {
                    bytes[position] ^= 0x55
                }
                try bytes.write(to: URL(fileURLWithPath: damaged))

                let wrong = [
                    (memory: "20 MB", model: model, says: ["-1", "20000000 bytes", "cluster file"]),
                    (
                        memory: RealModel.memories[0], model: damaged,
                        says: ["-1", "damaged.gguf", "checksum"]
                    ),
                ]
                for (memory, model, says) in wrong {
                    var nodes: [RunningCommand] = []
                    for index in RealModel.memories.indices {
                        let given =
                            index == 0 ? (memory, model) : (RealModel.memories[index], try RealModel.found())
                        nodes.append(
                            try RunningCommand(
                                ["node", "--memory", given.0, "--model", given.1, "--log-level", "error"],
                                in: place))
                    }
                    var addresses: [String] = []
                    for node in nodes { addresses.append(try await node.line(startingWith: "listening ")) }
                    let file = try RealModel.pool(place, addresses: addresses)
                    let outcome = try await place.run("serve", file, "--port", "0", within: 60)
                    #expect(outcome.status == 2)
                    for word in says { #expect(outcome.errors.contains(word), "\(outcome.errors)") }
                    for node in nodes {
                        node.send(SIGTERM)
                        #expect(try await node.ended().status == 0)
                    }
                }
            }
        }
    }
}
