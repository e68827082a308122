#if TLS
    import ChainModel
    import Foundation
    import Testing

    @testable import ChainOrchestrator
    @testable import ChainSecurity

    @Suite("Links: mutual TLS", .timeLimit(.minutes(3)))
    struct TLSLinkTests {
        /// An authority in a folder of its own.
        private struct Pool {
            let authority: PoolAuthority

            init() throws {
                let folder =
                    FileManager.default.temporaryDirectory.path + "/chainserve-pki-\(UUID().uuidString)"
                authority = try PoolAuthority.make(pool: "test", folder: folder)
            }

            func remove() { try? FileManager.default.removeItem(atPath: authority.folder) }

            func party(
                _ role: PoolRole, hosts: [String] = ["127.0.0.1", "localhost"], days: Int = 30,
                now: Date = Date()
            ) throws -> LinkSecurity {
                let file = try authority.issue(
                    role, name: role == .server ? "one" : nil, hosts: role == .orchestrator ? [] : hosts,
                    days: days,
                    now: now)
                let copy = file + "-\(UUID().uuidString)"
                for end in [".crt", ".key"] {
                    try FileManager.default.copyItem(atPath: file + end, toPath: copy + end)
                }
                return .tls(
                    TLSFiles(
                        certificate: copy + ".crt", key: copy + ".key",
                        authority: authority.folder + "/ca.crt"))
            }
        }

        @Test("the pool's own come in, by address and by name")
        func right() async throws {
            let pool = try Pool()
            defer { pool.remove() }
            let orchestrator = try pool.party(.orchestrator)
            try await LinkFixture.withServer(try pool.party(.server)) { port in
                #expect(await LinkFixture.attempt(orchestrator, port: port) == .success("one"))
                #expect(
                    await LinkFixture.attempt(orchestrator, host: "localhost", port: port) == .success("one"))
            }
        }

        @Test(
            "wrong authority, expired, another host, another role: refused with the reason, without waiting")
        func wrong() async throws {
            let pool = try Pool()
            let other = try Pool()
            defer {
                pool.remove()
                other.remove()
            }
            let good = try pool.party(.orchestrator)
            let past = Date(timeIntervalSinceNow: -90 * 86_400)
            try await LinkFixture.withServer(try pool.party(.server)) { port in
                var told = await LinkFixture.refusal(try other.party(.orchestrator), port: port)
                #expect(told.contains("TLS failed") && told.contains("authority"), "\(told)")
                told = await LinkFixture.refusal(try pool.party(.orchestrator, now: past), port: port)
                #expect(told.contains("expired"), "\(told)")
                told = await LinkFixture.refusal(try pool.party(.server), port: port)
                #expect(told.contains("TLS failed") || told.contains("role"), "\(told)")
                #expect(await LinkFixture.attempt(good, port: port) == .success("one"))
            }
            for server in [
                try other.party(.server), try pool.party(.server, now: past),
                try pool.party(.server, hosts: ["10.9.8.7", "elsewhere.example"]), try pool.party(.gateway),
            ] {
                try await LinkFixture.withServer(server) { port in
                    let told = await LinkFixture.refusal(good, port: port)
                    #expect(told.contains("certificate"), "\(told)")
                }
            }
        }

        @Test("plain text to a TLS port and TLS to a plain one: told, not waited for")
        func mixed() async throws {
            let pool = try Pool()
            defer { pool.remove() }
            let good = try pool.party(.orchestrator)
            try await LinkFixture.withServer(try pool.party(.server)) { port in
                let told = await LinkFixture.refusal(.plainText, port: port)
                #expect(told.contains("speaks TLS"), "\(told)")
                #expect(await LinkFixture.attempt(good, port: port) == .success("one"))
            }
            try await LinkFixture.withServer(.plainText) { port in
                let told = await LinkFixture.refusal(good, port: port)
                #expect(told.contains("plain text") || told.contains("TLS"), "\(told)")
                #expect(await LinkFixture.attempt(.plainText, port: port) == .success("one"))
            }
        }

        @Test("files that are missing, no PEM, or do not belong together are refused with their names")
        func files() throws {
            let pool = try Pool()
            defer { pool.remove() }
            guard case .tls(let good) = try pool.party(.orchestrator),
                case .tls(let other) = try pool.party(.server)
            else { return }
            for bad in [
                TLSFiles(certificate: "/nowhere", key: good.key, authority: good.authority),
                TLSFiles(certificate: good.certificate, key: "/nowhere", authority: good.authority),
                TLSFiles(certificate: good.key, key: good.key, authority: good.authority),
                TLSFiles(certificate: good.certificate, key: other.key, authority: good.authority),
                TLSFiles(certificate: good.certificate, key: good.key, authority: nil),
                TLSFiles(certificate: good.certificate, key: good.key, authority: "/nowhere"),
            ] {
                #expect(throws: SecurityError.self) { _ = try LinkProtection.server(.tls(bad)) }
                #expect(throws: SecurityError.self) { _ = try LinkProtection.client(.tls(bad)) }
            }
        }

        @Test(
            "the authority's files are its owner's alone; renewed certificates have the names and another key"
        )
        func renewal() async throws {
            let pool = try Pool()
            defer { pool.remove() }
            let folder = pool.authority.folder
            let file = try pool.authority.issue(.server, name: "one", hosts: ["127.0.0.1"], days: 1)
            let (oldKey, oldEnd) = (
                try String(contentsOfFile: file + ".key", encoding: .utf8),
                try #require(pool.authority.parties().last).notAfter
            )
            for key in ["/ca.key", "/server-one.key"] { #expect(!PrivateFile.isOpenToOthers(folder + key)) }
            try PoolAuthority.open(folder: folder).renew(file: "server-one", days: 100)
            #expect(try String(contentsOfFile: file + ".key", encoding: .utf8) != oldKey)
            #expect(try #require(pool.authority.parties().last).notAfter > oldEnd)
            let server = LinkSecurity.tls(
                TLSFiles(certificate: file + ".crt", key: file + ".key", authority: folder + "/ca.crt"))
            let orchestrator = try pool.party(.orchestrator)
            try await LinkFixture.withServer(server) { port in
                #expect(await LinkFixture.attempt(orchestrator, port: port) == .success("one"))
            }
            #expect(throws: SecurityError.self) { _ = try PoolAuthority.make(pool: "test", folder: folder) }
            #expect(throws: SecurityError.self) {
                _ = try pool.authority.issue(.server, name: "../x", hosts: ["a"])
            }
        }
    }
#endif
