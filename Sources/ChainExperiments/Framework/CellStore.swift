import Foundation
import Synchronization

/// The finished cells of one experiment, a JSON line each, so that an interrupted run goes on where it
/// stopped.
///
/// A line that was cut short by the interruption is dropped when it is the last one; anything else that
/// cannot be
/// read is an error.
final class CellStore: Sendable {
    private struct Line: Codable {
        var key: String
        var rows: [Row]
    }

    private struct State {
        var rows: [String: [Row]]
        var file: FileHandle
    }

    private let state: Mutex<State>

    /// Opens the store, or makes it.
    /// - Parameter restart: Forget what is there.
    init(path: String, restart: Bool) throws(ExperimentError) {
        let manager = FileManager.default
        var rows: [String: [Row]] = [:]
        var text =
            restart ? "" : manager.contents(atPath: path).map { String(decoding: $0, as: UTF8.self) } ?? ""
        if !text.isEmpty, !text.hasSuffix("\n") {
            text = text.lastIndex(of: "\n").map { String(text[...$0]) } ?? ""
        }
        for (number, line) in text.split(separator: "\n", omittingEmptySubsequences: true).enumerated() {
            guard let decoded = try? JSONDecoder().decode(Line.self, from: Data(line.utf8)) else {
                throw .damagedStore(path, line: number + 1)
            }
            rows[decoded.key] = decoded.rows
        }
        do {
            try Data(text.utf8).write(to: URL(fileURLWithPath: path))
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try file.seekToEnd()
            state = Mutex(State(rows: rows, file: file))
        } catch {
            throw .cannotWrite(path, reason: error.localizedDescription)
        }
    }

    func rows(_ key: String) -> [Row]? { state.withLock { $0.rows[key] } }

    func keep(_ rows: [Row], key: String) throws {
        var line = try JSONEncoder().encode(Line(key: key, rows: rows))
        line.append(UInt8(ascii: "\n"))
        try state.withLock {
            $0.rows[key] = rows
            try $0.file.write(contentsOf: line)
        }
    }
}
