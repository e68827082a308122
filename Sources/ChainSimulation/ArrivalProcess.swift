/// How jobs arrive. Times are in seconds, rates in jobs per second.
package enum ArrivalProcess: Hashable, Sendable {
    case poisson(rate: Double)
    /// Renewal with Gamma gaps. `burstiness` is the shape, as in `vllm bench serve`: 1 is Poisson, less is
    /// burstier; the gaps' squared coefficient of variation is `1/burstiness`.
    case gamma(rate: Double, burstiness: Double)
    /// Markov-modulated Poisson: states visited in turn, each for an exponential time.
    case modulated([ModulatedState])
    /// Poisson with a rate that changes over time.
    case varying(RateCurve)
    /// Times of arrival since the start, nanoseconds, not decreasing; none after the last.
    case times([Int64])
    /// Renewal with gaps like those of the Azure trace (`TraceStatistics`).
    case azure(rate: Double)
    /// A fixed number of users; each submits its next job an exponential think time after the last ended.
    case closedLoop(users: Int, meanThinkTime: Double)

    /// A state of a Markov-modulated Poisson process.
    package struct ModulatedState: Hashable, Sendable {
        /// Arrivals per second while in it; may be zero.
        package var rate: Double
        /// Mean stay, seconds.
        package var meanStay: Double

        package init(rate: Double, meanStay: Double) {
            self.rate = rate
            self.meanStay = meanStay
        }
    }

    /// Bursts of Poisson arrivals separated by silence, both exponential, with the given rate over all.
    package static func onOff(rate: Double, meanOn: Double, meanOff: Double) -> Self {
        .modulated([
            ModulatedState(rate: rate * (meanOn + meanOff) / meanOn, meanStay: meanOn),
            ModulatedState(rate: 0, meanStay: meanOff),
        ])
    }

    /// The same process with another mean rate; a trace's times are stretched, a closed loop is left alone.
    package func scaled(toRate rate: Double) -> Self {
        guard let current = meanRate else { return self }
        let factor = rate / current
        switch self {
        case .poisson: return .poisson(rate: rate)
        case .gamma(_, let burstiness): return .gamma(rate: rate, burstiness: burstiness)
        case .modulated(let states):
            return .modulated(
                states.map { ModulatedState(rate: $0.rate * factor, meanStay: $0.meanStay) })
        case .varying(let curve): return .varying(curve.scaled(by: factor))
        case .times(let times): return .times(times.map { Int64((Double($0) / factor).rounded()) })
        case .azure: return .azure(rate: rate)
        case .closedLoop: return self
        }
    }

    /// Whether the arrivals end.
    package var isTrace: Bool {
        if case .times = self { return true }
        return false
    }

    /// Mean arrivals per second in the long run; `nil` for a closed loop, whose rate depends on the pool, and
    /// for a trace of fewer than two jobs.
    package var meanRate: Double? {
        switch self {
        case .poisson(let rate), .gamma(let rate, _), .azure(let rate): return rate
        case .modulated(let states):
            let time = states.reduce(0) { $0 + $1.meanStay }
            return states.reduce(0) { $0 + $1.rate * $1.meanStay } / time
        case .varying(let curve): return curve.meanRate
        case .times(let times):
            guard let first = times.first, let last = times.last, last > first else { return nil }
            return Double(times.count - 1) / (Double(last - first) / 1e9)
        case .closedLoop: return nil
        }
    }

    /// Squared coefficient of variation of the gaps, where it is known; 1 for Poisson.
    package var gapVariation: Double? {
        switch self {
        case .poisson: return 1
        case .gamma(_, let burstiness): return 1 / burstiness
        case .azure: return TraceStatistics.azureCode.gapVariation
        case .times(let times):
            let gaps = zip(times, times.dropFirst()).map { Double($1 - $0) }
            guard gaps.count > 1 else { return nil }
            let mean = gaps.reduce(0, +) / Double(gaps.count)
            let square = gaps.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(gaps.count)
            return square / (mean * mean)
        case .modulated, .varying, .closedLoop: return nil
        }
    }

    /// Traps unless the numbers make sense; whoever reads them from a person checks before.
    func checkParameters() {
        switch self {
        case .poisson(let rate), .azure(let rate): precondition(rate > 0 && rate.isFinite)
        case .gamma(let rate, let burstiness): precondition(rate > 0 && rate.isFinite && burstiness > 0)
        case .modulated(let states):
            precondition(states.allSatisfy { $0.rate >= 0 && $0.meanStay > 0 && $0.rate.isFinite })
            precondition(states.contains { $0.rate > 0 }, "No state has arrivals.")
        case .varying(let curve): precondition(curve.meanRate > 0)
        case .times(let times):
            precondition(zip(times, times.dropFirst()).allSatisfy { $0 <= $1 }, "A trace goes back in time.")
            precondition(times.first.map { $0 >= 0 } ?? true)
        case .closedLoop(let users, let think): precondition(users >= 1 && think >= 0)
        }
    }
}

/// Draws the arrivals of a process one after the other.
struct ArrivalSource: ~Copyable {
    private let process: ArrivalProcess
    private var random: RandomStream
    /// Time of the latest arrival or change of rate, seconds.
    private var seconds = 0.0
    /// Of a modulated process: its state and when that ends, seconds.
    private var state = 0
    private var stateEnd = 0.0
    /// Of a trace: the next time.
    private var position = 0
    /// Of a closed loop: users that think.
    private var thinking = EventCalendar()
    /// Time of the next arrival, nanoseconds; the largest number when none is to come.
    private(set) var next: Int64 = .max

    init(_ process: ArrivalProcess, seed: UInt64, replication: Int) {
        process.checkParameters()
        self.process = process
        let purpose: RandomStream.Purpose
        if case .closedLoop = process { purpose = .thinkTimes } else { purpose = .arrivals }
        random = RandomStream(seed: seed, purpose: purpose, replication: replication)
        switch process {
        case .closedLoop(let users, let meanThinkTime):
            for _ in 0..<users { think(from: 0, mean: meanThinkTime) }
            next = thinking.firstTime
        case .modulated(let states):
            // Starts in a state drawn by its share of time, so that the process is stationary.
            let total = states.reduce(0) { $0 + $1.meanStay }
            var rest = random.uniform() * total
            while state < states.count - 1, rest >= states[state].meanStay {
                rest -= states[state].meanStay
                state += 1
            }
            stateEnd = random.exponential() * states[state].meanStay
            advance()
        case .times(let times): next = times.first ?? .max
        default: advance()
        }
    }

    /// Moves on to the arrival after `next`.
    @inline(__always)
    mutating func advance() {
        if case .poisson(let rate) = process {
            step(random.exponential() / rate)
        } else {
            advanceOther()
        }
    }

    /// Whole nanoseconds are added up: the gap is what is rounded, so that late gaps are as fine as early ones.
    @inline(__always)
    private mutating func step(_ gap: Double) {
        next = (next == .max ? 0 : next) + Int64(gap * 1e9 + 0.5)
    }

    private mutating func advanceOther() {
        switch process {
        case .poisson: break
        case .gamma(let rate, let burstiness): step(random.gamma(shape: burstiness) / rate)
        case .azure(let rate): step(TraceStatistics.azureCode.gap(using: &random) / rate)
        case .modulated(let states): advanceModulated(states)
        case .varying(let curve):
            // Thinning (Lewis and Shedler 1979).
            repeat {
                seconds += random.exponential() / curve.highestRate
            } while random.uniform() * curve.highestRate > curve.rate(at: seconds)
            next = Int64(seconds * 1e9 + 0.5)
        case .times(let times):
            position += 1
            next = position < times.count ? times[position] : .max
        case .closedLoop:
            _ = thinking.firstTime
            if thinking.count > 0 { _ = thinking.takeFirst() }
            next = thinking.firstTime
        }
    }

    private mutating func advanceModulated(_ states: [ArrivalProcess.ModulatedState]) {
        while true {
            let rate = states[state].rate
            let gap = rate > 0 ? random.exponential() / rate : .infinity
            if seconds + gap < stateEnd {
                seconds += gap
                next = Int64(seconds * 1e9 + 0.5)
                return
            }
            // The gap has no memory: what is left of it is drawn anew in the next state.
            seconds = stateEnd
            state = (state + 1) % states.count
            stateEnd = seconds + random.exponential() * states[state].meanStay
        }
    }

    /// A job ended or was refused: in a closed loop its user begins to think.
    @inline(__always)
    mutating func jobEnded(at time: Int64) {
        if case .closedLoop(_, let meanThinkTime) = process {
            think(from: time, mean: meanThinkTime)
            next = thinking.firstTime
        }
    }

    private mutating func think(from time: Int64, mean: Double) {
        let pause = mean > 0 ? random.exponential() * mean : 0
        thinking.insert(at: time + Int64(pause * 1e9 + 0.5), payload: 0)
    }
}
