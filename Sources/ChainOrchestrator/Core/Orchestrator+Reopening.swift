import ChainEngine
import ChainModel

/// Requests that clients come back for, and servers that are restarted.
extension Orchestrator {
    package func reopen(requestID: String, of client: String?) async throws(ReopeningRefusal)
        -> ReopenedRequest
    {
        if await conductor.isInFlight(requestID: requestID) { throw .inFlight }
        guard let journal else { throw .unknown }
        // Taken out by the first who asks, so that nothing runs twice.
        let taken = unfinished.withLock { unfinished -> JournalRequest? in
            guard Self.belongs(unfinished[requestID], to: client) else { return nil }
            return unfinished.removeValue(forKey: requestID)
        }
        if let left = taken {
            return try await resume(left)
        }
        let known: JournalRequest?
        await journal.flush()
        do { known = try journal.latest(requestID: requestID) } catch {
            throw .unavailable("the journal cannot be read")
        }
        guard let known, Self.belongs(known, to: client) else { throw .unknown }
        switch known.status {
        case .finished: return try finished(known)
        case .accepted, .resumed: throw .inFlight
        case .failed: throw .ended("it failed" + (known.reason.map { " (\($0))" } ?? ""))
        case .cancelled: throw .ended("it was cancelled")
        case .interrupted: throw .interrupted("nobody came back for it in time")
        }
    }

    /// Where clients are told apart by their keys, a request is its own client's alone; one whose text was not kept
    /// says no more than that it was.
    private static func belongs(_ request: JournalRequest?, to client: String?) -> Bool {
        guard let client, let owner = request?.request?.client else { return true }
        return owner == client
    }

    /// Runs it again from its beginning, with the seed that it had: the same text.
    private func resume(_ left: JournalRequest) async throws(ReopeningRefusal) -> ReopenedRequest {
        guard let request = left.request else {
            journal?.add(.interrupted(left.key))
            throw .interrupted("texts are not kept")
        }
        do {
            let result = await withCheckedContinuation { answer in
                submit(request, resumes: left.key) { answer.resume(returning: $0) }
            }
            return ReopenedRequest(request: request, stream: try result.get())
        } catch {
            switch error {
            case .unavailable(_, let reason):
                unfinished.withLock { $0[left.requestID] = left }
                throw .unavailable(reason)
            case .overloaded(_, let reason, _):
                unfinished.withLock { $0[left.requestID] = left }
                throw .unavailable(reason)
            default:
                journal?.add(.interrupted(left.key))
                throw .interrupted("it does not suit the model that is served now")
            }
        }
    }

    /// Gives a finished answer again.
    private func finished(_ known: JournalRequest) throws(ReopeningRefusal) -> ReopenedRequest {
        guard let request = known.request, let tokens = known.tokens, let result = known.result else {
            throw .interrupted("texts are not kept")
        }
        let (stream, feed) = GenerationStream.makeStream(promptTokens: known.promptTokens) {}
        feed.yield(.started(chain: result.chain, attempt: result.attempts))
        var assembler = TextAssembler()
        for token in tokens {
            let bytes = frontend.bytes(of: token)
            feed.yield(
                .token(GeneratedToken(id: token, text: assembler.append(bytes), bytes: bytes)))
        }
        feed.yield(.finished(result))
        feed.finish()
        return ReopenedRequest(request: request, stream: stream)
    }

    package func restart(servers names: [String]) async throws(GenerationRefusal) -> RestartOutcome {
        let known = configuration.cluster.servers
        var chosen: [ServerIndex] = []
        for name in names {
            guard let index = known.firstIndex(where: { $0.name == name }) else {
                throw .invalid(
                    message: "there is no server '\(name.prefix(200))'; GET /status lists them",
                    parameter: "servers", code: "unknown_server")
            }
            chosen.append(ServerIndex(index))
        }
        if names.isEmpty {
            let plan = await conductor.planInForce().plan
            chosen = known.indices.map { ServerIndex($0) }.filter { plan.placement[$0] != nil }
        }
        let skipped = await conductor.restart(chosen)
        return RestartOutcome(
            restarted: chosen.filter { !skipped.contains($0) }.map { known[$0.rawValue].name },
            skipped: skipped.map { known[$0.rawValue].name })
    }
}
