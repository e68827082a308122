import ChainFormats

/// A plot of an experiment: a Vega-Lite specification that a plotting library renders.
package struct Plot: Sendable {
    /// Part of the file's name: `fig3-response`.
    package var name: String
    /// What it shows, in words, for the page and for those who cannot see it.
    package var caption: String
    package var specification: JSONText
}

/// An axis of a chart.
package struct ChartAxis: Sendable {
    package enum Scale: String, Sendable {
        case linear
        case logarithmic = "log"
        /// Separate values, in the order given by the data.
        case ordinal
    }

    package var column: String
    /// With its unit.
    package var title: String
    package var scale: Scale
    /// Whether a linear axis starts at zero.
    package var fromZero: Bool
    /// Of the numbers at its ticks, as d3-format has it.
    package var format: String?

    package init(
        _ column: String, _ title: String, scale: Scale = .linear, fromZero: Bool = true,
        format: String? = nil
    ) {
        self.column = column
        self.title = title
        self.scale = scale
        self.fromZero = fromZero
        self.format = format
    }
}

/// A chart of means with confidence intervals, or of distributions, over a table of plain values.
package struct Chart: Sendable {
    package enum Mark: Sendable {
        /// Points joined by lines, with whiskers where rows have `low` and `high`.
        case lines
        /// Bars side by side, with whiskers.
        case bars
        /// Median, quartiles and extremes, from columns `least, lower, median, upper, most`.
        case boxes
        /// Lines without points: distribution functions.
        case curves
        /// One row for each value of the vertical axis, points side by side, with whiskers.
        case rows
    }

    package var name: String
    package var caption: String
    package var mark: Mark
    package var horizontal: ChartAxis
    package var vertical: ChartAxis
    /// What the colours stand for.
    package var series: (column: String, title: String)?
    /// One panel for each value of this column.
    package var panels: (column: String, title: String)?
    package var rows: [Row]

    package init(
        _ name: String, caption: String, mark: Mark, horizontal: ChartAxis, vertical: ChartAxis,
        series: (column: String, title: String)? = nil, panels: (column: String, title: String)? = nil,
        rows: [Row]
    ) {
        self.name = name
        self.caption = caption
        self.mark = mark
        self.horizontal = horizontal
        self.vertical = vertical
        self.series = series
        self.panels = panels
        self.rows = rows
    }

    package var plot: Plot { Plot(name: name, caption: caption, specification: specification) }

    // MARK: Vega-Lite

    /// Tells apart on light and dark ground, and for most colour-blind people (Okabe and Ito 2008).
    private static let colours = [
        "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#A6761D",
    ]
    private static let shapes = [
        "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
        "triangle-left",
    ]

    private var panelCount: Int {
        guard let panels else { return 1 }
        return max(1, Table(rows).values(panels.column).count)
    }

    private var height: Int {
        if case .rows = mark { return 30 * max(1, Table(rows).values(vertical.column).count) }
        return panelCount > 2 ? 220 : 260
    }

    private var specification: JSONText {
        let width = panelCount == 1 ? 460 : panelCount == 2 ? 290 : 220
        var entries: [(key: String, value: JSONText)] = [
            ("$schema", .text("https://vega.github.io/schema/vega-lite/v5.json")),
            ("description", .text(caption)),
            ("data", .object([("values", .list(rows.map(datum)))])),
        ]
        let unit: [(key: String, value: JSONText)] = [
            ("width", .integer(width)), ("height", .integer(height)),
            ("layer", .list(layers)),
        ]
        if let panels {
            entries += [
                (
                    "facet",
                    .object([
                        ("field", .text(panels.column)), ("type", .text("ordinal")),
                        ("title", .text(panels.title)), ("sort", .null),
                        (
                            "header",
                            .object([("labelFontSize", .integer(12)), ("titleFontSize", .integer(12))])
                        ),
                    ])
                ), ("columns", .integer(panelCount == 4 ? 2 : 3)), ("spec", .object(unit)),
            ]
        } else {
            entries += unit
        }
        return .object(entries)
    }

    /// Intervals that reach zero or below have no place on a logarithmic axis: they end at a tenth of the
    /// value.
    private func datum(_ row: Row) -> JSONText {
        let isLog = vertical.scale == .logarithmic
        let least = isLog ? row.number(vertical.column).map { $0 / 10 } : nil
        return .object(
            row.fields.map { field in
                if field.name == "low", let low = field.value.number, let least, low < least {
                    return (field.name, .number(least))
                }
                return (field.name, field.value.json)
            })
    }

    private var layers: [JSONText] {
        switch mark {
        case .lines:
            return [
                layer([("type", .text("rule")), ("opacity", .number(0.7))], y: "low", y2: "high"),
                layer([("type", .text("line")), ("strokeWidth", .number(1.8))], dashed: true, isQuiet: true),
                layer(Self.point(42), shaped: true),
            ]
        case .curves:
            return [layer([("type", .text("line")), ("strokeWidth", .number(1.8))], dashed: true)]
        case .bars:
            return [
                layer([("type", .text("bar")), ("opacity", .number(0.85))]),
                layer([("type", .text("rule"))], y: "low", y2: "high", dodged: true, coloured: false),
            ]
        case .rows:
            return [
                layer([("type", .text("rule"))], x: "low", x2: "high"),
                layer(Self.point(46), shaped: true),
            ]
        case .boxes:
            return [
                layer([("type", .text("rule"))], y: "least", y2: "most", dodged: true),
                layer(
                    [("type", .text("bar")), ("opacity", .number(0.55))], y: "lower", y2: "upper",
                    dodged: true),
                layer(Self.point(64) + [("shape", .text("diamond"))], y: "median", dodged: true),
            ]
        }
    }

    private static func point(_ size: Int) -> [(key: String, value: JSONText)] {
        [
            ("type", .text("point")), ("filled", .bool(true)), ("size", .integer(size)),
            ("opacity", .number(1)),
        ]
    }

    private func layer(
        _ mark: [(key: String, value: JSONText)], x: String? = nil, x2: String? = nil, y: String? = nil,
        y2: String? = nil, dodged: Bool = false, dashed: Bool = false, shaped: Bool = false,
        coloured: Bool = true,
        isQuiet: Bool = false
    ) -> JSONText {
        var encoding: [(key: String, value: JSONText)] = [
            ("x", channel(horizontal, column: x)), ("y", channel(vertical, column: y)),
        ]
        if let x2 { encoding.append(("x2", .object([("field", .text(x2))]))) }
        if let y2 { encoding.append(("y2", .object([("field", .text(y2))]))) }
        if let series {
            if coloured { encoding.append(("color", distinction(series, Self.colours))) }
            if dashed { encoding.append(("strokeDash", distinction(series, [], hasLegend: !isQuiet))) }
            if shaped { encoding.append(("shape", distinction(series, Self.shapes))) }
            if dodged || self.isDodged {
                let isRows = if case .rows = self.mark { true } else { false }
                encoding.append(
                    (
                        isRows ? "yOffset" : "xOffset",
                        .object([("field", .text(series.column)), ("sort", .null)])
                    ))
            }
        } else if coloured {
            encoding.append(("color", .object([("value", .text(Self.colours[0]))])))
        }
        return .object([("mark", .object(mark)), ("encoding", .object(encoding))])
    }

    /// How the series are told apart by colour, shape or dashes. The domains are given in full and the legends are alike,
    /// for then the library makes one legend of them all.
    private func distinction(
        _ series: (column: String, title: String), _ range: [String], hasLegend: Bool = true
    ) -> JSONText {
        let values = Table(rows).values(series.column)
        var scale: [(key: String, value: JSONText)] = [("domain", .list(values.map(\.json)))]
        if !range.isEmpty {
            scale.append(("range", .list(values.indices.map { .text(range[$0 % range.count]) })))
        }
        let longest = values.reduce(0) { max($0, $1.plain.count) }
        var legend: [(key: String, value: JSONText)] = [
            ("columns", .integer(longest > 24 ? 1 : 3)), ("symbolOpacity", .integer(1)),
            ("symbolSize", .integer(70)),
        ]
        // The symbols are points then, and an outline would be dashed as the lines are.
        if case .lines = mark { legend.append(("symbolStrokeWidth", .integer(0))) }
        return .object([
            ("field", .text(series.column)), ("type", .text("nominal")), ("title", .text(series.title)),
            ("scale", .object(scale)), ("legend", hasLegend ? .object(legend) : .null),
        ])
    }

    private var isDodged: Bool {
        switch mark {
        case .bars, .boxes, .rows: true
        case .lines, .curves: false
        }
    }

    private func channel(_ axis: ChartAxis, column: String?) -> JSONText {
        var entries: [(key: String, value: JSONText)] = [
            ("field", .text(column ?? axis.column)),
            ("type", .text(axis.scale == .ordinal ? "ordinal" : "quantitative")),
            ("title", .text(axis.title)),
        ]
        switch axis.scale {
        case .linear:
            entries.append(("scale", .object([("zero", .bool(axis.fromZero)), ("nice", .bool(true))])))
        case .logarithmic:
            // Where points stand in rows, the least must not lie on the axis.
            let isRows = if case .rows = mark { true } else { false }
            entries.append(("scale", .object([("type", .text("log")), ("nice", .bool(isRows))])))
        case .ordinal: entries.append(("sort", .null))
        }
        var look: [(key: String, value: JSONText)] = []
        if axis.scale == .ordinal { look += [("labelAngle", .integer(0)), ("labelLimit", .integer(420))] }
        if let format = axis.format { look.append(("format", .text(format))) }
        if !look.isEmpty { entries.append(("axis", .object(look))) }
        return .object(entries)
    }
}

extension Value {
    package var json: JSONText {
        switch self {
        case .none: .null
        case .bool(let value): .bool(value)
        case .integer(let value): .integer(value)
        case .number(let value): .number(value)
        case .text(let value): .text(value)
        }
    }
}

extension Summary {
    /// Columns of a chart: the mean under `column`, and its confidence interval as `low` and `high`.
    package func fields(_ column: String) -> [Field] {
        [
            Field(column, Value(mean)), Field("low", Value(mean - halfWidth)),
            Field("high", Value(mean + halfWidth)),
        ]
    }
}
