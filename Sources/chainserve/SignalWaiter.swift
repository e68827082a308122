@preconcurrency import Dispatch
import Foundation

/// Turns signals into something to wait for, instead of ending the process.
final class SignalWaiter: Sendable {
    private let stream: AsyncStream<Int32>
    private let sources: [any DispatchSourceSignal]

    init(_ signals: [Int32]) {
        let (stream, continuation) = AsyncStream.makeStream(of: Int32.self)
        self.stream = stream
        sources = signals.map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { continuation.yield(number) }
            source.resume()
            return source
        }
    }

    /// Returns the next of the signals.
    @discardableResult
    func wait() async -> Int32 {
        for await number in stream { return number }
        return SIGTERM
    }
}
