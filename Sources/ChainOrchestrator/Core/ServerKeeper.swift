import ChainEngine
import ChainModel
import ChainWire
import Logging
import NIOCore

/// Keeps one block server in service: connects, has it load its range, watches it, and begins again when it is lost.
struct ServerKeeper: Sendable {
    var server: ServerIndex
    var name: String
    var address: ServerAddress
    /// `nil` for a spare server, which is only watched.
    var assignment: LoadAssignment?
    var source: RangeSource
    var configuration: OrchestratorConfiguration
    var conductor: Conductor
    var group: any EventLoopGroup
    var logger: Logger
    /// Told what the server is doing while it loads.
    var progress: @Sendable (ServerIndex, String) -> Void

    /// Runs until the task is cancelled.
    func run() async {
        var delay = configuration.reconnectDelay.first
        var lostAt: ContinuousClock.Instant?
        var hasGivenUp = false
        while !Task.isCancelled {
            do {
                let link = try await connect()
                lostAt = nil
                hasGivenUp = false
                delay = configuration.reconnectDelay.first
                await watch(link)
            } catch {
                await note(error)
            }
            if Task.isCancelled { return }
            let since = lostAt ?? .now
            lostAt = since
            if !hasGivenUp, ContinuousClock.now - since > .seconds(configuration.recoveryLimit.seconds) {
                hasGivenUp = true
                await conductor.markLost(
                    server, link: nil, reason: "not back after \(configuration.recoveryLimit.seconds) s",
                    isReturning: false)
            }
            try? await Task.sleep(for: .seconds(delay.seconds))
            delay = min(Duration(nanoseconds: delay.nanoseconds * 2), configuration.reconnectDelay.last)
        }
    }

    /// Connects and loads.
    private func connect() async throws -> NodeLink {
        var timeouts = LinkTimeouts()
        timeouts.connect = configuration.connectTimeout
        timeouts.step = configuration.stepTimeout
        timeouts.heartbeat = configuration.heartbeatInterval
        timeouts.silenceLimit = configuration.heartbeatTimeout
        let link = try await NodeLink.connect(
            host: address.host, port: address.port, on: group, timeouts: timeouts,
            protection: configuration.protection, logger: logger)
        do {
            if let assignment {
                await conductor.setState(server, .loading)
                _ = try await link.load(assignment, rangeSource: source.tensors) { report in
                    progress(server, report.text)
                }
            }
            await conductor.markReady(server, link: link)
            progress(server, "ready")
            return link
        } catch {
            await link.shutdown()
            throw error
        }
    }

    /// Returns when the link is gone.
    private func watch(_ link: NodeLink) async {
        for await event in link.events {
            switch event {
            case .draining(let text):
                logger.info("a server is draining", metadata: ["server": "\(name)", "reason": "\(text)"])
                await conductor.setState(server, .draining)
            case .closed(let error):
                if Task.isCancelled { return }
                logger.warning("a server was lost", metadata: ["server": "\(name)", "reason": "\(error)"])
                await conductor.markLost(server, link: link, reason: error.description)
            }
        }
        await link.shutdown()
    }

    private func note(_ error: any Error) async {
        let problem: String
        var isHopeless = false
        switch error {
        case LinkError.wrongModel(let text): (problem, isHopeless) = (text, true)
        case LinkError.versionMismatch: (problem, isHopeless) = ("\(error)", true)
        case LinkError.refused(let code, let text):
            (problem, isHopeless) = (
                text, [.memoryTooSmall, .badManifest, .wrongModel, .engine].contains(code)
            )
        // Found here, before the server was asked.
        case let error as EngineError: (problem, isHopeless) = (error.description, true)
        default: problem = "\(error)"
        }
        await conductor.note(server, problem: problem, isHopeless: isHopeless)
        progress(server, "not ready yet (\(problem))")
    }
}

extension RangeSource {
    /// Where the bytes of tensors come from.
    var tensors: any TensorSource {
        switch self {
        case .file(let file): file
        case .emulated: NoTensors()
        }
    }
}

/// An emulated pool has no weights to send.
private struct NoTensors: TensorSource {
    func read(_ entry: TensorEntry, into destination: UnsafeMutableRawBufferPointer) throws(EngineError) {
        throw .modelFile("an emulated pool has no weights to send")
    }
}

extension LoadProgress {
    /// What a person is told of a load.
    var text: String {
        let percent = bytesTotal > 0 ? 100 * bytesDone / bytesTotal : 0
        return switch stage {
        case .verifying: "checking its blocks (\(percent) %)"
        case .receiving: "receiving its blocks (\(percent) %)"
        case .building: "loading its blocks (\(percent) %)"
        }
    }
}
