import Foundation

/// What the runner wrote down of one run (`live/__main__.py`).
package struct LiveRunResult: Hashable, Sendable, Codable {
    /// One request; times in seconds since the run began, `wait` a length of time.
    package struct Record: Hashable, Sendable, Codable {
        package var arrival: Double
        package var sent: Double
        package var wait: Double
        package var end: Double
        package var tokens: Int
        package var attempts: Int
        package var chain: String
        /// Empty when it was served.
        package var error: String

        package var response: Double { end - arrival }
    }

    /// Processor seconds of the run's processes.
    package struct ProcessorSeconds: Hashable, Sendable, Codable {
        package var servers: Double
        package var front: Double
        package var relay: Double
    }

    /// Processor seconds of the whole machine, whoever used them.
    package struct Machine: Hashable, Sendable, Codable {
        package var busy: Double
        package var total: Double
    }

    /// Steps held to the emulated devices.
    package struct Emulation: Hashable, Sendable, Codable {
        package var steps: Double
        /// Steps that the machine took longer for than the device would have.
        package var late: Double
        package var lateSeconds: Double

        enum CodingKeys: String, CodingKey {
            case steps, late
            case lateSeconds = "late_seconds"
        }
    }

    package var id: String
    package var system: String
    /// Seconds from the first request's time to the last answer.
    package var wall: Double
    package var records: [Record]
    package var processorSeconds: ProcessorSeconds
    package var machine: Machine
    package var emulation: Emulation

    enum CodingKeys: String, CodingKey {
        case id, system, wall, records, machine, emulation
        case processorSeconds = "processor_seconds"
    }
}

/// A server's step times as the runner fitted them (`live/profile.py`), seconds.
package struct LiveStepFit: Hashable, Sendable, Codable {
    package var step: Double
    package var stepBlock: Double
    package var prompt: Double
    package var promptBlock: Double
    package var promptBlockToken: Double

    enum CodingKeys: String, CodingKey {
        case step, prompt
        case stepBlock = "step_block"
        case promptBlock = "prompt_block"
        case promptBlockToken = "prompt_block_token"
    }
}

/// All that the runner wrote down.
package struct LiveResults: Sendable {
    package private(set) var runs: [String: LiveRunResult] = [:]
    /// By system, then by server.
    package private(set) var fits: [String: [String: LiveStepFit]] = [:]
    /// By system, the cluster file that `chainserve profile` wrote.
    package private(set) var profiles: [String: String] = [:]

    private struct Fits: Codable { var servers: [String: LiveStepFit] }
    private struct Profile: Codable { var cluster: String }
    private struct Name: Codable { var id: String }

    private static let profilePrefix = "profile/"

    /// Reads the runner's file: a line of JSON for each run and profile, a last one cut short dropped.
    /// - Throws: `ExperimentError.damagedStore`.
    package init(_ text: String, path: String) throws(ExperimentError) {
        let decoder = JSONDecoder()
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        for (number, line) in lines.enumerated() where !line.isEmpty {
            let data = Data(line.utf8)
            do {
                let id = try decoder.decode(Name.self, from: data).id
                guard id.hasPrefix(Self.profilePrefix) else {
                    runs[id] = try decoder.decode(LiveRunResult.self, from: data)
                    continue
                }
                let system = String(id.dropFirst(Self.profilePrefix.count))
                if let fitted = try? decoder.decode(Fits.self, from: data) {
                    fits[system] = fitted.servers
                } else {
                    profiles[system] = try decoder.decode(Profile.self, from: data).cluster
                }
            } catch {
                guard number == lines.count - 1 else { throw .damagedStore(path, line: number + 1) }
            }
        }
    }

    package init() {}
}

extension LiveRunResult {
    /// Lateness of the emulated devices over the time that requests were served, at which a run says more of
    /// the machine than of the system: it is set aside, and made again by a later call.
    package static let lateLimit = 0.2

    /// What the machine added to the emulated devices' time, as a share of the requests' time in service.
    package var lateShare: Double {
        let service = served.reduce(0) { $0 + $1.response - $1.wait }
        return service > 0 ? emulation.lateSeconds / service : 0
    }

    package var isSetAside: Bool { lateShare > Self.lateLimit }

    private var served: [Record] { records.filter { $0.error.isEmpty } }

    /// The figures of the run, means over the requests served.
    package var fields: [Field] {
        let served = served
        func mean(_ value: (Record) -> Double) -> Value {
            served.isEmpty ? .none : Value(served.map(value).reduce(0, +) / Double(served.count))
        }
        let responses = served.map(\.response).sorted()
        let processors = processorSeconds
        let wall = max(wall, .leastNonzeroMagnitude)
        return [
            Field("requests", .integer(records.count)),
            Field("failures", .integer(records.count - served.count)),
            Field("mean_response", mean(\.response)), Field("mean_wait", mean(\.wait)),
            Field("mean_service", mean { $0.response - $0.wait }),
            Field(
                "p95_response",
                responses.isEmpty ? .none : .number(Summary.quantile(0.95, ofSorted: responses))),
            Field("throughput", .number(Double(served.count) / wall)),
            Field("tokens_per_s", .number(Double(served.reduce(0) { $0 + $1.tokens }) / wall)),
            Field("attempts", mean { Double($0.attempts) }),
            Field("most_attempts", .integer(records.map(\.attempts).max() ?? 0)),
            Field("wall", .number(wall)),
            Field("server_cpu", .number(processors.servers / wall)),
            Field("front_cpu", .number(processors.front / wall)),
            Field("relay_cpu", .number(processors.relay / wall)),
            Field(
                "processors", .number((machine.total / wall).rounded())),
            Field("machine_busy", .number(machine.busy / max(machine.total, .leastNonzeroMagnitude))),
            Field("steps", .number(emulation.steps)), Field("late_steps", .number(emulation.late)),
            Field("late_seconds", .number(emulation.lateSeconds)),
            Field("late_share", .number(lateShare)), Field("set_aside", .bool(isSetAside)),
        ]
    }
}
