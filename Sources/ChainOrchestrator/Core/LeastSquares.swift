/// Ordinary least squares for a handful of unknowns, by the normal equations.
enum LeastSquares {
    /// The coefficients that minimise `Σ (row·x − target)²`, each weighted by `1/target²` so that short and long times
    /// count alike.
    /// - Returns: `nil` when the rows do not determine them.
    /// - Complexity: O(rows·k² + k³) for `k` unknowns.
    static func fit(rows: [[Double]], targets: [Double]) -> [Double]? {
        guard let size = rows.first?.count, rows.count >= size else { return nil }
        var matrix = [[Double]](repeating: [Double](repeating: 0, count: size + 1), count: size)
        for (row, target) in zip(rows, targets) where target > 0 {
            let weight = 1 / (target * target)
            for first in 0..<size {
                for second in 0..<size { matrix[first][second] += weight * row[first] * row[second] }
                matrix[first][size] += weight * row[first] * target
            }
        }
        return solve(&matrix)
    }

    /// Gaussian elimination with partial pivoting on an augmented matrix.
    private static func solve(_ matrix: inout [[Double]]) -> [Double]? {
        let size = matrix.count
        for column in 0..<size {
            // The largest pivot; ties go to the first row.
            var pivot = column
            for row in column..<size where abs(matrix[row][column]) > abs(matrix[pivot][column]) {
                pivot = row
            }
            guard abs(matrix[pivot][column]) > 1e-12 else { return nil }
            matrix.swapAt(column, pivot)
            for row in 0..<size where row != column {
                let factor = matrix[row][column] / matrix[column][column]
                for index in column...size { matrix[row][index] -= factor * matrix[column][index] }
            }
        }
        return (0..<size).map { matrix[$0][size] / matrix[$0][$0] }
    }

    /// Root mean square of `(row·x − target)/target`.
    static func relativeError(rows: [[Double]], targets: [Double], coefficients: [Double]) -> Double {
        var total = 0.0
        for (row, target) in zip(rows, targets) {
            let predicted = zip(row, coefficients).reduce(0) { $0 + $1.0 * $1.1 }
            let error = (predicted - target) / target
            total += error * error
        }
        return (total / Double(max(1, targets.count))).squareRoot()
    }
}
