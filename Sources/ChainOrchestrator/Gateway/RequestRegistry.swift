import ChainSecurity
import Synchronization

/// The requests in flight: keeps their number bounded and their identifiers unique.
final class RequestRegistry: Sendable {
    enum Refusal: Error, Hashable {
        case full
        case duplicate
    }

    private let limit: Int
    /// Identifiers, each with the client whose request it is.
    private let identifiers = Mutex<[String: String?]>([:])

    init(limit: Int) { self.limit = limit }

    var count: Int { identifiers.withLock { $0.count } }

    /// A request's place. Left when it says so, and at the latest when nothing refers to it any more.
    final class Entry: Sendable {
        private let registry: RequestRegistry
        private let requestID: String
        /// The client's place, left with this one.
        private let place: KeyRing.Place?
        private let isInside = Atomic(true)

        fileprivate init(_ registry: RequestRegistry, _ requestID: String, _ place: KeyRing.Place?) {
            self.registry = registry
            self.requestID = requestID
            self.place = place
        }

        deinit { leave() }

        func leave() {
            guard isInside.exchange(false, ordering: .relaxed) else { return }
            registry.leave(requestID)
            place?.leave()
        }
    }

    /// - Parameter place: of the client that asks; it is left with the entry.
    func enter(_ requestID: String, _ place: KeyRing.Place? = nil) throws(Refusal) -> Entry {
        let refusal: Refusal? = identifiers.withLock { identifiers in
            if identifiers[requestID] != nil { return .duplicate }
            if identifiers.count >= limit { return .full }
            identifiers.updateValue(place?.client, forKey: requestID)
            return nil
        }
        if let refusal { throw refusal }
        return Entry(self, requestID, place)
    }

    private func leave(_ requestID: String) {
        identifiers.withLock { _ = $0.removeValue(forKey: requestID) }
    }

    /// Whether a request in flight is this client's.
    func holds(_ requestID: String, of client: String) -> Bool {
        identifiers.withLock { $0[requestID] == .some(client) }
    }
}
