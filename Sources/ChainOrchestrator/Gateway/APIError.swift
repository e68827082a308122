import HTTPTypes
import NIOHTTP1

/// An answer that says no, in OpenAI's nested form. The words a client reads about refusals are made here.
struct APIError: Error, Hashable {
    var status: HTTPResponse.Status
    var message: String
    var type: String
    var parameter: String?
    var code: String?
    /// Seconds until it is worth asking again; goes into `Retry-After` and `retry-after-ms`.
    var retryAfter: Double?
    /// A short machine-readable word, for `x-chainserve-drop-reason`.
    var dropReason: String?
    /// A place is kept for whoever comes back with this.
    var ticket: UInt64?
    /// Methods that the path knows, for 405.
    var allowedMethods: String?
    /// What `WWW-Authenticate` asks for, for 401.
    var challenge: String?

    /// Longest wait that is ever announced: a day.
    static let longestRetryAfter = 86_400.0

    init(
        _ status: HTTPResponse.Status, _ message: String, type: String = "invalid_request_error",
        parameter: String? = nil, code: String? = nil
    ) {
        self.status = status
        self.message = message
        self.type = type
        self.parameter = parameter
        self.code = code
    }

    static func invalid(_ message: String, parameter: String? = nil, code: String? = nil) -> APIError {
        APIError(.badRequest, message, parameter: parameter, code: code)
    }

    static func unknownPath(_ path: String) -> APIError {
        APIError(
            .notFound, "there is nothing at \(path.prefix(200)); see /v1/models and /v1/chat/completions",
            code: "unknown_path")
    }

    static func wrongMethod(_ method: String, allowed: String) -> APIError {
        var error = APIError(
            .methodNotAllowed, "\(method) is not possible here; use \(allowed)", code: "method_not_allowed")
        error.allowedMethods = allowed
        return error
    }

    static func bodyTooLarge(limit: Int) -> APIError {
        APIError(
            .contentTooLarge, "the body is longer than \(limit) bytes; shorten the prompt",
            code: "body_too_large")
    }

    /// What a client sends is no HTTP.
    static func unreadable(_ error: HTTPParserError) -> APIError {
        switch error {
        case .headerOverflow:
            APIError(
                .requestHeaderFieldsTooLarge,
                "the head of the request is too long; send fewer or shorter headers",
                code: "headers_too_large")
        case .unknown:
            // llhttp has a reason for it that SwiftNIO has no name for.
            APIError(
                .badRequest,
                "this is not valid HTTP/1.1 (a message with both Content-Length and Transfer-Encoding, for example)",
                code: "invalid_http")
        default: APIError(.badRequest, "this is not valid HTTP/1.1 (\(error))", code: "invalid_http")
        }
    }

    static func codedBody(_ coding: String) -> APIError {
        APIError(
            .unsupportedMediaType,
            "a body with Content-Encoding '\(coding.prefix(40))' cannot be read; send it as it is",
            parameter: "Content-Encoding", code: "unsupported_encoding")
    }

    static func unknownRequest(_ requestID: String) -> APIError {
        APIError(
            .notFound, "no request '\(requestID)' is queued or running", parameter: "id",
            code: "request_not_found")
    }

    static func requestIDInUse(_ requestID: String) -> APIError {
        APIError(
            .conflict,
            "a request with X-Request-ID '\(requestID)' is in flight; choose another or leave it out",
            parameter: "X-Request-ID", code: "request_id_in_use")
    }

    init(_ refusal: ReopeningRefusal, requestID: String) {
        switch refusal {
        case .unknown:
            self.init(
                .notFound, "no request '\(requestID)' is known", parameter: "id", code: "request_not_found")
        case .inFlight:
            self.init(
                .conflict, "the request '\(requestID)' is being answered over another connection",
                parameter: "id", code: "request_in_flight")
        case .interrupted(let reason):
            self.init(
                .gone, "the request '\(requestID)' was interrupted (\(reason)); send it again",
                type: "server_error", parameter: "id", code: "request_interrupted")
        case .ended(let how):
            self.init(
                .gone, "the request '\(requestID)' has ended: \(how)", parameter: "id", code: "request_ended")
        case .unavailable(let reason):
            self.init(
                .serviceUnavailable, "the request cannot go on now (\(reason))",
                type: "service_unavailable_error", code: "unavailable")
            setRetry(after: 1, reason: reason)
        }
    }

    static func notLocal() -> APIError {
        APIError(
            .forbidden, "this is for clients on the service's own machine, over a loopback address",
            code: "not_local")
    }

    static func internalError(_ message: String) -> APIError {
        APIError(.internalServerError, message, type: "server_error", code: "internal_error")
    }

    /// Whatever stopped a request.
    init(any error: any Error) {
        switch error {
        case let error as APIError: self = error
        case let refusal as GenerationRefusal: self.init(refusal)
        case let failure as GenerationFailure: self.init(failure)
        default: self = .internalError("the request failed")
        }
    }

    init(_ refusal: GenerationRefusal) {
        switch refusal {
        case .invalid(let message, let parameter, let code):
            self = .invalid(message, parameter: parameter, code: code)
        case .unknownModel(let name):
            self.init(
                .notFound,
                "the model '\(name.prefix(200))' does not exist; GET /v1/models lists what is served",
                parameter: "model", code: "model_not_found")
        case .promptTooLong(let tokens, let limit):
            self.init(
                .badRequest,
                "the prompt has \(tokens) tokens; this model holds \(limit), one of them for the answer at "
                    + "least: shorten the prompt",
                parameter: "messages", code: "context_length_exceeded")
        case .overloaded(let retryAfter, let reason, let ticket):
            self.init(
                .tooManyRequests,
                "all capacity is taken (\(reason)); try again after Retry-After",
                type: "rate_limit_error", code: "overloaded")
            setRetry(after: retryAfter, reason: reason)
            self.ticket = ticket
        case .unavailable(let retryAfter, let reason):
            self.init(
                .serviceUnavailable,
                "no chain can serve now (\(reason)); try again after Retry-After",
                type: "service_unavailable_error", code: "unavailable")
            setRetry(after: retryAfter, reason: reason)
        case .internal(let message):
            self = .internalError(message)
        }
    }

    /// - Parameter retryAfter: seconds; used only where trying again makes sense.
    init(_ failure: GenerationFailure) {
        switch failure {
        case .cancelled:
            self.init(
                HTTPResponse.Status(code: 499, reasonPhrase: "Client Closed Request"),
                "the request was cancelled",
                type: "cancelled_error", code: "request_cancelled")
        case .deadlineExceeded(let message):
            self.init(.gatewayTimeout, message, type: "timeout_error", code: "deadline_exceeded")
        case .unavailable(let message):
            self.init(.serviceUnavailable, message, type: "service_unavailable_error", code: "unavailable")
            setRetry(after: 1, reason: "servers-lost")
        case .internal(let message):
            self = .internalError(message)
        }
    }

    private mutating func setRetry(after seconds: Double, reason: String) {
        retryAfter = seconds.isNaN ? 1 : min(max(seconds, 0), Self.longestRetryAfter)
        dropReason = reason
    }

    /// Fields of the response that go with this error.
    var headers: HTTPFields {
        var fields = HTTPFields()
        if let retryAfter {
            fields[.retryAfter] = "\(max(1, Int(retryAfter.rounded(.up))))"
            fields[.retryAfterMilliseconds] = "\(max(1, Int((retryAfter * 1000).rounded(.up))))"
        }
        if let ticket { fields[.ticket] = String(ticket, radix: 16) }
        if let dropReason { fields[.dropReason] = dropReason }
        if let allowedMethods { fields[.allow] = allowedMethods }
        if let challenge { fields[.wwwAuthenticate] = challenge }
        return fields
    }

    /// Writes the field `error`.
    func write(into writer: inout JSONWriter) {
        writer.objectField("error") { error in
            error.field("message", message)
            error.field("type", type)
            error.field("param", orNull: parameter)
            error.field("code", orNull: code)
        }
    }
}

extension HTTPField.Name {
    private static func make(_ name: String) -> HTTPField.Name {
        guard let name = HTTPField.Name(name) else { preconditionFailure("not a header name: \(name)") }
        return name
    }

    static let requestID = make("x-request-id")
    static let retryAfterMilliseconds = make("retry-after-ms")
    static let dropReason = make("x-chainserve-drop-reason")
    static let chain = make("x-chainserve-chain")
    static let attempts = make("x-chainserve-attempts")
    static let engine = make("x-chainserve-engine")
    static let ticket = make("x-chainserve-ticket")
    static let requestTimeout = make("x-request-timeout")
    static let numberedEvents = make("x-chainserve-event-ids")
    static let lastEventID = make("last-event-id")
    static let accelBuffering = make("x-accel-buffering")
}
