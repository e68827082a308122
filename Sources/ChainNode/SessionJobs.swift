import ChainWire

/// The jobs of one session as its event loop knows them: which are open, which steps are being put together
/// or waiting. A value without I/O. Runs ahead of the engine's own books by what is still on its way there.
struct SessionJobs {
    private struct Job {
        var assembly: StepAssembly?
        /// The step that waits or is being computed.
        var stepInFlight: UInt64?
        var bytesInFlight = 0
    }

    enum Receipt {
        case incomplete
        case complete(StepAssembly)
        case refused(Refusal)
        case violation(String)
    }

    private var jobs: [UInt64: Job] = [:]
    /// Jobs that were closed, and how often, without the engine's answer yet: what is said about
    /// such a job meanwhile is about the time before.
    private var closing: [UInt64: Int] = [:]
    private var width = 0
    private var stepTokens = 0
    /// Hidden states of complete steps without an answer, bytes.
    private(set) var queuedBytes = 0
    /// Complete steps without an answer.
    private(set) var queuedSteps = 0
    /// Hidden states of incomplete steps, bytes.
    private(set) var assemblingBytes = 0

    var isEmpty: Bool { jobs.isEmpty }

    /// - Returns: why the job cannot be opened; `nil` when the engine may be asked.
    mutating func open(_ job: UInt64, limit: Int) -> Refusal? {
        guard width > 0 else { return Refusal(.notLoaded, "tell this server its blocks first") }
        guard jobs[job] == nil else { return Refusal(.jobAlreadyOpen, "job \(job) is open already") }
        guard jobs.count < limit else { return Refusal(.overloaded, "\(limit) jobs are open") }
        jobs[job] = Job()
        return nil
    }

    mutating func close(_ job: UInt64) {
        closing[job, default: 0] += 1
        forget(job)
    }

    private mutating func forget(_ job: UInt64) {
        guard let closed = jobs.removeValue(forKey: job) else { return }
        queuedBytes -= closed.bytesInFlight
        queuedSteps -= closed.stepInFlight == nil ? 0 : 1
        assemblingBytes -= closed.assembly?.byteCount ?? 0
    }

    /// Takes a piece of a step. Later pieces of a step that was refused, or whose job was closed, are
    /// dropped.
    mutating func receive(_ piece: StepPiece, assemblingLimit: Int) -> Receipt {
        guard jobs[piece.job] != nil else {
            guard piece.offset == 0 else { return .incomplete }
            return .refused(Refusal(.jobUnknown, "job \(piece.job) is not open here"))
        }
        // Taken out, not copied: with a second reference each piece would copy all before it.
        if var assembly = jobs[piece.job]?.assembly.take() {
            guard assembly.step == piece.step else {
                jobs[piece.job]?.assembly = assembly
                guard piece.offset == 0 else { return .incomplete }
                return .refused(Refusal(.busy, "job \(piece.job) has an unfinished step"))
            }
            guard assembly.add(piece) else {
                return .violation("a piece of step \(piece.step) does not follow the one before")
            }
            return store(assembly, of: piece.job)
        }
        guard piece.offset == 0 else { return .incomplete }
        let stepInFlight = jobs[piece.job]?.stepInFlight
        if let refusal = refusal(of: piece, stepInFlight: stepInFlight, assemblingLimit: assemblingLimit) {
            return .refused(refusal)
        }
        guard let assembly = StepAssembly(first: piece, width: width) else {
            return .refused(
                Refusal(
                    .wrongShape,
                    "job \(piece.job): \(piece.tokenCount) tokens of \(width) values expected,"
                        + " \(piece.hidden.readableBytes) bytes came"))
        }
        assemblingBytes += assembly.byteCount
        return store(assembly, of: piece.job)
    }

    private func refusal(of piece: StepPiece, stepInFlight: UInt64?, assemblingLimit: Int) -> Refusal? {
        if let stepInFlight {
            return Refusal(.busy, "job \(piece.job) is still at step \(stepInFlight)")
        }
        guard piece.tokenCount <= stepTokens else {
            return Refusal(
                .stepTooLarge, "a step of \(piece.tokenCount) tokens exceeds the limit of \(stepTokens)")
        }
        let byteCount = piece.tokenCount * width * HiddenStates.valueSize
        guard assemblingBytes + byteCount <= assemblingLimit else {
            return Refusal(.overloaded, "steps of \(assemblingBytes) bytes are coming in already")
        }
        return nil
    }

    private mutating func store(_ assembly: StepAssembly, of job: UInt64) -> Receipt {
        guard assembly.isComplete else {
            jobs[job]?.assembly = assembly
            return .incomplete
        }
        assemblingBytes -= assembly.byteCount
        queuedBytes += assembly.byteCount
        queuedSteps += 1
        jobs[job]?.stepInFlight = assembly.step
        jobs[job]?.bytesInFlight = assembly.byteCount
        return .complete(assembly)
    }

    /// Takes notice of what the engine answers.
    mutating func note(_ output: WireOutput) {
        switch output {
        case .transfer(let transfer): stepEnded(transfer.step, of: transfer.job)
        case .message(.stepFailed(let job, let step, _)): stepEnded(step, of: job)
        case .message(.openRefused(let job, _)):
            if closing[job] == nil { forget(job) }
        case .message(.closed(let job, _)):
            let left = (closing[job] ?? 1) - 1
            closing[job] = left > 0 ? left : nil
        case .message(.loaded(let report)):
            width = report.width
            stepTokens = report.stepTokens
        case .message: break
        }
    }

    private mutating func stepEnded(_ step: UInt64, of job: UInt64) {
        guard let entry = jobs[job], entry.stepInFlight == step else { return }
        queuedBytes -= entry.bytesInFlight
        queuedSteps -= 1
        jobs[job]?.stepInFlight = nil
        jobs[job]?.bytesInFlight = 0
    }
}
