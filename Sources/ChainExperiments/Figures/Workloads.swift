import ChainPlanning
import ChainSimulation
import RealModule

/// A workload beyond the paper's assumptions: for simulation, and as the prediction knows it.
struct Workload {
    var arrivals: ArrivalProcess
    var sizes: JobSizes
    var arrivalLaw: ArrivalLaw
    var sizeLaw: SizeLaw

    /// The arrival laws by name; modulated ones have stays in units of `unit`, seconds.
    init(arrivals: String, sizes: String, rate: Double, unit: Double) {
        (self.arrivals, arrivalLaw) = Self.arrivals(arrivals, rate: rate, unit: unit)
        (self.sizes, sizeLaw) = Self.sizes(sizes)
    }

    static let arrivalNames = ["Poisson", "Gamma, ca² = 4", "Gamma, ca² = 16", "modulated", "on and off"]
    static let sizeNames = ["exponential", "fixed", "lognormal, cs² = 0.5", "lognormal, cs² = 2", "tokens"]

    private static func arrivals(
        _ name: String, rate: Double, unit: Double
    ) -> (ArrivalProcess, ArrivalLaw) {
        switch name {
        case "Gamma, ca² = 4": (.gamma(rate: rate, burstiness: 0.25), .gamma(variation: 4))
        case "Gamma, ca² = 16": (.gamma(rate: rate, burstiness: 0.0625), .gamma(variation: 16))
        case "modulated":
            // Twice the mean rate a third of the time, half of it otherwise; a cycle takes ten service times.
            modulated(first: 2 * rate, second: rate / 2, firstStay: 10 * unit / 3, secondStay: 20 * unit / 3)
        case "on and off":
            modulated(first: 2 * rate, second: 0, firstStay: 2 * unit, secondStay: 2 * unit)
        default: (.poisson(rate: rate), .poisson)
        }
    }

    static func modulated(
        first: Double, second: Double, firstStay: Double, secondStay: Double
    ) -> (ArrivalProcess, ArrivalLaw) {
        (
            .modulated([
                .init(rate: first, meanStay: firstStay), .init(rate: second, meanStay: secondStay),
            ]),
            .modulated(firstRate: first, secondRate: second, firstStay: firstStay, secondStay: secondStay)
        )
    }

    private static func sizes(_ name: String) -> (JobSizes, SizeLaw) {
        switch name {
        case "fixed": (.deterministic, .deterministic)
        case "lognormal, cs² = 0.5": (.lognormal(cv: 0.5.squareRoot()), .lognormal(variation: 0.5))
        case "lognormal, cs² = 2": (.lognormal(cv: 2.0.squareRoot()), .lognormal(variation: 2))
        case "tokens": (.listed(tokenSizes), SizeLaw(of: tokenSizes) ?? .exponential)
        default: (.exponential, .exponential)
        }
    }

    /// Work of requests with the trace's tokens, over their mean: every token of an answer as much as 31 of a
    /// prompt in a block of the paper's.
    private static let tokenSizes: [Double] = {
        let tokens = TraceStatistics.azureCode.trace(requests: 20_000, seed: 1).tokens
        let work = tokens.map { Double($0.input) + 31 * Double($0.output - 1) }
        let mean = work.reduce(0, +) / Double(work.count)
        return work.map { $0 / mean }
    }()
}
