import ChainModel
import Testing

@testable import ChainDispatch

/// A dispatcher on a manual clock, driven by a script with one event a line and the actions expected of it:
///
///     2.5s  finish 1#1   -> start 3#1@0
///
/// Events: `ready S`, `lose S` (for good), `restart S` (lost but returning), `arrive J`, `finish J#A`,
/// `retry J#A` (failed, retryable), `break J#A` (failed for good), `cancel J`, `drain`, for server S, job
/// J, attempt A. Actions: `start J#A@K`, `abandon J#A@K` on chain K; `queue J+N` with N ahead; `refuse J
/// why`; `fail J why`; `drained`. The time may be left out; so may the arrow, when nothing is expected.
struct Timeline {
    var dispatcher: Dispatcher
    private(set) var now = Instant.origin

    init(
        _ chains: [DispatchChain], queueLimit: Int = 256, attempts: Int = 3, rule: DispatchPolicy = .jffc,
        allReady: Bool = true
    ) {
        let serverCount = (chains.flatMap(\.servers).map(\.rawValue).max() ?? -1) + 1
        dispatcher = Dispatcher(
            configuration: DispatcherConfiguration(
                queueLimit: queueLimit, maximumAttempts: attempts, rule: rule),
            chains: chains, serverCount: serverCount)
        guard allReady else { return }
        var ignored: [Dispatcher.Action] = []
        for server in 0..<serverCount {
            dispatcher.handle(.serverReady(ServerIndex(server)), at: now, into: &ignored)
        }
    }

    /// Plays the script; records an issue at the caller's line for each line that gives other actions.
    mutating func play(_ script: String, sourceLocation: SourceLocation = #_sourceLocation) {
        for line in script.split(separator: "\n") {
            let halves = line.split(separator: "->", omittingEmptySubsequences: false)
            var words = halves[0].split(separator: " ").map(String.init)
            if let time = words.first, time.hasSuffix("s"), let seconds = Double(time.dropLast()) {
                now = Instant.origin + .seconds(seconds)
                words.removeFirst()
            }
            guard let event = Self.event(words) else {
                Issue.record("No such event: \(line)", sourceLocation: sourceLocation)
                continue
            }
            var actions: [Dispatcher.Action] = []
            dispatcher.handle(event, at: now, into: &actions)
            dispatcher.checkInvariants()
            let expected = halves.count > 1 ? halves[1].split(separator: ",").map(Self.trimmed) : []
            #expect(actions.map(describe) == expected, "in: \(line)", sourceLocation: sourceLocation)
        }
    }

    private static func trimmed(_ text: Substring) -> String {
        text.split(separator: " ").joined(separator: " ")
    }

    private static func event(_ words: [String]) -> Dispatcher.Event? {
        if words == ["drain"] { return .drainStarted }
        guard words.count == 2 else { return nil }
        let numbers = words[1].split(separator: "#").compactMap { Int($0) }
        guard let first = numbers.first else { return nil }
        let job = JobID(UInt64(first))
        let server = ServerIndex(first)
        let attempt = numbers.count > 1 ? numbers[1] : nil
        switch (words[0], attempt) {
        case ("ready", nil): return .serverReady(server)
        case ("lose", nil): return .serverLost(server, returning: false)
        case ("restart", nil): return .serverLost(server, returning: true)
        case ("arrive", nil): return .jobArrived(job)
        case ("cancel", nil): return .jobCancelled(job)
        case ("finish", let attempt?): return .jobCompleted(job, attempt: attempt)
        case ("retry", let attempt?): return .jobFailed(job, attempt: attempt, retryable: true)
        case ("break", let attempt?): return .jobFailed(job, attempt: attempt, retryable: false)
        default: return nil
        }
    }
}

/// The script's form of an action.
func describe(_ action: Dispatcher.Action) -> String {
    switch action {
    case .start(let job, let attempt, let chain): "start \(job.rawValue)#\(attempt)@\(chain.rawValue)"
    case .abandon(let job, let attempt, let chain): "abandon \(job.rawValue)#\(attempt)@\(chain.rawValue)"
    case .queue(let job, let ahead): "queue \(job.rawValue)+\(ahead)"
    case .refuse(let job, let reason): "refuse \(job.rawValue) \(reason)"
    case .fail(let job, let reason): "fail \(job.rawValue) \(reason)"
    case .drained: "drained"
    }
}

/// A chain for tests: `chain(0, 2, capacity: 2, seconds: 1)` runs through servers 0 and 2.
func chain(_ servers: Int..., capacity: Int = 1, seconds: Double = 1) -> DispatchChain {
    DispatchChain(
        servers: servers.map(ServerIndex.init(_:)), capacity: capacity, serviceTime: .seconds(seconds))
}
