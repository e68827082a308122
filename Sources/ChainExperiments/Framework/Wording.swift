import Foundation

/// Numbers as people read them.
package enum Wording {
    /// `12.3 %`; more digits below 1 %.
    package static func percent(_ share: Double) -> String {
        let value = share * 100
        let size = value.magnitude
        // 99.97 % is not 100 %.
        // 9.96 % rounds to 10 %, not to 10.0 %.
        let digits = size > 99 && size < 100 ? 2 : size >= 9.95 || size == 0 ? 0 : size >= 0.995 ? 1 : 2
        return String(format: "%.\(digits)f %%", value)
    }

    /// Three significant digits.
    package static func number(_ value: Double) -> String {
        guard value.isFinite else { return "unbounded" }
        let size = value.magnitude
        if size < 1e6, value == value.rounded() { return String(format: "%.0f", value) }
        if size >= 100 && size < 1e6 { return String(format: "%.0f", value) }
        if size >= 1e6 || size < 1e-3 { return String(format: "%.2e", value) }
        var text = String(format: "%.\(size >= 10 ? 1 : size >= 1 ? 2 : 3)f", value)
        while text.hasSuffix("0") { text.removeLast() }
        return text.hasSuffix(".") ? String(text.dropLast()) : text
    }

    /// `12 % more`, `3 % fewer`: a ratio as a difference.
    package static func change(_ ratio: Double, _ more: String = "more", _ less: String = "less") -> String {
        "\(percent((ratio - 1).magnitude)) \(ratio >= 1 ? more : less)"
    }

    /// `8 % to 83 % below`, `from 2.1 % above to 83 % below`: the shares by which something is less.
    package static func reductions(from least: Double, to most: Double) -> String {
        if least >= 0 { return "\(percent(least)) to \(percent(most)) below" }
        if most >= 0 { return "from \(percent(-least)) above to \(percent(most)) below" }
        return "\(percent(-most)) to \(percent(-least)) above"
    }

    package static func seconds(_ value: Double) -> String { number(value) + " s" }

    /// `a, b and c`.
    package static func list(_ items: [String]) -> String {
        guard let last = items.last, items.count > 1 else { return items.first ?? "" }
        return items.dropLast().joined(separator: ", ") + " and " + last
    }
}
