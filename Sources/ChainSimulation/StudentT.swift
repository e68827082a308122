import RealModule

/// Student's t distribution, for confidence intervals.
package enum StudentT {
    /// The value that a t variable of `degrees` degrees of freedom exceeds in magnitude with probability
    /// `1 − confidence`. By bisection, within 1e-9.
    package static func quantile(confidence: Double, degrees: Int) -> Double {
        precondition(confidence > 0 && confidence < 1 && degrees >= 1)
        var (low, high) = (0.0, 1.0)
        while probability(within: high, degrees: degrees) < confidence { high *= 2 }
        while high - low > 1e-10 * high {
            let middle = (low + high) / 2
            if probability(within: middle, degrees: degrees) < confidence {
                low = middle
            } else {
                high = middle
            }
        }
        return high
    }

    /// `P(|T| ≤ t)`: finite sums for whole degrees of freedom (Abramowitz and Stegun 26.7.3–4).
    static func probability(within t: Double, degrees: Int) -> Double {
        let angle = Double.atan(t / Double(degrees).squareRoot())
        let (sine, cosine) = (Double.sin(angle), Double.cos(angle))
        var term = degrees.isMultiple(of: 2) ? 1 : cosine
        var sum = degrees == 1 ? 0 : term
        var factor = degrees.isMultiple(of: 2) ? 2 : 3
        while factor <= degrees - 1 {
            term *= Double(factor - 1) / Double(factor) * cosine * cosine
            sum += term
            factor += 2
        }
        return degrees.isMultiple(of: 2) ? sine * sum : 2 / Double.pi * (angle + sine * sum)
    }
}

/// A mean with the half-width of its confidence interval.
package struct Estimate: Hashable, Sendable {
    package var mean: Double
    /// `nil` when there are too few observations to say.
    package var halfWidth: Double?
    package var confidence = 0.95

    package init(mean: Double, halfWidth: Double?, confidence: Double = 0.95) {
        self.mean = mean
        self.halfWidth = halfWidth
        self.confidence = confidence
    }

    /// From independent observations of equal weight.
    package init(_ values: [Double], confidence: Double = 0.95) {
        let count = Double(values.count)
        mean = values.isEmpty ? 0 : values.reduce(0, +) / count
        self.confidence = confidence
        guard values.count > 1 else { return }
        let mean = mean
        let variance = values.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / (count - 1)
        halfWidth =
            StudentT.quantile(confidence: confidence, degrees: values.count - 1)
            * (variance / count).squareRoot()
    }

    /// Whether a value lies in the interval.
    package func covers(_ value: Double) -> Bool {
        guard let halfWidth else { return false }
        return (value - mean).magnitude <= halfWidth
    }

    /// Half-width over mean.
    package var relativeHalfWidth: Double? { halfWidth.map { mean == 0 ? 0 : $0 / mean.magnitude } }

    /// The same with another confidence, from as many batches or replications.
    package func widened(to confidence: Double, degrees: Int) -> Estimate {
        let factor =
            StudentT.quantile(confidence: confidence, degrees: degrees)
            / StudentT.quantile(confidence: self.confidence, degrees: degrees)
        return Estimate(mean: mean, halfWidth: halfWidth.map { $0 * factor }, confidence: confidence)
    }
}
