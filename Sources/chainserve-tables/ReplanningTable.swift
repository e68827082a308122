import ChainModel
import ChainPlanning

/// What moving to another plan brings when demand changes, over the paper's grid.
enum ReplanningTable {
    private static let counts = [20, 40]
    private static let shares = [0.1, 0.2, 0.3, 0.4]
    /// Planned for, then observed, 1/s.
    private static let changes = [(0.2, 0.1), (0.2, 0.4), (0.2, 0.8), (0.8, 0.2), (0.4, 0.8)]

    static func print(_ network: RoundTrips) {
        Swift.print(
            "| pools of | load rate | pools | another plan | pays | its mean response | to load | in |")
        Swift.print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for count in counts {
            for (planned, observed) in changes {
                for loadRate in [125e6, 1.25e9] {
                    row(network, count: count, planned, observed, loadRate: loadRate)
                }
            }
        }
    }

    private static func row(
        _ network: RoundTrips, count: Int, _ planned: Double, _ observed: Double, loadRate: Double
    ) {
        var bounds = MoveBounds()
        bounds.loadRate = loadRate
        var (pools, others) = (0, 0)
        var (ratios, bytes, seconds): ([Double], [Double], [Double]) = ([], [], [])
        for (number, share) in shares.enumerated() {
            for draw in 0..<10 {
                var generator = Generator(state: UInt64(count * 1000 + number * 100 + draw))
                let cluster = Pools.paper(
                    network, count: count, share: share, rate: planned, using: &generator)
                guard let present = try? Planner.plan(cluster) else { continue }
                let found = Replanning(
                    cluster, present: present, arrivalRate: observed, options: PlanningOptions(),
                    bounds: bounds)
                pools += 1
                guard let candidate = found.candidate else { continue }
                others += 1
                guard found.isWorthwhile else { continue }
                // The present plan may not keep up at all: then its mean response is endless.
                let before = found.refreshed.meanResponseTime.exact ?? .infinity
                ratios.append((candidate.meanResponseTime.exact ?? .infinity) / before - 1)
                bytes.append(Double(found.bytesToLoad.rawValue) / 1e9)
                seconds.append(found.moveSeconds)
            }
        }
        func median(_ values: [Double]) -> Double? {
            values.isEmpty ? nil : values.sorted()[values.count / 2]
        }
        func text(_ value: Double?, _ unit: String) -> String {
            value.map { "\(($0 * 10).rounded() / 10) \(unit)" } ?? "–"
        }
        Swift.print(
            "| J = \(count), λ = \(planned)/s → \(observed)/s | \(Int(loadRate / 1e6)) MB/s | \(pools) | \(others) "
                + "| \(ratios.count) | \(text(median(ratios).map { $0 * 100 }, "%")) "
                + "| \(text(median(bytes), "GB")) | \(text(median(seconds), "s")) |")
    }
}
