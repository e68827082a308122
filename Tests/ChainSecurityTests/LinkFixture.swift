import ChainEngine
import ChainModel
import ChainNode
import Foundation
import Logging
import NIOPosix
import Testing

@testable import ChainOrchestrator
@testable import ChainSecurity

/// A block server on loopback with some security, and attempts to become its orchestrator.
enum LinkFixture {
    static let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

    static func withServer(_ security: LinkSecurity, _ body: (_ port: Int) async throws -> Void) async throws
    {
        let folder = FileManager.default.temporaryDirectory.path + "/chainserve-link-\(UUID().uuidString)"
        let server = BlockServer(
            configuration: BlockServerConfiguration(
                name: "one", memory: ByteCount(1 << 30), cacheFolder: folder, engineKind: .emulated,
                security: security),
            openLocalModel: { path throws(EngineError) in try LlamaFile(path: path) },
            makeEngine: { _, _, limits, _ throws(EngineError) in
                EmulatedEngine(limits: limits, profile: .instant)
            }, logger: quiet)
        let port = try await server.start()
        do {
            try await body(port)
        } catch {
            await server.shutdown(drainingFor: .zero)
            throw error
        }
        await server.shutdown(drainingFor: .zero)
    }

    /// Connects and is introduced; the link is closed again.
    /// - Returns: the server's name, or why it failed.
    static func attempt(_ security: LinkSecurity, host: String = "127.0.0.1", port: Int) async -> Result<
        String, LinkError
    > {
        do {
            let link = try await NodeLink.connect(
                host: host, port: port, on: MultiThreadedEventLoopGroup.singleton,
                protection: try LinkProtection.client(security), logger: quiet)
            let health = try await link.ping()
            #expect(health.unitsUsed == 0)
            await link.shutdown()
            return .success(link.name)
        } catch let error as LinkError {
            return .failure(error)
        } catch {
            return .failure(.malformed("\(error)"))
        }
    }

    /// The reason of a failed attempt; an issue when it succeeded.
    static func refusal(_ security: LinkSecurity, host: String = "127.0.0.1", port: Int) async -> String {
        switch await attempt(security, host: host, port: port) {
        case .success:
            Issue.record("the orchestrator was let in")
            return ""
        case .failure(let error): return error.description
        }
    }
}
