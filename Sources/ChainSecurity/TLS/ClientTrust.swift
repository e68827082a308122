#if TLS
    import NIOCore
    import NIOSSL
#endif

extension LinkProtection {
    /// The client's end of HTTPS: whom the service's certificate must be from.
    /// - Parameter authority: a file with certificates in PEM; `nil` trusts those that the system trusts.
    /// - Throws: `SecurityError.withoutTLS` in a build without TLS, `.unusable` for a file that holds no certificate.
    package static func httpsClient(trusting authority: String?) throws(SecurityError) -> LinkProtection {
        #if TLS
            return try tlsClient(trusting: authority)
        #else
            _ = authority
            throw .withoutTLS
        #endif
    }
}

#if TLS
    extension LinkProtection {
        private static func tlsClient(trusting authority: String?) throws(SecurityError) -> LinkProtection {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            if let authority {
                configuration.trustRoots = .certificates(try TLSFiles.certificates(authority))
            }
            let context: NIOSSLContext
            do {
                context = try NIOSSLContext(configuration: configuration)
            } catch {
                let file = authority ?? "the system's certificates"
                throw .unusable(file: file, reason: "cannot be used for TLS")
            }
            return LinkProtection { channel, host in
                let isAddress = (try? SocketAddress(ipAddress: host, port: 0)) != nil
                try channel.pipeline.syncOperations.addHandler(
                    try NIOSSLClientHandler(context: context, serverHostname: isAddress ? nil : host))
            }
        }
    }
#endif
