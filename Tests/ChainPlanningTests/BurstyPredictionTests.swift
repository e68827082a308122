import ChainPlanning
import Foundation
import Testing

/// Arrivals beyond Poisson: against theory, against simulation, and against each other.
@Suite struct BurstyPredictionTests {
    /// The overflow recursion from another law must be the one for Poisson arrivals.
    @Test func poissonArrivalsGiveTheExactMean() throws {
        for (rates, capacities, load) in [
            ([1.0, 0.5], [1, 1], 0.8), ([1.0, 0.1], [3, 10], 0.625), ([0.13, 0.068, 0.063], [4, 4, 4], 0.6),
            ([2.0, 1.5, 1.2, 0.9, 0.4], [12, 30, 8, 44, 20], 0.9),
        ] {
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = load * chains.totalRate
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate))
            for arrivals in [
                ArrivalLaw.poisson, .gamma(variation: 1), .hyperexponential(variation: 1),
                .modulated(firstRate: 1, secondRate: 1 + 1e-9, firstStay: 3, secondStay: 7),
            ] {
                let found = try #require(BurstyPrediction(chains, arrivalRate: rate, arrivals: arrivals))
                #expect(abs(found.meanResponseTime / exact.meanResponseTime - 1) < 1e-7)
                #expect(abs(found.waitProbability / exact.waitProbability - 1) < 1e-6)
            }
        }
    }

    /// `D/M/1`-like and `H/M/1`: the wait of `GI/M/1` is `σ/(ν(1 − σ))` with `σ = φ(ν(1 − σ))`.
    @Test func oneSlotIsTheGIM1Queue() throws {
        let chains = ParallelChains(rates: [1], capacities: [1])
        for (arrivals, transform) in [
            (ArrivalLaw.gamma(variation: 0.5), { (s: Double) in pow(1 + s * 0.5 / 0.7, -2) }),
            (.gamma(variation: 4), { (s: Double) in pow(1 + s * 4 / 0.7, -0.25) }),
        ] {
            var sigma = 0.5
            for _ in 0..<10_000 { sigma = transform(1 - sigma) }
            let found = try #require(BurstyPrediction(chains, arrivalRate: 0.7, arrivals: arrivals))
            #expect(abs(found.waitProbability - sigma) < 1e-10)
            #expect(abs(found.meanWaitingTime - sigma / (1 - sigma)) < 1e-8)
            #expect(abs(found.meanServiceTime - 1) < 1e-10)
        }
    }

    /// On and off is a renewal process with two phases: the matrices must come close to it as one rate falls.
    @Test func twoRecursionsAgreeOnOnAndOff() throws {
        let chains = ParallelChains(rates: [1, 0.6, 0.3], capacities: [3, 4, 5])
        func mean(_ rate: Double) throws -> Double {
            let law = ArrivalLaw.modulated(firstRate: 2, secondRate: rate, firstStay: 2, secondStay: 2)
            return try #require(BurstyPrediction(chains, arrivalRate: 4, arrivals: law)).meanResponseTime
        }
        let (off, few, some) = (try mean(0), try mean(0.05), try mean(0.2))
        #expect(abs(few / off - 1) < 0.05)
        #expect(abs(few - off) < abs(some - off))
        #expect(try abs(mean(1e-9) / off - 1) < 1e-6)
    }

    /// Values simulated by a separate event loop written for the purpose in C++ (5·10⁶ jobs, 95 % interval
    /// given):
    /// chains of rates 1, 0.5, 0.3 with 3, 4, 5 slots.
    @Test func simulatedMeans() throws {
        let chains = ParallelChains(rates: [1, 0.5, 0.3], capacities: [3, 4, 5])
        let cases: [(ArrivalLaw, Double, Double, Double)] = [
            (.gamma(variation: 4), 4.5, 2.2729, 0.0037),
            (.hyperexponential(variation: 8), 4.5, 2.6481, 0.0056),
            (.gamma(variation: 0.3), 4.5, 1.65347, 0.0012),
            (.modulated(firstRate: 8, secondRate: 1, firstStay: 2, secondStay: 2), 4.5, 2.44508, 0.0064),
            (.modulated(firstRate: 20, secondRate: 2, firstStay: 2, secondStay: 10), 5, 10.5838, 0.0233),
        ]
        for (arrivals, rate, mean, width) in cases {
            let found = try #require(BurstyPrediction(chains, arrivalRate: rate, arrivals: arrivals))
            #expect(abs(found.meanResponseTime / mean - 1) < 1.5 * width)
        }
    }

    @Test func sizesThatAreMoreEvenCostLess() throws {
        #expect(abs(SizeLaw.gamma(variation: 1).evenness - 0.5) < 1e-12)
        // E min of two lognormal sizes is 2·Φ(−σ/√2); with cs² = 1 that is 0.5560 (tables of Φ).
        #expect(abs(SizeLaw.lognormal(variation: 1).evenness - 0.5560) < 1e-3)
        let measured = try #require(SizeLaw(of: [1, 2, 3, 2]))
        // By hand: the mean of the least of two drawn with replacement is 1.625, over the mean 2; cs² =
        // 0.5/4.
        #expect(abs(measured.evenness - 1.625 / 2) < 1e-12 && abs(measured.variation - 0.125) < 1e-12)
        let chains = ParallelChains(rates: [1, 0.5], capacities: [4, 4])
        let arrivals = ArrivalLaw.gamma(variation: 4)
        let means = [SizeLaw.deterministic, .gamma(variation: 0.5), .exponential, .lognormal(variation: 3)]
            .map {
                BurstyPrediction(chains, arrivalRate: 5, arrivals: arrivals, sizes: $0)?.meanWaitingTime ?? 0
            }
        #expect(means == means.sorted() && means[0] > 0)
        #expect(BurstyPrediction(chains, arrivalRate: 6, arrivals: arrivals) == nil)
    }

    /// Hundreds of slots, and chains that nothing ever reaches.
    @Test func largePoolsStayFinite() throws {
        let chains = ParallelChains(rates: [1, 0.9, 0.5], capacities: [90, 150, 200])
        for load in [0.1, 0.6, 0.97] {
            let rate = load * chains.totalRate
            for arrivals in [
                ArrivalLaw.gamma(variation: 8),
                .modulated(firstRate: 1.2, secondRate: 0.8, firstStay: 3, secondStay: 3),
            ] {
                let found = try #require(BurstyPrediction(chains, arrivalRate: rate, arrivals: arrivals))
                let lower = try #require(ResponseBounds.lower(chains, arrivalRate: rate))
                #expect(found.meanResponseTime.isFinite && found.meanResponseTime > 0.999 * lower)
                if load < 0.5 { #expect(abs(found.meanResponseTime / lower - 1) < 1e-3) }
                #expect(found.waitProbability >= 0 && found.waitProbability < 1)
            }
        }
    }
}
