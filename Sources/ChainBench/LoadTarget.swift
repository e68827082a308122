import ChainSecurity
import Foundation
import NIOCore
import NIOHTTP1

/// The service that is measured, and how it is asked.
public struct LoadTarget: Sendable {
    public enum Endpoint: String, CaseIterable, Sendable {
        case chat
        case completions

        var path: String {
            switch self {
            case .chat: "/v1/chat/completions"
            case .completions: "/v1/completions"
            }
        }
    }

    public var host: String
    public var port: Int
    /// HTTPS.
    public let isSecure: Bool
    /// An authority's file was named, so that the system's are not asked.
    let hasOwnAuthority: Bool
    let protection: LinkProtection
    /// Path before `/v1`, without a slash at its end; usually empty.
    public var prefix: String
    public var model: String
    public var endpoint: Endpoint
    public var isStreamed: Bool
    /// Sent with each request; never printed.
    public var apiKey: String?
    /// Further header fields.
    public var headers: [(name: String, value: String)] = []
    /// Ask the model not to stop before the length asked for (vLLM's `ignore_eos`).
    public var ignoresEndOfText: Bool
    public var timeout: TimeAmount = .seconds(600)
    public var connectTimeout: TimeAmount = .seconds(10)
    /// Bytes of one event or one whole answer.
    public var largestAnswer = 16 << 20

    public struct InvalidURL: Error, CustomStringConvertible {
        public var url: String
        public var description: String {
            "--url '\(url)' is not a URL such as http://127.0.0.1:8000 or https://llm.example.org"
        }
    }

    /// - Parameters:
    ///   - url: the service's root, or its `/v1`.
    ///   - authority: for HTTPS: a file with the certificates that the service's must be from, PEM; `nil` trusts those
    ///     that the system trusts.
    /// - Throws: `InvalidURL`; `SecurityError` when HTTPS is not to be had or the file cannot be used.
    public init(
        url: String, model: String = "", endpoint: Endpoint = .chat, isStreamed: Bool = true,
        ignoresEndOfText: Bool = true, trusting authority: String? = nil
    ) throws {
        guard let address = URLComponents(string: url), let scheme = address.scheme?.lowercased(),
            ["http", "https"].contains(scheme), let host = address.host, !host.isEmpty, address.query == nil
        else { throw InvalidURL(url: url) }
        isSecure = scheme == "https"
        hasOwnAuthority = authority != nil
        protection = isSecure ? try .httpsClient(trusting: authority) : .none
        self.host = host.hasPrefix("[") ? String(host.dropFirst().dropLast()) : host
        port = address.port ?? (isSecure ? 443 : 80)
        var path = address.path
        while path.hasSuffix("/") { path.removeLast() }
        prefix = path.hasSuffix("/v1") ? String(path.dropLast(3)) : path
        self.model = model
        self.endpoint = endpoint
        self.isStreamed = isStreamed
        self.ignoresEndOfText = ignoresEndOfText
    }

    /// The first line and header fields of a request with a body of `length` bytes.
    func head(_ method: HTTPMethod, path: String, length: Int) -> HTTPRequestHead {
        var fields = HTTPHeaders()
        let name = host.contains(":") ? "[\(host)]" : host
        fields.add(name: "host", value: port == (isSecure ? 443 : 80) ? name : "\(name):\(port)")
        fields.add(name: "user-agent", value: "chainserve-bench")
        if length > 0 { fields.add(name: "content-type", value: "application/json") }
        fields.add(name: "content-length", value: "\(length)")
        if let apiKey { fields.add(name: "authorization", value: "Bearer \(apiKey)") }
        for (name, value) in headers { fields.add(name: name, value: value) }
        return HTTPRequestHead(version: .http1_1, method: method, uri: prefix + path, headers: fields)
    }

    private struct Body: Encodable {
        struct Message: Encodable {
            var role = "user"
            var content: String
        }
        struct StreamOptions: Encodable { var includeUsage = true }
        var model: String
        var messages: [Message]?
        var prompt: String?
        var maxTokens: Int
        var temperature = 0
        var stream: Bool
        var streamOptions: StreamOptions?
        var ignoreEos: Bool?
    }

    func body(prompt: String, outputTokens: Int) throws -> ByteBuffer {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        encoder.keyEncodingStrategy = .convertToSnakeCase
        return ByteBuffer(
            bytes: try encoder.encode(
                Body(
                    model: model, messages: endpoint == .chat ? [.init(content: prompt)] : nil,
                    prompt: endpoint == .completions ? prompt : nil, maxTokens: outputTokens,
                    stream: isStreamed, streamOptions: isStreamed ? .init() : nil,
                    ignoreEos: ignoresEndOfText ? true : nil)))
    }
}
