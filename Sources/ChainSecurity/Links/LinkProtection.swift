import NIOCore

/// How orchestrator and block servers make sure of each other.
public enum LinkSecurity: Hashable, Sendable {
    /// Not at all.
    case plainText
    /// Both know a secret; the traffic itself is in plain text.
    case token(PoolToken)
    /// Mutual TLS under the pool's certificate authority.
    case tls(TLSFiles)
}

/// Files of one party of a pool: its certificate and key, and the authority that the other side's must be from.
public struct TLSFiles: Hashable, Sendable {
    /// Certificates in PEM, the party's own first.
    public var certificate: String
    /// Private key in PEM.
    public var key: String
    /// Certificates of the authority in PEM; `nil` where the other side has none to show.
    public var authority: String?

    public init(certificate: String, key: String, authority: String?) {
        self.certificate = certificate
        self.key = key
        self.authority = authority
    }
}

/// What goes first into the pipeline of a connection between orchestrator and block server. Made once, with all files
/// read; installed in each connection.
package struct LinkProtection: Sendable {
    private let installer: @Sendable (any Channel, _ host: String) throws -> Void

    package static let none = LinkProtection { _, _ in }

    init(_ installer: @escaping @Sendable (any Channel, _ host: String) throws -> Void) {
        self.installer = installer
    }

    /// For the end that listens: the block server.
    package static func server(_ security: LinkSecurity) throws(SecurityError) -> LinkProtection {
        switch security {
        case .plainText: return .none
        case .token(let token):
            return LinkProtection { channel, _ in
                try channel.pipeline.syncOperations.addHandler(TokenHandler(token: token, role: .server))
            }
        case .tls(let files):
            #if TLS
                return try tlsServer(files)
            #else
                _ = files
                throw .withoutTLS
            #endif
        }
    }

    /// For the end that connects: the orchestrator.
    package static func client(_ security: LinkSecurity) throws(SecurityError) -> LinkProtection {
        switch security {
        case .plainText: return .none
        case .token(let token):
            return LinkProtection { channel, _ in
                try channel.pipeline.syncOperations.addHandler(TokenHandler(token: token, role: .client))
            }
        case .tls(let files):
            #if TLS
                return try tlsClient(files)
            #else
                _ = files
                throw .withoutTLS
            #endif
        }
    }

    /// On the channel's event loop, before any other handler is added.
    /// - Parameter host: the name or address connected to; of no importance to a server.
    package func install(on channel: any Channel, host: String = "") throws { try installer(channel, host) }
}

/// What went wrong on a connection, in words that help.
package enum ConnectionProblem {
    package static func text(_ error: any Error) -> String {
        if let error = error as? SecurityError { return error.description }
        #if TLS
            if let text = tlsText(error) { return text }
        #endif
        return "\(error)"
    }
}
