import ChainModel

/// The keys of one mapping of a document, each looked up by name.
struct Fields {
    /// For messages: `model`, `servers[2]`.
    let section: String
    let line: Int
    fileprivate let entries: [DocumentNode.Entry]

    func entry(_ key: String) -> DocumentNode.Entry? { entries.first { $0.key == key } }

    /// Line of a key, or of the section without it.
    func line(of key: String) -> Int { entry(key)?.line ?? line }
}

/// Reads typed values from a document tree and collects every problem instead of stopping at the first.
struct FieldReader {
    private(set) var problems: [FormatProblem] = []

    mutating func report(_ code: FormatProblem.Code, line: Int?, _ problem: String, mend: String) {
        problems.append(FormatProblem(code, line: line, problem, mend: mend))
    }

    /// The fields of a mapping, unknown and doubled keys reported.
    mutating func fields(_ node: DocumentNode, section: String, keys: [String]) -> Fields? {
        guard case .mapping(let entries) = node.content else {
            report(
                .wrongType, line: node.line, "\(section) is \(node.kind)",
                mend: "write a mapping with the keys \(keys.prefix(4).joined(separator: ", "))")
            return nil
        }
        for (position, entry) in entries.enumerated() {
            if !keys.contains(entry.key) {
                let known = nearest(to: entry.key, among: keys) ?? keys[0]
                report(
                    .unknownKey, line: entry.line, "unknown key `\(entry.key)` in \(section)",
                    mend: "did you mean `\(known)`?")
            } else if entries[..<position].contains(where: { $0.key == entry.key }) {
                report(
                    .duplicateKey, line: entry.line, "the key `\(entry.key)` appears twice in \(section)",
                    mend: "keep one of the two")
            }
        }
        return Fields(section: section, line: node.line, entries: entries)
    }

    /// A key that must be there.
    mutating func required(_ fields: Fields, _ key: String, example: String) -> DocumentNode? {
        if let value = fields.entry(key)?.value {
            if case .null = value.content {
                report(
                    .missingKey, line: fields.line(of: key), "`\(key)` in \(fields.section) is empty",
                    mend: "write for example `\(key): \(example)`")
                return nil
            }
            return value
        }
        report(
            .missingKey, line: fields.line, "\(fields.section) has no `\(key)`",
            mend: "add for example `\(key): \(example)`")
        return nil
    }

    /// A key that may be left out; an empty value counts as left out.
    func optional(_ fields: Fields, _ key: String) -> DocumentNode? {
        guard let value = fields.entry(key)?.value else { return nil }
        if case .null = value.content { return nil }
        return value
    }

    /// The items of a list.
    mutating func items(_ node: DocumentNode, section: String) -> [DocumentNode]? {
        if case .sequence(let items) = node.content { return items }
        report(
            .wrongType, line: node.line, "`\(section)` is \(node.kind)",
            mend: "write a list, each item on a line starting with `- `")
        return nil
    }

    // MARK: Scalars

    mutating func text(_ node: DocumentNode, _ what: String) -> String? {
        if case .scalar(let text) = node.content, !text.isEmpty { return text }
        report(.wrongType, line: node.line, "\(what) is \(node.kind)", mend: "write a text")
        return nil
    }

    mutating func size(_ node: DocumentNode, _ what: String) -> ByteCount? {
        read(node, what) { text throws(QuantityError) in try Quantity.size(text) }
    }

    mutating func time(_ node: DocumentNode, _ what: String) -> Double? {
        read(node, what) { text throws(QuantityError) in try Quantity.time(text) }
    }

    mutating func rate(_ node: DocumentNode, _ what: String) -> Double? {
        read(node, what) { text throws(QuantityError) in try Quantity.rate(text) }
    }

    mutating func bandwidth(_ node: DocumentNode, _ what: String) -> Double? {
        read(node, what) { text throws(QuantityError) in try Quantity.bandwidth(text) }
    }

    /// A number above zero.
    mutating func positiveNumber(_ node: DocumentNode, _ what: String) -> Double? {
        guard let value = read(node, what, { text throws(QuantityError) in try Quantity.number(text) }) else {
            return nil
        }
        if value > 0 { return value }
        report(.zero, line: node.line, "\(what) is zero", mend: "give a positive number")
        return nil
    }

    /// A whole number in a range.
    mutating func integer(_ node: DocumentNode, _ what: String, in range: ClosedRange<Int>) -> Int? {
        guard let text = text(node, what) else { return nil }
        guard let value = Int(text) else {
            report(
                .invalidNumber, line: node.line, "\(what) is `\(text)`, not a whole number",
                mend: "write a whole number from \(range.lowerBound) to \(range.upperBound)")
            return nil
        }
        if range.contains(value) { return value }
        let code: FormatProblem.Code = value < 0 ? .negative : value == 0 ? .zero : .outOfRange
        report(
            code, line: node.line, "\(what) is \(value)",
            mend: "write a whole number from \(range.lowerBound) to \(range.upperBound)")
        return nil
    }

    private mutating func read<Value>(
        _ node: DocumentNode, _ what: String, _ convert: (String) throws(QuantityError) -> Value
    ) -> Value? {
        guard case .scalar(let text) = node.content else {
            report(.wrongType, line: node.line, "\(what) is \(node.kind)", mend: "write a single value")
            return nil
        }
        do {
            return try convert(text)
        } catch {
            report(error.code, line: node.line, "\(what): \(error.problem)", mend: error.mend)
            return nil
        }
    }
}
