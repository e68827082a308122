/// Requests as they came to a real service: when, and how many tokens.
public struct RequestTrace: Hashable, Sendable {
    public struct Request: Hashable, Sendable {
        /// Nanoseconds since the first request.
        public var time: Int64
        /// Tokens of the prompt.
        public var inputTokens: Int
        /// Tokens of the answer, at least 1.
        public var outputTokens: Int

        public init(time: Int64, inputTokens: Int, outputTokens: Int) {
            self.time = time
            self.inputTokens = inputTokens
            self.outputTokens = outputTokens
        }
    }

    /// In order of time; at least one.
    public var requests: [Request]

    public init(requests: [Request]) { self.requests = requests }

    /// Most requests of a file.
    public static let mostRequests = 100_000_000
    /// Most mistakes that a message lists.
    static let mostProblems = 10

    /// Reads a trace: JSON lines as Mooncake publishes them when the first line begins with `{`, otherwise the
    /// comma-separated form of the Azure LLM inference trace.
    /// - Throws: `FormatError` naming file and line.
    /// - Complexity: O(length).
    public static func parse(_ text: String, file: String) throws -> RequestTrace {
        let first = text.utf8.first { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }
        var reader = TraceReader(file: file)
        let requests =
            first == UInt8(ascii: "{") ? try reader.mooncake(text) : try reader.azure(text)
        return RequestTrace(requests: requests)
    }
}

/// Reads the lines of a trace, and gathers their mistakes.
private struct TraceReader {
    let file: String
    private var problems: [FormatProblem] = []
    private var requests: [RequestTrace.Request] = []
    /// Of the first request.
    private var origin: Int64?

    init(file: String) { self.file = file }

    private mutating func report(
        _ code: FormatProblem.Code, _ line: Int, _ problem: String, mend: String
    ) throws {
        problems.append(FormatProblem(code, line: line, problem, mend: mend))
        if problems.count >= RequestTrace.mostProblems {
            throw FormatError(file: file, problems: problems)
        }
    }

    private func finished() throws -> [RequestTrace.Request] {
        guard problems.isEmpty else { throw FormatError(file: file, problems: problems) }
        guard !requests.isEmpty else {
            throw FormatError(
                file: file,
                problems: [
                    FormatProblem(
                        .missingKey, line: nil, "the trace has no requests",
                        mend: "give a line for each request")
                ])
        }
        return requests
    }

    /// Adds a request whose time is in nanoseconds since any origin.
    private mutating func add(time: Int64, input: Int, output: Int, line: Int) throws {
        let start = origin ?? time
        origin = start
        if time - start < requests.last?.time ?? 0 {
            try report(
                .outOfRange, line, "the request comes before the one above it",
                mend: "sort the trace by time")
            return
        }
        guard requests.count < RequestTrace.mostRequests else {
            try report(
                .outOfRange, line, "more than \(RequestTrace.mostRequests) requests", mend: "split the trace")
            return
        }
        requests.append(
            RequestTrace.Request(time: time - start, inputTokens: input, outputTokens: max(1, output)))
    }

    private mutating func tokens(_ text: Substring?, _ name: String, line: Int) throws -> Int? {
        let words = text.map { String($0.trimmingSpace) } ?? ""
        guard let count = Int(words), count >= 0, count <= Int(Int32.max) else {
            try report(
                .invalidNumber, line, "\(name) is `\(words)`", mend: "write a whole number of tokens")
            return nil
        }
        return count
    }

    // MARK: Azure: TIMESTAMP,ContextTokens,GeneratedTokens

    private static let columns = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]

    mutating func azure(_ text: String) throws -> [RequestTrace.Request] {
        var positions: [Int]?
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated()
        {
            if line.allSatisfy(\.isWhitespace) { continue }
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            if let positions {
                try azureRow(fields, positions, line: number + 1)
            } else {
                positions = try header(fields, line: number + 1)
            }
        }
        return try finished()
    }

    private func header(_ fields: [Substring], line: Int) throws -> [Int] {
        let names = fields.map { String($0.trimmingSpace) }
        return try Self.columns.map { column in
            guard let position = names.firstIndex(of: column) else {
                let near = nearest(to: column, among: names).map { " (the nearest is `\($0)`)" } ?? ""
                throw FormatError(
                    file: file,
                    problems: [
                        FormatProblem(
                            .missingKey, line: line, "there is no column `\(column)`\(near)",
                            mend: "begin the file with `\(Self.columns.joined(separator: ","))`")
                    ])
            }
            return position
        }
    }

    private mutating func azureRow(_ fields: [Substring], _ positions: [Int], line: Int) throws {
        let values = positions.map { $0 < fields.count ? fields[$0] : nil }
        guard let text = values[0], let time = TraceTime.nanoseconds(text.trimmingSpace) else {
            try report(
                .invalidNumber, line, "the time is `\(values[0] ?? "")`",
                mend: "write it as 2023-11-16 18:17:03.97996")
            return
        }
        guard let input = try tokens(values[1], Self.columns[1], line: line),
            let output = try tokens(values[2], Self.columns[2], line: line)
        else { return }
        try add(time: time, input: input, output: output, line: line)
    }

    // MARK: Mooncake: {"timestamp": ms, "input_length": n, "output_length": n, "hash_ids": […]}

    mutating func mooncake(_ text: String) throws -> [RequestTrace.Request] {
        for (number, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated() where !line.allSatisfy(\.isWhitespace)
        {
            try mooncakeRow(String(line), line: number + 1)
        }
        return try finished()
    }

    private mutating func mooncakeRow(_ text: String, line: Int) throws {
        let entries: [DocumentNode.Entry]
        do {
            let document = try JSONReader.read(text, file: file)
            guard case .mapping(let found) = document.content else {
                try report(.wrongType, line, "the line is no object", mend: "write one JSON object a line")
                return
            }
            entries = found
        } catch let error as FormatError {
            let problem = error.problems[0]
            try report(problem.code, line, problem.problem, mend: problem.mend)
            return
        }
        func value(_ key: String) -> Substring? {
            guard case .scalar(let text)? = entries.first(where: { $0.key == key })?.value.content
            else { return nil }
            return text[...]
        }
        guard let words = value("timestamp"), let milliseconds = Double(words), milliseconds >= 0,
            milliseconds < 9e12
        else {
            try report(
                .invalidNumber, line, "`timestamp` is `\(value("timestamp") ?? "")`",
                mend: "give milliseconds since the start of the trace")
            return
        }
        guard let input = try tokens(value("input_length"), "input_length", line: line),
            let output = try tokens(value("output_length"), "output_length", line: line)
        else { return }
        try add(time: Int64((milliseconds * 1e6).rounded()), input: input, output: output, line: line)
    }
}

/// Times such as `2023-11-16 18:17:03.9799600`, also with a `T` between and a `Z` or `+00:00` behind.
enum TraceTime {
    /// Nanoseconds since 1970; `nil` for anything else. The date must exist.
    static func nanoseconds(_ text: Substring) -> Int64? {
        var rest = text
        for suffix in ["Z", "+00:00"] where rest.hasSuffix(suffix) { rest = rest.dropLast(suffix.count) }
        let parts = rest.split(maxSplits: 1) { $0 == " " || $0 == "T" }
        guard parts.count == 2 else { return nil }
        let date = parts[0].split(separator: "-", omittingEmptySubsequences: false).map { number($0) }
        let clock = parts[1].split(separator: ".", maxSplits: 1, omittingEmptySubsequences: false)
        let time = clock[0].split(separator: ":", omittingEmptySubsequences: false).map { number($0) }
        guard date.count == 3, time.count == 3, let year = date[0], let month = date[1], let day = date[2],
            let hour = time[0], let minute = time[1], let second = time[2], (1970...2200).contains(year),
            (1...12).contains(month), day >= 1, day <= daysInMonth(month, of: year), hour < 24, minute < 60,
            second <= 60
        else { return nil }
        var fraction: Int64 = 0
        if clock.count == 2 {
            guard (1...18).contains(clock[1].count), number(clock[1]) != nil else { return nil }
            let digits = clock[1].prefix(9)
            guard let value = number(digits) else { return nil }
            fraction = Int64(value)
            for _ in digits.count..<9 { fraction *= 10 }
        }
        let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second
        return Int64(seconds) * 1_000_000_000 + fraction
    }

    /// Digits alone, no sign.
    private static func number(_ text: Substring) -> Int? {
        text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? Int(text) : nil
    }

    private static func isLeap(_ year: Int) -> Bool {
        year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
    }

    private static func daysInMonth(_ month: Int, of year: Int) -> Int {
        switch month {
        case 2: isLeap(year) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }

    /// Days since 1970-01-01.
    private static func days(_ year: Int, _ month: Int, _ day: Int) -> Int {
        var days = day - 1
        for earlier in 1970..<year { days += isLeap(earlier) ? 366 : 365 }
        for earlier in 1..<month { days += daysInMonth(earlier, of: year) }
        return days
    }
}

extension Substring {
    fileprivate var trimmingSpace: Substring {
        var result = self
        while let first = result.first, first.isWhitespace { result.removeFirst() }
        while let last = result.last, last.isWhitespace { result.removeLast() }
        return result
    }
}
