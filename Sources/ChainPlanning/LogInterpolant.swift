import RealModule

/// Chebyshev interpolant of `ln ψ(s) − ln s` over `ln s`, for the overflow recursion.
///
/// Evaluated at many points at once: the Clenshaw recurrence of one point is a chain of dependent steps, those of
/// different points are not.
struct LogInterpolant {
    /// Points evaluated at once; node counts are multiples of it.
    static let width = 8
    typealias Lanes = SIMD8<Double>

    /// Chebyshev coefficients, the first one halved; trailing ones below rounding are left out.
    private let coefficients: [Double]
    private let center: Double
    private let inverseHalfWidth: Double

    /// `ψ_0(s) = s/λ`: the constant `−ln λ`.
    init(constant: Double) {
        coefficients = [constant]
        center = 0
        inverseHalfWidth = 0
    }

    /// - Parameters:
    ///   - values: `ln ψ(s) − ln s` at the nodes of `basis`, over `[lowerLog, upperLog]`.
    init(values: [Double], basis: ChebyshevBasis, lowerLog: Double, upperLog: Double) {
        center = (lowerLog + upperLog) / 2
        let halfWidth = (upperLog - lowerLog) / 2
        inverseHalfWidth = halfWidth > 0 ? 1 / halfWidth : 0
        var all = basis.coefficients(of: values)
        let largest = all.reduce(0) { max($0, $1.magnitude) }
        while all.count > 1, let last = all.last, last.magnitude < largest * 1e-17 { all.removeLast() }
        coefficients = all
    }

    /// The interpolant at `ln s`, for eight points.
    func values(at logarithms: Lanes) -> Lanes {
        let x = (logarithms - center) * inverseHalfWidth
        let twice = x + x
        var next = Lanes.zero
        var afterNext = Lanes.zero
        var position = coefficients.count - 1
        while position > 0 {
            let current = twice * next - afterNext + coefficients[position]
            afterNext = next
            next = current
            position -= 1
        }
        return x * next - afterNext + coefficients[0]
    }
}

/// Chebyshev nodes of the first kind and the transform from values at them to coefficients.
struct ChebyshevBasis {
    let nodeCount: Int
    /// `cos(π(k + ½)/S)`.
    let nodes: [Double]
    /// `cos(j·π(k + ½)/S)·2/S` at `j·S + k`, the row `j = 0` halved.
    private let transform: [Double]

    /// - Precondition: `nodeCount` is a positive multiple of `LogInterpolant.width`.
    init(nodeCount: Int) {
        precondition(nodeCount > 0 && nodeCount % LogInterpolant.width == 0)
        self.nodeCount = nodeCount
        let step = Double.pi / Double(nodeCount)
        nodes = (0..<nodeCount).map { Double.cos(step * (Double($0) + 0.5)) }
        var matrix: [Double] = []
        matrix.reserveCapacity(nodeCount * nodeCount)
        for order in 0..<nodeCount {
            let scale = (order == 0 ? 1 : 2) / Double(nodeCount)
            for node in 0..<nodeCount {
                // The angle modulo 2π, exactly: order·(2·node + 1) modulo 4S.
                let turns = (order * (2 * node + 1)) % (4 * nodeCount)
                matrix.append(scale * Double.cos(step * Double(turns) / 2))
            }
        }
        transform = matrix
    }

    /// - Complexity: O(S²).
    func coefficients(of values: [Double]) -> [Double] {
        (0..<nodeCount).map { order in
            var sum = 0.0
            for node in 0..<nodeCount { sum += transform[order * nodeCount + node] * values[node] }
            return sum
        }
    }
}
