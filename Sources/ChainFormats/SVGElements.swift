import Foundation

/// Elements of an SVG drawing, as text. Lengths are in user units, with a tenth of one kept.
enum SVGElements {
    static func rectangle(
        _ style: String, _ x: Double, _ y: Double, _ width: Double, _ height: Double, title: String? = nil
    ) -> String {
        let start =
            "<rect class=\"\(style)\" x=\"\(figure(x))\" y=\"\(figure(y))\" width=\"\(figure(max(0, width)))\" "
            + "height=\"\(figure(height))\""
        guard let title else { return start + "/>\n" }
        return start + "><title>\(escaped(title))</title></rect>\n"
    }

    static func label(
        _ style: String, _ x: Double, _ y: Double, _ text: String, title: String? = nil
    ) -> String {
        let tip = title.map { "<title>\(escaped($0))</title>" } ?? ""
        return
            "<text class=\"\(style)\" x=\"\(figure(x))\" y=\"\(figure(y))\">\(escaped(text))\(tip)</text>\n"
    }

    static func line(_ style: String, _ x: Double, _ y: Double, toX: Double, toY: Double) -> String {
        "<line class=\"\(style)\" x1=\"\(figure(x))\" y1=\"\(figure(y))\" x2=\"\(figure(toX))\" y2=\"\(figure(toY))\"/>\n"
    }

    /// A path of straight strokes, each a list of points.
    static func path(
        _ style: String, _ strokes: [[(x: Double, y: Double)]], width: Double? = nil
    ) -> String {
        let wide = width.map { " style=\"stroke-width:\(figure($0))\"" } ?? ""
        let steps = strokes.map { stroke in
            "M" + stroke.map { "\(figure($0.x)) \(figure($0.y))" }.joined(separator: "L")
        }
        return "<path class=\"\(style)\"\(wide) d=\"\(steps.joined())\"/>\n"
    }

    static func figure(_ value: Double) -> String {
        let text = String(format: "%.1f", value)
        return text.hasSuffix(".0") ? String(text.dropLast(2)) : text
    }

    /// Text as character data or an attribute of XML 1.0, which has no place for most control characters.
    static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            case "\t", "\n", "\r": result += " "
            case _ where scalar.value < 0x20 || scalar.value == 0xFFFE || scalar.value == 0xFFFF:
                result += "\u{FFFD}"
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }
}
