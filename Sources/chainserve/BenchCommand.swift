import ArgumentParser
import ChainBench
import ChainFormats
import ChainSimulation
import Foundation
import NIOCore

/// `chainserve bench`: sends a workload to a service and reports what became of it.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench",
        abstract: "Measure a running service: ours, or any with the OpenAI API.",
        discussion: """
            Latencies count from the time at which a request was due, so that a service that falls behind cannot hide \
            it. Results have the names of `vllm bench serve`.
            """)

    @OptionGroup var client: ClientArguments

    @Option(name: [.short, .long], help: "The model's name (default: the first that the service lists).")
    var model: String?

    @Option(help: "chat or completions.")
    var endpoint: LoadTarget.Endpoint = .chat

    @Option(
        help: """
            poisson, gamma:SHAPE (below 1 is burstier), azure, mmpp:…, onoff:ON,OFF, diurnal:FILE, trace:FILE (as for \
            simulate), or closed:CLIENTS.
            """)
    var arrivals = "poisson"

    @Option(help: "Requests per second (default 1, or the trace's own).")
    var requestRate: Double?

    @Option(help: "Requests to send (default 100, or the whole trace).")
    var requests: Int?

    @Option(help: "Tokens of each prompt, about; a trace brings its own.")
    var inputTokens = 32

    @Option(help: "Tokens of each answer; a trace brings its own.")
    var outputTokens = 32

    @Option(help: "Draw the lengths: fixed, or azure (the statistics of a public trace).")
    var lengths: LengthLaw = .fixed

    @Option(help: "Multiply the lengths of a trace or of azure by this.")
    var lengthScale = 1.0

    @Option(help: "Multiply the times of a trace by this: 0.1 replays it ten times as fast.")
    var timeScale = 1.0

    @Flag(inversion: .prefixedNo, help: "Ask for the answers as streams.")
    var stream = true

    @Flag(inversion: .prefixedNo, help: "Ask the model to go on to the length asked for.")
    var ignoreEos = true

    @Option(help: "Requests at the start that are sent but not counted.")
    var warmup = 0

    @Option(help: "Requests under way at once, at most.")
    var maxConcurrency = 4096

    @Option(help: "Times a refused request is sent again after the time it was told to wait.")
    var retries = 0

    @Option(help: "Seconds a request may take.")
    var timeout = 600.0

    @Option(
        parsing: .upToNextOption,
        help: "Bounds that a good request keeps, for request_goodput: ttft:MS, tpot:MS, e2el:MS.")
    var goodput: [String] = []

    @Option(help: "Key sent as bearer; others on this machine can see it: better --key-file.")
    var apiKey: String?

    @Option(parsing: .singleValue, help: "A further header field, 'Name: value'. May be given again.")
    var header: [String] = []

    @Option(help: "Seed of arrivals, lengths and prompts.")
    var seed: UInt64 = 1

    @Flag(help: "Print the result as JSON; what is for people goes to standard error.")
    var json = false

    @Option(help: "Write the result with an entry for each request to this file.")
    var saveDetailed: String?

    enum LengthLaw: String, CaseIterable, ExpressibleByArgument {
        case fixed
        case azure
    }

    func validate() throws {
        guard requestRate ?? 1 > 0, (requestRate ?? 1).isFinite else {
            throw ValidationError("--request-rate must be positive: requests per second")
        }
        guard requests ?? 1 > 0, inputTokens > 0, outputTokens > 0, maxConcurrency > 0, retries >= 0,
            warmup >= 0
        else {
            throw ValidationError(
                "--requests, --input-tokens, --output-tokens and --max-concurrency must be positive, "
                    + "--retries and --warmup not negative")
        }
        guard timeout > 0, timeout <= 86_400, timeScale > 0, timeScale.isFinite, lengthScale > 0,
            lengthScale.isFinite
        else { throw ValidationError("--timeout, --time-scale and --length-scale must be positive") }
        _ = try objectives
        _ = try headerFields
    }

    private var objectives: [ServiceObjective] {
        get throws {
            try goodput.map { text in
                let parts = text.split(separator: ":", maxSplits: 1).map(String.init)
                guard parts.count == 2, let measure = ServiceObjective.Measure(rawValue: parts[0]),
                    let bound = Double(parts[1]), bound > 0
                else {
                    throw ValidationError(
                        "--goodput '\(text)': write ttft:MS, tpot:MS or e2el:MS, such as ttft:500")
                }
                return ServiceObjective(measure, milliseconds: bound)
            }
        }
    }

    private var headerFields: [(name: String, value: String)] {
        get throws {
            try header.map { text in
                let parts = text.split(separator: ":", maxSplits: 1)
                guard parts.count == 2, !parts[0].isEmpty, !parts[0].contains(" "), !text.contains("\n")
                else {
                    throw ValidationError("--header '\(text)': write 'Name: value'")
                }
                return (String(parts[0]), parts[1].trimmingCharacters(in: .whitespaces))
            }
        }
    }

    func run() async throws {
        var target = try CommandFailure.invalidInput {
            try LoadTarget(
                url: client.url, model: model ?? "", endpoint: endpoint, isStreamed: stream,
                ignoresEndOfText: ignoreEos, trusting: client.tlsAuthority)
        }
        target.apiKey = try apiKey ?? CommandFailure.invalidInput { try client.key() }
        target.headers = try headerFields
        target.timeout = .nanoseconds(Int64(timeout * 1e9))
        let schedule: LoadSchedule
        do {
            schedule = try self.schedule()
        } catch let error as ValidationError {
            throw error
        } catch {
            CommandFailure.warn("error: \(error)")
            throw CommandFailure.invalidInput
        }
        do {
            if model == nil { target.model = try await LoadGenerator(target: target).firstModel() }
        } catch {
            CommandFailure.warn(
                "error: no service answers at \(client.url) (\(ServiceClient.problem(error, of: target)));"
                    + " is it running, and is --url right?")
            throw ExitCode.failure
        }
        let report = try await measure(target, schedule)
        let parameters = parameters(target, count: schedule.requests.count)
        if let saveDetailed {
            let text = report.json(parameters: parameters, isDetailed: true).rendered()
            try CommandFailure.invalidInput {
                try Data(text.utf8).write(to: URL(fileURLWithPath: saveDetailed))
            }
        }
        CommandFailure.say(BenchReport.text(report), toError: json)
        if json {
            CommandFailure.say(
                report.json(parameters: parameters, isDetailed: false).rendered(), toError: false)
        }
        if report.completed.isEmpty { throw ExitCode.failure }
    }

    private func measure(_ target: LoadTarget, _ schedule: LoadSchedule) async throws -> LoadReport {
        var options = LoadGenerator.Options()
        options.maximumConcurrency = maxConcurrency
        options.retries = retries
        options.seed = seed
        var generator = LoadGenerator(target: target, options: options)
        if isatty(STDERR_FILENO) == 1 {
            generator.progress = { ended, total in
                guard ended == total || ended.isMultiple(of: max(1, total / 200)) else { return }
                FileHandle.standardError.write(
                    Data("\r\(ended) of \(total) requests\(ended == total ? "\n" : "")".utf8))
            }
        }
        let records = try await generator.run(schedule)
        return LoadReport(records: Array(records.dropFirst(schedule.warmUp)), objectives: try objectives)
    }

    private func parameters(_ target: LoadTarget, count: Int) -> [(key: String, value: JSONText)] {
        [
            ("url", .text(client.url)), ("model", .text(target.model)),
            ("endpoint", .text(endpoint.rawValue)),
            ("arrivals", .text(arrivals)), ("request_rate", requestRate.map { .number($0) } ?? .null),
            ("num_prompts", .integer(count)),
            ("warmup", .integer(warmup)), ("stream", .bool(stream)), ("seed", .text("\(seed)")),
        ]
    }

    // MARK: The workload

    private func schedule() throws -> LoadSchedule {
        var workload = WorkloadText(rate: requestRate, planRate: requestRate ?? 1)
        let process: ArrivalProcess
        do {
            process = try workload.arrivals(arrivals)
        } catch let error as InvalidWorkload {
            throw ValidationError("--\(error)")
        }
        let count = requests.map { $0 + warmup }
        switch process {
        case .closedLoop(let clients, let thinkTime):
            guard thinkTime == 0 else {
                throw ValidationError(
                    "--arrivals '\(arrivals)': clients of a benchmark do not think; write closed:N")
            }
            return LoadSchedule(
                requests: sized(Array(repeating: 0, count: count ?? Self.defaultCount + warmup)),
                pace: .closed(clients: clients), warmUp: warmup)
        case .times(let times):
            let starts = times.prefix(count ?? times.count).map { Double($0) * 1e-9 * timeScale }
            return LoadSchedule(
                requests: sized(starts, as: workload.trace), pace: .open, warmUp: warmup)
        default:
            let times = process.times(count: count ?? Self.defaultCount + warmup, seed: seed)
            return LoadSchedule(
                requests: sized(times.map { Double($0) * 1e-9 }), pace: .open, warmUp: warmup)
        }
    }

    /// Gives requests that start at these times their lengths: the trace's where there is one.
    private func sized(_ starts: [Double], as trace: RequestTrace? = nil) -> [ScheduledRequest] {
        func scaled(_ tokens: Int) -> Int { max(1, Int((Double(tokens) * lengthScale).rounded())) }
        if let trace {
            return zip(starts, trace.requests).map {
                ScheduledRequest(
                    start: $0, inputTokens: scaled($1.inputTokens), outputTokens: scaled($1.outputTokens))
            }
        }
        guard lengths == .azure else {
            return starts.map {
                ScheduledRequest(start: $0, inputTokens: inputTokens, outputTokens: outputTokens)
            }
        }
        let drawn = TraceStatistics.azureCode.trace(requests: starts.count, seed: seed).tokens
        return zip(starts, drawn).map {
            ScheduledRequest(start: $0, inputTokens: scaled($1.input), outputTokens: scaled($1.output))
        }
    }

    private static let defaultCount = 100
}

extension LoadTarget.Endpoint: ExpressibleByArgument {}

/// The report for people.
enum BenchReport {
    static func text(_ report: LoadReport) -> String {
        func line(_ label: String, _ value: String) -> String {
            "  " + label.padding(toLength: 30, withPad: " ", startingAt: 0) + value + "\n"
        }
        func number(_ value: Double) -> String { String(format: value < 10 ? "%.3f" : "%.1f", value) }
        var text =
            "\(report.completed.count) completed, \(report.failedCount) failed in \(number(report.duration)) s\n"
        text += line("requests per second", number(report.requestThroughput))
        if !report.objectives.isEmpty { text += line("good requests per second", number(report.goodput)) }
        text += line("output tokens per second", number(report.outputThroughput))
        text += "\n  ms" + String(repeating: " ", count: 28) + "    mean  median     p95     p99     max\n"
        let rows = [
            ("time to first token", report.timeToFirstToken),
            ("time per output token", report.timePerOutputToken),
            ("between tokens", report.interTokenLatency), ("latency", report.latency),
            ("waiting in the queue", report.wait), ("service", report.service),
        ]
        for (label, summary) in rows where summary.count > 0 {
            let figures = [
                summary.mean, summary.median, summary.percentile(95), summary.percentile(99), summary.maximum,
            ]
            text += line(label, figures.map { String(format: "%8.1f", $0) }.joined())
        }
        if report.failedCount > 0 {
            text += "\nfailures:\n"
            for (reason, count) in report.failures.prefix(10) { text += "  \(count) × \(reason)\n" }
        }
        return text
    }
}
