import Foundation

/// What a person sees: lines on standard error while things are made ready, answers on standard output.
struct Console: Sendable {
    /// Both ends are a terminal: somebody reads and can type.
    var isInteractive: Bool { isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1 }
    var showsColour: Bool {
        isatty(STDOUT_FILENO) == 1 && ProcessInfo.processInfo.environment["NO_COLOR"] == nil
    }

    func say(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }
    func out(_ text: String) { FileHandle.standardOutput.write(Data(text.utf8)) }
    func dim(_ text: String) -> String { showsColour ? "\u{1B}[2m\(text)\u{1B}[0m" : text }
    func bold(_ text: String) -> String { showsColour ? "\u{1B}[1m\(text)\u{1B}[0m" : text }
}
