import ChainSecurity

/// Where the gateway listens and the bounds it keeps. Every bound has a name and a default.
package struct GatewayConfiguration: Sendable {
    /// Address or name to listen on. Anything but a loopback address needs `tls`, or `allowsPlainText`.
    package var host = "127.0.0.1"
    /// 0 takes any free port; `Gateway.run` tells which.
    package var port = 8000
    /// Longest request body, in bytes: 413 above it.
    package var bodyLimit = 4 << 20
    /// Longest head of a request, all header fields together, in bytes.
    package var headerLimit = 32 << 10
    /// Most connections at once; more wait unaccepted. Lowered at start when the process may not open as many
    /// files.
    package var connectionLimit = 4096
    /// Most generation requests in flight at once, queued ones included: 429 above it. The service has its
    /// own, usually lower, bound on its queue.
    package var requestLimit = 2048
    /// A connection with no request in progress, or half a request head, is closed after this long.
    package var idleTimeout: Swift.Duration = .seconds(75)
    /// From a request's head to the end of its body; the connection is closed after that.
    package var bodyTimeout: Swift.Duration = .seconds(30)
    /// How long a client may leave a response unread, its socket full, before the connection is closed.
    package var writeTimeout: Swift.Duration = .seconds(30)
    /// A stream that has had nothing to say for this long says `: ping`.
    package var pingInterval: Swift.Duration = .seconds(5)
    /// Who may come in; `nil` lets everybody in.
    package var keys: KeyRing?
    /// Certificate and key to serve HTTPS with; `nil` serves plain HTTP.
    package var tls: TLSFiles?
    /// Plain HTTP beyond loopback was asked for aloud.
    package var allowsPlainText = false
    /// Prompts and request identifiers are logged.
    package var logsPrompts = false

    package init(host: String = "127.0.0.1", port: Int = 8000) {
        self.host = host
        self.port = port
    }
}

/// Bounds on the fields of a request.
enum RequestLimits {
    static let stopSequences = 4
    /// Bytes of one stop sequence.
    static let stopSequenceLength = 1024
    /// Likeliest tokens shown at each place: chat, completions.
    static let chatLogprobs = 20
    static let completionLogprobs = 5
    static let messages = 4096
    /// Characters of an `X-Request-ID`.
    static let requestIDLength = 128
    /// Tokens when a completion does not say `max_tokens`, as OpenAI has it.
    static let defaultCompletionTokens = 16
}

/// Why the gateway cannot listen.
package enum GatewayError: Error, Hashable, Sendable, CustomStringConvertible {
    case portInUse(port: Int)
    case portNotPermitted(port: Int)
    case cannotListen(host: String, port: Int, reason: String)

    package var description: String {
        switch self {
        case .portInUse(let port):
            "port \(port) is in use; choose another with --port"
        case .portNotPermitted(let port):
            "port \(port) is reserved for privileged processes; choose one above 1023 with --port"
        case .cannotListen(let host, let port, let reason):
            "cannot listen on \(host):\(port) (\(reason)); give an address of this machine with --host"
        }
    }
}
