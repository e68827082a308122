/// One mistake in a file that a person wrote.
public struct FormatProblem: Hashable, Sendable, CustomStringConvertible {
    /// Kinds of mistakes.
    public enum Code: String, Hashable, Sendable, CaseIterable {
        case syntax
        case unknownKey
        case duplicateKey
        case missingKey
        case wrongType
        case invalidNumber
        case invalidUnit
        case negative
        case zero
        case outOfRange
        case duplicateName
        case unknownName
        case conflict
        case modelDoesNotFit
        case missingTimes
    }

    public var code: Code
    /// From 1; `nil` when it concerns no particular line.
    public var line: Int?
    /// What is wrong.
    public var problem: String
    /// What to change.
    public var mend: String

    public init(_ code: Code, line: Int?, _ problem: String, mend: String) {
        self.code = code
        self.line = line
        self.problem = problem
        self.mend = mend
    }

    public var description: String { "\(problem): \(mend)" }
}

/// A file that cannot be used, with every mistake found, in the order of the file. The text names file and line.
public struct FormatError: Error, Hashable, Sendable, CustomStringConvertible {
    /// As the user named it.
    public var file: String
    /// At least one.
    public var problems: [FormatProblem]

    public init(file: String, problems: [FormatProblem]) {
        self.file = file
        let lined = problems.enumerated().sorted {
            let (left, right) = ($0.element.line ?? 0, $1.element.line ?? 0)
            return left != right ? left < right : $0.offset < $1.offset
        }
        self.problems = lined.map(\.element)
    }

    public var description: String {
        problems.map { problem in
            let place = problem.line.map { "\(file):\($0)" } ?? file
            return "\(place): \(problem)"
        }.joined(separator: "\n")
    }
}

/// The nearest of some known words, by the number of single-character edits; ties: the first.
func nearest(to word: String, among known: [String]) -> String? {
    var best: (distance: Int, word: String)?
    for candidate in known {
        let distance = editDistance(Array(word), Array(candidate))
        if let current = best, current.distance <= distance { continue }
        best = (distance, candidate)
    }
    return best?.word
}

/// Levenshtein distance. O(product of the lengths).
private func editDistance(_ left: [Character], _ right: [Character]) -> Int {
    var previous = Array(0...right.count)
    for (row, character) in left.enumerated() {
        var current = [row + 1]
        for (column, other) in right.enumerated() {
            let replaced = previous[column] + (character == other ? 0 : 1)
            current.append(min(replaced, previous[column + 1] + 1, current[column] + 1))
        }
        previous = current
    }
    return previous[right.count]
}
