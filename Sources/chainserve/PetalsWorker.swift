import ChainOrchestrator
import Foundation
import Synchronization

/// Block servers that a command starts, and stops with itself.
protocol PoolServers: Sendable {
    /// Starts all of them; returns the addresses at which the orchestrator finds them.
    func start() async throws -> [ServerAddress]
    /// Ends all of them and returns when they are gone.
    func stop() async
}

extension LocalServers: PoolServers {
    func stop() async { await stop(within: 5) }
}

/// The worker in front of PETALS servers, as a process of this machine: started, and started again when it dies, at the
/// same addresses, until it is stopped.
final class PetalsWorker: PoolServers {
    private struct State {
        var process: Process?
        var input: Pipe?
        var isStopping = false
    }

    private let pool: ServicePool
    private let logLevel: String
    private let console: Console
    private let state = Mutex(State())
    /// Identities and logs of the servers that it starts, by the ports and names of this run.
    private let folder: String
    private static let restartDelay = 1.0
    /// Its servers are asked to end, then killed, within this.
    private static let stopLimit = 10.0

    init(_ pool: ServicePool, logLevel: String, console: Console) throws {
        try PetalsInstallation.check()
        self.pool = pool
        self.logLevel = logLevel
        self.console = console
        let all = CacheFolder.path("petals-state")
        Self.removeLeftovers(in: all)
        folder = all + "/\(ProcessInfo.processInfo.processIdentifier)"
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    /// Folders of runs that were killed before they could remove them.
    private static func removeLeftovers(in all: String) {
        for name in (try? FileManager.default.contentsOfDirectory(atPath: all)) ?? [] {
            guard let process = Int32(name), kill(process, 0) != 0, errno == ESRCH else { continue }
            try? FileManager.default.removeItem(atPath: all + "/" + name)
        }
    }

    /// Called again, it begins anew: with processes that have hosted nothing yet.
    func start() async throws -> [ServerAddress] {
        await end()
        return try await launch(ports: [Int](repeating: 0, count: pool.file.servers.count))
    }

    private func launch(ports: [Int]) async throws -> [ServerAddress] {
        let poolFile = folder + "/pool.json"
        try Data(pool.petalsPoolFile(state: folder, ports: ports).utf8)
            .write(to: URL(fileURLWithPath: poolFile), options: .atomic)
        let process = Process()
        process.executableURL = URL(fileURLWithPath: PetalsInstallation.python)
        process.arguments = [
            "-m", "chainserve_petals", "--pool", poolFile, "--exit-with-parent", "--log-level", logLevel,
        ]
        var environment = ProcessInfo.processInfo.environment
        environment["PYTHONWARNINGS"] = "ignore"
        process.environment = environment
        let input = Pipe()
        let output = Pipe()
        process.standardInput = input
        process.standardOutput = output
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
            continuation.finish()
            self?.restart()
        }
        let mayStart = state.withLock { state in
            if state.isStopping { return false }
            (state.process, state.input) = (process, input)
            return true
        }
        guard mayStart else { throw CancellationError() }
        try process.run()
        let addresses = try await addresses(lines)
        known.withLock { $0 = addresses.map(\.port) }
        return addresses
    }

    /// Reads `listening NAME HOST:PORT` lines, in the order of the pool, up to `ready`.
    private func addresses(_ parts: AsyncStream<String>) async throws -> [ServerAddress] {
        var text = ""
        for await part in parts {
            text += part
            guard text.hasSuffix("ready\n") else { continue }
            let found = text.split(separator: "\n").filter { $0.hasPrefix("listening ") }
                .compactMap { $0.split(separator: " ").last.flatMap { ServerAddress(String($0)) } }
            guard found.count == pool.file.servers.count else { break }
            return found
        }
        try Task.checkCancellation()
        throw PetalsError.workerEnded
    }

    private let known = Mutex<[Int]>([])

    private func restart() {
        let ports = known.withLock { $0 }
        guard !state.withLock({ $0.isStopping }), !ports.isEmpty else { return }
        console.say("the PETALS worker ended; starting it again")
        Task {
            try? await Task.sleep(for: .seconds(Self.restartDelay))
            do { _ = try await self.launch(ports: ports) } catch is CancellationError {} catch {
                self.console.say("\(error)")
            }
        }
    }

    /// Ends the process, if there is one, for good.
    private func end() async {
        known.withLock { $0 = [] }
        guard let process = state.withLock({ $0.process }), process.isRunning else { return }
        process.terminate()
        let deadline = Date().addingTimeInterval(Self.stopLimit)
        while process.isRunning, Date() < deadline { try? await Task.sleep(for: .milliseconds(20)) }
        // Its servers end with it: it holds the other end of their input.
        if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    }

    func stop() async {
        state.withLock { $0.isStopping = true }
        await end()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
