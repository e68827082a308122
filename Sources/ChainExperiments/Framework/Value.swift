/// One value of a table.
package enum Value: Hashable, Sendable, Codable {
    /// Not known, or not defined: an unstable queue has no mean.
    case none
    case bool(Bool)
    case integer(Int)
    /// Never NaN or infinite: those become `none`.
    case number(Double)
    case text(String)

    /// `none` for `nil` and for what is not finite.
    package init(_ number: Double?) {
        self = number.flatMap { $0.isFinite ? .number($0) : nil } ?? .none
    }

    package var number: Double? {
        switch self {
        case .number(let number): number
        case .integer(let integer): Double(integer)
        case .none, .bool, .text: nil
        }
    }

    package var text: String? {
        if case .text(let text) = self { return text }
        return nil
    }

    /// As in a CSV file: all digits, empty for `none`.
    package var plain: String {
        switch self {
        case .none: ""
        case .bool(let value): value ? "true" : "false"
        case .integer(let value): "\(value)"
        case .number(let value): "\(value)"
        case .text(let value): value
        }
    }

    /// As in a page: three digits of a number.
    package var readable: String {
        if case .number(let value) = self { return Wording.number(value) }
        return plain
    }
}

extension Value: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByFloatLiteral,
    ExpressibleByBooleanLiteral
{
    package init(stringLiteral value: String) { self = .text(value) }
    package init(integerLiteral value: Int) { self = .integer(value) }
    package init(floatLiteral value: Double) { self = .number(value) }
    package init(booleanLiteral value: Bool) { self = .bool(value) }
}

/// A named value.
package struct Field: Hashable, Sendable, Codable {
    package var name: String
    package var value: Value

    package init(_ name: String, _ value: Value) {
        self.name = name
        self.value = value
    }

    package init(_ name: String, _ text: String) { self.init(name, .text(text)) }
}

/// One row of a table: named values in the order of its columns.
package struct Row: Hashable, Sendable, Codable {
    package var fields: [Field]

    package init(_ fields: [Field]) { self.fields = fields }

    package subscript(name: String) -> Value { fields.first { $0.name == name }?.value ?? .none }
    package func number(_ name: String) -> Double? { self[name].number }
    package func text(_ name: String) -> String { self[name].plain }
}

/// What the cells of an experiment gave, a row each.
package struct Table: Hashable, Sendable {
    package var rows: [Row]

    package init(_ rows: [Row] = []) { self.rows = rows }

    /// All columns, in the order in which they first appear.
    /// - Complexity: O(rows × columns²).
    package var columns: [String] {
        var names: [String] = []
        for row in rows {
            for field in row.fields where !names.contains(field.name) { names.append(field.name) }
        }
        return names
    }

    /// The rows in which a column has a value.
    package func filtered(_ column: String, _ value: Value) -> Table {
        Table(rows.filter { $0[column] == value })
    }

    /// The numbers of a column; rows without one are left out.
    package func numbers(_ column: String) -> [Double] { rows.compactMap { $0.number(column) } }

    /// Rows with the same values in the given columns, in the order in which these values first appear.
    package func groups(by columns: String...) -> [(key: [Value], rows: Table)] {
        var positions: [[Value]: Int] = [:]
        var groups: [(key: [Value], rows: Table)] = []
        for row in rows {
            let key = columns.map { row[$0] }
            if let position = positions[key] {
                groups[position].rows.rows.append(row)
            } else {
                positions[key] = groups.count
                groups.append((key, Table([row])))
            }
        }
        return groups
    }

    /// Distinct values of a column, in order of appearance.
    package func values(_ column: String) -> [Value] { groups(by: column).map { $0.key[0] } }
}
