import ChainModel

/// Nanoseconds since the clock was made.
struct MonotonicClock: Sendable {
    private let origin = ContinuousClock.now

    var now: Instant {
        let elapsed = ContinuousClock.now - origin
        let (seconds, attoseconds) = elapsed.components
        return Instant(nanoseconds: seconds * 1_000_000_000 + attoseconds / 1_000_000_000)
    }
}
