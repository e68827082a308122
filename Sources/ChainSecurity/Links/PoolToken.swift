import Foundation

/// A secret that an orchestrator and its block servers share.
public struct PoolToken: Hashable, Sendable {
    private let secret: [UInt8]

    /// Fewest and most bytes of a token.
    package static let sizes = 16...4096

    /// - Parameter secret: at least 16 bytes.
    package init(secret: [UInt8]) { self.secret = secret }

    /// Reads a token's file: one line.
    public init(file path: String) throws(SecurityError) {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw .unusable(
                file: path, reason: "the token cannot be read; make one with `chainserve key token FILE`")
        }
        let text = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        guard Self.sizes.contains(text.utf8.count) else {
            throw .unusable(
                file: path,
                reason: "a token has \(Self.sizes.lowerBound) to \(Self.sizes.upperBound) bytes;"
                    + " make one with `chainserve key token FILE`")
        }
        guard !PrivateFile.isOpenToOthers(path) else {
            throw .unusable(
                file: path, reason: "others may read this token; forbid it with `chmod 600 \(path)`")
        }
        secret = Array(text.utf8)
    }

    /// Writes a new token of 256 random bits to a file of its owner alone.
    public static func make(file path: String) throws(SecurityError) {
        var generator = SystemRandomNumberGenerator()
        let bytes = (0..<32).map { _ in UInt8.random(in: 0...255, using: &generator) }
        try PrivateFile.write(
            Array(SHA256Digest.hexadecimal(bytes).utf8) + [0x0A], to: path,
            orThrow: SecurityError.unusable(file: path, reason: "the token cannot be written"))
    }

    /// HMAC-SHA-256 (RFC 2104) of a message under the token.
    package func authenticationCode(of message: [UInt8]) -> SHA256Digest {
        var key = secret.count > 64 ? SHA256Digest(of: secret).bytes : secret
        key += [UInt8](repeating: 0, count: 64 - key.count)
        let inner = SHA256Digest(of: key.map { $0 ^ 0x36 } + message)
        return SHA256Digest(of: key.map { $0 ^ 0x5C } + inner.bytes)
    }
}
