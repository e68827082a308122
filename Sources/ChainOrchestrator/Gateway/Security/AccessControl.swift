import ChainSecurity
import HTTPTypes

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Who may do what at the gateway. Without keys everybody may everything.
struct AccessControl: Sendable {
    let keys: KeyRing?
    let metrics: ServiceMetrics

    /// Whose request this is.
    /// - Returns: the client's name; `nil` where no keys are asked for.
    func admit(_ head: HTTPRequest, for right: KeyFile.Right) throws(APIError) -> String? {
        guard let keys else { return nil }
        do {
            return try keys.admit(Self.key(of: head.headerFields[.authorization]), for: right, at: .now)
        } catch {
            var error = refused(error)
            // Only a browser asks its user; some HTTP libraries, met with `Basic`, wait for a user in vain.
            if error.challenge != nil, head.headerFields[.accept]?.contains("text/html") == true {
                error.challenge = #"Basic realm="ChainServe", charset="UTF-8""#
            }
            throw error
        }
    }

    /// Counts a generation in.
    /// - Returns: held as long as the request is served; `nil` where no keys are asked for.
    func enter(_ client: String?) throws(APIError) -> KeyRing.Place? {
        guard let keys, let client else { return nil }
        do {
            return try keys.enter(client, at: .now)
        } catch {
            throw refused(error)
        }
    }

    private func refused(_ refusal: KeyRing.Refusal) -> APIError {
        metrics.rejected(refusal.word).increment()
        return APIError(refusal)
    }

    /// `Bearer KEY`, or `Basic` with the key as the password, which is what a browser asks for.
    static func key(of header: String?) -> String? {
        guard let header, let space = header.firstIndex(of: " ") else { return nil }
        let rest = header[space...].drop { $0 == " " }
        switch header[..<space].lowercased() {
        case "bearer": return String(rest)
        case "basic":
            guard let data = Data(base64Encoded: String(rest)) else { return nil }
            let pair = String(decoding: data, as: UTF8.self)
            return pair.firstIndex(of: ":").map { String(pair[pair.index(after: $0)...]) }
        default: return nil
        }
    }
}

extension KeyRing.Refusal {
    /// For a metric's label.
    var word: String {
        switch self {
        case .missing: "missing"
        case .unknown: "unknown"
        case .forbidden: "forbidden"
        case .tooOften: "rate"
        case .tooManyAtOnce: "concurrency"
        }
    }
}

extension APIError {
    init(_ refusal: KeyRing.Refusal) {
        switch refusal {
        case .missing:
            self.init(
                .unauthorized, "an API key is needed: send 'Authorization: Bearer KEY'",
                code: "missing_api_key")
            challenge = #"Bearer realm="ChainServe""#
        case .unknown:
            self.init(.unauthorized, "this API key is not known here", code: "invalid_api_key")
            challenge = #"Bearer realm="ChainServe", error="invalid_token""#
        case .forbidden(let client, let right):
            self.init(
                .forbidden, "the key of '\(client)' does not have the right to \(right.rawValue)",
                type: "permission_error", code: "insufficient_rights")
        case .tooOften(let client, let retryAfter, let perMinute):
            self.init(
                .tooManyRequests,
                "'\(client)' may send \(perMinute) requests a minute; try again after Retry-After",
                type: "rate_limit_error", code: "rate_limit_exceeded")
            self.retryAfter = retryAfter
            dropReason = "client-rate"
        case .tooManyAtOnce(let client, let limit):
            self.init(
                .tooManyRequests,
                "'\(client)' may have \(limit) requests in flight; wait for one of them to end",
                type: "rate_limit_error", code: "rate_limit_exceeded")
            retryAfter = 1
            dropReason = "client-concurrency"
        }
    }
}
