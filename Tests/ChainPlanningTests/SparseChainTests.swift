import ChainModel
import Foundation
import Testing

@testable import ChainPlanning

/// The recursion against the queue itself, solved iteratively.
@Suite struct SparseChainTests {
    private static func random(using generator: inout Xoshiro, slots: Int) -> (ParallelChains, Double) {
        let count = Int.random(in: 1...4, using: &generator)
        let rates = (0..<count).map { _ in exp(Double.random(in: -4...0, using: &generator)) }.sorted(by: >)
        let capacities = (0..<count).map { _ in Int.random(in: 1...slots, using: &generator) }
        let chains = ParallelChains(rates: rates, capacities: capacities)
        return (chains, chains.totalRate * Double.random(in: 0.1...0.95, using: &generator))
    }

    /// To 1e-8, and where less than one job in 10,000 waits to 1e-12: the residual is that of the whole
    /// distribution.
    private static func isNear(_ left: Double, _ right: Double) -> Bool {
        (left - right).magnitude <= 1e-8 * max(right, 1e-4)
    }

    @Test func agreesUnderJFFC() throws {
        try forEachSeed(60) { seed, generator in
            let (chains, rate) = Self.random(using: &generator, slots: 5)
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate, withVariances: true))
            let sparse = try #require(SparseChain(chains, arrivalRate: rate)).solve()
            let label = Comment(rawValue: "seed \(seed), residual \(sparse.residual)")
            #expect(sparse.residual < 1e-12, label)
            #expect(difference(exact.meanJobs, sparse.meanJobs) < 1e-8, label)
            #expect(difference(exact.variances?.jobs, sparse.jobsVariance) < 1e-8, label)
            #expect(Self.isNear(exact.meanWaitingTime * rate, sparse.meanWaiting), label)
            #expect(Self.isNear(exact.waitProbability, sparse.waitProbability), label)
        }
    }

    @Test func agreesUnderThresholds() throws {
        try forEachSeed(60) { seed, generator in
            let (chains, rate) = Self.random(using: &generator, slots: 3)
            var thresholds = [1]
            while thresholds.count < chains.count {
                thresholds.append((thresholds.last ?? 1) + Int.random(in: 0...5, using: &generator))
            }
            let exact = try #require(ExactAnalysis(chains, arrivalRate: rate, thresholds: thresholds))
            let sparse = try #require(SparseChain(chains, arrivalRate: rate, thresholds: thresholds)).solve()
            let label = Comment(rawValue: "seed \(seed) \(thresholds), residual \(sparse.residual)")
            #expect(sparse.residual < 1e-12, label)
            #expect(difference(exact.meanJobs, sparse.meanJobs) < 1e-8, label)
            #expect(Self.isNear(exact.meanWaitingTime * rate, sparse.meanWaiting), label)
            #expect(Self.isNear(exact.waitProbability, sparse.waitProbability), label)
        }
    }

    /// Both against elimination, whose states are found by following transitions.
    @Test func agreesWithElimination() throws {
        let chains = ParallelChains(rates: [1, 0.4, 0.1], capacities: [2, 1, 2])
        for thresholds in [[1, 1, 1], [1, 1, 3], [1, 2, 2], [1, 2, 4]] {
            let sparse = try #require(SparseChain(chains, arrivalRate: 1.2, thresholds: thresholds)).solve()
            let direct = MarkovChain(
                rates: chains.rates, capacities: chains.capacities, arrivalRate: 1.2, thresholds: thresholds
            ).solve()
            #expect(difference(sparse.meanJobs, direct.jobs) < 1e-10, "\(thresholds)")
            #expect(difference(sparse.meanWaiting, direct.waiting) < 1e-10, "\(thresholds)")
            #expect(difference(sparse.waitProbability, direct.waitProbability) < 1e-10, "\(thresholds)")
        }
    }

    /// Sizes and loads at which weights span hundreds of decades, or where iterations are slow.
    @Test(arguments: [
        ([1.0, 0.6], [99, 99], 0.97), ([1, 0.02], [150, 80], 0.5), ([1, 0.9, 0.1], [3, 40, 60], 0.9),
        ([1, 1], [400, 9], 0.001), ([1, 0.5], [9, 900], 0.99), ([2, 1, 0.5, 0.25], [9, 7, 8, 6], 0.8),
        ([1], [5000], 0.98),
    ])
    func agreesAtSize(rates: [Double], capacities: [Int], load: Double) throws {
        let chains = ParallelChains(rates: rates, capacities: capacities)
        let rate = load * chains.totalRate
        for thresholds in [nil, rates.indices.map { 1 + 3 * $0 }] {
            let exact = try #require(
                ExactAnalysis(chains, arrivalRate: rate, thresholds: thresholds, withVariances: true))
            let sparse = try #require(SparseChain(chains, arrivalRate: rate, thresholds: thresholds)).solve()
            #expect(sparse.residual < 1e-14)
            #expect(difference(exact.meanJobs, sparse.meanJobs) < 1e-8)
            if let variance = exact.variances?.jobs {
                #expect(difference(variance, sparse.jobsVariance) < 1e-8)
            }
            #expect(Self.isNear(exact.meanWaitingTime * rate, sparse.meanWaiting))
            #expect(Self.isNear(exact.waitProbability, sparse.waitProbability))
        }
    }

    @Test func limits() {
        let chains = ParallelChains(rates: [1, 0.5], capacities: [9, 9])
        #expect(SparseChain(chains, arrivalRate: 1, stateLimit: 99) == nil)
        #expect(SparseChain(chains, arrivalRate: 1, stateLimit: 100)?.stateCount == 100)
        #expect(SparseChain(chains, arrivalRate: 13.5) == nil)
    }
}
