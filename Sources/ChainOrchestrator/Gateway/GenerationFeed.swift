import Synchronization

/// The way of one job's events from whoever serves it to its one reader: `yield` them, then `finish`.
///
/// Events wait here until they are read, which may be by a task (`next() async`) or by callbacks (`take` and `onNews`).
/// Their number is bounded by the model's length, so a slow client costs at most that many and never holds up the chain.
package final class GenerationFeed: Sendable {
    typealias Time = ContinuousClock.Instant

    /// When something is worth telling.
    enum News {
        case anyEvent
        /// The last one, which ends the job; those before it wait.
        case end
    }

    enum Taken {
        case event(GenerationEvent, at: Time)
        /// No more for now.
        case nothing
        /// No more at all.
        case end
    }

    private enum Reader {
        case nobody
        case task(CheckedContinuation<Void, Never>)
        case callback(News, @Sendable () -> Void)
    }

    private struct State {
        /// With the moments at which they happened; those before `first` have been taken.
        var events: [(event: GenerationEvent, time: Time)] = []
        var first = 0
        var isFinished = false
        var reader = Reader.nobody
        /// The callback has been told since something was last taken.
        var isTold = false

        mutating func take() -> Taken {
            guard first < events.count else {
                isTold = false
                return isFinished ? .end : .nothing
            }
            let (event, time) = events[first]
            first += 1
            if first == events.count {
                events.removeAll(keepingCapacity: true)
                first = 0
            }
            return .event(event, at: time)
        }

        /// Whoever is to be told that there is news.
        mutating func reader(of news: News) -> Reader {
            switch reader {
            case .nobody: return .nobody
            case .task:
                defer { reader = .nobody }
                return reader
            case .callback(.end, _) where news == .anyEvent: return .nobody
            case .callback:
                if isTold { return .nobody }
                isTold = true
                return reader
            }
        }
    }

    private let state = Mutex(State())

    package init() {}

    /// Ignored after `finish`.
    package func yield(_ event: GenerationEvent) {
        let now = ContinuousClock.now
        let reader = state.withLock { state in
            guard !state.isFinished else { return Reader.nobody }
            state.events.append((event, now))
            return state.reader(of: event.isLast ? .end : .anyEvent)
        }
        tell(reader)
    }

    package func finish() {
        let reader = state.withLock { state in
            if state.isFinished { return Reader.nobody }
            state.isFinished = true
            return state.reader(of: .end)
        }
        tell(reader)
    }

    var isFinished: Bool { state.withLock { $0.isFinished } }

    private func tell(_ reader: Reader) {
        switch reader {
        case .nobody: break
        case .task(let continuation): continuation.resume()
        case .callback(_, let tell): tell()
        }
    }

    // MARK: Reading

    /// The next event, if there is one.
    func take() -> Taken { state.withLock { $0.take() } }

    /// Has `tell` called, on any thread, when there is news after `take` found nothing; at once where there is some
    /// already. It must not wait, and is better not the one who takes: whoever yields may hold locks.
    func onNews(_ news: News, _ tell: @escaping @Sendable () -> Void) {
        let reader = state.withLock { state in
            state.reader = .callback(news, tell)
            let hasLast = state.isFinished || state.events.last?.event.isLast == true
            if hasLast { return state.reader(of: .end) }
            return state.events.isEmpty ? .nobody : state.reader(of: .anyEvent)
        }
        self.tell(reader)
    }

    /// The next event; `nil` when there are no more. Ends, too, when the feed is finished meanwhile.
    nonisolated(nonsending) func next() async -> (event: GenerationEvent, time: Time)? {
        while true {
            switch take() {
            case .event(let event, let time): return (event, time)
            case .end: return nil
            case .nothing: break
            }
            await withCheckedContinuation { continuation in
                let hasNews = state.withLock { state in
                    if state.first < state.events.count || state.isFinished { return true }
                    state.reader = .task(continuation)
                    return false
                }
                if hasNews { continuation.resume() }
            }
        }
    }
}

extension GenerationEvent {
    /// The job is over with it.
    var isLast: Bool {
        switch self {
        case .finished, .failed: true
        case .queued, .started, .token: false
        }
    }
}
