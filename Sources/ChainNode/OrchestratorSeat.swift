import ChainModel
import ChainWire
import NIOCore

/// Who holds the server, and who else is connected. All on one event loop.
///
/// One orchestrator at a time: blocks, cache units and job numbers are its alone. A second hello is refused
/// while the first one's connection lives; it is taken for dead when it was not heard for `takeoverSilence`
/// (a `NodeLink` says something twice a second), and then closed in favour of the new one.
final class OrchestratorSeat {
    private(set) var holder: NodeSession?
    private(set) var isDraining = false
    private var channels: [ObjectIdentifier: any Channel] = [:]
    private var drained: EventLoopPromise<Void>?

    enum Answer {
        case taken
        case refused(Goodbye)
    }

    // MARK: Connections

    var connectionCount: Int { channels.count }

    func connected(_ channel: any Channel) { channels[ObjectIdentifier(channel)] = channel }
    func disconnected(_ channel: any Channel) { channels[ObjectIdentifier(channel)] = nil }

    // MARK: The seat

    func take(_ session: NodeSession, now: NIODeadline, takeoverSilence: TimeAmount) -> Answer {
        guard !isDraining else { return .refused(Goodbye(.shuttingDown, "this server is shutting down")) }
        if let holder {
            let silence = now - holder.lastHeard
            guard silence >= takeoverSilence, !holder.isReadingPaused else {
                return .refused(
                    Goodbye(
                        .seatTaken,
                        "this server belongs to the orchestrator \(holder.peerDescription), heard"
                            + " \(silence.nanoseconds / 1_000_000) ms ago; stop that one first"))
            }
            holder.end(with: Goodbye(.silent, "not heard for \(silence.nanoseconds / 1_000_000) ms"))
        }
        holder = session
        return .taken
    }

    func leave(_ session: NodeSession) {
        guard holder === session else { return }
        holder = nil
        jobsChanged()
    }

    // MARK: Shutting down

    /// Lets open jobs finish, refuses new ones.
    /// - Returns: completes when no job is open.
    func drain(on eventLoop: any EventLoop) -> EventLoopFuture<Void> {
        isDraining = true
        let promise = eventLoop.makePromise(of: Void.self)
        drained?.succeed()
        drained = promise
        holder?.announceDraining()
        jobsChanged()
        return promise.futureResult
    }

    func jobsChanged() {
        guard isDraining, holder?.hasJobs != true else { return }
        stopWaiting()
    }

    func stopWaiting() {
        drained?.succeed()
        drained = nil
    }

    /// Closes every connection.
    func closeAll() -> [EventLoopFuture<Void>] {
        holder?.end(with: Goodbye(.shuttingDown, "this server is shutting down"))
        return channels.values.map { channel in
            channel.close(promise: nil)
            return channel.closeFuture
        }
    }
}

extension TimeAmount {
    init(_ duration: ChainModel.Duration) { self = .nanoseconds(duration.nanoseconds) }
}
