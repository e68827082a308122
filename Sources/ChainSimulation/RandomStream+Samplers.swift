/// Random numbers of given distributions.
extension RandomStream {
    /// Exponential with mean 1.
    @inline(__always)
    package mutating func exponential() -> Double { -Elementary.log(uniform()) }

    /// Standard normal, by the polar method (Marsaglia and Bray 1964).
    package mutating func normal() -> Double {
        while true {
            let (x, y) = (2 * uniform() - 1, 2 * uniform() - 1)
            let square = x * x + y * y
            if square < 1, square > 0 {
                return x * (-2 * Elementary.log(square) / square).squareRoot()
            }
        }
    }

    /// Gamma with the given shape and mean 1 (Marsaglia and Tsang 2000).
    /// - Precondition: the shape is positive.
    package mutating func gamma(shape: Double) -> Double {
        guard shape < 1 else { return gammaAboveOne(shape: shape) / shape }
        // Γ(a) = Γ(a + 1)·U^(1/a); far down in the tail the power is taken for 0.
        let larger = gammaAboveOne(shape: shape + 1)
        let exponent = Elementary.log(uniform()) / shape
        return exponent < -700 ? 0 : larger * Elementary.exp(exponent) / shape
    }

    /// Gamma with the given shape of at least 1 and scale 1.
    private mutating func gammaAboveOne(shape: Double) -> Double {
        let d = shape - 1.0 / 3
        let c = 1 / (9 * d).squareRoot()
        while true {
            let x = normal()
            let root = 1 + c * x
            guard root > 0 else { continue }
            let v = root * root * root
            if Elementary.log(uniform()) < 0.5 * x * x + d - d * v + d * Elementary.log(v) { return d * v }
        }
    }

    /// Lognormal with mean 1 and the given standard deviation of its logarithm.
    package mutating func lognormal(sigma: Double) -> Double {
        Elementary.exp(max(-700, min(700, sigma * normal() - sigma * sigma / 2)))
    }

    /// Two exponential phases with balanced means, mean 1 and coefficient of variation `cv` above 1.
    package mutating func hyperexponential(cv: Double) -> Double {
        let square = cv * cv
        let share = (1 + ((square - 1) / (square + 1)).squareRoot()) / 2
        return uniform() < share ? exponential() / (2 * share) : exponential() / (2 * (1 - share))
    }
}
