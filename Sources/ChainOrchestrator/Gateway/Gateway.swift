import ChainSecurity
import CoreMetrics
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOPosix

#if TLS
    import HummingbirdTLS
#endif

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif
#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// The OpenAI-compatible HTTP face of a generation service.
package struct Gateway: Sendable {
    private let responder: GatewayResponder
    private let configuration: GatewayConfiguration
    private let logger: Logger
    private let eventLoops: any EventLoopGroup

    /// The service as it is measured: what goes through it is counted like the requests that come by HTTP.
    package let service: any GenerationService
    private let observer: PoolObserver

    /// - Parameters:
    ///   - registry: what `/metrics` shows.
    ///   - factory: where measurements go; `nil` takes the registry. Whoever bootstraps swift-metrics with several
    ///     backends, the registry among them, gives `MetricsSystem.factory`.
    ///   - eventLoops: where clients' connections live; must outlive the gateway.
    ///   - now: seconds since 1970, for the answers' `created`.
    package init(
        service: any GenerationService, configuration: GatewayConfiguration, logger: Logger,
        registry: PrometheusRegistry = PrometheusRegistry(), factory: (any MetricsFactory)? = nil,
        eventLoops: any EventLoopGroup = MultiThreadedEventLoopGroup.singleton,
        now: @escaping @Sendable () -> Int = { Int(Date().timeIntervalSince1970) }
    ) {
        self.configuration = configuration
        self.logger = logger
        self.eventLoops = eventLoops
        let card = service.modelCard
        let metrics = ServiceMetrics(
            modelName: card.id, engine: card.isEmulated ? "emulated" : "ggml", factory: factory ?? registry)
        let recent = RecentResponses()
        let observed = ObservedService(base: service, metrics: metrics, recent: recent)
        let observer = PoolObserver(service: observed, metrics: metrics, recent: recent)
        self.service = observed
        self.observer = observer
        responder = GatewayResponder(
            service: observed, configuration: configuration,
            registry: RequestRegistry(limit: configuration.requestLimit),
            access: AccessControl(keys: configuration.keys, metrics: metrics),
            sight: SightResponder(registry: registry, observer: observer), logger: logger, now: now)
    }

    /// Generation requests that are not answered to the end.
    package var requestsInFlight: Int { responder.registry.count }

    /// Serves until the task is cancelled, which closes all connections at once and gives their jobs up. To
    /// drain first, let the service refuse new requests and wait for its jobs, then cancel. Within a
    /// `ServiceGroup` its graceful shutdown lets responses in progress finish.
    ///
    /// - Parameter onReady: called once, with the port, when connections are accepted.
    /// - Throws: `GatewayError` when it cannot listen.
    package func run(onReady: @escaping @Sendable (_ port: Int) -> Void = { _ in }) async throws {
        let configuration = configuration
        let logger = logger
        if configuration.tls == nil {
            try Loopback.require(configuration.host, unless: configuration.allowsPlainText)
        }
        let watching = Task { [observer] in await observer.run() }
        defer { watching.cancel() }
        let application = Application(
            responder: responder,
            server: try serverBuilder(),
            configuration: ApplicationConfiguration(
                address: .hostname(configuration.host, port: configuration.port),
                availableConnectionsDelegate: .maximum(
                    Self.connectionLimit(wanted: configuration.connectionLimit), logger: quietLogger)),
            onServerRunning: { channel in
                let filter = AcceptErrorFilter { error in
                    logger.warning("a connection could not be accepted", metadata: ["error": "\(error)"])
                }
                try? await channel.pipeline.addHandler(filter, position: .first).get()
                let port = channel.localAddress?.port ?? configuration.port
                logger.info("listening", metadata: ["host": "\(configuration.host)", "port": "\(port)"])
                onReady(port)
            },
            eventLoopGroupProvider: .shared(eventLoops),
            logger: quietLogger)
        do {
            try await application.run()
        } catch let error as IOError {
            throw listeningError(error)
        } catch is SocketAddressError.UnknownHost {
            throw cannotListen("the name is unknown")
        } catch let error as SocketAddressError {
            throw cannotListen("\(error)")
        } catch is CancellationError {
            // Stopped, as asked.
        }
    }

    private func serverBuilder() throws -> HTTPServerBuilder {
        let channelConfiguration = channelConfiguration
        let plain = HTTPServerBuilder { [responder] others in
            ClientChannel(
                base: HTTP1Channel(responder: others, configuration: channelConfiguration),
                responder: responder)
        }
        guard let files = configuration.tls else { return plain }
        #if TLS
            return try .tls(
                plain,
                tlsConfiguration: try TLSFiles.serverConfiguration(files, offering: ["http/1.1"]))
        #else
            _ = files
            throw SecurityError.withoutTLS
        #endif
    }

    private var channelConfiguration: HTTP1Channel.Configuration {
        let configuration = configuration
        return HTTP1Channel.Configuration(
            additionalChannelHandlers: [
                ConnectionGuard(
                    bodyTimeout: TimeAmount(configuration.bodyTimeout),
                    writeTimeout: TimeAmount(configuration.writeTimeout), bodyLimit: configuration.bodyLimit)
            ],
            idleTimeout: TimeAmount(configuration.idleTimeout),
            httpDecoderConfiguration: .init(
                maxHeaderFieldSize: configuration.headerLimit, maxHeaderListSize: configuration.headerLimit))
    }

    /// What the HTTP server says of itself is of interest only when something is wrong.
    private var quietLogger: Logger {
        let base = logger
        return Logger(label: "http") { _ in QuietLogHandler(base: base) }
    }

    private func listeningError(_ error: IOError) -> GatewayError {
        switch error.errnoCode {
        case EADDRINUSE: .portInUse(port: configuration.port)
        case EACCES: .portNotPermitted(port: configuration.port)
        default: cannotListen(String(cString: strerror(error.errnoCode)))
        }
    }

    private func cannotListen(_ reason: String) -> GatewayError {
        .cannotListen(host: configuration.host, port: configuration.port, reason: reason)
    }

    /// Files that the process needs beside its clients' connections: block servers, the journal, logs.
    private static let reservedDescriptors = 128

    /// As many connections as wanted, but no more than leave the process the files it needs.
    private static func connectionLimit(wanted: Int) -> Int {
        var limit = rlimit()
        #if canImport(Glibc)
            let status = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        #else
            let status = getrlimit(RLIMIT_NOFILE, &limit)
        #endif
        guard status == 0, let files = Int(exactly: limit.rlim_cur) else { return wanted }
        return max(1, min(wanted, files - reservedDescriptors))
    }
}
