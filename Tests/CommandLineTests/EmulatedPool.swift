import Foundation

/// A pool of five emulated servers in which no server has room for the whole model; a token takes some milliseconds.
enum EmulatedPool {
    static let blockCount = 14
    static let serverCount = 5
    /// The tokens of an answer whose request does not say how many.
    static let meanOutputTokens = 40

    static func text(
        _ place: Place, blockSize: String = "132 MB", cacheSize: String = "11 MB", unit: String = "00 MB"
    )
        -> String
    {
        """
        engine: emulated
        model: {name: toy-\(place.token), block_count: \(blockCount), block_size: \(blockSize), cache_size: \(cacheSize)}
        demand: {arrival_rate: 2, mean_input_tokens: 20, mean_output_tokens: \(meanOutputTokens)}
        servers:
          - {name: \(place.token)-1, memory: 12\(unit), communication_time: 80 ms, block_time: 40 ms}
          - {name: \(place.token)-2, memory: 10\(unit), communication_time: 80 ms, block_time: 40 ms}
          - {name: \(place.token)-3, memory: 10\(unit), communication_time: 100 ms, block_time: 60 ms}
          - {name: \(place.token)-4, memory: 14\(unit), communication_time: 120 ms, block_time: 60 ms}
          - {name: \(place.token)-5, memory: 8\(unit), communication_time: 100 ms, block_time: 50 ms}

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
