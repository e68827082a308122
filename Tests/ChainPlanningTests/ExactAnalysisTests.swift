import ChainModel
import Foundation
import Testing

@testable import ChainPlanning

@Suite struct ExactAnalysisTests {
    /// Against a Markov chain solved by elimination, for random small systems.
    @Test func agreesWithElimination() throws {
        try forEachSeed(25) { seed, generator in
            let (chains, rate) = Self.random(using: &generator)
            let expected = MarkovChain(rates: chains.rates, capacities: chains.capacities, arrivalRate: rate)
                .solve()
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate))
            #expect(difference(exact.meanJobs, expected.jobs) < 1e-8, "seed \(seed)")
            #expect(difference(exact.meanResponseTime, expected.jobs / rate) < 1e-8, "seed \(seed)")
            #expect(difference(exact.meanWaitingTime, expected.waiting / rate) < 1e-7, "seed \(seed)")
            #expect(difference(exact.waitProbability, expected.waitProbability) < 1e-7, "seed \(seed)")
        }
    }

    @Test func agreesWithEliminationUnderThresholds() throws {
        try forEachSeed(25) { seed, generator in
            let (chains, rate) = Self.random(using: &generator)
            var thresholds = [1]
            while thresholds.count < chains.count {
                thresholds.append((thresholds.last ?? 1) + Int.random(in: 0...4, using: &generator))
            }
            let chain = MarkovChain(
                rates: chains.rates, capacities: chains.capacities, arrivalRate: rate, thresholds: thresholds)
            let expected = chain.solve()
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate, thresholds: thresholds))
            let label = Comment(rawValue: "seed \(seed) \(thresholds)")
            #expect(difference(exact.meanJobs, expected.jobs) < 1e-8, label)
            #expect(difference(exact.meanWaitingTime, expected.waiting / rate) < 1e-7, label)
            #expect(difference(exact.waitProbability, expected.waitProbability) < 1e-7, label)
        }
    }

    private static func random(using generator: inout Xoshiro) -> (ParallelChains, Double) {
        let count = Int.random(in: 1...3, using: &generator)
        let rates = (0..<count).map { _ in Double.random(in: 0.05...1, using: &generator) }.sorted(by: >)
        let capacities = (0..<count).map { _ in Int.random(in: 1...3, using: &generator) }
        let chains = ParallelChains(rates: rates, capacities: capacities)
        return (chains, chains.totalRate * Double.random(in: 0.1...0.7, using: &generator))
    }

    /// One chain is M/M/c: Erlang's C formula.
    @Test(arguments: [1, 2, 7, 40])
    func erlang(servers: Int) throws {
        let chains = ParallelChains(rates: [0.5], capacities: [servers])
        let rate = 0.8 * chains.totalRate
        let offered = rate / 0.5
        var inverseLoss = 1.0
        for busy in 1...servers { inverseLoss = 1 + Double(busy) / offered * inverseLoss }
        let loss = 1 / inverseLoss
        let wait = loss / (1 - 0.8 * (1 - loss))
        let exact = try #require(ExactAnalysis(chains, arrivalRate: rate))
        #expect(difference(exact.waitProbability, wait) < 1e-12)
        #expect(difference(exact.meanWaitingTime, wait / (chains.totalRate - rate)) < 1e-12)
        #expect(difference(exact.meanResponseTime, 2 + wait / (chains.totalRate - rate)) < 1e-12)
        let lower = try #require(ResponseBounds.lower(chains, arrivalRate: rate))
        let upper = try #require(ResponseBounds.upper(chains, arrivalRate: rate))
        #expect(difference(lower, exact.meanResponseTime) < 1e-12)
        #expect(difference(upper, exact.meanResponseTime) < 1e-12)
    }

    /// `μ = (1, ½)`, `c = (1, 1)`: solved by hand from the balance equations, as fractions.
    @Test func twoServersByHand() throws {
        let chains = ParallelChains(rates: [1, 0.5], capacities: [1, 1])
        let exact = try #require(ExactAnalysis(chains, arrivalRate: 0.6))
        #expect(difference(exact.meanResponseTime, 55.0 / 36) < 1e-12)
        #expect(difference(exact.waitProbability, 0.22) < 1e-12)
    }

    /// One server: the response of M/M/1 is exponential.
    @Test func spreadOfASingleServer() throws {
        let exact = try #require(
            ExactAnalysis(
                ParallelChains(rates: [2], capacities: [1]), arrivalRate: 1.5, withVariances: true))
        #expect(difference(exact.variances?.response, 4) < 1e-12)
        #expect(difference(exact.variances?.jobs, 0.75 / (0.25 * 0.25)) < 1e-12)
        #expect(difference(exact.waitTail(beyond: 2), 0.75 * exp(-1)) < 1e-12)
        #expect(difference(exact.waitTail(beyond: exact.waitQuantile(0.99)), 0.01) < 1e-12)
        #expect(exact.waitQuantile(0.2) == 0)
    }

    /// Against a simulation: the variance of the response and the tail of the wait.
    @Test func spreadAgainstSimulation() throws {
        for load in [0.5, 0.8] {
            let queue = SimulatedQueue(
                rates: [1, 0.4, 0.1], capacities: [3, 4, 6], arrivalRate: load * 5.2)
            var generator = Xoshiro(seed: 7)
            let chains = ParallelChains(rates: queue.rates, capacities: queue.capacities)
            let exact = try #require(
                ExactAnalysis(chains, arrivalRate: queue.arrivalRate, withVariances: true))
            let times = [0, 0.2, 0.5, 1.0]
            let simulated = queue.run(jobs: 300_000, times: times, using: &generator)
            #expect(difference(exact.meanResponseTime, simulated.meanResponse) < 0.02)
            #expect(difference(exact.variances?.response, simulated.responseVariance) < 0.04)
            for (time, share) in zip(times, simulated.tail) {
                #expect((exact.waitTail(beyond: time) - share).magnitude < 0.01)
            }
        }
    }

    /// The estimate of the error covers the error: against the same recursion with many more nodes.
    @Test func errorByDoubling() throws {
        let rates = (0..<24).map { 0.9 / pow(1.25, Double($0)) }
        let chains = ParallelChains(rates: rates, capacities: rates.map { _ in 7 })
        let rate = 0.8 * chains.totalRate
        for nodes in [8, 16, 32] {
            let coarse = try #require(ExactAnalysis(chains, arrivalRate: rate, nodeCount: nodes))
            let best = try #require(ExactAnalysis(chains, arrivalRate: rate, nodeCount: 128))
            let estimate = try #require(
                ExactAnalysis.error(of: coarse, chains, arrivalRate: rate, nodeCount: nodes))
            let error = (coarse.meanResponseTime - best.meanResponseTime).magnitude
            #expect(error <= 1.5 * estimate + 1e-13 * best.meanResponseTime)
        }
    }

    @Test func noSteadyStateHasNoMean() {
        let chains = ParallelChains(rates: [1, 0.5], capacities: [2, 2])
        #expect(ExactAnalysis(chains, arrivalRate: 3) == nil)
        #expect(ResponseBounds.lower(chains, arrivalRate: 3) == nil)
        #expect(ResponseBounds.upper(chains, arrivalRate: 3) == nil)
        #expect(ExactAnalysis(chains, arrivalRate: 2.999) != nil)
    }

    /// Large and uneven systems, where no other method reaches: the order of the bounds, and the error by doubling.
    @Test func orderAndErrorOnLargeSystems() throws {
        try forEachSeed(12) { seed, generator in
            let count = Int.random(in: 2...30, using: &generator)
            let rates = (0..<count).map { _ in Double.random(in: 0.01...1, using: &generator) }.sorted(by: >)
            let capacities = (0..<count).map { _ in Int.random(in: 1...15, using: &generator) }
            let chains = ParallelChains(rates: rates, capacities: capacities)
            let rate = chains.totalRate * Double.random(in: 0.2...0.98, using: &generator)
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate)).meanResponseTime
            let finer = try #require(ExactAnalysis(chains, arrivalRate: rate, nodeCount: 64)).meanResponseTime
            let lower = try #require(ResponseBounds.lower(chains, arrivalRate: rate))
            let upper = try #require(ResponseBounds.upper(chains, arrivalRate: rate))
            #expect(difference(exact, finer) < 1e-9, "seed \(seed)")
            #expect(lower <= exact * (1 + 1e-12) && exact <= upper * (1 + 1e-12), "seed \(seed)")
        }
    }

    /// A light load on many slots: weights and overflow pass every power of ten.
    @Test func manySlots() throws {
        let chains = ParallelChains(rates: [2, 1], capacities: [3000, 3000])
        for load in [0.001, 0.5, 0.9] {
            let rate = load * chains.totalRate
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate))
            let lower = try #require(ResponseBounds.lower(chains, arrivalRate: rate))
            let upper = try #require(ResponseBounds.upper(chains, arrivalRate: rate))
            #expect(lower.isFinite && upper.isFinite && exact.meanResponseTime.isFinite)
            #expect(lower <= exact.meanResponseTime * (1 + 1e-12))
            #expect(exact.meanResponseTime <= upper * (1 + 1e-12))
        }
    }
}

/// Values that an independent implementation, a sparse solver and simulations agree on.
@Suite(.enabled(if: GoldenData.isPresent("exact.json"), Comment(rawValue: GoldenData.missing)))
struct GoldenExactTests {
    @Test func means() throws {
        let systems = try GoldenData.load(GoldenData.ExactValues.self, from: "exact.json").systems
        #expect(systems.count >= 13)
        for (number, system) in systems.enumerated() {
            let chains = ParallelChains(rates: system.mu, capacities: system.c)
            let exact = try #require(ExactAnalysis(chains, arrivalRate: system.arrival_rate))
            let lower = try #require(ResponseBounds.lower(chains, arrivalRate: system.arrival_rate))
            let upper = try #require(ResponseBounds.upper(chains, arrivalRate: system.arrival_rate))
            #expect(difference(exact.meanResponseTime, system.mean_response_time) < 1e-9, "system \(number)")
            #expect(difference(exact.waitProbability, system.p_wait) < 1e-6, "system \(number)")
            #expect(difference(lower, system.lower) < 1e-9, "system \(number)")
            #expect(difference(upper, system.upper) < 1e-9, "system \(number)")
        }
    }
}
