import Foundation
import Synchronization

/// Who may come in: the keys of a keys file, with the limits of each. The file is read again when it changes, so that
/// a key that is removed stops working within a second and no restart.
package final class KeyRing: Sendable {
    package typealias Time = ContinuousClock.Instant

    package enum Refusal: Error, Hashable, Sendable {
        /// No key was given.
        case missing
        /// The key is none of ours.
        case unknown
        /// The key's rights do not reach so far.
        case forbidden(client: String, needs: KeyFile.Right)
        /// Too many requests a minute; seconds until the next is welcome.
        case tooOften(client: String, retryAfter: Double, perMinute: Int)
        /// Too many requests at once.
        case tooManyAtOnce(client: String, limit: Int)
    }

    private struct Client {
        var digest: SHA256Digest
        var entry: KeyFile.Entry
    }

    /// What a client has used: kept by name, also when the file is read again.
    private struct Usage {
        var inFlight = 0
        /// Requests that may come at once now; grows by the minute up to its bound.
        var tokens: Double
        var countedAt: Time
    }

    private struct State {
        var clients: [Client]
        var usage: [String: Usage] = [:]
        var stamp: FileStamp?
        var lookedAt: Time
    }

    /// How often the file is looked at.
    private static let lookInterval = Swift.Duration.seconds(1)

    private let path: String?
    private let onProblem: @Sendable (String) -> Void
    private let state: Mutex<State>

    /// - Parameter onProblem: told once when a changed file cannot be read; the keys before stay in force.
    package init(path: String, onProblem: @escaping @Sendable (String) -> Void = { _ in })
        throws(KeyFileError)
    {
        self.path = path
        self.onProblem = onProblem
        let stamp = FileStamp(path)
        state = Mutex(
            State(clients: Self.clients(try KeyFile.read(path)), stamp: stamp, lookedAt: .now))
    }

    package init(_ file: KeyFile) {
        path = nil
        onProblem = { _ in }
        state = Mutex(State(clients: Self.clients(file), lookedAt: .now))
    }

    private static func clients(_ file: KeyFile) -> [Client] {
        file.keys.compactMap { entry in
            SHA256Digest(hexadecimal: entry.sha256).map { Client(digest: $0, entry: entry) }
        }
    }

    // MARK: Asking

    /// Whose key this is, and whether it may do this.
    /// - Complexity: O(keys), the same whichever matches.
    package func admit(_ key: String?, for right: KeyFile.Right, at now: Time) throws(Refusal) -> String {
        guard let key, !key.isEmpty else { throw .missing }
        let digest = SHA256Digest(of: key.utf8)
        let entry: KeyFile.Entry? = state.withLock { state in
            refresh(&state, at: now)
            var found: KeyFile.Entry?
            for client in state.clients where client.digest.equalsInConstantTime(digest) {
                found = client.entry
            }
            return found
        }
        guard let entry else { throw .unknown }
        guard entry.rights.contains(right) else { throw .forbidden(client: entry.name, needs: right) }
        return entry.name
    }

    /// Counts a request of a client in; the place is left when it says so, or is let go.
    package func enter(_ client: String, at now: Time) throws(Refusal) -> Place {
        let refusal: Refusal? = state.withLock { state in
            guard let entry = state.clients.first(where: { $0.entry.name == client })?.entry else {
                return .unknown
            }
            let burst = Double(entry.requestsPerMinute ?? 0)
            var usage = state.usage[client] ?? Usage(tokens: burst, countedAt: now)
            if let limit = entry.requestsInFlight, usage.inFlight >= limit {
                return .tooManyAtOnce(client: client, limit: limit)
            }
            if let perMinute = entry.requestsPerMinute {
                let elapsed = max(0, (now - usage.countedAt).inSeconds)
                usage.tokens = min(burst, usage.tokens + elapsed * Double(perMinute) / 60)
                usage.countedAt = max(now, usage.countedAt)
                guard usage.tokens >= 1 else {
                    state.usage[client] = usage
                    let wait = (1 - usage.tokens) * 60 / Double(perMinute)
                    return .tooOften(client: client, retryAfter: wait, perMinute: perMinute)
                }
                usage.tokens -= 1
            }
            usage.inFlight += 1
            state.usage[client] = usage
            return nil
        }
        if let refusal { throw refusal }
        return Place(self, client)
    }

    /// One request of a client, while it is served.
    package final class Place: Sendable {
        private let ring: KeyRing
        package let client: String
        private let isInside = Atomic(true)

        fileprivate init(_ ring: KeyRing, _ client: String) {
            self.ring = ring
            self.client = client
        }

        deinit { leave() }

        package func leave() {
            guard isInside.exchange(false, ordering: .relaxed) else { return }
            ring.state.withLock { $0.usage[client]?.inFlight -= 1 }
        }
    }

    package func inFlight(_ client: String) -> Int { state.withLock { $0.usage[client]?.inFlight ?? 0 } }

    // MARK: The file

    private func refresh(_ state: inout State, at now: Time) {
        guard let path, now - state.lookedAt >= Self.lookInterval else { return }
        state.lookedAt = now
        let stamp = FileStamp(path)
        guard stamp != state.stamp else { return }
        state.stamp = stamp
        do throws(KeyFileError) {
            state.clients = Self.clients(try KeyFile.read(path))
        } catch {
            onProblem("\(error); the keys read before stay in force")
        }
    }
}

/// Tells whether a file is the one that was read.
private struct FileStamp: Hashable, Sendable {
    private let values: [Int]

    init?(_ path: String) {
        var information = stat()
        guard stat(path, &information) == 0 else { return nil }
        #if canImport(Darwin)
            let modified = information.st_mtimespec
        #else
            let modified = information.st_mtim
        #endif
        values = [
            Int(information.st_ino), Int(information.st_size), Int(modified.tv_sec), Int(modified.tv_nsec),
        ]
    }
}

extension Swift.Duration {
    package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}
