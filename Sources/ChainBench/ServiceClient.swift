import ChainSecurity
import Foundation
import NIOCore
import NIOHTTP1
import NIOPosix

/// Single questions to a service, over one connection that is kept between them.
public struct ServiceClient: Sendable {
    public struct Answer: Sendable {
        public var status: Int
        public var body: String
    }

    private let target: LoadTarget
    private let pool: ConnectionPool

    /// Opens connections as they are needed; all are closed when `body` ends.
    public static func with<Result: Sendable>(
        _ target: LoadTarget, _ body: (ServiceClient) async throws -> Result
    ) async throws -> Result {
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let pool = ConnectionPool(target: target, group: group)
        let result: Swift.Result<Result, any Error>
        do {
            result = .success(try await body(ServiceClient(target: target, pool: pool)))
        } catch {
            result = .failure(error)
        }
        await pool.close()
        try await group.shutdownGracefully()
        return try result.get()
    }

    /// Asks and waits for the whole answer, `target.timeout` at most.
    /// - Parameter path: after the target's prefix, such as `/status`.
    public func ask(_ method: HTTPMethod, _ path: String, body: String = "") async throws -> Answer {
        let bytes = ByteBuffer(string: body)
        let answer = try await pool.perform(
            head: target.head(method, path: path, length: bytes.readableBytes), body: bytes)
        return Answer(status: answer.status, body: answer.body)
    }

    /// Why no answer came, in words that help.
    public static func problem(_ error: any Error, of target: LoadTarget) -> String {
        var text = reason(error)
        if target.isSecure, !target.hasOwnAuthority, text.hasPrefix("TLS failed") {
            text += "; --tls-authority FILE names the authority that its certificate is from"
        }
        return text
    }

    /// Of a connection that was never made, the first address's reason instead of all that was tried.
    private static func reason(_ error: any Error) -> String {
        guard let failure = error as? NIOConnectionError else { return ConnectionProblem.text(error) }
        guard let first = failure.connectionErrors.first?.error else {
            return "the name \(failure.host) is not known"
        }
        guard let cause = first as? IOError else { return "\(first)" }
        return String(cString: strerror(cause.errnoCode)).lowercased()
    }
}
