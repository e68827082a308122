import ArgumentParser
import Foundation

/// Ends a command with its message on standard error.
enum CommandFailure {
    /// Wrong usage or invalid input.
    static let invalidInput = ExitCode(2)

    /// Runs `body`; an error it throws is printed and ends the command with status 2.
    static func invalidInput<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch let code as ExitCode {
            throw code
        } catch {
            warn("error: \(error)")
            throw invalidInput
        }
    }

    /// As `invalidInput`, for commands that wait. Errors of usage keep their own message.
    static func reporting(_ body: () async throws -> Void) async throws {
        do {
            try await body()
        } catch let code as ExitCode {
            throw code
        } catch let error as ValidationError {
            throw error
        } catch {
            warn("error: \(error)")
            throw invalidInput
        }
    }

    static func warn(_ text: String) { FileHandle.standardError.write(Data((text + "\n").utf8)) }

    /// Text to standard output, or to standard error when standard output is for a program.
    static func say(_ text: String, toError: Bool) {
        (toError ? FileHandle.standardError : FileHandle.standardOutput).write(Data(text.utf8))
    }

    /// The whole of a text file.
    static func read(_ path: String) throws -> String {
        guard let data = FileManager.default.contents(atPath: path) else {
            throw UnreadableFile(path: path, reason: "cannot be read: check the name and its permissions")
        }
        guard let text = String(data: data, encoding: .utf8) else {
            throw UnreadableFile(path: path, reason: "is not UTF-8 text")
        }
        return text
    }

    struct UnreadableFile: Error, CustomStringConvertible {
        var path: String
        var reason: String
        var description: String { "\(path) \(reason)" }
    }

    /// Columns of the terminal (`COLUMNS` says otherwise), 100 when there is none.
    static var width: Int {
        if let told = ProcessInfo.processInfo.environment["COLUMNS"].flatMap({ Int($0) }) { return told }
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return 100 }
        return Int(size.ws_col)
    }
}
