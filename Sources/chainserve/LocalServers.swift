import ChainEngine
import ChainModel
import ChainOrchestrator
import Foundation
import Synchronization

/// Block servers as processes of this machine: started, and started again when they die, until they are stopped.
final class LocalServers: Sendable {
    struct Specification: Sendable {
        var name: String
        var memory: ByteCount
        var modelPath: String?
        var threads: Int
        var emulate: EmulatedProfile?
    }

    private struct State {
        var processes: [Int: Process] = [:]
        var isStopping = false
    }

    private let specifications: [Specification]
    private let tokenPath: String
    private let state = Mutex(State())
    private let console: Console
    /// Wait before a dead server is started again; doubles up to the second while it keeps dying.
    private static let restartDelay = (first: 0.2, last: 5.0)
    /// A server that lived this long is started again without delay doubling.
    private static let longLife = 10.0

    /// - Parameter tokenPath: holds the secret that the servers ask an orchestrator for.
    init(_ specifications: [Specification], tokenPath: String, console: Console) {
        self.specifications = specifications
        self.tokenPath = tokenPath
        self.console = console
    }

    /// Starts all of them; returns their addresses.
    func start() async throws -> [ServerAddress] {
        try await withThrowingTaskGroup(of: (Int, ServerAddress).self) { group in
            for index in specifications.indices {
                group.addTask { (index, try await self.launch(index, port: 0)) }
            }
            var addresses = [ServerAddress](
                repeating: ServerAddress(host: "", port: 0), count: specifications.count)
            for try await (index, address) in group { addresses[index] = address }
            return addresses
        }
    }

    /// Starts one server; returns when it listens.
    private func launch(_ index: Int, port: Int) async throws -> ServerAddress {
        let specification = specifications[index]
        let process = Process()
        process.executableURL = URL(fileURLWithPath: Self.executablePath)
        var arguments = [
            "node", "--listen", "127.0.0.1:\(port)", "--memory", "\(specification.memory.rawValue) B",
            "--name", specification.name, "--threads", "\(specification.threads)", "--device", "cpu",
            "--log-level", "error", "--exit-with-parent", "--token", tokenPath,
        ]
        if let path = specification.modelPath { arguments += ["--model", path] }
        if let profile = specification.emulate {
            arguments += ["--emulate", String(decoding: try JSONEncoder().encode(profile), as: UTF8.self)]
        }
        process.arguments = arguments
        var environment = ProcessInfo.processInfo.environment
        // Idle compute threads of several servers on one machine would otherwise spin against each other.
        environment["OMP_WAIT_POLICY"] = environment["OMP_WAIT_POLICY"] ?? "passive"
        process.environment = environment
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
        let startedAt = Date()
        let (lines, continuation) = AsyncStream.makeStream(of: String.self)
        output.fileHandleForReading.readabilityHandler = { handle in
            let data = handle.availableData
            if data.isEmpty {
                handle.readabilityHandler = nil
                continuation.finish()
            } else {
                continuation.yield(String(decoding: data, as: UTF8.self))
            }
        }
        process.terminationHandler = { [weak self] _ in
            withExtendedLifetime(input) {}
            continuation.finish()
            self?.restart(index, livedSeconds: Date().timeIntervalSince(startedAt))
        }
        let mayStart = state.withLock { state in
            if state.isStopping { return false }
            state.processes[index] = process
            return true
        }
        guard mayStart else { throw CancellationError() }
        try process.run()
        var text = ""
        for await part in lines {
            text += part
            if let line = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().first,
                line.hasPrefix("listening "), let address = ServerAddress(String(line.dropFirst(10)))
            {
                ports.withLock { $0[index] = address.port }
                return address
            }
        }
        // Stopped while it started: not its own doing.
        try Task.checkCancellation()
        throw LaunchFailure(name: specification.name)
    }

    private let ports = Mutex<[Int: Int]>([:])
    private let delays = Mutex<[Int: Double]>([:])

    /// Starts a server that died again, at the same port.
    private func restart(_ index: Int, livedSeconds: Double) {
        guard !state.withLock({ $0.isStopping }), let port = ports.withLock({ $0[index] }) else { return }
        let delay = delays.withLock { delays in
            let next =
                livedSeconds > Self.longLife
                ? Self.restartDelay.first : delays[index] ?? Self.restartDelay.first
            delays[index] = min(next * 2, Self.restartDelay.last)
            return next
        }
        console.say("block server \(specifications[index].name) ended; starting it again")
        Task {
            try? await Task.sleep(for: .seconds(delay))
            do { _ = try await self.launch(index, port: port) } catch is CancellationError {} catch {
                self.console.say("block server \(self.specifications[index].name): \(error)")
            }
        }
    }

    /// Ends all of them and returns when they are gone; those that do not end in time are killed.
    func stop(within seconds: Double = 5) async {
        let processes = state.withLock { state in
            state.isStopping = true
            return Array(state.processes.values)
        }
        for process in processes where process.isRunning { process.terminate() }
        let deadline = Date().addingTimeInterval(seconds)
        while processes.contains(where: \.isRunning), Date() < deadline {
            try? await Task.sleep(for: .milliseconds(20))
        }
        for process in processes where process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    private static var executablePath: String {
        Bundle.main.executablePath ?? CommandLine.arguments[0]
    }

    struct LaunchFailure: Error, CustomStringConvertible {
        var name: String
        var description: String { "block server \(name) ended before it listened; its message is above" }
    }
}
