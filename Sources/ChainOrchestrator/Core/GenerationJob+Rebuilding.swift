import ChainEngine

/// A cache of a job on a server.
struct HopCache: Sendable {
    var hop: AttemptHop
    /// Rows computed, from the first token on.
    var rows = 0
    /// It was not opened yet, or a step was sent and not answered: what the server holds is not known.
    var isInDoubt = true
}

/// A hop did not do its part.
struct HopFailure: Error {
    var hop: AttemptHop
    var error: LinkError
}

/// A hop needs states that are not kept any more.
private struct StatesMissing: Error {}

/// The way of rows through a chain, and what of it is gone again after a loss.
///
/// Where an attempt goes on with caches of the one before, the other hops get the hidden states that entered there
/// (`KeptStates`) instead of having all blocks computed again. The steps keep the boundaries that they had when the rows
/// were first computed, so that the same numbers come out.
extension GenerationJob {
    /// Reserves the job's caches on all hops, at once; those that the attempt goes on with are there already.
    func open(_ attempt: Attempt) {
        let old = caches
        caches = attempt.hops.map { hop in
            let held = old.first { $0.hop.isSamePlace(as: hop) && $0.hop.engineJob == hop.engineJob }
            guard hop.isTakenOver, let held, !held.isInDoubt else { return HopCache(hop: hop) }
            return held
        }
        if !hasWhatIsNeeded { caches = attempt.hops.map { HopCache(hop: $0) } }
        if caches.last?.rows == 0 { last = [] }
        states.keepOnly(attempt.hops.map(\.firstBlock))
        openDoubtful()
    }

    /// Nobody waits for the answers: a hop that refuses says so to its first step, and until that has been answered its
    /// cache stays in doubt.
    private func openDoubtful() {
        for cache in caches where cache.isInDoubt {
            let hop = cache.hop
            // A cache of that name is of no use: its place is opened anew.
            if hop.isTakenOver { hop.close() }
            hop.link.openAhead(job: hop.engineJob, firstBlock: hop.firstBlock, blockCount: hop.blockCount)
        }
    }

    /// Whether every hop that has computed less than the one before it can be given what entered there.
    private var hasWhatIsNeeded: Bool {
        zip(caches, caches.dropFirst()).allSatisfy { before, after in
            after.rows >= before.rows || states.rowCount(entering: after.hop.firstBlock) >= before.rows
        }
    }

    /// Computes whatever is known so far and not in the caches, with the step boundaries that it had when it was first
    /// computed. `last` is then the hidden state after the last token.
    nonisolated(nonsending) func rebuild(_ attempt: Attempt) async throws {
        do {
            try await computeMissing(attempt)
        } catch is StatesMissing {
            // Other jobs took the room that was left meanwhile.
            for hop in attempt.hops { hop.close() }
            caches = attempt.hops.map { HopCache(hop: $0) }
            last = []
            openDoubtful()
            try await computeMissing(attempt)
        }
    }

    private nonisolated(nonsending) func computeMissing(_ attempt: Attempt) async throws {
        moment = []
        var position = 0
        for (tokens, rows) in [(prompt, EngineMemory.stepTokens), (generated, frontend.replayRows)] {
            for start in stride(from: 0, to: tokens.count, by: rows) {
                let chunk = Array(tokens[start..<min(tokens.count, start + rows)])
                try await carry(chunk, from: position, attempt)
                position += chunk.count
            }
        }
    }

    /// Carries tokens through those hops that have not computed them.
    /// - Parameter start: position of the first token.
    nonisolated(nonsending) func carry(_ tokens: [Int32], from start: Int, _ attempt: Attempt) async throws {
        let end = start + tokens.count
        // What left the hop before, to the last row; empty if that has nothing to compute.
        var leaving: [Float] = []
        for (index, hop) in attempt.hops.enumerated() {
            guard caches[index].rows < end else {
                leaving = []
                continue
            }
            let first = max(start, caches[index].rows)
            let entering = try await entering(index, hop, first..<end, tokens, leaving)
            leaving = try await step(index, hop, first..<end, entering)
            moment = Array(leaving.suffix(frontend.width))
            if index + 1 < attempt.hops.count {
                states.add(leaving, from: first, entering: attempt.hops[index + 1].firstBlock)
            } else {
                last = moment
            }
            try attempt.checkWanted()
        }
    }

    /// Hidden states of rows at the entrance of a hop: from the hop before, else from the tokens or as they were kept.
    private nonisolated(nonsending) func entering(
        _ index: Int, _ hop: AttemptHop, _ rows: Range<Int>, _ tokens: [Int32], _ leaving: [Float]
    ) async throws -> [Float] {
        let count = rows.count * frontend.width
        if leaving.count == count { return leaving }
        if leaving.count > count { return Array(leaving.suffix(count)) }
        var entering: [Float]
        if index == 0 {
            entering = try await frontend.embed(Array(tokens.suffix(rows.count)), position: rows.lowerBound)
        } else {
            guard let kept = states.values(of: rows, entering: hop.firstBlock) else {
                throw StatesMissing()
            }
            entering = kept
        }
        frontend.follow(moment, in: &entering)
        return entering
    }

    private nonisolated(nonsending) func step(
        _ index: Int, _ hop: AttemptHop, _ rows: Range<Int>, _ entering: [Float]
    ) async throws -> [Float] {
        caches[index].isInDoubt = true
        do {
            let leaving = try await hop.link.step(
                job: hop.engineJob, position: rows.lowerBound, tokenCount: rows.count, hidden: entering)
            caches[index].rows = rows.upperBound
            caches[index].isInDoubt = false
            return leaving
        } catch let error as LinkError {
            throw HopFailure(hop: hop, error: error)
        }
    }
}
