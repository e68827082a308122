import ArgumentParser
import ChainDispatch
import ChainOrchestrator
import Foundation

/// `chainserve journal`: what a service accepted, and what became of it.
struct JournalCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "journal", abstract: "Look into a journal: runs, requests, and what happened to one.",
        subcommands: [JournalListCommand.self, JournalShowCommand.self])
}

struct JournalListCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the runs of the service and the latest requests.")

    @Argument(help: "The journal.")
    var journal: String

    @Option(help: "Requests to list.")
    var limit = 20

    func run() throws {
        try CommandFailure.invalidInput {
            let reader = try JournalReader(path: journal)
            print("run  began                ended                requests  steps")
            for run in try reader.runs() {
                let ended = run.endedAt.map(JournalText.time) ?? "-"
                print(
                    JournalText.row(
                        [
                            "\(run.id)", JournalText.time(run.startedAt), ended, "\(run.requestCount)",
                            "\(run.stepCount)",
                        ],
                        [5, 21, 21, 10, 0]) + (run.isTruncated ? " (the oldest were removed)" : ""))
            }
            print("\nrun  job   status       accepted             tokens  attempts  request")
            for request in try reader.requests(limit: limit) {
                print(
                    JournalText.row(
                        [
                            "\(request.key.run)", "\(request.key.job)", request.status.rawValue,
                            JournalText.time(request.acceptedAt),
                            request.completionTokens.map { "\($0)" } ?? "-",
                            request.attempts.map { "\($0)" } ?? "-", request.requestID,
                        ], [5, 6, 13, 21, 8, 10, 0]))
            }
        }
    }
}

struct JournalShowCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show",
        abstract: "Show what happened to a request; or in a run, when its number is given.")

    @Argument(help: "The journal.")
    var journal: String

    @Argument(help: "A request's identifier (X-Request-ID).")
    var request: String?

    @Option(name: .customLong("run"), help: "A run: every event but signs of life.")
    var number: Int64?

    func validate() throws {
        guard (request == nil) != (number == nil) else {
            throw ValidationError("give a request's identifier, or --run NUMBER")
        }
    }

    func run() throws {
        try CommandFailure.invalidInput {
            let reader = try JournalReader(path: journal)
            let runs = try reader.runs()
            if let request {
                let found = try reader.requests(identifier: request)
                guard !found.isEmpty else {
                    throw ValidationError(
                        "the journal has no request '\(request)'; see `chainserve journal list`")
                }
                for one in found.reversed() {
                    guard let run = runs.first(where: { $0.id == one.key.run }) else { continue }
                    let job = "job \(one.key.job) of run \(one.key.run)"
                    print("\(job): \(one.status.rawValue)\(one.reason.map { " (\($0))" } ?? "")")
                    print(
                        "  accepted \(JournalText.time(one.acceptedAt)), \(one.promptTokens) tokens of prompt"
                    )
                    try printSteps(reader, run, concerning: one.key.job)
                }
            } else {
                guard let found = runs.first(where: { $0.id == number }) else {
                    throw ValidationError(
                        "the journal has no run \(number ?? 0); see `chainserve journal list`")
                }
                try printSteps(reader, found, concerning: nil)
            }
        }
    }

    private func printSteps(
        _ reader: JournalReader, _ run: JournalReader.Run, concerning job: UInt64?
    ) throws {
        try reader.steps(of: run.id) { step in
            let lines = JournalText.lines(step, servers: run.setting.servers, concerning: job)
            for line in lines { print("  " + line) }
        }
    }
}

/// `chainserve replay`: whether the control plane would do the same again.
struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay",
        abstract: "Pass a journal's events through a fresh control plane and compare what it does.",
        discussion: "Status 1 when it does something else anywhere; the first such place is printed.")

    @Argument(help: "The journal.")
    var journal: String

    @Option(name: .customLong("run"), help: "Only this run.")
    var number: Int64?

    func run() throws {
        var isSame = true
        try CommandFailure.invalidInput {
            let reader = try JournalReader(path: journal)
            let runs = try reader.runs().filter { number == nil || $0.id == number }
            guard !runs.isEmpty else { throw ValidationError("the journal has no such run") }
            for one in runs {
                switch try reader.replay(one) {
                case .same(let steps, let actions):
                    print("run \(one.id): \(steps) events, \(actions) actions: the same")
                case .truncated: print("run \(one.id): its beginning was removed; it cannot be replayed")
                case .different(let index, let step, let replayed):
                    isSame = false
                    print("run \(one.id): event \(index + 1) at \(step.at.nanoseconds) ns differs")
                    print("  event:    \(step.event)")
                    print("  then:     \(step.actions)")
                    print("  replayed: \(replayed)")
                }
            }
        }
        if !isSame { throw ExitCode.failure }
    }
}

/// Journals in words.
enum JournalText {
    static func time(_ seconds: Double) -> String {
        var clock = time_t(seconds)
        var parts = tm()
        gmtime_r(&clock, &parts)
        return String(
            format: "%04d-%02d-%02d %02d:%02d:%02d", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
            parts.tm_hour, parts.tm_min, parts.tm_sec)
    }

    static func row(_ cells: [String], _ widths: [Int]) -> String {
        zip(cells, widths).map { cell, width in
            cell + String(repeating: " ", count: max(0, width - cell.count))
        }.joined()
    }

    /// What a step says of a job; of everything but signs of life for `nil`. Times are seconds of the run.
    static func lines(_ step: JournalStep, servers: [String], concerning job: UInt64?) -> [String] {
        let at = String(format: "%10.3f s  ", Double(step.at.nanoseconds) / 1e9)
        var lines: [String] = []
        let actions = step.actions.filter { action in
            if case .ping = action { return false }
            return job.map { concerns(action, $0) } ?? true
        }
        let isQuiet: Bool =
            switch step.event {
            case .tick, .serverHeard: true
            default: false
            }
        if job.map({ concerns(step.event, $0) || !actions.isEmpty }) ?? (!isQuiet || !actions.isEmpty) {
            lines.append(at + named("\(step.event)", servers))
            for action in actions {
                lines.append(String(repeating: " ", count: at.count) + "-> " + named("\(action)", servers))
            }
        }
        return lines
    }

    private static func concerns(_ event: ControlPlane.Event, _ job: UInt64) -> Bool {
        switch event {
        case .jobArrived(let arrival): arrival.job.rawValue == job
        case .jobRestored(let id, _, _, _), .jobCompleted(let id, _), .jobFailed(let id, _, _),
            .jobCancelled(let id):
            id.rawValue == job
        default: false
        }
    }

    private static func concerns(_ action: ControlPlane.Action, _ job: UInt64) -> Bool {
        switch action {
        case .start(let id, _, _), .queue(let id, _), .refuse(let id, _), .abandon(let id, _),
            .fail(let id, _):
            id.rawValue == job
        default: false
        }
    }

    /// Swift's own description of a value, with the types left out and servers by name.
    private static func named(_ text: String, _ servers: [String]) -> String {
        var text = text
        for noise in ["ChainDispatch.", "ChainModel.", "ControlPlane."] {
            text = text.replacingOccurrences(of: noise, with: "")
        }
        for (index, name) in servers.enumerated() {
            text = text.replacingOccurrences(of: "ServerIndex(rawValue: \(index))", with: name)
        }
        for type in ["JobID", "ChainIndex", "Incarnation"] {
            text = text.replacing(
                try! Regex("\(type)\\(rawValue: ([0-9]+)\\)"),
                with: { "\(type.prefix(1).lowercased() + type.dropFirst()) \($0[1].substring ?? "")" })
        }
        return text
    }
}
