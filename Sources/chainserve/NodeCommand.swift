import ArgumentParser
import ChainEngine
import ChainFormats
import ChainModel
import ChainNode
import ChainOrchestrator
import Dispatch
import Foundation
import Logging

/// `chainserve node`: one block server.
struct NodeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "node",
        abstract: "Run one block server: it waits for an orchestrator to tell it its blocks.",
        discussion: """
            What counts towards --memory: the parameters of the hosted blocks, the cache units of the jobs, and the
            buffers a step computes in. They are reserved when blocks are loaded and never exceeded.

            On loopback the traffic is plain text, and --token lets in none but the orchestrator that knows it. Beyond
            loopback give the certificates that `chainserve pki` makes.
            """)

    @Option(help: "Address to listen at, HOST:PORT; port 0 takes any free one, which is printed.")
    var listen = "127.0.0.1:0"

    @Option(help: "Memory to use, with its unit, such as 12 GB or 800 MiB.")
    var memory: String

    @Option(help: "A GGUF file to read the blocks from; without it the orchestrator sends them.")
    var model: String?

    @Option(help: "The server's name in the cluster.")
    var name: String?

    @Option(help: "Compute threads, unless the cluster file says otherwise.")
    var threads = 1

    @Option(
        help: "The ggml device to compute on: auto (the best GPU, else the CPU), cpu, or a device's name.")
    var device = "auto"

    @Option(help: "Folder for blocks that were received.")
    var cache: String?

    @OptionGroup var logging: LogArguments

    @OptionGroup(title: "Security") var pool: PoolArguments

    @Option(help: .hidden)
    var emulate: String?

    @Flag(help: .hidden)
    var exitWithParent = false

    func run() async throws {
        let (server, address) = try CommandFailure.invalidInput { try makeServer() }
        let port: Int
        do {
            port = try await server.start()
        } catch {
            CommandFailure.warn("error: \(error)")
            throw CommandFailure.invalidInput
        }
        // Whoever started this process reads the port from this line.
        CommandFailure.say("listening \(ServerAddress(host: address.host, port: port))\n", toError: false)
        if exitWithParent { Self.exitWhenInputEnds() }
        let signals = SignalWaiter(exitWithParent ? [SIGTERM] : [SIGTERM, SIGINT])
        if exitWithParent { signal(SIGINT, SIG_IGN) }
        let (ends, continuation) = AsyncStream.makeStream(of: Bool.self)
        let stopping = Task {
            await signals.wait()
            continuation.yield(false)
        }
        let restarting = Task {
            await server.waitUntilToldToRestart()
            continuation.yield(true)
        }
        let isRestart = await ends.first { _ in true } ?? false
        stopping.cancel()
        restarting.cancel()
        await server.shutdown(drainingFor: .seconds(10))
        // Whoever started a server of a local pool starts it again; any other starts itself again.
        if isRestart, !exitWithParent {
            Self.startAgain(at: ServerAddress(host: address.host, port: port))
        }
    }

    /// Replaces this process by a new one of the same arguments, at the same address.
    private static func startAgain(at address: ServerAddress) -> Never {
        var arguments = [CommandLine.arguments[0]]
        var rest = CommandLine.arguments.dropFirst()
        while let argument = rest.popFirst() {
            if argument == "--listen" {
                rest = rest.dropFirst()
            } else if !argument.hasPrefix("--listen=") {
                arguments.append(argument)
            }
        }
        arguments += ["--listen", "\(address)"]
        var pointers: [UnsafeMutablePointer<CChar>?] = arguments.map { strdup($0) }
        pointers.append(nil)
        execv(Bundle.main.executablePath ?? CommandLine.arguments[0], pointers)
        CommandFailure.warn(
            "error: the server cannot start itself again (\(String(cString: strerror(errno))))")
        Foundation.exit(1)
    }

    private func makeServer() throws -> (BlockServer, ServerAddress) {
        guard let address = ServerAddress(listen) else {
            throw ValidationError("--listen '\(listen)' is not HOST:PORT, such as 0.0.0.0:7001")
        }
        let size = try DemandText.size(memory)
        guard threads >= 1 else { throw ValidationError("--threads must be at least 1") }
        let profile = try emulate.map { try JSONDecoder().decode(EmulatedProfile.self, from: Data($0.utf8)) }
        if let model { _ = try LlamaFile(path: model) }
        let name = name ?? "\(ProcessInfo.processInfo.hostName)-\(address.port)"
        let logger = logging.logger("chainserve.node", default: .info)
        var configuration = BlockServerConfiguration(
            name: name, host: address.host, port: address.port, memory: size,
            modelPath: profile == nil ? model : nil,
            cacheFolder: cache ?? CacheFolder.path("blocks/\(name)"), threads: threads,
            engineKind: profile == nil ? .ggml : .emulated, security: try pool.security())
        configuration.allowsPlainText = pool.insecurePlainText
        let device = device
        let server = BlockServer(
            configuration: configuration,
            openLocalModel: { path throws(EngineError) in try LlamaFile(path: path) },
            makeEngine: { manifest, tensors, limits, options throws(EngineError) in
                if let profile { return EmulatedEngine(limits: limits, profile: profile) }
                var options = options
                options.device = device
                return try GGMLEngine(manifest: manifest, source: tensors, limits: limits, options: options)
            }, logger: logger)
        return (server, address)
    }

    /// The parent holds the other end of standard input: when it is gone, however it ended, so is this process.
    private static func exitWhenInputEnds() {
        let thread = Thread {
            var buffer = [UInt8](repeating: 0, count: 256)
            while read(STDIN_FILENO, &buffer, buffer.count) > 0 {}
            Foundation.exit(0)
        }
        thread.start()
    }
}
