import Foundation

/// Five emulated servers, none of which has room for the whole model; a token takes some milliseconds.
enum EmulatedPool {
    static let blockCount = 14
    static let serverCount = 5
    /// The tokens of an answer whose request does not say how many.
    static let meanOutputTokens = 40

    /// - Parameters:
    ///   - unit: ends the servers' memories.
    ///   - address: of every server, for commands that do not start them.
    static func text(
        _ place: Place, blockSize: String = "132 MB", cacheSize: String = "11 MB", unit: String = "00 MB",
        address: String? = nil
    ) -> String {
        let times = [(12, 80, 40), (10, 80, 40), (10, 100, 60), (14, 120, 60), (8, 100, 50)]
        let servers = times.enumerated().map { index, server in
            "  - {name: \(place.token)-\(index + 1), memory: \(server.0)\(unit), "
                + "communication_time: \(server.1) ms, block_time: \(server.2) ms"
                + (address.map { ", address: \"\($0)\"}\n" } ?? "}\n")
        }
        let sizes = "block_count: \(blockCount), block_size: \(blockSize), cache_size: \(cacheSize)"
        return """
            engine: emulated
            model: {name: toy-\(place.token), \(sizes)}
            demand: {arrival_rate: 2, mean_input_tokens: 20, mean_output_tokens: \(meanOutputTokens)}
            servers:
            \(servers.joined())
            """
    }

    /// What the emulated engine answers after a prompt of so many bytes: its fixed text, from there on.
    static func answer(afterBytes count: Int, tokens: Int) -> String {
        let text = Array("This text is made by an emulated engine. ".utf8)
        return String(decoding: (0..<tokens).map { text[(count - 1 + $0) % text.count] }, as: UTF8.self)
    }

    /// Bytes of the prompt that a chat of one message makes.
    static func promptBytes(_ content: String) -> Int { "user: \(content)\n".utf8.count }
}

/// A service that runs, and where.
struct RunningService {
    let command: RunningCommand
    let service: Service
    let announcement: String

    /// Starts a command that serves and waits until it says where.
    static func start(
        _ arguments: [String], in place: Place, environment: [String: String] = [:],
        within seconds: Double = 90
    ) async throws -> RunningService {
        let command = try RunningCommand(arguments, in: place, environment: environment)
        let line = try await command.line(startingWith: "serving ", within: seconds)
        guard let start = line.range(of: "http://127.0.0.1:"), line.hasSuffix("/v1"),
            let port = Int(line[start.upperBound...].dropLast(3))
        else { throw Failure("no URL in: serving \(line)") }
        return RunningService(command: command, service: Service(port: port), announcement: line)
    }

    /// The pool as `chainserve status --json` prints it.
    func status(in place: Place) async throws -> JSON {
        let outcome = try await place.run("status", "--url", "http://127.0.0.1:\(service.port)", "--json")
        guard outcome.status == 0 else { throw Failure("status: \(outcome.errors)") }
        return try JSON.parse(outcome.output)
    }

    /// Ends it by a signal and returns how it ended.
    func stop(_ signal: Int32 = SIGTERM, within seconds: Double = 15) async throws -> Outcome {
        command.send(signal)
        return try await command.ended(within: seconds)
    }
}
