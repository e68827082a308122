import ChainModel
import NIOCore

/// Everything that an orchestrator and a block server say to each other. One message is one frame.
///
/// An orchestrator opens the connection and says `hello`; the server answers `helloReply` or `goodbye`.
/// After that the orchestrator sends `load`, `rangePiece`, `open`, `step`, `close` and `ping`, the server
/// the others; either may say `goodbye`.
package enum Message: Hashable, Sendable {
    case hello(Hello)
    case helloReply(HelloReply)
    case goodbye(Goodbye)
    case ping(id: UInt64)
    case pong(id: UInt64, health: NodeHealth)
    case load(LoadRequest)
    case loadProgress(LoadProgress)
    case loaded(LoadedReport)
    case loadRefused(load: UInt64, Refusal)
    case rangeRequest(RangeRequest)
    case rangePiece(RangePiece)
    case open(job: UInt64, firstBlock: Int, blockCount: Int)
    case opened(job: UInt64, unitsFree: Int)
    case openRefused(job: UInt64, Refusal)
    case step(StepPiece)
    case stepResult(StepPiece)
    case stepFailed(job: UInt64, step: UInt64, Refusal)
    case close(job: UInt64)
    case closed(job: UInt64, unitsFree: Int)
}

/// Introduces an orchestrator. A hello of another version than ours is read no further than its version.
package struct Hello: Hashable, Sendable {
    package var version: UInt16
    package var name: String

    package init(version: UInt16 = wireProtocolVersion, name: String) {
        self.version = version
        self.name = name
    }
}

/// Introduces a block server.
package struct HelloReply: Hashable, Sendable {
    package var version: UInt16
    package var name: String
    /// Memory declared for ChainServe.
    package var memory: ByteCount
    /// The engine only accounts and waits; it does not compute the model.
    package var isEmulated: Bool
    package var processID: Int32
    /// Most tokens in one step.
    package var stepTokens: Int

    package init(
        version: UInt16 = wireProtocolVersion, name: String, memory: ByteCount, isEmulated: Bool,
        processID: Int32,
        stepTokens: Int
    ) {
        self.version = version
        self.name = name
        self.memory = memory
        self.isEmulated = isEmulated
        self.processID = processID
        self.stepTokens = stepTokens
    }
}

/// The last word before a connection closes; but after `draining` open jobs go on and the close comes later.
package struct Goodbye: Hashable, Sendable {
    package enum Code: UInt16, Hashable, Sendable, CaseIterable {
        case other = 0
        case shuttingDown = 1
        case draining = 2
        case versionMismatch = 3
        case seatTaken = 4
        case protocolViolation = 5
        case silent = 6
        /// To a block server: it is to stop and start again.
        case restart = 7
    }

    package var code: Code
    /// The protocol version of whoever says goodbye.
    package var version: UInt16
    package var text: String

    package init(_ code: Code, _ text: String, version: UInt16 = wireProtocolVersion) {
        self.code = code
        self.version = version
        self.text = text
    }
}

/// What a server can say about itself at any moment, even while it computes.
package struct NodeHealth: Hashable, Sendable {
    package enum State: UInt8, Hashable, Sendable, CaseIterable {
        /// Hosts no blocks yet.
        case waiting = 0
        case loading = 1
        case ready = 2
        case draining = 3
    }

    package var state: State = .waiting
    package var unitsUsed = 0
    package var unitsTotal = 0
    package var openJobs = 0
    /// Complete steps without an answer yet, those being computed among them.
    package var queueDepth = 0
    /// Steps computed since the server started.
    package var stepsRun: UInt64 = 0

    package init() {}
}

/// Why something was not done, for programs (`code`) and for people (`text`).
package struct Refusal: Hashable, Sendable {
    package enum Code: UInt16, Hashable, Sendable, CaseIterable {
        case other = 0
        case notLoaded = 1
        case busy = 2
        case draining = 3
        case cacheFull = 4
        case blocksNotHosted = 5
        case jobAlreadyOpen = 6
        case jobUnknown = 7
        case wrongPosition = 8
        case wrongShape = 9
        case sequenceTooLong = 10
        case stepTooLarge = 11
        case notFinite = 12
        case overloaded = 13
        case memoryTooSmall = 14
        case wrongModel = 15
        case badManifest = 16
        case badRange = 17
        case storage = 18
        case engine = 19
    }

    package var code: Code
    package var text: String

    package init(_ code: Code, _ text: String) {
        self.code = code
        self.text = text
    }
}

/// Tells a server its blocks.
package struct LoadRequest: Hashable, Sendable {
    /// Chosen by the orchestrator; names this load in the frames that follow.
    package var load: UInt64
    /// Cache units to allocate: `M̃_j`.
    package var unitCount: Int
    /// Longest sequence of a job, in tokens.
    package var sequenceLength: Int
    /// Most tokens in one step, over all jobs.
    package var stepTokens: Int
    /// Memory set aside for compute buffers.
    package var computeSize: ByteCount
    /// Compute threads; 0 leaves them to the server.
    package var threads: Int
    /// A `BlockManifest` as JSON.
    package var manifest: ByteBuffer

    package init(
        load: UInt64, unitCount: Int, sequenceLength: Int, stepTokens: Int, computeSize: ByteCount,
        threads: Int,
        manifest: ByteBuffer
    ) {
        self.load = load
        self.unitCount = unitCount
        self.sequenceLength = sequenceLength
        self.stepTokens = stepTokens
        self.computeSize = computeSize
        self.threads = threads
        self.manifest = manifest
    }
}

package struct LoadProgress: Hashable, Sendable {
    package enum Stage: UInt8, Hashable, Sendable, CaseIterable {
        /// Comparing the local file, or what was received earlier, with the manifest.
        case verifying = 0
        case receiving = 1
        /// Making the engine: the tensors enter its memory.
        case building = 2
    }

    package var load: UInt64
    package var stage: Stage
    package var bytesDone: Int
    package var bytesTotal: Int

    package init(load: UInt64, stage: Stage, bytesDone: Int, bytesTotal: Int) {
        self.load = load
        self.stage = stage
        self.bytesDone = bytesDone
        self.bytesTotal = bytesTotal
    }
}

/// The server hosts its blocks.
package struct LoadedReport: Hashable, Sendable {
    package var load: UInt64
    package var firstBlock: Int
    package var blockCount: Int
    package var width: Int
    package var unitCount: Int
    package var sequenceLength: Int
    package var stepTokens: Int
    /// Parameters, cache units and compute buffers: what counts towards the declared memory.
    package var memoryUsed: ByteCount
    package var isEmulated: Bool
    /// Nothing was done: exactly this was loaded already.
    package var wasLoaded: Bool
    /// Of the manifest of what is hosted (`BlockManifest.checksum`), against which every tensor was checked.
    package var checksum: UInt64

    package init(
        load: UInt64, firstBlock: Int, blockCount: Int, width: Int, unitCount: Int, sequenceLength: Int,
        stepTokens: Int, memoryUsed: ByteCount, isEmulated: Bool, wasLoaded: Bool,
        checksum: UInt64
    ) {
        self.load = load
        self.firstBlock = firstBlock
        self.blockCount = blockCount
        self.width = width
        self.unitCount = unitCount
        self.sequenceLength = sequenceLength
        self.stepTokens = stepTokens
        self.memoryUsed = memoryUsed
        self.isEmulated = isEmulated
        self.wasLoaded = wasLoaded
        self.checksum = checksum
    }
}

/// Asks the orchestrator for the bytes `fromOffset ..< fromOffset + byteCount` of the range that `load`
/// names.
package struct RangeRequest: Hashable, Sendable {
    package var load: UInt64
    package var fromOffset: Int
    package var byteCount: Int

    package init(load: UInt64, fromOffset: Int, byteCount: Int) {
        self.load = load
        self.fromOffset = fromOffset
        self.byteCount = byteCount
    }
}

/// Bytes of a range, in order of offset.
package struct RangePiece: Hashable, Sendable {
    package var load: UInt64
    package var offset: Int
    /// CRC-32 of `bytes`, taken where they were read from the model.
    package var crc32: UInt32
    package var bytes: ByteBuffer

    package init(load: UInt64, offset: Int, crc32: UInt32, bytes: ByteBuffer) {
        self.load = load
        self.offset = offset
        self.crc32 = crc32
        self.bytes = bytes
    }
}

/// Part of the hidden states entering (`step`) or leaving (`stepResult`) a server: row-major
/// `[tokenCount][width]` little-endian float32, of which this piece carries the bytes from `offset` on.
/// Pieces come in order; a step is computed when it is complete.
package struct StepPiece: Hashable, Sendable {
    package var job: UInt64
    /// Chosen by the orchestrator, never reused on a connection.
    package var step: UInt64
    /// Position of the first token in the job's sequence, from 0.
    package var position: Int
    package var tokenCount: Int
    package var offset: Int
    package var hidden: ByteBuffer

    package init(job: UInt64, step: UInt64, position: Int, tokenCount: Int, offset: Int, hidden: ByteBuffer) {
        self.job = job
        self.step = step
        self.position = position
        self.tokenCount = tokenCount
        self.offset = offset
        self.hidden = hidden
    }
}

extension Message {
    package var type: FrameType {
        switch self {
        case .hello: .hello
        case .helloReply: .helloReply
        case .goodbye: .goodbye
        case .ping: .ping
        case .pong: .pong
        case .load: .load
        case .loadProgress: .loadProgress
        case .loaded: .loaded
        case .loadRefused: .loadRefused
        case .rangeRequest: .rangeRequest
        case .rangePiece: .rangePiece
        case .open: .open
        case .opened: .opened
        case .openRefused: .openRefused
        case .step: .step
        case .stepResult: .stepResult
        case .stepFailed: .stepFailed
        case .close: .close
        case .closed: .closed
        }
    }
}
