import ChainSecurity
import NIOCore
import NIOPosix

/// Sends a schedule of requests to a service and records what becomes of each.
public struct LoadGenerator: Sendable {
    public struct Options: Sendable {
        /// Requests under way at once, at most; what is due beyond is sent late, and its latency counts the delay.
        public var maximumConcurrency = 4096
        /// Times a request refused with 429 or 503 is sent again, waiting as long as it was told.
        public var retries = 0
        /// A longer wait than this is not waited out (the official client's bound).
        public var longestRetryWait: Double = 120
        public var seed: UInt64 = 1
        public var threads = 1

        public init() {}
    }

    public var target: LoadTarget
    public var options: Options
    /// Called when a request has ended, with the number ended so far.
    public var progress: @Sendable (_ ended: Int, _ of: Int) -> Void = { _, _ in }

    public init(target: LoadTarget, options: Options = Options()) {
        self.target = target
        self.options = options
    }

    /// Runs the schedule to the end of its last answer.
    /// - Returns: a record for each request, in the order of the schedule.
    public func run(_ schedule: LoadSchedule) async throws -> [LoadRecord] {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: options.threads)
        let pool = ConnectionPool(target: target, group: group)
        let bodies = try schedule.requests.indices.map { index in
            try target.body(
                prompt: PromptText.make(
                    tokens: schedule.requests[index].inputTokens, seed: options.seed &+ UInt64(index)),
                outputTokens: schedule.requests[index].outputTokens)
        }
        let run = Run(generator: self, pool: pool, bodies: bodies, start: .now() + .milliseconds(20))
        let records =
            switch schedule.pace {
            case .open: await runOpen(schedule, run)
            case .closed(let clients): await runClosed(schedule, clients: clients, run)
            }
        await pool.close()
        try await group.shutdownGracefully()
        return records.sorted { $0.index < $1.index }
    }

    private func runOpen(_ schedule: LoadSchedule, _ run: Run) async -> [LoadRecord] {
        let total = schedule.requests.count
        return await withTaskGroup(of: LoadRecord.self) { group in
            var records: [LoadRecord] = []
            records.reserveCapacity(total)
            var running = 0
            for (index, request) in schedule.requests.enumerated() {
                while running >= options.maximumConcurrency, let record = await group.next() {
                    running -= 1
                    records.append(record)
                    progress(records.count, total)
                }
                running += 1
                group.addTask { await run.perform(index, intended: request.start) }
            }
            for await record in group {
                records.append(record)
                progress(records.count, total)
            }
            return records
        }
    }

    private func runClosed(_ schedule: LoadSchedule, clients: Int, _ run: Run) async -> [LoadRecord] {
        let total = schedule.requests.count
        return await withTaskGroup(of: LoadRecord.self) { group in
            var records: [LoadRecord] = []
            var next = 0
            func send() {
                guard next < total else { return }
                let index = next
                next += 1
                group.addTask { await run.perform(index, intended: nil) }
            }
            for _ in 0..<min(clients, total) { send() }
            for await record in group {
                records.append(record)
                progress(records.count, total)
                send()
            }
            return records
        }
    }
}

/// One run's constants.
private struct Run: Sendable {
    let generator: LoadGenerator
    let pool: ConnectionPool
    let bodies: [ByteBuffer]
    let start: NIODeadline

    private func seconds(_ time: NIODeadline) -> Double { Double((time - start).nanoseconds) * 1e-9 }

    /// Waits until the request is due (at once for none), sends it, again where it was told to, and waits for the end.
    func perform(_ index: Int, intended: Double?) async -> LoadRecord {
        if let intended { await wait(until: intended) }
        var record = await attempt(index, intended: intended ?? seconds(.now()))
        while record.sendings <= generator.options.retries, record.status == 429 || record.status == 503,
            let delay = record.retryAfter, delay <= generator.options.longestRetryWait
        {
            await wait(until: seconds(.now()) + delay)
            var again = await attempt(index, intended: record.intendedStart)
            again.sendings = record.sendings + 1
            record = again
        }
        return record
    }

    private func wait(until time: Double) async {
        let delay = time - seconds(.now())
        if delay > 0 { try? await Task.sleep(for: .nanoseconds(Int64(delay * 1e9))) }
    }

    private func attempt(_ index: Int, intended: Double) async -> LoadRecord {
        let target = generator.target
        let body = bodies[index]
        do {
            let answer = try await pool.perform(
                head: target.head(.POST, path: target.endpoint.path, length: body.readableBytes), body: body)
            var record = LoadRecord(index: index, intendedStart: intended, end: seconds(answer.end))
            record.sent = seconds(answer.sent)
            record.status = answer.status
            record.chain = answer.headers.first(name: "x-chainserve-chain")
            record.retryAfter = Self.retryAfter(answer)
            if answer.status == 200, !answer.events.isEmpty {
                AnswerReader.read(answer.events.map { (seconds($0.time), $0.data) }, into: &record)
            } else {
                AnswerReader.read(body: answer.body, into: &record)
            }
            return record
        } catch {
            var record = LoadRecord(index: index, intendedStart: intended, end: seconds(.now()))
            record.error = ConnectionProblem.text(error)
            return record
        }
    }

    private static func retryAfter(_ answer: Exchange.Answer) -> Double? {
        if let text = answer.headers.first(name: "retry-after-ms"), let value = Double(text) {
            return value / 1000
        }
        return answer.headers.first(name: "retry-after").flatMap { Double($0) }
    }
}

extension LoadGenerator {
    public enum ListingFailure: Error, CustomStringConvertible {
        case refused(status: Int)
        case notAList

        public var description: String {
            switch self {
            case .refused(let status): "/v1/models answers with HTTP \(status)"
            case .notAList: "/v1/models does not list a model: name one with --model"
            }
        }
    }

    /// The first model that the service lists.
    public func firstModel() async throws -> String {
        var target = target
        target.timeout = .seconds(10)
        let answer = try await ServiceClient.with(target) { try await $0.ask(.GET, "/v1/models") }
        guard answer.status == 200 else { throw ListingFailure.refused(status: answer.status) }
        guard let name = AnswerReader.firstModel(answer.body) else { throw ListingFailure.notAList }
        return name
    }
}
