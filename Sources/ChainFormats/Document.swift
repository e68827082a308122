/// A YAML or JSON document as a tree that remembers its lines.
struct DocumentNode {
    indirect enum Content {
        /// Text as written, without quotes.
        case scalar(String)
        case null
        case sequence([DocumentNode])
        case mapping([Entry])
    }

    struct Entry {
        var key: String
        var line: Int
        var value: DocumentNode
    }

    var content: Content
    /// From 1.
    var line: Int

    /// For messages.
    var kind: String {
        switch content {
        case .scalar(let text): "`\(text)`"
        case .null: "nothing"
        case .sequence: "a list"
        case .mapping: "a mapping"
        }
    }

    /// Nesting deeper than this is refused.
    static let deepestNesting = 64
    /// Documents with more nodes than this are refused: YAML's aliases can make a short text very large.
    static let mostNodes = 20_000_000

    /// Reads a document: JSON when the name ends in `.json` or the text is valid JSON, YAML otherwise.
    static func read(_ text: String, file: String) throws -> DocumentNode {
        if file.hasSuffix(".json") { return try JSONReader.read(text, file: file) }
        let first = text.utf8.first { $0 != 0x20 && $0 != 0x0A && $0 != 0x0D && $0 != 0x09 }
        if first == UInt8(ascii: "{"), let document = try? JSONReader.read(text, file: file) {
            return document
        }
        return try YAMLReader.read(text, file: file)
    }
}
