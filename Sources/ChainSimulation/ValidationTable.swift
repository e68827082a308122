import ChainPlanning

/// Simulated means beside what queueing theory says.
package enum ValidationTable {
    /// Half-width of the 95 % interval over the mean at which a run ends: that of 99.9 % is then below 1 %, for at
    /// most 1.86 times as wide (Student's t from 19 degrees of freedom on).
    private static let precision = 0.0053

    /// A system with a known mean.
    package struct Row: Sendable {
        package var name: String
        package var simulation: Simulation
        /// Mean response time, seconds.
        package var expected: Double
    }

    /// Every system with a formula of its own, and mixed ones with the exact analysis.
    package static func rows(jobs: Int, seed: UInt64) -> [Row] {
        var rows: [Row] = []
        func add(
            _ name: String, _ rates: [Double], _ capacities: [Int], _ arrivalRate: Double, _ expected: Double,
            sizes: JobSizes = .exponential, policy: SimulatedPolicy = .jffc
        ) {
            rows.append(
                Row(
                    name: name,
                    simulation: Simulation(
                        SimulatedSystem(rates: rates, capacities: capacities), policy: policy,
                        arrivals: .poisson(rate: arrivalRate), sizes: sizes,
                        length: RunLength(jobs: jobs, precision: precision),
                        // Each row has its own random numbers, so that rows are independent evidence.
                        seed: seed &+ UInt64(rows.count)), expected: expected))
        }
        for load in [0.5, 0.8] { add("M/M/1, ρ = \(load)", [1], [1], load, 1 / (1 - load)) }
        for slots in [4, 32] {
            add("M/M/\(slots), ρ = 0.8", [1], [slots], 0.8 * Double(slots), erlangResponse(slots, load: 0.8))
        }
        // Pollaczek and Khinchine: E[W] = ρ(1 + cs²)/(2(1 − ρ)).
        let variations: [(String, JobSizes, Double)] = [
            ("M/D/1", .deterministic, 0), ("M/G/1, Gamma cs = 0.5", .gamma(cv: 0.5), 0.5),
            ("M/G/1, lognormal cs = 1.5", .lognormal(cv: 1.5), 1.5),
            ("M/G/1, hyperexponential cs = 2", .hyperexponential(cv: 2), 2),
        ]
        for (name, sizes, cv) in variations {
            add("\(name), ρ = 0.6", [1], [1], 0.6, 1 + 0.6 * (1 + cv * cv) / (2 * 0.4), sizes: sizes)
        }
        for (rates, capacities, arrivalRate) in mixed {
            let chains = ParallelChains(rates: rates, capacities: capacities)
            guard let exact = ExactAnalysis(chains, arrivalRate: arrivalRate) else { continue }
            let name = "μ = \(list(rates)), c = \(list(capacities)), λ = \(arrivalRate)"
            add("JFFC, " + name, rates, capacities, arrivalRate, exact.meanResponseTime)
            let wait = WaitThresholds.choose(chains, arrivalRate: arrivalRate, jffc: exact)
            guard wait.thresholds.contains(where: { $0 > 1 }) else { continue }
            add(
                "JFFC with thresholds \(list(wait.thresholds)), " + name, rates, capacities, arrivalRate,
                wait.analysis.meanResponseTime, policy: .jffcWait(thresholds: wait.thresholds))
        }
        return rows
    }

    /// Chains of unequal speed, from fast to slow.
    private static let mixed: [([Double], [Int], Double)] = [
        ([1, 0.5], [1, 1], 0.6), ([1, 0.5], [1, 1], 1.2), ([2, 1], [2, 3], 4), ([0.13, 0.068], [7, 7], 0.9),
        ([0.13, 0.068, 0.063], [4, 4, 4], 0.6), ([1, 0.1], [3, 10], 2.5), ([1, 0.1], [3, 10], 3.5),
    ]

    private static func list<Value>(_ values: [Value]) -> String {
        "(" + values.map { "\($0)" }.joined(separator: ", ") + ")"
    }

    /// Mean response of M/M/c with service rate 1, by Erlang's C formula.
    package static func erlangResponse(_ slots: Int, load: Double) -> Double {
        let offered = load * Double(slots)
        var inverseLoss = 1.0
        for busy in 1...slots { inverseLoss = 1 + Double(busy) / offered * inverseLoss }
        let loss = 1 / inverseLoss
        let wait = loss / (1 - load * (1 - loss))
        return 1 + wait / (Double(slots) * (1 - load))
    }

    /// The table in Markdown: theory, simulation with its 99.9 % interval, difference, and whether it is covered.
    ///
    /// Runs go on until a difference of 1 % would be outside; on all cores.
    /// - Parameter jobs: of each run, at least.
    package static func text(jobs: Int, seed: UInt64) async -> String {
        var text = "| system | theory, s | simulated, s | ± 99.9 % | difference | covered |\n"
        text += "| --- | ---: | ---: | ---: | ---: | --- |\n"
        func row(_ name: String, _ expected: Double, _ estimate: Estimate) {
            text +=
                "| \(name) | \(rounded(expected)) | \(rounded(estimate.mean)) | "
                + "\(rounded((estimate.relativeHalfWidth ?? 0) * 100, 3)) % | "
                + "\(rounded((estimate.mean / expected - 1) * 100, 3)) % | "
                + "\(estimate.covers(expected) ? "yes" : "no") |\n"
        }
        for (name, expected, estimate) in await estimates(rows(jobs: jobs, seed: seed)) {
            row(name, expected, estimate)
        }
        let (rates, capacities, arrivalRate) = mixed[3]
        let ideal = MigratingIdeal(
            SimulatedSystem(rates: rates, capacities: capacities), arrivalRate: arrivalRate)
        let chains = ParallelChains(rates: rates, capacities: capacities)
        if let lower = ResponseBounds.lower(chains, arrivalRate: arrivalRate) {
            row(
                "migrating ideal = lower bound, μ = \(list(rates)), c = \(list(capacities)), λ = \(arrivalRate)",
                lower, ideal.run(jobs: jobs, warmUp: jobs / 10, seed: seed, confidence: 0.999))
        }
        return text
    }

    private static func estimates(_ rows: [Row]) async -> [(String, Double, Estimate)] {
        await withTaskGroup(of: (Int, Estimate).self) { group in
            for (number, row) in rows.enumerated() {
                group.addTask {
                    let result = row.simulation.run()
                    return (number, result.response.estimate.widened(to: 0.999, degrees: result.degrees))
                }
            }
            var estimates: [Int: Estimate] = [:]
            for await (number, estimate) in group { estimates[number] = estimate }
            return rows.enumerated().compactMap { number, row in
                estimates[number].map { (row.name, row.expected, $0) }
            }
        }
    }

    private static func rounded(_ value: Double, _ places: Int = 5) -> Double {
        var scale = 1.0
        for _ in 0..<places { scale *= 10 }
        return (value * scale).rounded() / scale
    }
}
