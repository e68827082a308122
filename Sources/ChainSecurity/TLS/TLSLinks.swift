#if TLS
    import NIOCore
    import NIOSSL
    import NIOTLS
    import X509

    extension TLSFiles {
        /// For a server whose clients need no certificate: the gateway.
        package static func serverConfiguration(
            _ files: TLSFiles, offering protocols: [String]
        ) throws(SecurityError) -> TLSConfiguration {
            var configuration = TLSConfiguration.makeServerConfiguration(
                certificateChain: try files.chain(), privateKey: .privateKey(try files.privateKey()))
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = protocols
            _ = try context(configuration, files)
            return configuration
        }

        fileprivate func chain() throws(SecurityError) -> [NIOSSLCertificateSource] {
            try Self.certificates(certificate).map { .certificate($0) }
        }

        fileprivate func trusted() throws(SecurityError) -> NIOSSLTrustRoots {
            guard let authority else {
                throw .unusable(file: certificate, reason: "the authority's certificate must be given too")
            }
            return .certificates(try Self.certificates(authority))
        }

        static func certificates(_ path: String) throws(SecurityError) -> [NIOSSLCertificate] {
            do {
                let found = try NIOSSLCertificate.fromPEMFile(path)
                if !found.isEmpty { return found }
            } catch {}
            throw .unusable(file: path, reason: "cannot be read as certificates in PEM")
        }

        fileprivate func privateKey() throws(SecurityError) -> NIOSSLPrivateKey {
            do {
                return try NIOSSLPrivateKey(file: key, format: .pem)
            } catch {
                throw .unusable(file: key, reason: "cannot be read as a private key in PEM")
            }
        }

        /// - Throws: `.unusable` when certificate and key do not belong together.
        fileprivate static func context(
            _ configuration: TLSConfiguration, _ files: TLSFiles
        ) throws(SecurityError) -> NIOSSLContext {
            do {
                return try NIOSSLContext(configuration: configuration)
            } catch {
                throw .unusable(file: files.certificate, reason: "does not go with the key in \(files.key)")
            }
        }
    }

    extension LinkProtection {
        /// The block server's end: shows its certificate, wants one of the same authority that is its orchestrator's.
        static func tlsServer(_ files: TLSFiles) throws(SecurityError) -> LinkProtection {
            var configuration = TLSConfiguration.makeServerConfigurationWithMTLS(
                certificateChain: try files.chain(), privateKey: .privateKey(try files.privateKey()),
                trustRoots: try files.trusted())
            configuration.minimumTLSVersion = .tlsv13
            // Orchestrators are known by their certificate, not by where they come from.
            configuration.certificateVerification = .noHostnameVerification
            let context = try TLSFiles.context(configuration, files)
            return LinkProtection { channel, _ in
                try channel.pipeline.syncOperations.addHandlers([
                    NIOSSLServerHandler(context: context), PeerRoleCheck(.orchestrator),
                ])
            }
        }

        /// The orchestrator's end: wants a block server's certificate for the very host it connects to.
        static func tlsClient(_ files: TLSFiles) throws(SecurityError) -> LinkProtection {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.certificateChain = try files.chain()
            configuration.privateKey = .privateKey(try files.privateKey())
            configuration.trustRoots = try files.trusted()
            configuration.minimumTLSVersion = .tlsv13
            let context = try TLSFiles.context(configuration, files)
            return LinkProtection { channel, host in
                // An address is compared with the one connected to; only names are told to the server.
                let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
                try channel.pipeline.syncOperations.addHandlers([
                    try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host),
                    PeerRoleCheck(.server),
                ])
            }
        }
    }

    /// Who a certificate of the pool is for, as a URI among its alternative names:
    /// `chainserve://POOL/orchestrator`, `chainserve://POOL/server/NAME`, `chainserve://POOL/gateway`.
    package enum PoolRole: String, Hashable, Sendable, CaseIterable {
        case orchestrator, server, gateway

        static let scheme = "chainserve://"

        /// The role that a certificate's URIs say; `nil` when they say none.
        static func of(_ certificate: Certificate) -> PoolRole? {
            guard let names = try? certificate.extensions.subjectAlternativeNames else { return nil }
            for case .uniformResourceIdentifier(let uri) in names where uri.hasPrefix(scheme) {
                let parts = uri.dropFirst(scheme.count).split(separator: "/")
                if parts.count >= 2, let role = PoolRole(rawValue: String(parts[1])) { return role }
            }
            return nil
        }
    }

    /// After the handshake has shown that the other side's certificate is the authority's: is it one of the right role?
    /// A block server must not be able to play the orchestrator of another.
    final class PeerRoleCheck: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        typealias InboundOut = ByteBuffer

        private let role: PoolRole
        private var isRefused = false

        init(_ role: PoolRole) { self.role = role }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if case .handshakeCompleted? = event as? TLSUserEvent { check(context) }
            context.fireUserInboundEventTriggered(event)
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            if !isRefused { context.fireChannelRead(data) }
        }

        private func check(_ context: ChannelHandlerContext) {
            let handler = try? context.pipeline.syncOperations.handler(type: NIOSSLHandler.self)
            let bytes = try? handler?.peerCertificate?.toDERBytes()
            let found = bytes.flatMap { try? Certificate(derEncoded: $0) }.flatMap(PoolRole.of)
            guard found != role else { return }
            isRefused = true
            let what = found.map { "is for the role \($0.rawValue)" } ?? "names no role in a pool"
            context.fireErrorCaught(
                SecurityError.identity(
                    "the other side's certificate \(what), not \(role.rawValue); make one with"
                        + " `chainserve pki issue \(role.rawValue)`"))
        }
    }

    extension ConnectionProblem {
        /// What went wrong in TLS, as far as the other side's alerts and BoringSSL's words tell.
        static func tlsText(_ error: any Error) -> String? {
            if case NIOSSLError.uncleanShutdown? = error as? NIOSSLError {
                return "the other side closed the TLS connection without a word; it may not speak TLS here"
            }
            let raw = "\(error)"
            guard error is NIOSSLError || error is BoringSSLError || error is NIOSSLExtraError else {
                return nil
            }
            let known = [
                (
                    "WRONG_VERSION_NUMBER",
                    "the other side speaks plain text, not TLS; give it certificates too"
                ),
                ("HTTP_REQUEST", "the other side speaks plain HTTP, not TLS"),
                ("CERTIFICATE_EXPIRED", "a certificate has expired; `chainserve pki renew` makes new ones"),
                ("certificate has expired", "the other side's certificate has expired; renew it"),
                ("CERTIFICATE_REQUIRED", "the other side wants a certificate of the pool"),
                ("UNKNOWN_CA", "the other side does not know the authority of our certificate"),
                (
                    "UNSUPPORTED_CERTIFICATE",
                    "our certificate is for another use; `chainserve pki issue` makes one for each role"
                ),
                ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "the other side showed no certificate"),
                (
                    "CERTIFICATE_VERIFY_FAILED",
                    "the other side's certificate is not from the pool's authority, has expired, or is for another use"
                ),
                ("unableToValidateCertificate", "the other side's certificate is for another host"),
                ("failedToValidateHostname", "the other side's certificate is for another host"),
            ]
            let text = known.first { raw.uppercased().contains($0.0.uppercased()) }?.1
            return text.map { "TLS failed: \($0)" } ?? "TLS failed: \(raw)"
        }
    }
#endif
