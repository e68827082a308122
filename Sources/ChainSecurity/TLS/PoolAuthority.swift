#if TLS
    import Crypto
    import Foundation
    import NIOCore
    import SwiftASN1
    import X509

    /// A certificate authority for one pool, kept in a folder: `ca.crt`, `ca.key`, and a certificate and key for each
    /// party. Keys are P-256 and their owner's alone to read.
    package struct PoolAuthority {
        package static let authorityDays = 3650
        package static let partyDays = 365
        /// Clocks of the pool may differ by so much.
        private static let clockSkew = 300.0

        package let folder: String
        private let certificate: Certificate
        private let key: Certificate.PrivateKey

        package struct Party: Hashable, Sendable {
            package var file: String
            package var subject: String
            package var notAfter: Date
        }

        // MARK: The authority

        /// Makes a new authority.
        /// - Throws: `SecurityError.unusable` when there is one already, or the folder cannot be written.
        package static func make(pool: String, folder: String, now: Date = Date()) throws -> PoolAuthority {
            guard isName(pool) else { throw badName(pool) }
            try? FileManager.default.createDirectory(
                atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
            guard !FileManager.default.fileExists(atPath: folder + "/ca.key") else {
                throw SecurityError.unusable(file: folder + "/ca.key", reason: "is there already")
            }
            let key = Certificate.PrivateKey(P256.Signing.PrivateKey())
            let name = try DistinguishedName {
                OrganizationName(pool)
                CommonName("ChainServe pool \(pool)")
            }
            let certificate = try Certificate(
                version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: key.publicKey,
                notValidBefore: now - clockSkew, notValidAfter: now + Double(authorityDays) * 86_400,
                issuer: name, subject: name,
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                    Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                    SubjectKeyIdentifier(hash: key.publicKey)
                }, issuerPrivateKey: key)
            try write(certificate, key, to: folder + "/ca")
            return PoolAuthority(folder: folder, certificate: certificate, key: key)
        }

        package static func open(folder: String) throws -> PoolAuthority {
            let key: Certificate.PrivateKey
            do {
                key = try Certificate.PrivateKey(pemEncoded: try text(folder + "/ca.key"))
            } catch {
                throw SecurityError.unusable(
                    file: folder + "/ca.key",
                    reason: "cannot be read; `chainserve pki init` makes an authority")
            }
            let certificate = try read(folder + "/ca.crt")
            guard certificate.publicKey == key.publicKey else {
                throw SecurityError.unusable(
                    file: folder + "/ca.crt", reason: "does not go with the key in \(folder)/ca.key")
            }
            return PoolAuthority(folder: folder, certificate: certificate, key: key)
        }

        private init(folder: String, certificate: Certificate, key: Certificate.PrivateKey) {
            self.folder = folder
            self.certificate = certificate
            self.key = key
        }

        private var pool: String {
            for part in certificate.subject {
                for attribute in part where attribute.type == .RDNAttributeType.organizationName {
                    return "\(attribute.value)"
                }
            }
            return "pool"
        }

        // MARK: Parties

        /// Makes a certificate and a key.
        /// - Parameters:
        ///   - name: of a block server; others have none.
        ///   - hosts: names and addresses under which it is reached.
        /// - Returns: the files, without `.crt` and `.key`.
        package func issue(
            _ role: PoolRole, name: String?, hosts: [String], days: Int = partyDays, now: Date = Date()
        ) throws -> String {
            var uri = PoolRole.scheme + pool + "/" + role.rawValue
            var file = role.rawValue
            if let name {
                guard Self.isName(name) else { throw Self.badName(name) }
                uri += "/" + name
                file += "-" + name
            }
            var names: [GeneralName] = [.uniformResourceIdentifier(uri)]
            for host in hosts {
                if let address = try? SocketAddress(ipAddress: host, port: 0) {
                    names.append(.ipAddress(ASN1OctetString(contentBytes: Self.bytes(of: address)[...])))
                } else {
                    names.append(.dnsName(host))
                }
            }
            let usage: ExtendedKeyUsage.Usage = role == .orchestrator ? .clientAuth : .serverAuth
            try issue(
                file: file, common: name ?? role.rawValue, names: SubjectAlternativeNames(names),
                usage: usage, days: days, now: now)
            return folder + "/" + file
        }

        /// Makes a new certificate and key in the place of one that was issued here, with the same names and uses.
        package func renew(file: String, days: Int = partyDays, now: Date = Date()) throws {
            guard Self.isName(file) else { throw Self.badName(file) }
            let old = try Self.read(folder + "/" + file + ".crt")
            guard certificate.publicKey.isValidSignature(old.signature, for: old) else {
                throw SecurityError.unusable(
                    file: folder + "/" + file + ".crt", reason: "is from another authority")
            }
            guard let names = try old.extensions.subjectAlternativeNames, let role = PoolRole.of(old) else {
                throw SecurityError.unusable(file: file + ".crt", reason: "was not issued for a pool")
            }
            var common = role.rawValue
            for part in old.subject {
                for attribute in part where attribute.type == .RDNAttributeType.commonName {
                    common = "\(attribute.value)"
                }
            }
            try issue(
                file: file, common: common, names: names,
                usage: role == .orchestrator ? .clientAuth : .serverAuth, days: days, now: now)
        }

        private func issue(
            file: String, common: String, names: SubjectAlternativeNames, usage: ExtendedKeyUsage.Usage,
            days: Int, now: Date
        ) throws {
            let partyKey = Certificate.PrivateKey(P256.Signing.PrivateKey())
            guard certificate.notValidAfter > now else {
                throw SecurityError.unusable(
                    file: folder + "/ca.crt",
                    reason: "has expired; `chainserve pki init` makes another authority, in another folder")
            }
            let end = min(now + Double(days) * 86_400, certificate.notValidAfter)
            let pool = pool
            let authorityIdentifier = AuthorityKeyIdentifier(
                keyIdentifier: SubjectKeyIdentifier(hash: certificate.publicKey).keyIdentifier)
            let issued = try Certificate(
                version: .v3, serialNumber: Certificate.SerialNumber(), publicKey: partyKey.publicKey,
                notValidBefore: now - Self.clockSkew, notValidAfter: end,
                issuer: certificate.subject,
                subject: try DistinguishedName {
                    OrganizationName(pool)
                    CommonName(common)
                },
                extensions: try Certificate.Extensions {
                    Critical(BasicConstraints.notCertificateAuthority)
                    Critical(KeyUsage(digitalSignature: true))
                    try ExtendedKeyUsage([usage])
                    // Strict clients, Python's since 3.13 among them, want both identifiers.
                    SubjectKeyIdentifier(hash: partyKey.publicKey)
                    authorityIdentifier
                    names
                }, issuerPrivateKey: key)
            try Self.write(issued, partyKey, to: folder + "/" + file)
        }

        /// The certificates of the folder, the authority's first.
        package func parties() throws -> [Party] {
            let names: [String]
            do {
                names = try FileManager.default.contentsOfDirectory(atPath: folder)
            } catch {
                throw SecurityError.unusable(
                    file: folder, reason: "cannot be read; `chainserve pki init` makes an authority")
            }
            let files = names.filter { $0.hasSuffix(".crt") }.map { String($0.dropLast(4)) }.sorted()
            let ordered = files.filter { $0 == "ca" } + files.filter { $0 != "ca" }
            return try ordered.map { file in
                let certificate = try Self.read(folder + "/" + file + ".crt")
                return Party(
                    file: file, subject: "\(certificate.subject)", notAfter: certificate.notValidAfter)
            }
        }

        // MARK: Files

        private static func text(_ path: String) throws -> String {
            try String(contentsOfFile: path, encoding: .utf8)
        }

        private static func read(_ path: String) throws -> Certificate {
            do {
                return try Certificate(pemEncoded: try text(path))
            } catch {
                throw SecurityError.unusable(file: path, reason: "cannot be read as a certificate in PEM")
            }
        }

        private static func write(
            _ certificate: Certificate, _ key: Certificate.PrivateKey, to file: String
        ) throws {
            try PrivateFile.write(
                Array(try key.serializeAsPEM().pemString.utf8) + [0x0A], to: file + ".key",
                orThrow: SecurityError.unusable(file: file + ".key", reason: "cannot be written"))
            let pem = try certificate.serializeAsPEM().pemString + "\n"
            do {
                try Data(pem.utf8).write(to: URL(fileURLWithPath: file + ".crt"), options: .atomic)
            } catch {
                throw SecurityError.unusable(file: file + ".crt", reason: "cannot be written")
            }
        }

        private static func bytes(of address: SocketAddress) -> [UInt8] {
            switch address {
            case .v4(let four): withUnsafeBytes(of: four.address.sin_addr) { Array($0) }
            case .v6(let six): withUnsafeBytes(of: six.address.sin6_addr) { Array($0) }
            case .unixDomainSocket: []
            }
        }

        private static func isName(_ text: String) -> Bool {
            (1...64).contains(text.utf8.count) && !text.hasPrefix(".")
                && text.utf8.allSatisfy(nameBytes.contains)
        }

        private static let nameBytes = Set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.".utf8)

        private static func badName(_ text: String) -> SecurityError {
            .unusable(
                file: "'\(text)'",
                reason: "is no name here: use 1 to 64 letters, digits, dots, hyphens and underscores")
        }
    }
#endif
