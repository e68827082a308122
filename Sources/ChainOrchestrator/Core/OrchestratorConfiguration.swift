import ChainDispatch
import ChainEngine
import ChainModel
import ChainPlanning
import ChainSecurity

/// What an orchestrator serves: a plan over a cluster, and the bounds it keeps. Every bound has a name and a default.
package struct OrchestratorConfiguration: Sendable {
    package var cluster: Cluster
    package var plan: Plan
    /// Longest sequence of a job, prompt and answer, in tokens: what the plan's cache size was made for.
    package var sequenceLength: Int
    /// Address of each server, by `ServerIndex`.
    package var addresses: [ServerAddress]
    /// Compute threads of each server, by `ServerIndex`; 0 leaves them to the server.
    package var threads: [Int]
    /// Where the weights come from, as `/v1/models` shows it.
    package var modelRoot: String
    /// What computes the blocks, as `/status` shows it.
    package var engineName = "ggml"
    /// The bounds of queue, retries, waits and server health.
    package var control = ControlConfiguration()
    /// Makes a plan without servers that are gone for good; `nil` when none is possible. Called on any thread.
    package var recomposition: (@Sendable (_ present: Plan, _ lost: [ServerIndex]) -> Plan?)?
    /// Finds out whether another plan is worth the move at the rate that is observed, without servers that are gone for
    /// good; `nil` when the plan stays whatever the demand. Called on any thread.
    package var replanning:
        (@Sendable (_ present: Plan, _ arrivalRate: Double, _ lost: [ServerIndex]) -> Replanning?)?
    /// Whether a move that is worth it is made, or only told.
    package var movesByItself = false
    /// How orchestrator and block servers make sure of each other.
    package var protection = LinkProtection.none
    /// A single step may take this long.
    package var stepTimeout = Duration.seconds(120)
    /// Hidden states kept so that of a chain only what was lost is computed again.
    package var keptStates = KeptStatesBounds.standard
    /// How long `start` waits for servers to be reached.
    package var startLimit = Duration.seconds(20)

    package init(
        cluster: Cluster, plan: Plan, sequenceLength: Int, addresses: [ServerAddress], threads: [Int],
        modelRoot: String
    ) {
        self.cluster = cluster
        self.plan = plan
        self.sequenceLength = sequenceLength
        self.addresses = addresses
        self.threads = threads
        self.modelRoot = modelRoot
    }

    /// What each server of a plan is to host; `nil` for a spare.
    func assignments(of plan: Plan, source: RangeSource) throws(EngineError) -> [LoadAssignment?] {
        var assignments: [LoadAssignment?] = []
        for index in cluster.servers.indices {
            let server = ServerIndex(index)
            guard let range = plan.placement[server] else {
                assignments.append(nil)
                continue
            }
            assignments.append(
                LoadAssignment(
                    manifest: try source.manifest(modelName: cluster.model.name, range: range),
                    unitCount: cluster.cacheSlots(of: server, hosting: range.count),
                    sequenceLength: sequenceLength, stepTokens: EngineMemory.stepTokens,
                    computeSize: cluster.model.computeSize,
                    threads: threads[index] > 0 ? threads[index] : nil))
        }
        return assignments
    }

    /// A chain as people read it: its servers' names in order.
    package func name(of chain: ServerChain) -> String {
        chain.name(in: cluster)
    }
}

extension ServerChain {
    /// As people read it: its servers' names in order.
    package func name(in cluster: Cluster) -> String {
        hops.map { cluster.servers[$0.server.rawValue].name }.joined(separator: " > ")
    }
}

/// Where a block server listens.
package struct ServerAddress: Hashable, Sendable, CustomStringConvertible {
    package var host: String
    package var port: Int

    package init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads `HOST:PORT`, the host in brackets when it has colons of its own; `nil` when it is not that.
    package init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65535).contains(port)
        else { return nil }
        var host = String(text[..<colon])
        if host.hasPrefix("["), host.hasSuffix("]") { host = String(host.dropFirst().dropLast()) }
        guard !host.isEmpty else { return nil }
        self.init(host: host, port: port)
    }

    package var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// Where the tensors and manifests of ranges come from.
package enum RangeSource: Sendable {
    case file(LlamaFile)
    /// No weights at all: blocks of the size that the plan assumes.
    case emulated(ModelShape, width: Int)

    package func manifest(modelName: String, range: BlockRange) throws(EngineError) -> BlockManifest {
        switch self {
        case .file(let file): return try file.manifest(modelName: modelName, range: range)
        case .emulated(let shape, let width):
            let parameters = LlamaParameters(
                architecture: "emulated", blockCount: shape.blockCount, embeddingWidth: width, headCount: 1,
                keyValueHeadCount: 1, headSize: width, feedForwardWidth: width, normEpsilon: 1e-5,
                ropeDimensionCount: width, ropeFrequencyBase: 10_000, ropeFrequencyScale: 1,
                contextLength: 1 << 20,
                vocabularySize: 257)
            let tensors = (range.first..<range.end).map {
                TensorEntry(
                    name: "blk.\($0 - 1).emulated", type: 24, dimensions: [1],
                    byteCount: shape.blockSize.rawValue, crc32: 0)
            }
            var manifest = BlockManifest(
                modelName: modelName, parameters: parameters, range: range, tensors: tensors)
            manifest.emulatedUnitSize = shape.cacheSize.rawValue
            return manifest
        }
    }
}
