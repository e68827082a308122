import Foundation

/// The API keys that a service accepts, as its keys file holds them: hashes, never the keys.
package struct KeyFile: Hashable, Sendable, Codable {
    package enum Right: String, Hashable, Sendable, Codable, CaseIterable {
        /// Generate text, list models, count tokens.
        case generate
        /// See the dashboard, the metrics and the status.
        case observe
        /// Restart block servers.
        case operate
    }

    package struct Entry: Hashable, Sendable, Codable {
        /// The client's name, unique in the file. Shown in logs and metrics.
        package var name: String
        /// SHA-256 of the key, 64 hexadecimal digits.
        package var sha256: String
        package var rights: [Right]
        /// Most requests of this client queued or running at once; `nil` for no bound.
        package var requestsInFlight: Int?
        /// Requests a minute, on average; as many may come at once. `nil` for no bound.
        package var requestsPerMinute: Int?

        private enum CodingKeys: String, CodingKey {
            case name, sha256, rights
            case requestsInFlight = "requests_in_flight"
            case requestsPerMinute = "requests_per_minute"
        }
    }

    package var keys: [Entry]

    package init(keys: [Entry] = []) { self.keys = keys }

    /// Longest name of a client, characters.
    static let nameLimit = 64
    /// Most keys of a file: every one is compared with at each request.
    static let keyLimit = 1000

    // MARK: Changing

    /// Adds a client and makes its key.
    /// - Returns: the key, which nothing keeps.
    package mutating func add(
        _ name: String, rights: [Right], requestsInFlight: Int?, requestsPerMinute: Int?
    ) throws(KeyFileError) -> String {
        let isPrintable = name.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F && $0 != UInt8(ascii: ":") }
        guard (1...Self.nameLimit).contains(name.utf8.count), isPrintable else { throw .badName(name) }
        guard !keys.contains(where: { $0.name == name }) else { throw .nameTaken(name) }
        guard keys.count < Self.keyLimit else { throw .tooManyKeys(Self.keyLimit) }
        let key = Self.makeKey()
        keys.append(
            Entry(
                name: name, sha256: SHA256Digest(of: key.utf8).hexadecimal,
                rights: Right.allCases.filter(rights.contains), requestsInFlight: requestsInFlight,
                requestsPerMinute: requestsPerMinute))
        return key
    }

    package mutating func remove(_ name: String) throws(KeyFileError) {
        guard let index = keys.firstIndex(where: { $0.name == name }) else { throw .unknownName(name) }
        keys.remove(at: index)
    }

    /// 256 random bits. Keys must not be foreseeable, so this is the system's generator and no seeded one.
    private static func makeKey() -> String {
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }
        return "cs-" + SHA256Digest.hexadecimal(bytes)
    }

    // MARK: Reading and writing

    package static func read(_ path: String) throws(KeyFileError) -> KeyFile {
        guard let data = FileManager.default.contents(atPath: path) else { throw .unreadable(path) }
        let file: KeyFile
        do {
            file = try JSONDecoder().decode(KeyFile.self, from: data)
        } catch {
            throw .malformed(path, "it is not a keys file; make one with `chainserve key add NAME`")
        }
        guard file.keys.count <= keyLimit else { throw .tooManyKeys(keyLimit) }
        for (index, entry) in file.keys.enumerated() {
            guard SHA256Digest(hexadecimal: entry.sha256) != nil else {
                throw .malformed(path, "the sha256 of '\(entry.name)' is not 64 hexadecimal digits")
            }
            if file.keys[..<index].contains(where: { $0.name == entry.name }) {
                throw .malformed(path, "'\(entry.name)' is there twice")
            }
            if (entry.requestsInFlight ?? 1) < 1 || (entry.requestsPerMinute ?? 1) < 1 {
                throw .malformed(path, "the limits of '\(entry.name)' must be at least 1")
            }
        }
        return file
    }

    /// Replaces the file in one step; only its owner may read it.
    package func write(_ path: String) throws(KeyFileError) {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        guard let data = try? encoder.encode(self) else { throw .unwritable(path) }
        try PrivateFile.write(Array(data) + [0x0A], to: path, orThrow: KeyFileError.unwritable(path))
    }
}

package enum KeyFileError: Error, Hashable, Sendable, CustomStringConvertible {
    case unreadable(String)
    case unwritable(String)
    case malformed(String, String)
    case badName(String)
    case nameTaken(String)
    case unknownName(String)
    case tooManyKeys(Int)

    package var description: String {
        switch self {
        case .unreadable(let path):
            "\(path): cannot be read; make it with `chainserve key add NAME --keys \(path)`, or correct --keys"
        case .unwritable(let path): "\(path): cannot be written; check the folder and its permissions"
        case .malformed(let path, let reason): "\(path): \(reason)"
        case .badName(let name):
            "'\(name)' is no name for a client: use 1 to \(KeyFile.nameLimit) printable ASCII characters"
                + " without spaces and colons"
        case .nameTaken(let name): "there is a key for '\(name)' already; remove it first"
        case .unknownName(let name): "there is no key for '\(name)'; `chainserve key list` shows the names"
        case .tooManyKeys(let limit): "a keys file holds \(limit) keys at most"
        }
    }
}
