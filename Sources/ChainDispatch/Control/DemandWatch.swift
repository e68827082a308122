import ChainModel

/// How demand is watched. Every bound has a name and a default.
public struct DemandBounds: Hashable, Codable, Sendable {
    /// Arrivals are counted over a window of this length, in tenths of it.
    public var window = Duration.seconds(300)
    /// A window in which fewer arrive, and fewer were to arrive, says nothing.
    public var leastArrivals = 30
    /// Share of the rate planned for by which the observed one must differ.
    public var leastChange = 0.25
    /// Standard deviations of the count by which it must differ.
    public var deviations = 4.0

    public init() {}

    /// What is wrong with it, and how to mend that; nil if nothing is.
    var problem: String? {
        if window < .seconds(1) { return "the window of demand is below a second; give at least that" }
        if leastArrivals < 1 { return "leastArrivals is \(leastArrivals); give at least 1" }
        if !(leastChange > 0) || !(deviations > 0) {
            return "leastChange and deviations must be positive"
        }
        return nil
    }
}

/// Tells when jobs arrive at another rate than the plan in force was made for.
///
/// Arrivals are counted over a sliding window of ten periods, from the installation of the plan on. At the end of each
/// period, with `n` arrivals in the whole periods of the window where `m` were to be expected, demand has changed if
///
///     |n − m| ≥ leastChange·m    and    |n − m| > deviations·√(D·max(n, m))
///
/// with `D ≥ 1` the counts' variance over their mean: 1 for Poisson arrivals, more for bursts and while demand is still on
/// the move, so that neither is taken for a new rate too early. The new rate is that of the window's younger half.
struct DemandWatch: Hashable, Sendable {
    static let periods = 10

    let bounds: DemandBounds
    /// `λ` of the plan in force, 1/s; nil when no plan says, and nothing is watched.
    private(set) var plannedRate: Double?
    /// Arrivals in the latest periods, oldest first; the last one is under way.
    private var counts: [Int] = [0]
    /// When the period under way ends.
    private var periodEnd = Instant.origin

    init(bounds: DemandBounds) { self.bounds = bounds }

    /// Begins anew, with another plan or another rate that the plan in force will do for.
    mutating func restart(plannedRate: Double?, at now: Instant) {
        self.plannedRate = plannedRate.flatMap { $0 > 0 ? $0 : nil }
        counts = [0]
        periodEnd = now + period
    }

    /// Counts a job that arrives.
    /// - Returns: the rate that jobs arrive at, 1/s, when a period has ended and the rate is not the plan's.
    /// - Complexity: O(1), and O(periods) for the first arrival after the end of a period.
    mutating func arrived(at now: Instant) -> Double? {
        guard let plannedRate else { return nil }
        var changed: Double?
        if now >= periodEnd {
            closePeriods(until: now)
            changed = change(from: plannedRate)
        }
        counts[counts.count - 1] += 1
        return changed
    }

    private var period: Duration { Duration(nanoseconds: bounds.window.nanoseconds / Int64(Self.periods)) }

    private mutating func closePeriods(until now: Instant) {
        let length = period.nanoseconds
        let passed = (now - periodEnd).nanoseconds / length + 1
        if passed > Int64(Self.periods) {
            counts = [Int](repeating: 0, count: Self.periods)
        } else {
            for _ in 0..<passed { counts.append(0) }
            counts.removeFirst(max(0, counts.count - Self.periods - 1))
        }
        periodEnd = periodEnd + Duration(nanoseconds: passed * length)
    }

    private func change(from planned: Double) -> Double? {
        let whole = counts.dropLast()
        guard whole.count >= Self.periods / 2 else { return nil }
        let count = Double(whole.reduce(0, +))
        let expected = planned * period.seconds * Double(whole.count)
        let larger = max(count, expected)
        guard larger >= Double(bounds.leastArrivals) else { return nil }
        let difference = (count - expected).magnitude
        let mean = count / Double(whole.count)
        let squares = whole.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
        let dispersion = mean > 0 ? max(1, squares / Double(whole.count - 1) / mean) : 1
        guard difference >= bounds.leastChange * expected,
            difference > bounds.deviations * (dispersion * larger).squareRoot()
        else { return nil }
        let younger = whole.suffix(Self.periods / 2)
        // The arrival that ended the period is not in it, but it came.
        return Double(max(1, younger.reduce(0, +))) / (period.seconds * Double(younger.count))
    }
}

/// Plans for another demand.
extension ControlPlane {
    /// Counts an arrival towards demand, and asks for another plan when the rate is no longer the plan's.
    ///
    /// Who comes back with a ticket was counted when it first came. While the pool is being rearranged, for whatever
    /// reason, the question waits for the end of the next period.
    mutating func noteDemand(into actions: inout [Action]) {
        guard let rate = demand?.arrived(at: now), mayReconsider else { return }
        highestPlan += 1
        reconsideration = Recomposition(plan: highestPlan, until: now + configuration.recompositionLimit)
        let gone = servers.indices.filter { servers[$0].isGone }.map(ServerIndex.init(_:))
        actions.append(.reconsider(arrivalRate: rate, excluding: gone, plan: highestPlan))
    }

    private var mayReconsider: Bool {
        recomposition == nil && rollout == nil && !someoneLeaves && !dispatcher.isDraining
            && reconsideration.map { $0.until <= now } ?? true
            && servers.indices.allSatisfy { plan.checksums[$0] == nil || servers[$0].phase == .ready }
    }

    /// The plan in force will do for the rate that was asked about.
    mutating func keepPlan(_ number: Int, arrivalRate: Double) {
        guard reconsideration?.plan == number else { return }
        reconsideration = nil
        demand?.restart(plannedRate: arrivalRate, at: now)
    }

    /// Whether a plan of this number would be put in force now: it is newer than the present one, and no later one, for a
    /// server that is gone, is being made.
    public func accepts(plan number: Int) -> Bool {
        number > plan.number && recomposition.map { number >= $0.plan } ?? true
    }
}
