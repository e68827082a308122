import Foundation

/// The built `chainserve`, run as a user would run it.
enum Program {
    /// `CHAINSERVE_BINARY`, else the debug build of this package.
    static func path() throws -> String {
        if let given = ProcessInfo.processInfo.environment["CHAINSERVE_BINARY"], !given.isEmpty {
            return try existing(given)
        }
        let root = packageRoot
        return try existing(root.appendingPathComponent(".build/debug/chainserve").path)
    }

    static var packageRoot: URL {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent()
    }

    private static func existing(_ path: String) throws -> String {
        guard FileManager.default.isExecutableFile(atPath: path) else {
            throw Failure(
                "\(path) is not there: build it with `swift build`, or name it in CHAINSERVE_BINARY")
        }
        return path
    }
}

/// Why a test cannot go on.
struct Failure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

/// How a command ended.
struct Outcome: Sendable {
    var status: Int32
    /// Ended by a signal, which `status` then names.
    var wasSignalled: Bool
    var output: String
    var errors: String
    var seconds: Double
}

/// A command that is running. What it prints goes to files, so that nothing has to be read for it to go on.
final class RunningCommand {
    let arguments: [String]
    private let process = Process()
    private let startedAt = Date()
    private let outputPath: String
    private let errorsPath: String
    private var input: Pipe?

    /// - Parameters:
    ///   - environment: added to that of the tests.
    ///   - input: what the command reads; `nil` is the end of input at once.
    init(
        _ arguments: [String], executable: String? = nil, in place: Place,
        environment: [String: String] = [:],
        input: String? = nil
    ) throws {
        self.arguments = arguments
        let number = place.nextNumber()
        outputPath = place.path("output-\(number)")
        errorsPath = place.path("errors-\(number)")
        process.executableURL = URL(fileURLWithPath: try executable ?? Program.path())
        process.arguments = arguments
        process.currentDirectoryURL = place.folder
        process.environment = place.environment.merging(environment) { $1 }
        process.standardOutput = try RunningCommand.newFile(outputPath)
        process.standardError = try RunningCommand.newFile(errorsPath)
        if let input {
            let pipe = Pipe()
            process.standardInput = pipe
            self.input = pipe
            try pipe.fileHandleForWriting.write(contentsOf: Data(input.utf8))
        } else {
            process.standardInput = FileHandle.nullDevice
        }
        try process.run()
        try input.map { _ in try self.input?.fileHandleForWriting.close() }
        place.started(process.processIdentifier)
    }

    private static func newFile(_ path: String) throws -> FileHandle {
        guard FileManager.default.createFile(atPath: path, contents: nil),
            let handle = FileHandle(forWritingAtPath: path)
        else { throw Failure("\(path) cannot be written") }
        return handle
    }

    var pid: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }
    var output: String { text(outputPath) }
    var errors: String { text(errorsPath) }

    private func text(_ path: String) -> String {
        String(decoding: FileManager.default.contents(atPath: path) ?? Data(), as: UTF8.self)
    }

    func send(_ signal: Int32) { kill(pid, signal) }

    /// Waits until it has ended; kills it when it has not in time.
    func ended(within seconds: Double = 20) async throws -> Outcome {
        let end = Date().addingTimeInterval(seconds)
        while process.isRunning, Date() < end { try await pause() }
        guard !process.isRunning else {
            let printed = "\(output)\n\(errors)"
            send(SIGKILL)
            throw Failure("\(arguments) did not end within \(seconds) s; it printed:\n\(printed)")
        }
        return Outcome(
            status: process.terminationStatus, wasSignalled: process.terminationReason == .uncaughtSignal,
            output: output, errors: errors, seconds: Date().timeIntervalSince(startedAt))
    }

    /// Waits for a line that starts with `prefix`, on either output; returns the rest of it.
    func line(startingWith prefix: String, within seconds: Double = 60) async throws -> String {
        let end = Date().addingTimeInterval(seconds)
        while true {
            let isRunning = process.isRunning
            for line in (errors + output).split(separator: "\n") where line.hasPrefix(prefix) {
                return String(line.dropFirst(prefix.count))
            }
            guard isRunning, Date() < end else {
                throw Failure("\(arguments) never printed '\(prefix)' but\n\(output)\n\(errors)")
            }
            try await pause()
        }
    }
}

/// A short wait that leaves the thread to others.
func pause(_ milliseconds: Int = 10) async throws {
    try await Task.sleep(nanoseconds: UInt64(milliseconds) * 1_000_000)
}

/// Waits until `condition` holds.
func eventually(
    _ what: String, within seconds: Double = 20, _ condition: () async throws -> Bool
) async throws {
    let end = Date().addingTimeInterval(seconds)
    while try await !condition() {
        guard Date() < end else { throw Failure("not within \(seconds) s: \(what)") }
        try await pause(20)
    }
}
