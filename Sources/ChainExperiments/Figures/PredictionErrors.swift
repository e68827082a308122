import ChainPlanning
import ChainSimulation
import RealModule

/// Random chains with random bursty workloads, for the errors of predictions.
struct RandomSystem {
    var chains: ParallelChains
    var load: Double
    var arrivals: ArrivalProcess
    var arrivalLaw: ArrivalLaw
    var sizes: JobSizes
    var sizeLaw: SizeLaw
    var arrivalName: String
    var sizeName: String

    /// Which systems: those that the form of the correction was chosen on, others like them that it never
    /// saw,
    /// and larger ones.
    enum Kind: String, CaseIterable {
        case fitted
        case heldOut = "held out"
        case larger

        /// Added to the seed, so that no two kinds share a system.
        var seed: UInt64 {
            switch self {
            case .fitted: 0x1000_0000
            case .heldOut: 0x2000_0000
            case .larger: 0x3000_0000
            }
        }
    }

    init(_ kind: Kind, seed: UInt64) {
        var random = PaperStream(seed: kind.seed &+ seed, .servers)
        func between(_ low: Double, _ high: Double) -> Double { low + (high - low) * random.uniform() }
        func logBetween(_ low: Double, _ high: Double) -> Double {
            Double.exp(between(Double.log(low), Double.log(high)))
        }
        func pick<Item>(_ items: [Item]) -> Item { items[random.below(items.count)] }
        let count = kind == .larger ? 4 + random.below(17) : 1 + random.below(8)
        let spread = logBetween(1, kind == .fitted ? 5 : 8)
        let rates = (0..<count).map { _ in 1 / logBetween(1, spread + 1e-9) }.sorted(by: >)
        chains = ParallelChains(rates: rates, capacities: (0..<count).map { _ in 1 + random.below(10) })
        load = between(0.3, 0.92)
        let rate = load * chains.totalRate
        arrivalName = pick(["Gamma", "Gamma", "two phases", "modulated", "modulated"])
        switch arrivalName {
        case "Gamma":
            let variation = pick([0.25, 2, 4, 8, 16])
            (arrivals, arrivalLaw) = (
                .gamma(rate: rate, burstiness: 1 / variation), .gamma(variation: variation)
            )
        case "two phases":
            // On and off is such a renewal process, and one that can be simulated.
            let stay = logBetween(0.5, 10) / rates[0]
            let share = between(0.2, 0.8)
            (arrivals, arrivalLaw) = Workload.modulated(
                first: rate / share, second: 0, firstStay: share * stay, secondStay: (1 - share) * stay)
        default:
            let factor = logBetween(1.3, 4)
            let share = min(0.5, between(0.05, max(0.06, 0.95 / factor)))
            let cycle = logBetween(0.5, 50) / rates[0]
            (arrivals, arrivalLaw) = Workload.modulated(
                first: factor * rate, second: (1 - factor * share) / (1 - share) * rate,
                firstStay: share * cycle, secondStay: (1 - share) * cycle)
        }
        let choice = random.below(kind == .fitted ? 8 : 10)
        (sizes, sizeLaw, sizeName) = Self.sizes(choice)
    }

    /// The last two are laws that the form of the correction was not chosen on.
    private static func sizes(_ choice: Int) -> (JobSizes, SizeLaw, String) {
        func gamma(_ variation: Double) -> (JobSizes, SizeLaw, String) {
            (.gamma(cv: variation.squareRoot()), .gamma(variation: variation), "Gamma")
        }
        func lognormal(_ variation: Double) -> (JobSizes, SizeLaw, String) {
            (.lognormal(cv: variation.squareRoot()), .lognormal(variation: variation), "lognormal")
        }
        switch choice {
        case 1: return (.deterministic, .deterministic, "fixed")
        case 2: return gamma(0.5)
        case 3: return gamma(2)
        case 4: return lognormal(0.5)
        case 5: return lognormal(1)
        case 6: return lognormal(2)
        case 7: return lognormal(4)
        case 8: return lognormal(3)
        case 9: return gamma(0.2)
        default: return (.exponential, .exponential, "exponential")
        }
    }

    /// One row: the simulated mean and what every method predicts.
    func row(jobs: Int, seed: UInt64) -> [Field] {
        let rate = load * chains.totalRate
        let system = SimulatedSystem(rates: chains.rates, capacities: chains.capacities)
        let result = Simulation(
            system, arrivals: arrivals, sizes: sizes, length: RunLength(jobs: jobs), seed: seed
        ).run()
        let prediction = BurstyPrediction(
            chains, arrivalRate: rate, arrivals: arrivalLaw, sizes: sizeLaw)
        let exponential = BurstyPrediction(chains, arrivalRate: rate, arrivals: arrivalLaw)
        return [
            Field("chains", .integer(chains.count)), Field("slots", .integer(chains.totalCapacity)),
            Field("load", .number(load)), Field("arrivals", .text(arrivalName)),
            Field("sizes", .text(sizeName)),
            Field("dispersion", .number(arrivalLaw.dispersion(rate: rate))),
            Field("size_variation", .number(sizeLaw.variation)),
            Field("simulated_s", .number(result.response.mean)),
            Field("half_width", Value(result.response.estimate.relativeHalfWidth)),
            Field(
                "poisson_s", Value(ExactAnalysis(chains, arrivalRate: rate)?.meanResponseTime)),
            Field(
                "allen_cunneen_s",
                Value(
                    BurstyPrediction.allenCunneen(
                        chains, arrivalRate: rate, arrivals: arrivalLaw, sizes: sizeLaw))),
            Field("exact_arrivals_s", Value(exponential?.meanResponseTime)),
            Field("predicted_s", Value(prediction?.meanResponseTime)),
        ]
    }
}
