import ChainModel
import ChainOrchestrator
import Foundation

/// Prompts typed at a terminal, or given on the command line, and their answers.
struct Conversation: Sendable {
    let service: any GenerationService
    let cluster: Cluster
    let plan: Plan
    let maximumTokens: Int
    let console: Console

    /// Answers line after line until the input ends or the task is cancelled.
    func readAndAnswer() async throws {
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        let console = console
        // `readLine` blocks, so it has a thread of its own, which ends with the process.
        let thread = Thread {
            while let line = readLine() { continuation.yield(line) }
            continuation.finish()
        }
        thread.start()
        console.out(console.bold("> "))
        for await line in lines {
            let prompt = line.trimmingCharacters(in: .whitespaces)
            if !prompt.isEmpty { try await answer(prompt, showingPrompt: false) }
            try Task.checkCancellation()
            console.out(console.bold("> "))
        }
        console.out("\n")
    }

    /// Streams the answer to one prompt, then says which chain it used and how long it took.
    func answer(_ prompt: String, showingPrompt: Bool) async throws {
        if showingPrompt { console.out(console.bold("> \(prompt)\n")) }
        let request = GenerationRequest(
            requestID: UUID().uuidString, model: service.modelCard.id,
            input: .chat([ChatMessage(role: .user, content: prompt)]), maximumTokens: maximumTokens,
            sampling: SamplingParameters(temperature: 0))
        let start = ContinuousClock.now
        var firstToken: Duration?
        let stream: GenerationStream
        do {
            stream = try await service.submit(request)
        } catch {
            console.say("refused: \(error)")
            return
        }
        for await event in stream.events {
            switch event {
            case .queued(let position): console.say(console.dim("waiting in the queue, place \(position)"))
            case .started(let chain, let attempt):
                if attempt > 1 { console.say("\na server was lost; going on over \(chain)") }
            case .token(let token):
                if firstToken == nil { firstToken = Duration(ContinuousClock.now - start) }
                console.out(token.text)
            case .finished(let result):
                console.out(result.trailingText + "\n")
                describe(result, took: Duration(ContinuousClock.now - start), firstToken: firstToken)
            case .failed(let failure): console.say("\nfailed: \(failure)")
            }
        }
        try Task.checkCancellation()
    }

    private func describe(_ result: GenerationResult, took: Duration, firstToken: Duration?) {
        let chain = plan.chains.first { $0.name(in: cluster) == result.chain }
        let blocks = chain.map {
            "blocks " + $0.hops.map { "\($0.firstBlock)–\($0.endBlock - 1)" }.joined(separator: " > ")
        }
        var parts = ["chain \(result.chain)"]
        if let blocks { parts.append(blocks) }
        parts.append("\(result.promptTokens) + \(result.completionTokens) tokens")
        if result.reason == .length { parts.append("cut off by --max-tokens") }
        parts.append(String(format: "%.2f s", took.seconds))
        if let firstToken { parts.append(String(format: "first token %.2f s", firstToken.seconds)) }
        if result.completionTokens > 1, let firstToken {
            let rate = Double(result.completionTokens - 1) / max(1e-9, took.seconds - firstToken.seconds)
            parts.append(String(format: "%.1f tokens/s", rate))
        }
        console.out(console.dim("[\(parts.joined(separator: " · "))]") + "\n")
    }
}

extension Duration {
    /// From the standard library's duration, cut to nanoseconds.
    init(_ other: Swift.Duration) {
        let (seconds, attoseconds) = other.components
        self.init(nanoseconds: seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
