import ChainSecurity
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import Synchronization

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// What the gateway needs of a request's surroundings: the connection it came over.
struct GatewayContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }
}

/// Routes requests and turns every outcome into a response.
struct GatewayResponder: HTTPResponder {
    typealias Context = GatewayContext

    let service: any GenerationService
    let configuration: GatewayConfiguration
    let registry: RequestRegistry
    let access: AccessControl
    let sight: SightResponder
    let logger: Logger
    /// Seconds since 1970, for `created`.
    let now: @Sendable () -> Int
    let date = HTTPDate()

    private enum Route {
        case health, ready, status, models
        case model(String)
        case generation, tokenize, detokenize
        case cancel(String)
        case restart
        case sight(SightResponder.Route)

        /// The right that a key needs for it; `nil` where none is asked for.
        var right: KeyFile.Right? {
            switch self {
            case .health, .ready: nil
            case .status, .sight: .observe
            case .models, .model, .generation, .tokenize, .detokenize, .cancel: .generate
            case .restart: .operate
            }
        }
    }

    @Sendable func respond(to request: Request, context: GatewayContext) async throws -> Response {
        let requestID: String
        var response: Response
        do throws(APIError) {
            requestID = try self.requestID(of: request.head)
        } catch {
            return finished(Self.response(to: error), to: request, requestID: Self.newID())
        }
        do {
            response = try await respond(to: request, requestID: requestID, channel: context.channel)
        } catch {
            response = Self.response(to: APIError(any: error))
        }
        if request.method == .head {
            let length = response.body.contentLength
            response.body = ResponseBody()
            response.headers[.contentLength] = length.map { "\($0)" }
        }
        return finished(response, to: request, requestID: requestID)
    }

    private func finished(_ response: Response, to request: Request, requestID: String) -> Response {
        var response = response
        if request.headers[.connection] == "close" { response.headers[.connection] = "close" }
        finish(response.status, requestID: requestID) { name, value in
            response.headers.append(HTTPField(name: name, value: value))
        }
        return response
    }

    /// Adds what every response carries, and counts it.
    func finish(
        _ status: HTTPResponse.Status, requestID: String, add: (HTTPField.Name, String) -> Void
    ) {
        add(.requestID, requestID)
        if service.modelCard.isEmulated { add(.engine, "emulated") }
        access.metrics.responded(status.code).increment()
    }

    // MARK: Routing

    private nonisolated(nonsending) func respond(
        to request: Request, requestID: String, channel: any Channel
    ) async throws -> Response {
        let (route, method) = try route(of: request)
        let client = try route.right.flatMap { right throws(APIError) in
            try access.admit(request.head, for: right)
        }
        guard request.method == method || (request.method == .head && method == .get) else {
            throw APIError.wrongMethod(request.method.rawValue, allowed: method.rawValue)
        }
        switch route {
        case .health: return await health()
        case .ready: return await ready()
        case .status:
            let status = await service.status()
            return Self.json(status.write)
        case .models:
            return Self.json { writer in
                writer.field("object", "list")
                writer.arrayField("data") { $0.object(writeModelCard) }
            }
        case .model(let id):
            guard id == service.modelCard.id else { throw GenerationRefusal.unknownModel(id) }
            return Self.json(writeModelCard)
        case .tokenize: return try tokenize(try await body(of: request))
        case .detokenize: return try detokenize(try await body(of: request))
        case .cancel(let id): return try await cancel(id, for: client)
        // Those that have come here by the right method are answered in `GenerationLane`.
        case .generation: throw APIError.wrongMethod(request.method.rawValue, allowed: method.rawValue)
        case .restart: return try await restart(request, channel)
        case .sight(let route): return try await sight.respond(route, channel: channel)
        }
    }

    private func route(of request: Request) throws -> (Route, HTTPRequest.Method) {
        let path = request.uri.path
        if let route = SightResponder.route(path) { return (.sight(route), .get) }
        let segments = Self.segments(of: path[...])
        if let (_, method) = GenerationRoute.at(segments) { return (.generation, method) }
        switch segments.first {
        case "health" where segments.count == 1: return (.health, .get)
        case "ready" where segments.count == 1: return (.ready, .get)
        case "status" where segments.count == 1: return (.status, .get)
        case "admin" where segments.count == 2 && segments[1] == "restart": return (.restart, .post)
        case "tokenize" where segments.count == 1: return (.tokenize, .post)
        case "detokenize" where segments.count == 1: return (.detokenize, .post)
        case "v1" where segments.count > 1:
            let rest = segments[2...]
            switch segments[1] {
            case "models" where rest.isEmpty: return (.models, .get)
            // A model's name may hold slashes.
            case "models": return (.model(rest.joined(separator: "/")), .get)
            case "requests" where rest.count == 1: return (.cancel(segments[2]), .delete)
            case "requests" where rest.count == 2 && segments[3] == "cancel":
                return (.cancel(segments[2]), .post)
            default: break
            }
        default: break
        }
        throw APIError.unknownPath(path)
    }

    static func segments(of path: Substring) -> [String] {
        path.split(separator: "/").map { percentDecoded($0) }
    }

    /// What is not a valid escape stays as it is.
    private static func percentDecoded(_ text: Substring) -> String {
        guard text.utf8.contains(UInt8(ascii: "%")) else { return String(text) }
        let bytes = Array(text.utf8)
        var decoded: [UInt8] = []
        var index = 0
        while index < bytes.count {
            if bytes[index] == UInt8(ascii: "%"), index + 2 < bytes.count,
                let high = Character(UnicodeScalar(bytes[index + 1])).hexDigitValue,
                let low = Character(UnicodeScalar(bytes[index + 2])).hexDigitValue
            {
                decoded.append(UInt8(high << 4 | low))
                index += 3
            } else {
                decoded.append(bytes[index])
                index += 1
            }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    // MARK: What comes in

    /// The client's `X-Request-ID`, or a new one.
    func requestID(of head: HTTPRequest) throws(APIError) -> String {
        guard let given = head.headerFields[.requestID] else { return Self.newID() }
        let isPrintable = given.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7F }
        guard (1...RequestLimits.requestIDLength).contains(given.utf8.count), isPrintable else {
            throw APIError.invalid(
                "X-Request-ID must be 1 to \(RequestLimits.requestIDLength) printable ASCII characters",
                parameter: "X-Request-ID", code: "invalid_value")
        }
        return given
    }

    /// 32 hexadecimal digits: 12 of the time in milliseconds, 4 of a count, 16 by chance. Those of one time lie side by side
    /// in the journal's index, where identifiers by chance alone would have it write another page for each.
    static func newID() -> String {
        let milliseconds = UInt64(max(0, Date().timeIntervalSince1970) * 1000)
        let count = UInt64(identifierCount.wrappingAdd(1, ordering: .relaxed).newValue)
        let (high, low) = (milliseconds << 16 | count, UInt64.random(in: .min ... .max))
        return String(unsafeUninitializedCapacity: 32) { digits in
            for position in 0..<32 {
                let half = position < 16 ? high : low
                let digit = UInt8(truncatingIfNeeded: half >> (60 - 4 * UInt64(position % 16)) & 15)
                digits[position] = digit < 10 ? 0x30 + digit : 0x57 + digit
            }
            return 32
        }
    }

    private static let identifierCount = Atomic<UInt16>(0)

    /// The body as JSON. Whatever its content type says: `curl -d` says form data.
    nonisolated(nonsending) func body(of request: Request) async throws -> JSONValue {
        let limit = configuration.bodyLimit
        if let length = request.headers[.contentLength].flatMap({ Int($0) }), length > limit {
            throw APIError.bodyTooLarge(limit: limit)
        }
        let buffer: ByteBuffer
        do {
            buffer = try await request.body.collect(upTo: limit)
        } catch is NIOTooManyBytesError {
            throw APIError.bodyTooLarge(limit: limit)
        }
        return try Self.json(in: buffer, of: request.head)
    }

    static func json(in body: ByteBuffer, of head: HTTPRequest) throws(APIError) -> JSONValue {
        do throws(JSONError) {
            return try JSONParser.parse(Array(body.readableBytesView))
        } catch {
            if let coding = head.headerFields[.contentEncoding], coding.lowercased() != "identity" {
                throw .codedBody(coding)
            }
            throw .invalid("the body is not valid JSON: \(error)", code: "invalid_json")
        }
    }

    // MARK: What goes out

    static func json(
        status: HTTPResponse.Status = .ok, _ body: (inout JSONWriter) -> Void
    ) -> Response {
        response(status: status, json: JSONWriter.object(body))
    }

    static func response(status: HTTPResponse.Status = .ok, json: [UInt8]) -> Response {
        Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: json)))
    }

    private static func response(to error: APIError) -> Response {
        var response = json(status: error.status, error.write)
        response.headers.append(contentsOf: error.headers)
        return response
    }

    // MARK: Small routes

    /// 200 as long as the process answers at all.
    private func health() async -> Response {
        let readiness = await service.readiness()
        return Self.json { writer in
            writer.field("status", "ok")
            writer.field("ready", readiness == .ready)
            writer.field("emulated", service.modelCard.isEmulated)
        }
    }

    private func ready() async -> Response {
        let (status, reason): (String, String)
        switch await service.readiness() {
        case .ready: return Self.json { $0.field("status", "ready") }
        case .starting(let text): (status, reason) = ("starting", text)
        case .draining: (status, reason) = ("draining", "finishing what is accepted, taking nothing new")
        case .unavailable(let text): (status, reason) = ("unavailable", text)
        }
        let error = APIError(GenerationFailure.unavailable(message: reason))
        return Self.json(status: .serviceUnavailable) { writer in
            writer.field("status", status)
            writer.field("reason", reason)
            error.write(into: &writer)
        }
    }

    private func writeModelCard(into writer: inout JSONWriter) {
        let card = service.modelCard
        writer.field("id", card.id)
        writer.field("object", "model")
        writer.field("created", card.created)
        writer.field("owned_by", card.ownedBy)
        writer.field("root", card.root)
        writer.nullField("parent")
        writer.field("max_model_len", card.maximumModelLength)
        if card.isEmulated { writer.field("emulated", true) }
    }

    /// - Parameters:
    ///   - id: a request's identifier, or the `id` of its answer.
    ///   - client: who asks; a client gives up no other's requests.
    private func cancel(_ id: String, for client: String?) async throws -> Response {
        var candidates = [id]
        for prefix in ["chatcmpl-", "cmpl-"] where id.hasPrefix(prefix) {
            candidates.append(String(id.dropFirst(prefix.count)))
        }
        for candidate in candidates {
            if let client, !registry.holds(candidate, of: client) { continue }
            guard await service.cancel(requestID: candidate) else { continue }
            return Self.json { writer in
                writer.field("id", candidate)
                writer.field("object", "request")
                writer.field("cancelled", true)
            }
        }
        throw APIError.unknownRequest(id)
    }
}
