import HTTPTypes
import Hummingbird
import NIOCore

/// What people and their tools look at: `/metrics`, the dashboard, and what the dashboard shows as JSON and as a
/// stream of server-sent events.
struct SightResponder: Sendable {
    let registry: PrometheusRegistry
    let observer: PoolObserver

    enum Route: Hashable {
        case metrics, page, style, script, state, events
    }

    static func route(_ path: String) -> Route? {
        switch path {
        case "/metrics": .metrics
        case "/", "/dashboard", "/dashboard/": .page
        case "/dashboard/style.css": .style
        case "/dashboard/script.js": .script
        case "/dashboard/state": .state
        case "/dashboard/events": .events
        default: nil
        }
    }

    func respond(_ route: Route, channel: any Channel) async throws -> Response {
        switch route {
        case .metrics:
            // Sets the gauges, unless that was done a moment ago.
            _ = await observer.current()
            return Self.response(registry.exposition(), type: PrometheusText.contentType)
        case .page: return Self.asset(PackageResources.dashboard_html, type: "text/html; charset=utf-8")
        case .style: return Self.asset(PackageResources.dashboard_css, type: "text/css; charset=utf-8")
        case .script:
            return Self.asset(PackageResources.dashboard_js, type: "text/javascript; charset=utf-8")
        case .state:
            guard let json = PoolObserver.encoded(await observer.current()) else {
                throw APIError.internalError("the state of the pool has no JSON form")
            }
            return Self.response(json, type: "application/json")
        case .events: return try await events(channel)
        }
    }

    /// How long a browser waits before it connects again, milliseconds.
    private static let retry = ByteBuffer(string: "retry: 2000\n\n")

    private func events(_ channel: any Channel) async throws -> Response {
        guard let (events, number) = await observer.watch() else {
            throw GenerationRefusal.overloaded(retryAfter: 30, reason: "too-many-watchers")
        }
        let observer = observer
        let body = ResponseBody { output in
            channel.onClientDisconnect(pingInterval: nil, ping: AnswerWriter.ping) {
                Task { await observer.stopWatching(number) }
            }
            do {
                try await output.write(Self.retry)
                for await event in events { try await output.write(event) }
                await observer.stopWatching(number)
            } catch {
                await observer.stopWatching(number)
                throw error
            }
            try await output.finish(nil)
        }
        return Response(
            status: .ok,
            headers: [
                .contentType: "text/event-stream; charset=utf-8", .cacheControl: "no-cache",
                .accelBuffering: "no",
            ], body: body)
    }

    // MARK: Responses

    /// The page may load and talk to nothing but this server.
    private static let contentPolicy =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:;"
        + " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

    private static func asset(_ bytes: [UInt8], type: String) -> Response {
        var response = response(bytes, type: type)
        response.headers[.contentSecurityPolicy] = contentPolicy
        response.headers[.referrerPolicy] = "no-referrer"
        return response
    }

    private static func response(_ bytes: [UInt8], type: String) -> Response {
        Response(
            status: .ok,
            headers: [
                .contentType: type, .cacheControl: "no-cache", .xContentTypeOptions: "nosniff",
            ],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes)))
    }
}

extension HTTPField.Name {
    fileprivate static let referrerPolicy: HTTPField.Name = {
        guard let name = HTTPField.Name("referrer-policy") else { preconditionFailure("a header's name") }
        return name
    }()
}
