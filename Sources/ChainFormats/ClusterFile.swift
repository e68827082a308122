import ChainModel

/// What runs the blocks of a pool.
public enum EngineKind: String, Hashable, Sendable, CaseIterable {
    /// ggml's backends.
    case ggml
    /// No computation: the memory accounting of a real engine, and the times of a device profile.
    case emulated
    /// PETALS servers, reached through a worker of ours.
    case petals
}

/// Where something stands in a file, for messages. Two values are always equal: it is no part of what a file says.
public struct FilePosition: Hashable, Sendable {
    /// From 1; `nil` when it was not read from a file.
    public var line: Int?

    public init(line: Int? = nil) { self.line = line }

    public static func == (left: Self, right: Self) -> Bool { true }
    public func hash(into hasher: inout Hasher) {}
}

/// A name of the file that messages use. Two values are always equal: it is no part of what a file says.
public struct FileName: Hashable, Sendable {
    public var name: String

    public init(_ name: String) { self.name = name }

    public static func == (left: Self, right: Self) -> Bool { true }
    public func hash(into hasher: inout Hasher) {}

    /// Everything before the last slash, with it; empty when there is none.
    public var folder: String {
        name.lastIndex(of: "/").map { String(name[...$0]) } ?? ""
    }
}

/// A model file and what to reserve for it.
public struct GGUFReference: Hashable, Sendable {
    /// What kind of file it is.
    public enum Format: Hashable, Sendable {
        /// A model to be served, or planned for.
        case gguf
        /// The `config.json` of a Hugging Face model: only planned for, since it holds no parameters.
        case huggingFace
    }

    public var format: Format
    /// As written in the cluster file; `ClusterFile.resolve` hands on a path relative to the working folder instead.
    public var path: String
    /// The name clients ask for; from the file when `nil`.
    public var name: String?
    /// Tokens that the cache of a job has room for; the engine's default when `nil`.
    public var maxSequenceLength: Int?
    /// Memory every server sets aside for the buffers a step computes in; the engine's estimate when `nil`.
    public var computeSize: ByteCount?
    /// Bits that a parameter takes on the servers; those of the configuration's number type when `nil`. Configurations only.
    public var weightBits: Double?

    public init(
        path: String, name: String? = nil, maxSequenceLength: Int? = nil, computeSize: ByteCount? = nil,
        format: Format = .gguf, weightBits: Double? = nil
    ) {
        self.format = format
        self.weightBits = weightBits
        self.path = path
        self.name = name
        self.maxSequenceLength = maxSequenceLength
        self.computeSize = computeSize
    }
}

/// The `model` section: a shape given in numbers, or a model file.
public enum ModelSource: Hashable, Sendable {
    case shape(ModelShape)
    case gguf(GGUFReference)
}

/// The `demand` section.
public struct DemandSection: Hashable, Sendable {
    /// `λ`, jobs per second.
    public var arrivalRate: Double
    /// `ρ̄`, in (0, 1).
    public var loadTarget: Double
    /// Mean tokens of a prompt: `l_in`.
    public var meanInputTokens: Double?
    /// Mean tokens of an answer: `l_out`.
    public var meanOutputTokens: Double?
    /// Where the file gives the load target; no line when it is the default.
    public var loadTargetPosition: FilePosition

    public init(
        arrivalRate: Double, loadTarget: Double = 0.7, meanInputTokens: Double? = nil,
        meanOutputTokens: Double? = nil, loadTargetPosition: FilePosition = FilePosition()
    ) {
        self.loadTargetPosition = loadTargetPosition
        self.arrivalRate = arrivalRate
        self.loadTarget = loadTarget
        self.meanInputTokens = meanInputTokens
        self.meanOutputTokens = meanOutputTokens
    }
}

/// A time towards another server.
public struct NamedTime: Hashable, Sendable {
    public var name: String
    public var seconds: Double

    public init(name: String, seconds: Double) {
        self.name = name
        self.seconds = seconds
    }
}

/// An entry of `servers`.
public struct ServerEntry: Hashable, Sendable {
    public var name: String
    /// Declared memory; that of the device when `nil`.
    public var memory: ByteCount?
    /// `τc_j`, seconds. Wins over `roundTripTime`.
    public var communicationTime: Double?
    /// `τp_j`, seconds. Wins over `device`.
    public var blockTime: Double?
    /// A name of the device catalogue.
    public var device: String?
    /// Round trip to the orchestrator, seconds.
    public var roundTripTime: Double?
    /// Of the way to the orchestrator, bytes per second; hidden states take no time of their own when `nil`.
    public var bandwidth: Double?
    /// PETALS' advertised throughputs, requests per second; for that baseline.
    public var forwardRate: Double?
    public var networkRate: Double?
    /// Round trips to other servers, seconds; for that baseline.
    public var roundTripTimes: [NamedTime]
    /// `host:port` of the block server.
    public var address: String?
    /// Threads the block server computes with.
    public var threads: Int
    /// Path of the model file on this server, when it differs.
    public var gguf: String?
    /// A running PETALS server to attach to: `/ip4/…/tcp/…/p2p/…`.
    public var peer: String?
    public var position: FilePosition

    public init(
        name: String, memory: ByteCount?, communicationTime: Double? = nil, blockTime: Double? = nil,
        device: String? = nil, roundTripTime: Double? = nil, forwardRate: Double? = nil,
        networkRate: Double? = nil,
        roundTripTimes: [NamedTime] = [], address: String? = nil, threads: Int = 1, gguf: String? = nil,
        peer: String? = nil, position: FilePosition = FilePosition(), bandwidth: Double? = nil
    ) {
        self.bandwidth = bandwidth
        self.name = name
        self.memory = memory
        self.communicationTime = communicationTime
        self.blockTime = blockTime
        self.device = device
        self.roundTripTime = roundTripTime
        self.forwardRate = forwardRate
        self.networkRate = networkRate
        self.roundTripTimes = roundTripTimes
        self.address = address
        self.threads = threads
        self.gguf = gguf
        self.peer = peer
        self.position = position
    }
}

/// An entry of `placement`: a range fixed by hand.
public struct PlacementEntry: Hashable, Sendable {
    public var server: String
    public var range: BlockRange
    public var position: FilePosition

    public init(server: String, range: BlockRange, position: FilePosition = FilePosition()) {
        self.server = server
        self.range = range
        self.position = position
    }
}

/// An entry of `profile`: how measured times came about, for people; its text is kept as it is.
public struct ProfileEntry: Hashable, Sendable {
    public var key: String
    public var value: String

    public init(key: String, value: String) {
        self.key = key
        self.value = value
    }
}

/// The `journal` section: what a service keeps of its requests. What is not said is left to the service.
public struct JournalSection: Hashable, Sendable {
    /// As written in the cluster file.
    public var path: String?
    /// Whether prompts and answers are kept.
    public var keepsTexts: Bool
    /// What ended longer ago is removed, seconds.
    public var ageLimit: Double?
    /// Above this size the oldest is removed.
    public var sizeLimit: ByteCount?

    public init(
        path: String? = nil, keepsTexts: Bool = true, ageLimit: Double? = nil, sizeLimit: ByteCount? = nil
    ) {
        self.path = path
        self.keepsTexts = keepsTexts
        self.ageLimit = ageLimit
        self.sizeLimit = sizeLimit
    }
}

/// A cluster file: everything it says, and nothing that has to be looked up elsewhere.
///
/// `parse` and `yaml` are inverses: `try ClusterFile.parse(file.yaml) == file`.
public struct ClusterFile: Hashable, Sendable {
    public var engine: EngineKind
    public var model: ModelSource
    /// Floating-point operations of one block for one token: `F`. Needed for times from the device catalogue.
    public var blockOperations: Double?
    public var demand: DemandSection
    public var servers: [ServerEntry]
    public var placement: [PlacementEntry]
    public var profile: [ProfileEntry]
    public var journal: JournalSection
    /// `nil` when the file has no such section.
    public var petals: PetalsSection?
    /// Name of the file, for messages and for paths relative to it.
    public var file: FileName
    /// Where `model` and `servers` start.
    public var modelPosition: FilePosition
    public var serversPosition: FilePosition

    public init(
        engine: EngineKind = .ggml, model: ModelSource, blockOperations: Double? = nil, demand: DemandSection,
        servers: [ServerEntry], placement: [PlacementEntry] = [], profile: [ProfileEntry] = [],
        journal: JournalSection = JournalSection(), petals: PetalsSection? = nil,
        file: FileName = FileName("cluster.yaml"), modelPosition: FilePosition = FilePosition(),
        serversPosition: FilePosition = FilePosition()
    ) {
        self.engine = engine
        self.model = model
        self.blockOperations = blockOperations
        self.demand = demand
        self.servers = servers
        self.placement = placement
        self.profile = profile
        self.journal = journal
        self.petals = petals
        self.file = file
        self.modelPosition = modelPosition
        self.serversPosition = serversPosition
    }
}
