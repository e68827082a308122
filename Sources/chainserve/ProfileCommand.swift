import ArgumentParser
import ChainEngine
import ChainFormats
import ChainModel
import ChainOrchestrator
import ChainSecurity
import Foundation
import Logging
import NIOPosix

/// `chainserve profile`: measures running servers.
struct ProfileCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "profile",
        abstract: "Measure the communication and block times of running block servers.",
        discussion:
            "The servers must not be in service. The result is a copy of the cluster file with the times.")

    @Argument(help: "The cluster file; every server needs an address.")
    var file: String

    @Option(name: [.short, .long], help: "Where to write the copy (default: standard output).")
    var output: String?

    @Option(name: [.short, .long], help: "A GGUF file to measure with instead of the cluster file's model.")
    var model: String?

    @Option(help: "Compute threads of the embedding and the output head.")
    var headThreads = 1

    @OptionGroup(title: "Security") var poolSecurity: PoolArguments

    func run() async throws {
        let console = Console()
        try await CommandFailure.reporting {
            let pool = try ServicePool(
                try ClusterFile.parse(try CommandFailure.read(file), file: file), model: model)
            var logger = Logger(label: "chainserve") { StreamLogHandler.standardError(label: $0) }
            logger.logLevel = .error
            // PETALS servers are reached through a worker, which starts those that do not run yet.
            let worker = pool.isPetals ? try PetalsWorker(pool, logLevel: "error", console: console) : nil
            let measured: ClusterFile
            do {
                let addresses = try await worker?.start() ?? pool.addresses()
                measured = try await ProfileStore.measure(
                    pool, addresses: addresses,
                    protection: worker == nil ? try poolSecurity.protection(towards: addresses) : .none,
                    headThreads: headThreads, logger: logger, console: console)
            } catch {
                await worker?.stop()
                throw error
            }
            await worker?.stop()
            if let output {
                try Data(measured.yaml.utf8).write(to: URL(fileURLWithPath: output), options: .atomic)
                console.say("written to \(output)")
            } else {
                console.out(measured.yaml)
            }
        }
    }
}

/// Measurements of local pools, kept so that the next start is quick.
enum ProfileStore {
    /// The pool's file with times: kept ones if this very pool was measured before on this machine, else new ones.
    static func profiled(
        _ pool: ServicePool, addresses: [ServerAddress], afresh: Bool, protection: LinkProtection,
        headThreads: Int, logger: Logger,
        console: Console
    ) async throws -> ClusterFile {
        let path = keptPath(pool, headThreads: headThreads)
        if !afresh, let text = try? CommandFailure.read(path),
            let kept = try? ClusterFile.parse(text, file: path),
            kept.servers.count == pool.file.servers.count
        {
            console.say("using the times measured earlier (\(path); --reprofile measures again)")
            var file = pool.file
            for (index, server) in kept.servers.enumerated() {
                file.servers[index].communicationTime = server.communicationTime
                file.servers[index].blockTime = server.blockTime
            }
            file.profile = kept.profile
            if pool.demandFollowsSpeed { DefaultPool.setDemand(of: &file, blockCount: pool.shape.blockCount) }
            return file
        }
        console.say("measuring the servers, once (kept in \(path))")
        let measured = try await measure(
            pool, addresses: addresses, areAlike: true, protection: protection, headThreads: headThreads,
            logger: logger,
            console: console)
        try FileManager.default.createDirectory(
            atPath: CacheFolder.path("profiles"), withIntermediateDirectories: true)
        try Data(measured.yaml.utf8).write(to: URL(fileURLWithPath: path), options: .atomic)
        var file = measured
        if pool.demandFollowsSpeed { DefaultPool.setDemand(of: &file, blockCount: pool.shape.blockCount) }
        return file
    }

    /// Named by a checksum of what the measurement depends on.
    private static func keptPath(_ pool: ServicePool, headThreads: Int) -> String {
        var key = "\(pool.file.yaml)|\(pool.shape)|\(pool.sequenceLength)|\(headThreads)"
        if let path = pool.modelPath, let attributes = try? FileManager.default.attributesOfItem(atPath: path)
        {
            key += "|\(path)|\(attributes[.size] ?? 0)|\(attributes[.modificationDate] ?? 0)"
        }
        key += "|\(ProcessInfo.processInfo.activeProcessorCount)"
        let checksum = String(CRC32.of(key.utf8), radix: 16)
        return CacheFolder.path("profiles")
            + "/\(pool.shape.name.filter { $0.isLetter || $0.isNumber })-\(checksum).yaml"
    }

    /// - Parameter areAlike: servers with as many threads are the same machine.
    static func measure(
        _ pool: ServicePool, addresses: [ServerAddress], areAlike: Bool = false, protection: LinkProtection,
        headThreads: Int,
        logger: Logger, console: Console
    ) async throws -> ClusterFile {
        let cluster = try pool.cluster(defaultTimes: ServerTimes(communicationTime: 1, blockTime: 1))
        var profiler = PoolProfiler(
            cluster: cluster, addresses: addresses, threads: pool.file.servers.map(\.threads),
            sequenceLength: pool.sequenceLength, meanInputTokens: pool.meanInputTokens,
            meanOutputTokens: pool.meanOutputTokens, source: try pool.source,
            frontend: try pool.frontend(threads: headThreads), group: MultiThreadedEventLoopGroup.singleton,
            protection: protection, logger: logger)
        profiler.poolsLikeServers = areAlike
        let profile = try await profiler.run { name, result in
            guard let result else { return }
            console.say(
                "  \(name): a job takes \(PlanReport.seconds(result.communicationTimeSeconds)) and "
                    + "\(PlanReport.seconds(result.blockTimeSeconds)) a block"
                    + String(format: " (fit within %.1f %%)", 100 * result.fitError))
        }
        var file = pool.file
        for (index, server) in profile.servers.enumerated() {
            file.servers[index].communicationTime = server.communicationTimeSeconds
            file.servers[index].blockTime = server.blockTimeSeconds
        }
        file.profile = [
            ProfileEntry(key: "mean_input_tokens", value: "\(pool.meanInputTokens)"),
            ProfileEntry(key: "mean_output_tokens", value: "\(pool.meanOutputTokens)"),
            ProfileEntry(key: "head_time", value: String(format: "%.6f", profile.headTimeSeconds)),
            ProfileEntry(
                key: "fit_error",
                value: profile.servers.map { "\($0.name) " + String(format: "%.4f", $0.fitError) }
                    .joined(separator: ", ")),
        ]
        return file
    }
}
