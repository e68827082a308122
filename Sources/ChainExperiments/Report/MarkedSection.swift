import Foundation

/// A part of a Markdown page, between two comments, that another command writes than the rest.
package struct MarkedSection: Sendable {
    package var name: String

    package init(_ name: String) { self.name = name }

    /// The paper's experiment on running servers, on the page of the reproduction.
    package static let live = MarkedSection("live")

    private var opening: String { "<!-- begin \(name) -->\n" }
    private var closing: String { "<!-- end \(name) -->\n" }

    /// What is between the marks; `nil` without both of them in order.
    package func content(in page: String) -> String? {
        range(in: page).map { String(page[$0]) }
    }

    /// The page with this between the marks, which are put at its end where it has none.
    package func replacing(with content: String, in page: String) -> String {
        let content = content.hasSuffix("\n") || content.isEmpty ? content : content + "\n"
        if let range = range(in: page) { return page.replacingCharacters(in: range, with: content) }
        let gap = page.isEmpty || page.hasSuffix("\n\n") ? "" : page.hasSuffix("\n") ? "\n" : "\n\n"
        return page + gap + opening + content + closing
    }

    private func range(in page: String) -> Range<String.Index>? {
        guard let start = page.range(of: opening),
            let end = page.range(of: closing, range: start.upperBound..<page.endIndex)
        else { return nil }
        return start.upperBound..<end.lowerBound
    }
}
