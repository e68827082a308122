import ChainEngine
import ChainModel
import ChainWire
import Logging

/// A complete step that waits to be computed.
struct WaitingStep {
    var id: UInt64
    var step: EngineStep
}

/// Owns the engine. Everything here happens in one place, a thread of its own or the event loop (`ComputeDriver`).
final class ComputeLoop {
    let configuration: BlockServerConfiguration
    let openLocalModel: LocalModelOpener
    let makeEngine: EngineFactory
    let board: HealthBoard
    let logger: Logger

    var engine: (any BlockEngine)?
    var hosted: HostedRange?
    var loading: PendingLoad?
    /// The local file, once opened.
    var localModel: (any LocalModel)?
    var reply: SessionReply?

    private var openJobs: Set<EngineJobID> = []
    private var waiting: [WaitingStep] = []
    private var due = DueResults()
    /// What commands and steps of one turn lead to, sent together: most turns open a job and compute its first step.
    private var answers: [WireOutput] = []
    private var stepsRun: UInt64 = 0

    init(
        configuration: BlockServerConfiguration, openLocalModel: @escaping LocalModelOpener,
        makeEngine: @escaping EngineFactory, board: HealthBoard, logger: Logger
    ) {
        self.configuration = configuration
        self.openLocalModel = openLocalModel
        self.makeEngine = makeEngine
        self.board = board
        self.logger = logger
    }

    var hasOpenJobs: Bool { !openJobs.isEmpty }

    /// When there is something to do without a command: nanoseconds of the machine's monotonic clock, 0 for at once;
    /// `nil` when there is not.
    var nextTurn: Int64? { waiting.isEmpty ? due.next : 0 }

    /// Carries out commands, computes a batch of what waits, and sends what is due.
    /// - Returns: `false` when it was told to stop.
    func turn(_ commands: [ComputeCommand]) -> Bool {
        for command in commands {
            if case .stop = command {
                finish()
                return false
            }
            handle(command)
        }
        publishHealth()
        runBatch()
        if due.next != nil { answers += due.take(at: EmulatedState.now()) }
        sendAnswers()
        return true
    }

    private func sendAnswers() {
        reply?.send(answers)
        answers.removeAll(keepingCapacity: true)
    }

    private func handle(_ command: ComputeCommand) {
        switch command {
        case .sessionBegan(let reply): self.reply = reply
        case .sessionEnded: endSession()
        case .load(let request): beginLoad(request)
        case .rangePiece(let piece): receive(piece)
        case .open(let job, let firstBlock, let blockCount):
            open(job, firstBlock: firstBlock, blockCount: blockCount)
        case .step(let id, let step): waiting.append(WaitingStep(id: id, step: step))
        case .close(let job): close(job)
        case .stop: break
        }
    }

    private func finish() {
        endSession()
        engine = nil
        publishHealth()
    }

    // MARK: Jobs

    private func open(_ job: EngineJobID, firstBlock: Int, blockCount: Int) {
        guard let engine, loading == nil else {
            answer(.openRefused(job: job.rawValue, Refusal(.notLoaded, "this server hosts no blocks yet")))
            return
        }
        do throws(EngineError) {
            try engine.open(job, firstBlock: firstBlock, blockCount: blockCount)
            openJobs.insert(job)
            answer(.opened(job: job.rawValue, unitsFree: engine.limits.unitCount - engine.unitsUsed))
        } catch {
            answer(.openRefused(job: job.rawValue, Refusal(error)))
        }
    }

    private func close(_ job: EngineJobID) {
        waiting.removeAll { $0.step.job == job }
        due.remove(job)
        if openJobs.remove(job) != nil { engine?.close(job) }
        let free = engine.map { $0.limits.unitCount - $0.unitsUsed } ?? 0
        answer(.closed(job: job.rawValue, unitsFree: free))
    }

    private func answer(_ message: Message) { answers.append(.message(message)) }

    private func endSession() {
        waiting = []
        due = DueResults()
        for job in openJobs.sorted() { engine?.close(job) }
        openJobs = []
        loading = nil
        answers = []
        reply = nil
    }

    func publishHealth() {
        board.update { health in
            health.unitsUsed = engine?.unitsUsed ?? 0
            health.unitsTotal = engine?.limits.unitCount ?? 0
            health.openJobs = openJobs.count
            health.stepsRun = stepsRun
            health.state = loading != nil ? .loading : engine != nil ? .ready : .waiting
        }
    }

    // MARK: Steps

    /// Computes the longest run of waiting steps, from the first on, that fits one pass: first come, first
    /// served.
    private func runBatch() {
        guard let engine, !waiting.isEmpty else { return }
        var batch: [WaitingStep] = []
        var outputs: [WireOutput] = []
        var tokens = 0
        var taken = 0
        for candidate in waiting {
            if let refusal = refusal(of: candidate.step, engine: engine) {
                outputs.append(failure(of: candidate, refusal))
            } else {
                guard tokens + candidate.step.tokenCount <= engine.limits.stepTokens,
                    !batch.contains(where: { $0.step.job == candidate.step.job })
                else { break }
                tokens += candidate.step.tokenCount
                batch.append(candidate)
            }
            taken += 1
        }
        waiting.removeFirst(taken)
        if !batch.isEmpty { outputs += compute(batch, engine: engine) }
        publishHealth()
        answers += outputs
    }

    /// What can be said against a step before it joins others: one that is wrong must not fail them.
    private func refusal(of step: EngineStep, engine: any BlockEngine) -> Refusal? {
        guard openJobs.contains(step.job) else { return Refusal(.jobUnknown(step.job)) }
        guard step.tokenCount <= engine.limits.stepTokens else {
            return Refusal(.stepTooLarge(tokens: step.tokenCount, limit: engine.limits.stepTokens))
        }
        return step.hidden.allFinite ? nil : Refusal(.notFinite(step.job))
    }

    /// Runs a batch; if the engine refuses it, runs its steps one by one, so that only those at fault fail.
    private func compute(_ batch: [WaitingStep], engine: any BlockEngine) -> [WireOutput] {
        do throws(EngineError) {
            return try results(of: batch, engine: engine)
        } catch {
            guard batch.count > 1 else {
                logger.warning(
                    "step failed", metadata: ["job": "\(batch[0].step.job.rawValue)", "reason": "\(error)"])
                return [failure(of: batch[0], Refusal(error))]
            }
            return batch.flatMap { compute([$0], engine: engine) }
        }
    }

    private func results(
        of batch: [WaitingStep], engine: any BlockEngine
    ) throws(EngineError) -> [WireOutput] {
        let lastRowOnly = hosted?.manifest.hostsLastBlock ?? false
        let results = try engine.run(
            batch.map {
                var step = $0.step
                step.lastRowOnly = lastRowOnly
                return step
            })
        stepsRun += UInt64(batch.count)
        let completions = engine.completions
        var outputs: [WireOutput] = []
        for (index, values) in results.enumerated() {
            let output = result(
                of: batch[index], values, width: engine.limits.width, lastRowOnly: lastRowOnly)
            if index < completions.count {
                due.add(output, of: batch[index].step.job, at: completions[index])
            } else {
                outputs.append(output)
            }
        }
        return outputs
    }

    private func result(
        of waiting: WaitingStep, _ values: [Float], width: Int, lastRowOnly: Bool
    ) -> WireOutput {
        let tokens = lastRowOnly ? 1 : waiting.step.tokenCount
        guard values.count == tokens * width else {
            return failure(
                of: waiting, Refusal(.engine, "the engine returned \(values.count) values for a step"))
        }
        return .transfer(
            StepTransfer(
                .result, job: waiting.step.job.rawValue, step: waiting.id, position: waiting.step.position,
                tokenCount: tokens, hidden: HiddenStates.bytes(of: values)))
    }

    private func failure(of waiting: WaitingStep, _ refusal: Refusal) -> WireOutput {
        .message(.stepFailed(job: waiting.step.job.rawValue, step: waiting.id, refusal))
    }
}

/// Results that are known but not due yet: one a job at most.
struct DueResults {
    private struct Entry {
        var time: Int64
        var job: EngineJobID
        var output: WireOutput
    }

    /// The latest first; of equal times the one that came first is last.
    private var entries: [Entry] = []

    /// When the next one is due, nanoseconds of the machine's monotonic clock.
    var next: Int64? { entries.last?.time }

    mutating func add(_ output: WireOutput, of job: EngineJobID, at time: Int64) {
        let place = entries.firstIndex { $0.time <= time } ?? entries.count
        entries.insert(Entry(time: time, job: job, output: output), at: place)
    }

    mutating func remove(_ job: EngineJobID) { entries.removeAll { $0.job == job } }

    /// Takes out what is due.
    mutating func take(at now: Int64) -> [WireOutput] {
        var outputs: [WireOutput] = []
        while let entry = entries.last, entry.time <= now {
            outputs.append(entry.output)
            entries.removeLast()
        }
        return outputs
    }
}

extension Refusal {
    init(_ error: EngineError) {
        let code: Code =
            switch error {
            case .blocksNotHosted: .blocksNotHosted
            case .jobAlreadyOpen: .jobAlreadyOpen
            case .jobUnknown: .jobUnknown
            case .cacheFull: .cacheFull
            case .wrongPosition: .wrongPosition
            case .wrongShape: .wrongShape
            case .sequenceTooLong: .sequenceTooLong
            case .stepTooLarge: .stepTooLarge
            case .notFinite: .notFinite
            case .modelFile: .storage
            case .unsupportedModel: .badManifest
            case .memory: .memoryTooSmall
            case .device: .engine
            }
        self.init(code, error.description)
    }
}
