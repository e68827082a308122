import Foundation
import Testing

/// A folder of a test's own, in which its commands run. The test must leave no process behind.
final class Place {
    /// In every name that a test gives, so that its processes can be told from all others.
    let token: String
    let folder: URL
    var environment: [String: String]
    private var numbers = 0
    private var pids: [Int32] = []

    private init() throws {
        token = "t" + UUID().uuidString.prefix(8).lowercased()
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("chainserve-\(token)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        environment = ProcessInfo.processInfo.environment
        environment["HOME"] = folder.path
        environment["CHAINSERVE_CACHE"] = folder.appendingPathComponent("cache").path
        for name in ["PROMPT", "COLUMNS", "NO_COLOR", "XDG_CACHE_HOME"] { environment[name] = nil }
    }

    /// Runs a test in a place of its own; afterwards nothing that it started may be alive.
    static func with(_ body: (Place) async throws -> Void) async throws {
        let place = try Place()
        defer { try? FileManager.default.removeItem(at: place.folder) }
        do {
            try await body(place)
        } catch {
            place.killLeftovers()
            throw error
        }
        try await place.expectNothingLeft()
    }

    func path(_ name: String) -> String { folder.appendingPathComponent(name).path }

    func write(_ name: String, _ text: String) throws -> String {
        let path = path(name)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return path
    }

    func nextNumber() -> Int {
        numbers += 1
        return numbers
    }

    func started(_ pid: Int32) { pids.append(pid) }

    /// Runs a command to its end.
    func run(
        _ arguments: String..., environment: [String: String] = [:], input: String? = nil,
        within seconds: Double = 20
    ) async throws -> Outcome {
        try await RunningCommand(arguments, in: self, environment: environment, input: input)
            .ended(within: seconds)
    }

    func start(_ arguments: String..., environment: [String: String] = [:]) throws -> RunningCommand {
        try RunningCommand(arguments, in: self, environment: environment)
    }

    // MARK: What is left

    /// Processes of this test that are alive.
    func processes() -> [Int32] {
        ProcessTable.all().filter { entry in
            !entry.isDead && (pids.contains(entry.pid) || entry.command.contains(token))
        }.map(\.pid)
    }

    /// Expects every process of the test to be gone, or to go very soon.
    private func expectNothingLeft() async throws {
        let end = Date().addingTimeInterval(5)
        while !processes().isEmpty, Date() < end { try await pause(20) }
        let left = processes()
        #expect(left.isEmpty, "processes outlived the test")
        if !left.isEmpty { killLeftovers() }
    }

    private func killLeftovers() {
        // Those that start others first, lest they start them again.
        for pid in pids + processes() where processes().contains(pid) { kill(pid, SIGKILL) }
    }
}

/// The processes of this machine.
enum ProcessTable {
    struct Entry {
        var pid: Int32
        /// Command line and, where the system tells it, the environment.
        var command: String
        /// Ended, but not yet taken note of by its parent.
        var isDead: Bool
    }

    static func all() -> [Entry] {
        #if os(Linux)
            let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
            return names.compactMap(Int32.init).compactMap { pid in
                guard let stat = contents("/proc/\(pid)/stat"), let end = stat.lastIndex(of: ")") else {
                    return nil
                }
                let state = stat[stat.index(after: end)...].first { $0 != " " }
                let command =
                    (contents("/proc/\(pid)/cmdline") ?? "") + (contents("/proc/\(pid)/environ") ?? "")
                return Entry(pid: pid, command: command, isDead: state == "Z" || state == "X")
            }
        #else
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/bin/ps")
            process.arguments = ["-A", "-ww", "-E", "-o", "pid=,stat=,command="]
            let pipe = Pipe()
            process.standardOutput = pipe
            guard (try? process.run()) != nil else { return [] }
            let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
            process.waitUntilExit()
            return text.split(separator: "\n").compactMap { line in
                let fields = line.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: true)
                guard fields.count == 3, let pid = Int32(fields[0]) else { return nil }
                return Entry(pid: pid, command: String(fields[2]), isDead: fields[1].hasPrefix("Z"))
            }
        #endif
    }

    #if os(Linux)
        /// Files of `/proc` have no size, so they are read until they end.
        private static func contents(_ path: String) -> String? {
            guard let handle = FileHandle(forReadingAtPath: path) else { return nil }
            defer { try? handle.close() }
            return (try? handle.readToEnd()).flatMap { $0 }.map { String(decoding: $0, as: UTF8.self) }
        }
    #endif
}
