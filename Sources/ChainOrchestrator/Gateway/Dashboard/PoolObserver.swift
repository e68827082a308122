import ChainSecurity
import NIOCore

#if canImport(FoundationEssentials)
    import FoundationEssentials
#else
    import Foundation
#endif

/// Looks at the pool every second: sets the gauges, notes what changed, and tells whoever watches.
actor PoolObserver {
    /// Between two looks.
    static let interval = Swift.Duration.seconds(1)
    /// Events kept for people to read.
    static let eventLimit = 100
    /// Most watchers at once; every open dashboard is one.
    static let watcherLimit = 64
    /// Looks over which rates are taken.
    private static let rateLooks = 60
    /// Refusals and restarts are told at most this often, with their number.
    private static let repeatInterval = 30.0

    private let service: any GenerationService
    private let recent: RecentResponses
    private let wallClock: @Sendable () -> Double
    private var gauges: PoolGauges
    private let startedAt: ContinuousClock.Instant
    private var latest: PoolSight?
    private var latestAt: ContinuousClock.Instant?
    private var events: [PoolSight.Event] = []
    private var eventCount = 0
    private var looks: [(at: ContinuousClock.Instant, totals: RecentResponses.Totals)] = []
    private var watchers: [Int: AsyncStream<ByteBuffer>.Continuation] = [:]
    private var lastWatcher = 0
    private var refusalsTold = 0
    private var toldAt: [String: Double] = [:]

    /// - Parameter wallClock: seconds since 1970.
    init(
        service: any GenerationService, metrics: ServiceMetrics, recent: RecentResponses,
        wallClock: @escaping @Sendable () -> Double = { Date().timeIntervalSince1970 }
    ) {
        self.service = service
        self.recent = recent
        self.wallClock = wallClock
        gauges = PoolGauges(factory: metrics.factory, labels: metrics.labels)
        gauges.setStart(wallClock())
        startedAt = .now
        looks = [(startedAt, RecentResponses.Totals())]
    }

    /// Looks until the task is cancelled; then lets the watchers go.
    func run() async {
        while !Task.isCancelled {
            let sight = await look()
            if !watchers.isEmpty, let event = Self.event(sight) {
                for watcher in watchers.values { watcher.yield(event) }
            }
            try? await Task.sleep(for: Self.interval)
        }
        for watcher in watchers.values { watcher.finish() }
        watchers = [:]
    }

    /// What was last seen, when that is recent; else looks.
    func current() async -> PoolSight {
        if let latest, let latestAt, ContinuousClock.now - latestAt < Self.interval / 2 { return latest }
        return await look()
    }

    // MARK: Watching

    /// What is seen from now on, as server-sent events; a watcher that does not keep up misses the older ones. `nil` when
    /// too many watch.
    func watch() async -> (events: AsyncStream<ByteBuffer>, number: Int)? {
        guard watchers.count < Self.watcherLimit else { return nil }
        lastWatcher += 1
        let number = lastWatcher
        let (stream, continuation) = AsyncStream.makeStream(
            of: ByteBuffer.self, bufferingPolicy: .bufferingNewest(2))
        watchers[number] = continuation
        if let event = Self.event(await current()) { continuation.yield(event) }
        return (stream, number)
    }

    func stopWatching(_ number: Int) { watchers.removeValue(forKey: number)?.finish() }

    private static func event(_ sight: PoolSight) -> ByteBuffer? {
        guard let json = encoded(sight) else { return nil }
        var buffer = ByteBuffer()
        buffer.writeStaticString("event: sight\ndata: ")
        buffer.writeBytes(json)
        buffer.writeStaticString("\n\n")
        return buffer
    }

    static func encoded(_ sight: PoolSight) -> [UInt8]? {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(sight)).map { Array($0) }
    }

    // MARK: Looking

    @discardableResult
    func look() async -> PoolSight {
        let status = await service.glance()
        let outlook = await service.outlook()
        let readiness = await service.readiness()
        let now = ContinuousClock.now
        noteChanges(status, outlook, readiness.word)
        let sight = PoolSight(
            at: wallClock(), uptimeSeconds: (now - startedAt).inSeconds, readiness: readiness.word,
            status: status, outlook: outlook, observed: observed(status, at: now),
            events: Array(events.reversed()))
        gauges.set(sight)
        latest = sight
        latestAt = now
        return sight
    }

    private func observed(_ status: PoolStatus, at now: ContinuousClock.Instant) -> PoolSight.Observed {
        let totals = recent.totals
        if let last = looks.last, now - last.at >= Self.interval / 2 { looks.append((now, totals)) }
        if looks.count > Self.rateLooks + 1 { looks.removeFirst(looks.count - Self.rateLooks - 1) }
        let first = looks.first ?? (now, totals)
        let span = max((now - first.at).inSeconds, 1e-3)
        let summary = recent.summary(at: now)
        let serviceTimes = status.chains.map { chain -> Double? in
            let times = summary.all.filter { $0.chain == chain.name }.map(\.service)
            return times.isEmpty ? nil : times.reduce(0, +) / Double(times.count)
        }
        return PoolSight.Observed(
            windowSeconds: min(RecentResponses.window.inSeconds, (now - startedAt).inSeconds),
            arrivalsPerSecond: Double(totals.arrived - first.totals.arrived) / span,
            tokensPerSecond: Double(totals.tokens - first.totals.tokens) / span,
            arrived: totals.arrived, refused: totals.refused, response: summary.response,
            wait: summary.wait, firstToken: summary.firstToken, serviceTimes: serviceTimes)
    }

    // MARK: Events

    private func noteChanges(_ status: PoolStatus, _ outlook: PoolOutlook?, _ readiness: String) {
        let before = latest
        for server in status.servers {
            let seen = before?.status.servers.first { $0.name == server.name }
            let old = seen?.state
            // A server may be lost and back between two looks.
            let wasLost = server.state != .lost && server.losses > (seen?.losses ?? server.losses)
            if wasLost { note(.bad, "server \(server.name) is lost") }
            guard server.state != old || wasLost, !(old == nil && server.state == .starting) else { continue }
            switch server.state {
            case .ready: note(.good, "server \(server.name) is ready")
            case .lost: note(.bad, "server \(server.name) is lost")
            case .suspect: note(.bad, "server \(server.name) does not answer")
            case .draining: note(.notice, "server \(server.name) finishes its jobs and leaves")
            case .loading: note(.notice, "server \(server.name) loads its blocks")
            case .starting: note(.notice, "server \(server.name) is sought")
            }
        }
        if let old = before?.outlook?.planNumber, let new = outlook?.planNumber, old != new {
            note(.notice, "plan \(new) is in service")
        }
        if let advice = outlook?.advice, advice != before?.outlook?.advice { note(.notice, advice) }
        if before?.readiness != readiness {
            switch readiness {
            case "ready": note(.good, "the service is ready")
            case "draining": note(.notice, "the service takes nothing new")
            case "starting": note(.notice, "the service is starting")
            default: note(.bad, "no chain can serve")
            }
        }
        noteRepeated()
    }

    private func noteRepeated() {
        let refused = recent.totals.refused
        if refused > refusalsTold, isDue("refused") {
            let count = refused - refusalsTold
            refusalsTold = refused
            note(.bad, count == 1 ? "a request was refused" : "\(count) requests were refused")
        }
        let restarts = recent.takeRestarts()
        guard let chain = restarts.last else { return }
        let what = restarts.count == 1 ? "a request" : "\(restarts.count) requests"
        note(.notice, "\(what) began again after a loss, on \(chain)")
    }

    private func isDue(_ what: String) -> Bool {
        let now = wallClock()
        if let told = toldAt[what], now - told < Self.repeatInterval { return false }
        toldAt[what] = now
        return true
    }

    private func note(_ kind: PoolSight.Event.Kind, _ text: String) {
        eventCount += 1
        events.append(PoolSight.Event(number: eventCount, at: wallClock(), kind: kind, text: text))
        if events.count > Self.eventLimit { events.removeFirst(events.count - Self.eventLimit) }
    }
}

extension Readiness {
    /// One word for programs.
    var word: String {
        switch self {
        case .ready: "ready"
        case .starting: "starting"
        case .draining: "draining"
        case .unavailable: "unavailable"
        }
    }
}
