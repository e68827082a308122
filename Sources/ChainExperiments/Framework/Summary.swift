/// Mean and spread of one figure over independent runs.
package struct Summary: Hashable, Sendable {
    package var count: Int
    package var mean: Double
    /// Of the sample, with `n − 1`; 0 for a single run.
    package var standardDeviation: Double
    package var median: Double
    package var least: Double
    package var most: Double

    /// - Returns: `nil` without values.
    package init?(_ values: [Double]) {
        guard !values.isEmpty else { return nil }
        count = values.count
        mean = values.reduce(0, +) / Double(values.count)
        let average = mean
        let squares = values.reduce(0) { $0 + ($1 - average) * ($1 - average) }
        standardDeviation = values.count > 1 ? (squares / Double(values.count - 1)).squareRoot() : 0
        let sorted = values.sorted()
        median = Self.quantile(0.5, ofSorted: sorted)
        least = sorted[0]
        most = sorted[sorted.count - 1]
    }

    /// Half the width of the 95 % confidence interval of the mean, by Student's law; 0 for a single run,
    /// which says
    /// nothing of its spread.
    package var halfWidth: Double {
        count > 1 ? Self.student(count - 1) * standardDeviation / Double(count).squareRoot() : 0
    }

    /// Linear interpolation between the order statistics.
    package static func quantile(_ share: Double, ofSorted sorted: [Double]) -> Double {
        let position = share * Double(sorted.count - 1)
        let lower = Int(position)
        let upper = min(lower + 1, sorted.count - 1)
        return sorted[lower] + (position - Double(lower)) * (sorted[upper] - sorted[lower])
    }

    /// 97.5 % quantile of Student's law; from its table, beyond 30 by the Cornish–Fisher expansion.
    static func student(_ degrees: Int) -> Double {
        let table = [
            12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160,
            2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056,
            2.052, 2.048, 2.045, 2.042,
        ]
        if degrees <= table.count { return table[max(0, degrees - 1)] }
        let normal = 1.959964
        return normal + (normal * normal * normal + normal) / (4 * Double(degrees))
    }
}
