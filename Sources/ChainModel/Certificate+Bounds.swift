/// The bounds of Theorem 4, derived anew.
extension Certificate {
    /// More slots than this are not walked through; then only the order of the figures is checked.
    private static let mostSlots = 10_000_000
    /// Relative difference that rounding and shortened figures may make.
    private static let boundTolerance = 1e-6

    /// Compares both bounds with the birth–death processes of eqs. 14 and 15.
    mutating func checkBounds(lower: Double, upper: Double) {
        let usable = plan.chains.allSatisfy {
            $0.capacity >= 1 && $0.serviceTimeSeconds > 0 && (1 / $0.serviceTimeSeconds).isFinite
        }
        // The chains' own slots, whatever the plan says of their sum.
        var slots = 0
        for chain in plan.chains where usable && slots <= Self.mostSlots {
            slots += min(chain.capacity, Self.mostSlots + 1)
        }
        guard usable, slots <= Self.mostSlots else { return }
        let chains = plan.chains.sorted { $0.serviceTimeSeconds < $1.serviceTimeSeconds }
        for (name, given, derived) in [
            ("lower", lower, meanResponse(filling: chains)),
            ("upper", upper, meanResponse(filling: chains.reversed())),
        ] where (given - derived).magnitude > Self.boundTolerance * derived {
            report(
                .meanResponseTime,
                "the \(name) bound is \(given) s, by Theorem 4 it is \(derived) s (eqs. 16–18)")
        }
    }

    /// Mean number of jobs over the arrival rate, where `n` jobs take the first `n` slots of the chains in this order.
    ///
    /// Weights `w_n = w_{n−1}·λ/d_n` are kept relative to the largest so far: sums are scaled down by a power of two whenever
    /// one exceeds it, which loses only what is below the smallest number.
    private func meanResponse(filling chains: [ServerChain]) -> Double {
        let rate = plan.demand.arrivalRate
        let large = 0x1p500
        var (deathRate, slots) = (0.0, 0.0)
        var (weight, weights, jobs) = (1.0, 1.0, 0.0)
        for chain in chains {
            for _ in 0..<chain.capacity {
                deathRate += 1 / chain.serviceTimeSeconds
                slots += 1
                weight *= rate / deathRate
                weights += weight
                jobs += slots * weight
                if weights > large {
                    weight /= large
                    weights /= large
                    jobs /= large
                }
            }
        }
        // From the last slot on the ratio is ρ: the weights beyond it, and the jobs in them.
        let load = rate / deathRate
        let beyond = weight * load / (1 - load)
        let waiting = beyond / (1 - load)
        return (jobs + slots * beyond + waiting) / (weights + beyond) / rate
    }
}
