import Foundation
import Testing

@testable import ChainSecurity

@Suite("Keys")
struct KeyTests {
    /// FIPS 180-4's examples.
    @Test(
        "SHA-256 of the standard's examples",
        arguments: [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (
                "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
            ),
        ])
    func digest(text: String, expected: String) {
        let digest = SHA256Digest(of: text.utf8)
        #expect(digest.hexadecimal == expected)
        #expect(SHA256Digest(hexadecimal: expected) == digest)
        // By Python's hashlib.
        let long = SHA256Digest(of: [UInt8](repeating: UInt8(ascii: "a"), count: 100_000))
        #expect(
            long.hexadecimal == "6d1cf22d7cc09b085dfc25ee1a1f3ae0265804c607bc2074ad253bcc82fd81ee")
    }

    @Test("equality in constant time is equality; text that is no digest is refused")
    func equality() {
        let one = SHA256Digest(of: "a".utf8)
        #expect(one.equalsInConstantTime(SHA256Digest(of: "a".utf8)))
        for index in 0..<32 {
            var bytes = one.bytes
            bytes[index] ^= 1
            let other = SHA256Digest(hexadecimal: SHA256Digest.hexadecimal(bytes))
            #expect(other.map { one.equalsInConstantTime($0) } == false)
        }
        for text in ["", "abc", String(repeating: "g", count: 64), String(repeating: "0", count: 65)] {
            #expect(SHA256Digest(hexadecimal: text) == nil)
        }
    }

    /// RFC 4231, test cases 2 and 6.
    @Test("HMAC of the standard's examples")
    func authenticationCode() {
        #expect(
            PoolToken(secret: Array("Jefe".utf8))
                .authenticationCode(of: Array("what do ya want for nothing?".utf8)).hexadecimal
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            PoolToken(secret: [UInt8](repeating: 0xAA, count: 131))
                .authenticationCode(of: Array("Test Using Larger Than Block-Size Key - Hash Key First".utf8))
                .hexadecimal == "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54")
    }

    // MARK: The file

    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.path + "/chainserve-keys-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    @Test("the file holds no key, is its owner's alone, and comes back as it was")
    func file() throws {
        try withFolder { folder in
            let path = folder + "/keys.json"
            var file = KeyFile()
            let key = try file.add("ann", rights: [.generate], requestsInFlight: 2, requestsPerMinute: 60)
            let other = try file.add("bob", rights: [.observe], requestsInFlight: nil, requestsPerMinute: nil)
            #expect(key != other && key.hasPrefix("cs-") && key.count == 67)
            try file.write(path)
            let text = try String(contentsOfFile: path, encoding: .utf8)
            #expect(!text.contains(key) && !text.contains(key.dropFirst(3)))
            #expect(!PrivateFile.isOpenToOthers(path))
            #expect(try KeyFile.read(path) == file)
            #expect(throws: KeyFileError.nameTaken("ann")) {
                try file.add("ann", rights: [.generate], requestsInFlight: nil, requestsPerMinute: nil)
            }
            for name in ["", "a b", "a:b", String(repeating: "x", count: 65), "ü"] {
                #expect(throws: KeyFileError.badName(name)) {
                    try file.add(name, rights: [.generate], requestsInFlight: nil, requestsPerMinute: nil)
                }
            }
            #expect(throws: KeyFileError.unknownName("eve")) { try file.remove("eve") }
        }
    }

    @Test(
        "a file that is wrong is refused",
        arguments: [
            "", "{}", "[]", #"{"keys":[{"name":"a","sha256":"12","rights":[]}]}"#,
            #"{"keys":[{"name":"a","sha256":"\#(String(repeating: "0", count: 64))","rights":["fly"]}]}"#,
            #"{"keys":[{"name":"a","sha256":"\#(String(repeating: "0", count: 64))","rights":[],"requests_per_minute":0}]}"#,
        ])
    func wrong(text: String) throws {
        try withFolder { folder in
            try Data(text.utf8).write(to: URL(fileURLWithPath: folder + "/keys.json"))
            #expect(throws: KeyFileError.self) { _ = try KeyFile.read(folder + "/keys.json") }
        }
    }

    // MARK: The ring

    @Test(
        "a key is known by its hash; a key removed from the file stops working, a broken file changes nothing"
    )
    func reloading() throws {
        try withFolder { folder in
            let path = folder + "/keys.json"
            var file = KeyFile()
            let ann = try file.add("ann", rights: [.generate], requestsInFlight: nil, requestsPerMinute: nil)
            try file.write(path)
            let ring = try KeyRing(path: path)
            let now = ContinuousClock.now
            #expect(try ring.admit(ann, for: .generate, at: now) == "ann")
            #expect(throws: KeyRing.Refusal.missing) { try ring.admit("", for: .generate, at: now) }
            #expect(throws: KeyRing.Refusal.unknown) { try ring.admit(ann + "0", for: .generate, at: now) }
            #expect(throws: KeyRing.Refusal.forbidden(client: "ann", needs: .observe)) {
                try ring.admit(ann, for: .observe, at: now)
            }
            try file.remove("ann")
            let bob = try file.add("bob", rights: [.generate], requestsInFlight: nil, requestsPerMinute: nil)
            try file.write(path)
            #expect(try ring.admit(bob, for: .generate, at: now + .seconds(2)) == "bob")
            #expect(throws: KeyRing.Refusal.unknown) {
                try ring.admit(ann, for: .generate, at: now + .seconds(2))
            }
            try Data("nonsense".utf8).write(to: URL(fileURLWithPath: path))
            #expect(try ring.admit(bob, for: .generate, at: now + .seconds(4)) == "bob")
        }
    }

    @Test("requests a minute: as many at once, then one for each part of the minute; places are given back")
    func limits() throws {
        var file = KeyFile()
        _ = try file.add("ann", rights: [.generate], requestsInFlight: nil, requestsPerMinute: 6)
        _ = try file.add("bob", rights: [.generate], requestsInFlight: 2, requestsPerMinute: nil)
        let ring = KeyRing(file)
        let start = ContinuousClock.now
        for _ in 0..<6 { _ = try ring.enter("ann", at: start) }
        let refusal = #expect(throws: KeyRing.Refusal.self) { try ring.enter("ann", at: start + .seconds(4)) }
        if case .tooOften(_, let wait, let perMinute) = refusal {
            #expect(abs(wait - 6) < 1e-6 && perMinute == 6)
        } else {
            Issue.record("\(String(describing: refusal))")
        }
        _ = try ring.enter("ann", at: start + .milliseconds(10_001))
        var accepted = 0
        for second in 11...611 {
            if (try? ring.enter("ann", at: start + .seconds(second))) != nil { accepted += 1 }
        }
        #expect((60...61).contains(accepted), "ten minutes of six")
        let first = try ring.enter("bob", at: start)
        do {
            let second = try ring.enter("bob", at: start)
            #expect(throws: KeyRing.Refusal.tooManyAtOnce(client: "bob", limit: 2)) {
                try ring.enter("bob", at: start)
            }
            withExtendedLifetime(second) {}
        }
        #expect(ring.inFlight("bob") == 1, "a place that is let go is left")
        first.leave()
        first.leave()
        #expect(ring.inFlight("bob") == 0)
    }

    @Test(
        "what is loopback and what is not",
        arguments: [
            ("127.0.0.1", true), ("127.9.9.9", true), ("localhost", true), ("::1", true), ("[::1]", true),
            ("0.0.0.0", false), ("127.0.0.1.example.org", false), ("10.0.0.1", false), ("::", false),
            ("127.0.0", false), ("127.evil.org.x", false),
        ])
    func loopback(host: String, expected: Bool) {
        #expect(Loopback.contains(host) == expected)
    }
}
