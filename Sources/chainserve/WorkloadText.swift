import ChainFormats
import ChainSimulation
import Foundation

/// Why a text is no workload, and what to write instead.
struct InvalidWorkload: Error, CustomStringConvertible {
    var description: String

    init(_ description: String) { self.description = description }

    /// Says of what is wrong where it stands.
    static func naming<Result>(_ place: String, _ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let error as InvalidWorkload {
            throw InvalidWorkload("\(place): \(error)")
        }
    }
}

/// Reads `--arrivals`, `--sizes` and `--faults`.
struct WorkloadText {
    /// Jobs per second that arrivals are scaled to; `nil` keeps a trace's own rate.
    var rate: Double?
    /// Rate of arrivals that have none of their own.
    var planRate: Double
    /// Tokens of a mean answer, for sizes in proportion to answers.
    var meanOutputTokens: Double?
    /// The trace that was read, for sizes from it.
    private(set) var trace: RequestTrace?

    init(rate: Double?, planRate: Double) {
        self.rate = rate
        self.planRate = planRate
    }

    private static let arrivalForms =
        "poisson, gamma:SHAPE, azure, mmpp:RATE@SECONDS,RATE@SECONDS, onoff:ON,OFF (mean seconds), diurnal:FILE, "
        + "trace:FILE or closed:USERS[@THINK]"

    mutating func arrivals(_ text: String) throws -> ArrivalProcess {
        let (name, value) = Self.split(text)
        let rate = rate ?? planRate
        switch (name, value) {
        case ("poisson", nil): return .poisson(rate: rate)
        case ("azure", nil): return .azure(rate: rate)
        case ("gamma", let value?):
            return .gamma(rate: rate, burstiness: try Self.positive(value, "the burstiness"))
        case ("onoff", let value?):
            let means = try Self.list(value, count: 2, "onoff:ON,OFF")
            return .onOff(rate: rate, meanOn: means[0], meanOff: means[1])
        case ("mmpp", let value?):
            let states = try value.split(separator: ",").map { state in
                let parts = state.split(separator: "@")
                guard parts.count == 2, let rate = Double(parts[0]), rate >= 0, rate.isFinite else {
                    throw InvalidWorkload("`\(state)` is no state: write RATE@SECONDS, as 5@10")
                }
                return ArrivalProcess.ModulatedState(
                    rate: rate, meanStay: try Self.positive(String(parts[1]), "the stay"))
            }
            guard states.count >= 2, states.contains(where: { $0.rate > 0 }) else {
                throw InvalidWorkload("mmpp needs two states or more, one of them with arrivals")
            }
            return ArrivalProcess.modulated(states).scaled(toRate: rate)
        case ("diurnal", let file?):
            let curve = try RateCurve(text: try CommandFailure.read(file), file: file)
            return ArrivalProcess.varying(curve).scaled(toRate: self.rate ?? curve.meanRate)
        case ("trace", let file?):
            let process = ArrivalProcess.times(try read(file).requests.map(\.time))
            return self.rate.map { process.scaled(toRate: $0) } ?? process
        case ("closed", let value?):
            let parts = value.split(separator: "@", maxSplits: 1).map(String.init)
            guard let users = Int(parts[0]), users >= 1, users <= 1_000_000 else {
                throw InvalidWorkload("`\(parts[0])` users: write a number from 1, as closed:16@2.5")
            }
            let think = parts.count > 1 ? try Self.positive(parts[1], "the think time") : 0
            return .closedLoop(users: users, meanThinkTime: think)
        default: throw InvalidWorkload("it is not one of \(Self.arrivalForms)")
        }
    }

    private static let sizeForms =
        "exponential, deterministic, lognormal:CV, gamma:CV, hyperexponential:CV, tokens (of the trace), tokens:FILE, "
        + "answers (of the trace), answers:FILE or azure"

    mutating func sizes(_ text: String) throws -> JobSizes {
        let (name, value) = Self.split(text)
        switch (name, value) {
        case ("exponential", nil): return .exponential
        case ("deterministic", nil): return .deterministic
        case ("azure", nil): return .azureTokens
        case ("lognormal", let value?): return .lognormal(cv: try Self.positive(value, "the variation"))
        case ("gamma", let value?): return .gamma(cv: try Self.positive(value, "the variation"))
        case ("hyperexponential", let value?):
            let cv = try Self.positive(value, "the variation")
            guard cv >= 1 else {
                throw InvalidWorkload("hyperexponential sizes have a coefficient of variation of 1 or more")
            }
            return .hyperexponential(cv: cv)
        case ("tokens", let file):
            guard let trace = try file.map({ try read($0) }) ?? trace else {
                throw InvalidWorkload(
                    "`tokens` needs a trace: give --arrivals trace:FILE, or tokens:FILE")
            }
            return .tokens(
                trace.requests.map { TokenCounts(input: $0.inputTokens, output: $0.outputTokens) })
        case ("answers", let file): return .listed(try answers(file))
        default: throw InvalidWorkload("it is not one of \(Self.sizeForms)")
        }
    }

    /// Sizes in proportion to the answers' tokens, as emulated pools serve them: an answer of the cluster file's mean
    /// length has size 1.
    private mutating func answers(_ file: String?) throws -> [Double] {
        guard let trace = try file.map({ try read($0) }) ?? trace else {
            throw InvalidWorkload(
                "`answers` needs a trace: give --arrivals trace:FILE, or answers:FILE")
        }
        guard let meanOutputTokens, meanOutputTokens > 0 else {
            throw InvalidWorkload(
                "`answers` compares answers with the mean one: give the cluster file's demand"
                    + " mean_output_tokens")
        }
        return trace.requests.map { Double($0.outputTokens) / meanOutputTokens }
    }

    /// `UP,DOWN` (mean seconds), or a schedule `down:SERVER@SECONDS,up:SERVER@SECONDS`.
    static func faults(_ text: String, servers: [String]) throws -> ServerFaults {
        if !text.contains(":") {
            let means = try list(text, count: 2, "UP,DOWN (mean seconds)")
            return .random(meanUpTime: means[0], meanDownTime: means[1])
        }
        let changes = try text.split(separator: ",").map { part in
            let words = part.split(separator: ":", maxSplits: 1).map(String.init)
            let place = words.count == 2 ? words[1].split(separator: "@").map(String.init) : []
            guard place.count == 2, ["down", "up"].contains(words[0]), let time = Double(place[1]), time >= 0,
                time.isFinite
            else {
                throw InvalidWorkload(
                    "`\(part)` is no change: write down:SERVER@SECONDS or up:SERVER@SECONDS")
            }
            guard let server = servers.firstIndex(of: place[0]) else {
                throw InvalidWorkload("there is no server `\(place[0])` in the cluster file")
            }
            return ScheduledFault(time: time, server: .init(server), isLost: words[0] == "down")
        }
        return .schedule(changes)
    }

    private mutating func read(_ file: String) throws -> RequestTrace {
        let trace =
            JournalTrace.isDatabase(file)
            ? try JournalTrace.read(file)
            : try RequestTrace.parse(try CommandFailure.read(file), file: file)
        self.trace = trace
        return trace
    }

    private static func split(_ text: String) -> (name: String, value: String?) {
        let parts = text.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false).map(
            String.init)
        return (parts[0], parts.count > 1 ? parts[1] : nil)
    }

    private static func positive(_ text: String, _ what: String) throws -> Double {
        guard let value = Double(text), value > 0, value.isFinite else {
            throw InvalidWorkload("\(what) is `\(text)`: write a positive number")
        }
        return value
    }

    private static func list(_ text: String, count: Int, _ form: String) throws -> [Double] {
        let values = try text.split(separator: ",").map { try positive(String($0), "a value of \(form)") }
        guard values.count == count else { throw InvalidWorkload("write \(form)") }
        return values
    }
}

extension RateCurve {
    /// Reads `seconds,rate` lines, the last of which gives the period and no rate: `86400`.
    init(text: String, file: String) throws {
        var points: [Point] = []
        var period: Double?
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated()
        {
            let words = line.split(separator: ",").map { $0.trimmingCharacters(in: .whitespaces) }
            if words.isEmpty || words[0].isEmpty || words[0].hasPrefix("#") { continue }
            guard let time = Double(words[0]), words.count == 1 || Double(words[1]) != nil else {
                throw InvalidWorkload(
                    "\(file):\(number + 1): `\(line)` is no point: write SECONDS,JOBS-PER-SECOND")
            }
            if words.count == 1 {
                period = time
            } else {
                points.append(Point(time: time, rate: Double(words[1]) ?? 0))
            }
        }
        guard let period, let curve = RateCurve(points: points, period: period) else {
            throw InvalidWorkload(
                "\(file): give points SECONDS,RATE in order from 0, and last a line with the period alone, as 86400"
            )
        }
        self = curve
    }
}
