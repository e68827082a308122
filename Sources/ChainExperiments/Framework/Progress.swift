import Foundation
import Synchronization

/// How far an experiment is: a bar on a terminal, plain lines otherwise; on standard error.
final class Progress: Sendable {
    private struct State {
        var done = 0
        var shown = -1
    }

    private let name: String
    private let total: Int
    private let isTerminal: Bool
    private let isQuiet: Bool
    private let start = ContinuousClock.now
    private let state: Mutex<State>

    /// - Parameter finished: Cells that were there before.
    init(_ name: String, total: Int, finished: Int, isQuiet: Bool) {
        self.name = name
        self.total = total
        self.isQuiet = isQuiet
        isTerminal = isatty(STDERR_FILENO) == 1
        state = Mutex(State(done: finished))
        show(force: true)
    }

    func advance() {
        state.withLock { $0.done += 1 }
        show(force: false)
    }

    private func show(force: Bool) {
        guard !isQuiet, total > 0 else { return }
        let line: String? = state.withLock { state in
            let step = isTerminal ? 100 : 10
            let level = state.done * step / total
            guard force || level != state.shown else { return nil }
            state.shown = level
            return text(done: state.done)
        }
        guard let line else { return }
        FileHandle.standardError.write(Data(line.utf8))
    }

    private func text(done: Int) -> String {
        let seconds = Int(start.duration(to: .now).components.seconds)
        guard isTerminal else { return "\(name): \(done) of \(total) cells, \(seconds) s\n" }
        let width = 30
        let filled = width * done / total
        let bar = String(repeating: "█", count: filled) + String(repeating: "·", count: width - filled)
        let isPlain = ProcessInfo.processInfo.environment["NO_COLOR"] != nil
        let coloured = isPlain ? bar : "\u{1B}[36m\(bar)\u{1B}[0m"
        let end = done == total ? "\n" : ""
        let label = name.padding(toLength: 12, withPad: " ", startingAt: 0)
        return "\r\(label) \(coloured) \(done)/\(total) \(seconds) s\(end)"
    }
}
