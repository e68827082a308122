import ArgumentParser
import ChainOrchestrator
import ChainSecurity
import Logging

/// Who may come in by HTTP, and how the traffic is protected.
struct DoorArguments: ParsableArguments {
    @Option(
        help: "The keys file of the clients that may come in (`chainserve key`); without it everybody may.")
    var keys: String?

    @Option(help: "Certificate to serve HTTPS with, PEM, intermediate certificates after it.")
    var tlsCertificate: String?

    @Option(help: "Private key of --tls-certificate, PEM.")
    var tlsKey: String?

    @OptionGroup var pool: PoolArguments

    var insecurePlainText: Bool { pool.insecurePlainText }

    func validate() throws {
        if (tlsCertificate == nil) != (tlsKey == nil) {
            throw ValidationError("--tls-certificate and --tls-key go together")
        }
    }

    var tlsFiles: TLSFiles? {
        guard let tlsCertificate, let tlsKey else { return nil }
        return TLSFiles(certificate: tlsCertificate, key: tlsKey, authority: nil)
    }

    func keyRing(logger: Logger) throws -> KeyRing? {
        guard let keys else { return nil }
        if PrivateFile.isOpenToOthers(keys) {
            logger.warning("others may read the keys file", metadata: ["file": "\(keys)"])
        }
        return try KeyRing(path: keys) { problem in
            logger.error("the keys file cannot be read", metadata: ["reason": "\(problem)"])
        }
    }
}

/// How orchestrator and block servers make sure of each other: the same options at both ends.
struct PoolArguments: ParsableArguments {
    @Option(help: "This process's certificate within the pool, PEM (`chainserve pki`).")
    var poolCertificate: String?

    @Option(help: "Private key of --pool-certificate, PEM.")
    var poolKey: String?

    @Option(help: "Certificate of the pool's authority, PEM.")
    var poolAuthority: String?

    @Option(help: "A file with the secret that orchestrator and block servers share, for loopback.")
    var token: String?

    @Flag(help: "Allow plain text beyond loopback, where others may read and change it.")
    var insecurePlainText = false

    func validate() throws {
        let given = [poolCertificate, poolKey, poolAuthority].compactMap { $0 }.count
        guard given == 0 || given == 3 else {
            throw ValidationError("--pool-certificate, --pool-key and --pool-authority go together")
        }
        if given == 3, token != nil { throw ValidationError("give --token or certificates, not both") }
    }

    func security() throws(SecurityError) -> LinkSecurity {
        if let poolCertificate, let poolKey, let poolAuthority {
            return .tls(TLSFiles(certificate: poolCertificate, key: poolKey, authority: poolAuthority))
        }
        if let token { return .token(try PoolToken(file: token)) }
        return .plainText
    }

    /// For the orchestrator's end, towards servers at these addresses.
    func protection(towards addresses: [ServerAddress]) throws(SecurityError) -> LinkProtection {
        let security = try security()
        if case .tls = security {
        } else {
            for address in addresses { try Loopback.require(address.host, unless: insecurePlainText) }
        }
        return try LinkProtection.client(security)
    }
}
