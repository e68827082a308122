import Foundation
import Testing

@testable import ChainSecurity

@Suite("Links: the pool's token", .timeLimit(.minutes(2)))
struct TokenLinkTests {
    private let token = PoolToken(secret: Array("0123456789abcdef-one".utf8))
    private let other = PoolToken(secret: Array("0123456789abcdef-two".utf8))

    @Test("who knows the token comes in, again and again; who does not learns why")
    func token() async throws {
        try await LinkFixture.withServer(.token(token)) { port in
            for _ in 0..<3 {
                #expect(await LinkFixture.attempt(.token(token), port: port) == .success("one"))
            }
            let wrong = await LinkFixture.refusal(.token(other), port: port)
            #expect(wrong.contains("another token"), "\(wrong)")
            let none = await LinkFixture.refusal(.plainText, port: port)
            #expect(none.contains("wants the pool's token") && none.contains("--token"), "\(none)")
            #expect(await LinkFixture.attempt(.token(token), port: port) == .success("one"))
        }
    }

    @Test("a server without a token is no server of this pool")
    func serverWithout() async throws {
        try await LinkFixture.withServer(.plainText) { port in
            #expect(await LinkFixture.attempt(.plainText, port: port) == .success("one"))
            let text = await LinkFixture.refusal(.token(token), port: port)
            #expect(text.contains("token"), "\(text)")
        }
    }

    @Test("a token's file must be its owner's alone, and long enough")
    func files() throws {
        let path = FileManager.default.temporaryDirectory.path + "/chainserve-token-\(UUID().uuidString)"
        defer { try? FileManager.default.removeItem(atPath: path) }
        try PoolToken.make(file: path)
        #expect(!PrivateFile.isOpenToOthers(path))
        #expect(try PoolToken(file: path) == PoolToken(file: path))
        try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: path)
        #expect(throws: SecurityError.self) { _ = try PoolToken(file: path) }
        try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: path)
        try Data("short\n".utf8).write(to: URL(fileURLWithPath: path))
        #expect(throws: SecurityError.self) { _ = try PoolToken(file: path) }
        #expect(throws: SecurityError.self) { _ = try PoolToken(file: path + "-absent") }
    }
}
