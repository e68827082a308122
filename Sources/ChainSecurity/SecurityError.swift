/// Why a connection could not be made safe, in a person's words.
public enum SecurityError: Error, Hashable, Sendable, CustomStringConvertible {
    /// The build has no TLS.
    case withoutTLS
    /// A file of a certificate, key or token cannot be used.
    case unusable(file: String, reason: String)
    /// Listening beyond loopback in plain text was not asked for.
    case plainText(host: String)
    /// The other side does not have the pool's token, or has another.
    case token(String)
    /// The other side's certificate is not what it must be.
    case identity(String)
    /// The TLS handshake failed.
    case handshake(String)

    public var description: String {
        switch self {
        case .withoutTLS:
            "this chainserve was built without TLS; build it with `make release`"
                + " (`swift build -c release --traits TLS`)"
        case .unusable(let file, let reason): "\(file): \(reason)"
        case .plainText(let host):
            "\(host) is not a loopback address, and there everybody on the way could read and change the traffic:"
                + " give certificates (--tls-certificate, --tls-key; `chainserve pki` makes them), or say"
                + " --insecure-plain-text"
        case .token(let text): text
        case .identity(let text): text
        case .handshake(let text): text
        }
    }
}

/// Which addresses only this machine can reach.
package enum Loopback {
    package static func contains(_ host: String) -> Bool {
        if host == "localhost" || host == "::1" || host == "[::1]" { return true }
        let parts = host.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 4 && parts[0] == "127" && parts.allSatisfy { UInt8($0) != nil }
    }

    /// - Throws: `SecurityError.plainText`.
    package static func require(_ host: String, unless isAllowed: Bool) throws(SecurityError) {
        guard isAllowed || contains(host) else { throw .plainText(host: host) }
    }
}
