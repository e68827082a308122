/// An arrival rate that changes over time: straight lines between points, repeated after a period.
package struct RateCurve: Hashable, Sendable {
    package struct Point: Hashable, Sendable {
        /// Since the start of the period, seconds.
        package var time: Double
        /// Jobs per second.
        package var rate: Double

        package init(time: Double, rate: Double) {
            self.time = time
            self.rate = rate
        }
    }

    /// In order of time; the first is at 0.
    package let points: [Point]
    /// Seconds until the curve starts again; between the last point and it the line leads to the first rate.
    package let period: Double
    package let highestRate: Double
    package let meanRate: Double

    /// - Returns: `nil` unless times start at 0, increase and stay below the period, rates are not negative,
    ///   and some rate is positive.
    package init?(points: [Point], period: Double) {
        guard let first = points.first, first.time == 0, let last = points.last, last.time < period,
            period.isFinite, zip(points, points.dropFirst()).allSatisfy({ $0.time < $1.time }),
            points.allSatisfy({ $0.rate >= 0 && $0.rate.isFinite }), points.contains(where: { $0.rate > 0 })
        else { return nil }
        self.points = points
        self.period = period
        highestRate = points.reduce(0) { max($0, $1.rate) }
        var area = 0.0
        for (position, point) in points.enumerated() {
            let isLast = position == points.count - 1
            let end = isLast ? Point(time: period, rate: first.rate) : points[position + 1]
            area += (end.time - point.time) * (point.rate + end.rate) / 2
        }
        meanRate = area / period
    }

    /// The same curve with all rates multiplied.
    /// - Precondition: the factor is positive.
    func scaled(by factor: Double) -> RateCurve {
        precondition(factor > 0)
        let scaled = points.map { Point(time: $0.time, rate: $0.rate * factor) }
        return RateCurve(points: scaled, period: period) ?? self
    }

    /// Jobs per second at a time. O(log n).
    func rate(at seconds: Double) -> Double {
        let time = seconds.truncatingRemainder(dividingBy: period)
        var (low, high) = (0, points.count)
        while high - low > 1 {
            let middle = (low + high) / 2
            if points[middle].time <= time { low = middle } else { high = middle }
        }
        let start = points[low]
        let end = low + 1 < points.count ? points[low + 1] : Point(time: period, rate: points[0].rate)
        return start.rate + (end.rate - start.rate) * (time - start.time) / (end.time - start.time)
    }
}
