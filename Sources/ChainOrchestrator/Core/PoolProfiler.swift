import ChainEngine
import ChainModel
import ChainSecurity
import Logging
import NIOCore

/// Measured times of one server, for the jobs of a given demand.
package struct ServerProfile: Sendable {
    package var name: String
    /// `τc_j`, seconds.
    package var communicationTimeSeconds: Double
    /// `τp_j`, seconds, with this server's share of the orchestrator's own time.
    package var blockTimeSeconds: Double
    /// Root mean square of the relative residuals of the fits.
    package var fitError: Double
    package var samples: Int
}

/// A measured pool.
package struct PoolProfile: Sendable {
    package var servers: [ServerProfile]
    /// The orchestrator's own time for a whole job (embedding, output head, sampling), seconds. Every chain computes
    /// each of the `L` blocks exactly once, so `1/L` of it in every server's `τp` adds exactly it to every chain.
    package var headTimeSeconds: Double
}

/// Measures `τc` and `τp` of running block servers: steps of different numbers of blocks and tokens, one job at a time,
/// and a least-squares fit of
///
///     decode step   a + b·m              (m blocks)
///     prompt step   a' + b'·m + c·n + d·m·n      (n tokens)
///
/// from which a job of `l_in` and `l_out` tokens has
/// `τc = a'·⌈l_in/512⌉ + c·l_in + a·(l_out − 1)` and `τp = b'·⌈l_in/512⌉ + d·l_in + b·(l_out − 1)`.
package struct PoolProfiler {
    package var cluster: Cluster
    package var addresses: [ServerAddress]
    package var threads: [Int]
    package var sequenceLength: Int
    package var meanInputTokens: Int
    package var meanOutputTokens: Int
    package var source: RangeSource
    package var frontend: any ModelFrontend
    package var group: any EventLoopGroup
    package var logger: Logger
    package var protection: LinkProtection
    /// Servers with as many threads are the same machine: what they are measured to take is fitted together.
    package var poolsLikeServers = false

    /// Tokens of the prompt steps that are measured.
    static let promptSizes = [16, 48, 96]
    /// Prompt steps of each size, and decode steps, for each number of blocks.
    static let promptRepeats = 4
    static let decodeRepeats = 16

    package init(
        cluster: Cluster, addresses: [ServerAddress], threads: [Int], sequenceLength: Int,
        meanInputTokens: Int,
        meanOutputTokens: Int, source: RangeSource, frontend: any ModelFrontend, group: any EventLoopGroup,
        protection: LinkProtection = .none, logger: Logger
    ) {
        self.cluster = cluster
        self.addresses = addresses
        self.threads = threads
        self.sequenceLength = sequenceLength
        self.meanInputTokens = meanInputTokens
        self.meanOutputTokens = meanOutputTokens
        self.source = source
        self.frontend = frontend
        self.group = group
        self.logger = logger
        self.protection = protection
    }

    /// Measures all servers, one after another. They must be running and must not be in service.
    /// - Parameter progress: told before each server, and its profile after it.
    package func run(progress: (String, ServerProfile?) -> Void) async throws -> PoolProfile {
        let head = try await headTime()
        var samples: [Samples] = []
        for index in cluster.servers.indices {
            progress(cluster.servers[index].name, nil)
            samples.append(try await measure(ServerIndex(index)))
        }
        var profiles: [ServerProfile] = []
        for index in cluster.servers.indices {
            let alike = cluster.servers.indices.filter {
                $0 == index || poolsLikeServers && threads[$0] == threads[index]
            }
            let together = alike.reduce(into: Samples()) { $0.add(samples[$1]) }
            var profile = fit(name: cluster.servers[index].name, together)
            profile.blockTimeSeconds += head / Double(cluster.model.blockCount)
            profiles.append(profile)
            progress(profile.name, profile)
        }
        return PoolProfile(servers: profiles, headTimeSeconds: head)
    }

    /// The orchestrator's own time for a whole job.
    private func headTime() async throws -> Double {
        // An emulated head takes no time, and answers only states that have passed all blocks.
        if frontend.isEmulated { return 0 }
        let prompt = tokens(count: meanInputTokens, salt: 0)
        var single: [Double] = []
        var embedding: [Double] = []
        let sampler = TokenSampler(SamplerSettings(), vocabularySize: frontend.vocabularySize)
        for _ in 0..<Self.decodeRepeats {
            embedding.append(try await time { _ = try await frontend.embed(prompt, position: 0) })
            single.append(
                try await time {
                    let hidden = try await frontend.embed([prompt[0]], position: 0)
                    _ = sampler.next(try await frontend.logits(hidden)[...])
                })
        }
        return typical(embedding) + Double(meanOutputTokens) * typical(single)
    }

    private struct Sample {
        var blocks: Double
        var tokens: Double
        var seconds: Double
    }

    private struct Samples {
        var decode: [Sample] = []
        var prompt: [Sample] = []

        mutating func add(_ other: Samples) {
            decode += other.decode
            prompt += other.prompt
        }
    }

    private func measure(_ server: ServerIndex) async throws -> Samples {
        let address = addresses[server.rawValue]
        let link: NodeLink
        do {
            link = try await NodeLink.connect(
                host: address.host, port: address.port, name: "profiler", on: group,
                protection: protection, logger: logger)
        } catch {
            throw StartError.unreachable(server: cluster[server].name, address: address, reason: "\(error)")
        }
        do {
            let samples = try await samples(server, link)
            await link.shutdown()
            return samples
        } catch {
            await link.shutdown()
            throw error
        }
    }

    /// As many blocks as fit with one job's caches, entered at different places.
    private func samples(_ server: ServerIndex, _ link: NodeLink) async throws -> Samples {
        let memory = cluster.blockMemory(of: server)
        let each = cluster.model.blockSize + cluster.model.cacheSize
        let count = min(memory.wholeUnits(of: each), cluster.model.blockCount)
        guard count >= 1 else { throw ProfileError.tooSmall(server: cluster[server].name) }
        let range = BlockRange(first: 1, count: count)
        _ = try await link.load(
            LoadAssignment(
                manifest: try source.manifest(modelName: cluster.model.name, range: range), unitCount: count,
                sequenceLength: sequenceLength, stepTokens: EngineMemory.stepTokens,
                computeSize: cluster.model.computeSize,
                threads: threads[server.rawValue] > 0 ? threads[server.rawValue] : nil),
            rangeSource: source.tensors)
        var samples = Samples()
        for (number, blocks) in Set([1, (count + 1) / 2, count]).sorted().enumerated() {
            let job = EngineJobID(UInt64(number + 1))
            try await link.open(job: job, firstBlock: range.end - blocks, blockCount: blocks)
            var position = 0
            func step(_ size: Int) async throws -> Double {
                let hidden = try await frontend.embed(tokens(count: size, salt: position), position: position)
                let seconds = try await time {
                    _ = try await link.step(job: job, position: position, tokenCount: size, hidden: hidden)
                }
                position += size
                return seconds
            }
            // The first step warms caches and buffers.
            _ = try await step(min(Self.promptSizes[0], sequenceLength / 8))
            for size in Self.promptSizes where position + size * Self.promptRepeats < sequenceLength / 2 {
                var times: [Double] = []
                for _ in 0..<Self.promptRepeats { times.append(try await step(size)) }
                samples.prompt.append(
                    Sample(blocks: Double(blocks), tokens: Double(size), seconds: typical(times)))
            }
            var times: [Double] = []
            for _ in 0..<Self.decodeRepeats where position < sequenceLength {
                times.append(try await step(1))
            }
            samples.decode.append(Sample(blocks: Double(blocks), tokens: 1, seconds: typical(times)))
            link.close(job: job)
        }
        return samples
    }

    private func fit(name: String, _ samples: Samples) -> ServerProfile {
        let (decode, prompt) = (samples.decode, samples.prompt)
        let decodeFit = Self.fit(
            decode.map(\.seconds), decode.map { [1, $0.blocks] }, orElse: decode.map { [$0.blocks] })
        let promptFit = Self.fit(
            prompt.map(\.seconds), prompt.map { [1, $0.blocks, $0.tokens, $0.blocks * $0.tokens] },
            orElse: prompt.map { [$0.blocks, $0.blocks * $0.tokens] })
        let decodeCommunication = decodeFit.coefficients.count == 2 ? decodeFit.coefficients[0] : 0
        let decodeBlock = decodeFit.coefficients.last ?? 0
        let full = promptFit.coefficients.count == 4
        let input = Double(meanInputTokens)
        let steps = Double((meanInputTokens + EngineMemory.stepTokens - 1) / EngineMemory.stepTokens)
        let output = Double(meanOutputTokens - 1)
        let communication =
            (full ? promptFit.coefficients[0] * steps + promptFit.coefficients[2] * input : 0)
            + decodeCommunication * output
        let perBlock =
            (full ? promptFit.coefficients[1] : promptFit.coefficients[0]) * steps
            + (promptFit.coefficients.last ?? 0) * input + decodeBlock * output
        let count = decode.count + prompt.count
        let error =
            ((decodeFit.error * decodeFit.error * Double(decode.count)
            + promptFit.error * promptFit.error * Double(prompt.count)) / Double(max(1, count))).squareRoot()
        return ServerProfile(
            name: name, communicationTimeSeconds: max(0, communication),
            blockTimeSeconds: max(1e-9, perBlock),
            fitError: error, samples: count)
    }

    /// Fits `features`, or the `simpler` ones, without communication, when those are not determined or would make
    /// some time negative.
    private static func fit(
        _ targets: [Double], _ features: [[Double]], orElse simpler: [[Double]]
    ) -> (coefficients: [Double], error: Double) {
        for rows in [features, simpler] {
            if let found = LeastSquares.fit(rows: rows, targets: targets), found.allSatisfy({ $0 >= 0 }) {
                return (found, LeastSquares.relativeError(rows: rows, targets: targets, coefficients: found))
            }
        }
        // Nothing can be told apart: everything counts for the blocks.
        let perBlock = zip(targets, features).map { $0 / $1[1] }.reduce(0, +) / Double(max(1, targets.count))
        return ([perBlock, 0], 0)
    }

    private func tokens(count: Int, salt: Int) -> [Int32] {
        (0..<max(1, count)).map { Int32(($0 * 7919 + salt * 104_729 + 17) % frontend.vocabularySize) }
    }

    private func time(_ body: () async throws -> Void) async rethrows -> Double {
        let start = ContinuousClock.now
        try await body()
        let elapsed = (ContinuousClock.now - start).components
        return Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
    }

    /// The lower quartile: what else the machine does only ever adds to a time.
    private func typical(_ values: [Double]) -> Double {
        let sorted = values.sorted()
        return sorted.isEmpty ? 0 : sorted[sorted.count / 4]
    }
}

package enum ProfileError: Error, CustomStringConvertible {
    case tooSmall(server: String)

    package var description: String {
        switch self {
        case .tooSmall(let server): "server \(server) has too little memory for one block and one job's cache"
        }
    }
}
