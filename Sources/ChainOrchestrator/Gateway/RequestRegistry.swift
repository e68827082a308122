import Synchronization

/// The requests in flight: keeps their number bounded and their identifiers unique.
final class RequestRegistry: Sendable {
    enum Refusal: Error, Hashable {
        case full
        case duplicate
    }

    private let limit: Int
    private let identifiers = Mutex<Set<String>>([])

    init(limit: Int) { self.limit = limit }

    var count: Int { identifiers.withLock { $0.count } }

    /// A request's place. Left when it says so, and at the latest when nothing refers to it any more.
    final class Entry: Sendable {
        private let registry: RequestRegistry
        private let requestID: String
        private let isInside = Atomic(true)

        fileprivate init(_ registry: RequestRegistry, _ requestID: String) {
            self.registry = registry
            self.requestID = requestID
        }

        deinit { leave() }

        func leave() {
            if isInside.exchange(false, ordering: .relaxed) { registry.leave(requestID) }
        }
    }

    func enter(_ requestID: String) throws(Refusal) -> Entry {
        let refusal: Refusal? = identifiers.withLock { identifiers in
            if identifiers.contains(requestID) { return .duplicate }
            if identifiers.count >= limit { return .full }
            identifiers.insert(requestID)
            return nil
        }
        if let refusal { throw refusal }
        return Entry(self, requestID)
    }

    private func leave(_ requestID: String) {
        identifiers.withLock { _ = $0.remove(requestID) }
    }
}
