import ChainModel
import HTTPTypes
import Hummingbird
import HummingbirdCore
import NIOCore

/// Time limits and tickets of requests, clients that come back, and restarts.
extension GatewayResponder {
    /// Longest time limit that a client may give, seconds. The service may allow less.
    private static let longestTimeout = 86_400.0

    /// Reads `X-Request-Timeout` (seconds) and `X-ChainServe-Ticket`; notes whose request it is.
    func readLimits(
        of head: HTTPRequest, _ channel: any Channel, into generation: inout GenerationRequest
    ) throws(APIError) {
        if let text = head.headerFields[.requestTimeout] {
            guard let seconds = Double(text), seconds > 0, seconds <= Self.longestTimeout else {
                throw APIError.invalid(
                    "X-Request-Timeout must be seconds, above 0 and at most \(Int(Self.longestTimeout)); got"
                        + " '\(text.prefix(64))'",
                    parameter: "X-Request-Timeout", code: "invalid_value")
            }
            generation.timeout = Duration(seconds: seconds)
        }
        if let text = head.headerFields[.ticket] {
            guard let ticket = UInt64(text, radix: 16) else {
                throw APIError.invalid(
                    "X-ChainServe-Ticket must be what a refusal gave; got '\(text.prefix(64))'",
                    parameter: "X-ChainServe-Ticket", code: "invalid_value")
            }
            generation.ticket = ticket
        }
        if generation.client.isEmpty { generation.client = channel.remoteAddress?.ipAddress ?? "local" }
    }

    /// `GET /v1/requests/{id}/stream`: the answer of a request that was cut off, from an event on.
    func reopen(_ id: String, _ incoming: IncomingGeneration) async throws -> AnswerDelivery {
        var id = id
        for prefix in ["chatcmpl-", "cmpl-"] where id.hasPrefix(prefix) { id.removeFirst(prefix.count) }
        let from = try firstEvent(of: incoming.head)
        let place = try access.enter(incoming.client)
        let entry: RequestRegistry.Entry
        do { entry = try registry.enter(id, place) } catch .duplicate {
            throw APIError(ReopeningRefusal.inFlight, requestID: id)
        } catch .full {
            throw GenerationRefusal.overloaded(retryAfter: 1, reason: "too-many-requests")
        }
        let reopened: ReopenedRequest
        do { reopened = try await service.reopen(requestID: id, of: incoming.client) } catch {
            throw APIError(error, requestID: id)
        }
        guard var presentation = reopened.request.presentation else {
            reopened.stream.cancel()
            throw APIError(ReopeningRefusal.unknown, requestID: id)
        }
        presentation.options.isStreamed = true
        let writer = AnswerWriter(
            request: reopened.request, shape: presentation.shape, options: presentation.options,
            created: presentation.created, isEmulated: service.modelCard.isEmulated)
        return AnswerDelivery(
            of: reopened.stream, writer: writer, stop: reopened.request.stop, entry: entry,
            numbering: EventNumbering(isShown: true, from: from), arrival: nil)
    }

    /// The number of the first event to be sent: `?from=N`, or the one after `Last-Event-ID`.
    private func firstEvent(of head: HTTPRequest) throws(APIError) -> Int {
        let given = URI(head.path ?? "").queryParameters.get("from")
        let last = head.headerFields[.lastEventID]
        guard let text = given ?? last else { return 1 }
        guard let number = Int(text), number >= 0 else {
            throw APIError.invalid(
                "'from' and Last-Event-ID are numbers of events, from 1; got '\(text.prefix(64))'",
                parameter: given == nil ? "Last-Event-ID" : "from", code: "invalid_value")
        }
        return given == nil ? number + 1 : max(1, number)
    }

    /// `POST /admin/restart` with `{"servers": [NAME, …]}`; none means all of the plan. Answers when it is over.
    func restart(_ request: Request, _ channel: any Channel) async throws -> Response {
        guard channel.remoteAddress?.isLoopback == true else { throw APIError.notLocal() }
        var fields = try RequestFields(try await body(of: request))
        var names: [String] = []
        switch fields.take("servers") {
        case nil: break
        case .array(let values)?:
            for value in values {
                guard case .string(let name) = value else {
                    throw fields.problem("servers", "must be a list of names", code: "invalid_type")
                }
                names.append(name)
            }
        default: throw fields.problem("servers", "must be a list of names", code: "invalid_type")
        }
        try fields.finish()
        let outcome = try await service.restart(servers: names)
        return Self.json { writer in
            writer.name("restarted")
            writer.array(outcome.restarted) { $0.value($1) }
            writer.name("skipped")
            writer.array(outcome.skipped) { $0.value($1) }
        }
    }
}

/// The numbers of a stream's events, from 1: shown as `id` lines where the client wants them, and those left out that a
/// client who has come back has seen.
struct EventNumbering: Sendable {
    /// Not by default: clients that split events by hand take an `id` line for data.
    var isShown = false
    /// The first event sent.
    var from = 1
    private var last = 0

    init(isShown: Bool = false, from: Int = 1) {
        self.isShown = isShown
        self.from = from
    }

    /// What is to be sent of the next event; `nil` for one that was seen.
    mutating func next(_ event: ByteBuffer) -> ByteBuffer? {
        last += 1
        guard last >= from else { return nil }
        guard isShown else { return event }
        var numbered = ByteBuffer(string: "id: \(last)\n")
        numbered.writeImmutableBuffer(event)
        return numbered
    }
}

extension SocketAddress {
    /// Of this machine itself.
    var isLoopback: Bool {
        switch self {
        case .v4, .v6:
            ipAddress.map { $0.hasPrefix("127.") || $0 == "::1" || $0.hasPrefix("::ffff:127.") } ?? false
        case .unixDomainSocket: true
        }
    }
}
