import Yams

/// Reads YAML into a document tree with line numbers.
struct YAMLReader {
    private let file: String
    private var nodeCount = 0

    /// - Throws: `FormatError` naming the line.
    static func read(_ text: String, file: String) throws -> DocumentNode {
        do {
            guard let node = try Yams.compose(yaml: text) else {
                throw FormatError(
                    file: file,
                    problems: [
                        FormatProblem(
                            .syntax, line: 1, "the file is empty",
                            mend: "describe `model`, `demand` and `servers`")
                    ])
            }
            var reader = YAMLReader(file: file)
            return try reader.convert(node, depth: 0)
        } catch let error as YamlError {
            throw FormatError(file: file, problems: [problem(error, in: text)])
        }
    }

    private init(file: String) { self.file = file }

    private mutating func convert(_ node: Node, depth: Int) throws -> DocumentNode {
        let line = node.mark?.line ?? 1
        nodeCount += 1
        guard depth < DocumentNode.deepestNesting, nodeCount <= DocumentNode.mostNodes else {
            let problem = FormatProblem(
                .syntax, line: line, "the document is too deep or too large", mend: "write it without aliases"
            )
            throw FormatError(file: file, problems: [problem])
        }
        switch node {
        case .scalar(let scalar):
            let isPlain = scalar.style == .plain || scalar.style == .any
            let isNull = isPlain && ["", "~", "null", "Null", "NULL"].contains(scalar.string)
            return DocumentNode(content: isNull ? .null : .scalar(scalar.string), line: line)
        case .sequence(let sequence):
            var items: [DocumentNode] = []
            for item in sequence { items.append(try convert(item, depth: depth + 1)) }
            return DocumentNode(content: .sequence(items), line: line)
        case .mapping(let mapping):
            var entries: [DocumentNode.Entry] = []
            for (key, value) in mapping {
                entries.append(
                    DocumentNode.Entry(
                        key: key.scalar?.string ?? "", line: key.mark?.line ?? line,
                        value: try convert(value, depth: depth + 1)))
            }
            return DocumentNode(content: .mapping(entries), line: line)
        case .alias:
            let problem = FormatProblem(
                .syntax, line: line, "an alias that leads nowhere", mend: "write the value out")
            throw FormatError(file: file, problems: [problem])
        }
    }

    private static func problem(_ error: YamlError, in text: String) -> FormatProblem {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            return FormatProblem(
                .syntax, line: mark.line, "not valid YAML, \(problem)",
                mend: "check the indentation, colons and quotes here and just above (spaces, no tabs)")
        case .duplicatedKeysInMapping(let duplicates, let context):
            let key = duplicates.first ?? ""
            return FormatProblem(
                .duplicateKey, line: secondLine(of: key, from: context.mark.line, in: text),
                "the key `\(key)` appears twice", mend: "keep one of the two")
        case .reader(let problem, _, _, _):
            return FormatProblem(
                .syntax, line: nil, "not readable as text, \(problem)", mend: "save it as UTF-8")
        default:
            return FormatProblem(.syntax, line: nil, "not valid YAML, \(error)", mend: "check the file")
        }
    }

    /// Line of the second occurrence of a key at or after a line; that line itself when it is written unusually.
    private static func secondLine(of key: String, from start: Int, in text: String) -> Int {
        var seen = 0
        for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
        where index + 1 >= start {
            var rest = line.drop { $0 == " " }
            if rest.hasPrefix("- ") { rest = rest.dropFirst(2).drop { $0 == " " } }
            guard rest.hasPrefix("\(key):") || rest.hasPrefix("\"\(key)\":") else { continue }
            seen += 1
            if seen == 2 { return index + 1 }
        }
        return start
    }
}
