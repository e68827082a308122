import ChainEngine
import ChainModel
import ChainSecurity

/// What a block server is told when it starts. Its blocks it learns later, from the orchestrator.
public struct BlockServerConfiguration: Sendable {
    /// The server's name in its cluster; shown to the orchestrator.
    public var name: String
    /// Address to listen at.
    public var host: String
    /// Port to listen at; 0 takes any free one.
    public var port: Int
    /// Memory declared for ChainServe: parameters, cache units and compute buffers together never exceed it.
    public var memory: ByteCount
    /// A GGUF file on this machine to read the blocks from. Without one the orchestrator sends them.
    public var modelPath: String?
    /// Where received ranges are kept. Not shared with another block server.
    public var cacheFolder: String
    /// Compute threads, unless the orchestrator asks for another number.
    public var threads: Int
    public var engineKind: EngineKind
    /// Whether tensors are obtained at all; an emulated engine has no use for them.
    public var needsTensors: Bool
    public var bounds: BlockServerBounds
    /// How the server makes sure of its orchestrator.
    public var security: LinkSecurity
    /// Listening beyond loopback without TLS was asked for aloud.
    public var allowsPlainText = false

    public init(
        name: String, host: String = "127.0.0.1", port: Int = 0, memory: ByteCount, modelPath: String? = nil,
        cacheFolder: String, threads: Int = 1, engineKind: EngineKind = .ggml, needsTensors: Bool? = nil,
        bounds: BlockServerBounds = BlockServerBounds(), security: LinkSecurity = .plainText
    ) {
        self.name = name
        self.host = host
        self.port = port
        self.memory = memory
        self.modelPath = modelPath
        self.cacheFolder = cacheFolder
        self.threads = threads
        self.engineKind = engineKind
        self.needsTensors = needsTensors ?? (engineKind != .emulated)
        self.bounds = bounds
        self.security = security
    }

    /// The engine only says how long it would take, and its blocks are neither read nor received.
    var neverBlocks: Bool { engineKind == .emulated && !needsTensors }
}

/// Bounds of a block server's queues and waits.
public struct BlockServerBounds: Sendable {
    /// Most tokens in one step, whatever a load asks for.
    public var stepTokens = 512
    /// Most jobs open or being opened.
    public var openJobs = 4096
    /// Hidden states that wait to be computed, bytes, above which nothing more is read from the connection;
    /// read again below half of it.
    public var queuedBytes = 256 << 20
    /// Most bytes reserved for steps whose pieces are still coming; a step beyond is refused.
    public var assemblingBytes = 512 << 20
    /// Most connections, with and without an orchestrator's seat.
    public var connections = 16
    /// Bytes of a range asked for at once; twice as many may be under way.
    public var rangeWindow = 4 << 20
    /// Times a tensor whose checksum was wrong is asked for again in one load.
    public var rangeRetries = 2
    /// Complete ranges kept in the cache folder.
    public var keptRanges = 4
    /// A connection that has not said hello by then is closed.
    public var helloTimeout = Duration.seconds(5)
    /// An orchestrator not heard for so long loses its seat to another that asks for it.
    public var takeoverSilence = Duration.seconds(5)
    /// An orchestrator not heard for so long is taken for dead: closed, its jobs too.
    public var silenceLimit = Duration.seconds(30)
    /// How often health is told unasked while nothing is read from a connection (`queuedBytes`).
    public var pausedHealthInterval = Duration.milliseconds(500)

    public init() {}
}

/// Makes the engine that runs a loaded range; called where the engine then lives (`ComputeDriver`).
public typealias EngineFactory =
    @Sendable (
        _ manifest: BlockManifest, _ tensors: any TensorSource, _ limits: EngineLimits,
        _ options: EngineOptions
    ) throws(EngineError) -> any BlockEngine

/// Opens a model's file; called where the engine lives.
public typealias LocalModelOpener = @Sendable (_ path: String) throws(EngineError) -> any LocalModel

/// Why a block server did not start.
public enum BlockServerError: Error, Sendable, CustomStringConvertible {
    case cannotListen(host: String, port: Int, reason: String)
    case startedTwice

    public var description: String {
        switch self {
        case .cannotListen(let host, let port, let reason):
            "cannot listen at \(host):\(port): \(reason); give --listen an address of this machine and another"
                + " port, or 0 for any free one"
        case .startedTwice: "a block server can be started only once"
        }
    }
}
