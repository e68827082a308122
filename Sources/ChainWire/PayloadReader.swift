import ChainModel
import NIOCore

/// Reads a payload whose checksum is right but whose content is still not trusted.
struct PayloadReader {
    let type: FrameType
    var buffer: ByteBuffer

    mutating func message() throws(WireError) -> Message {
        switch type {
        case .hello: .hello(try hello())
        case .helloReply: .helloReply(try helloReply())
        case .goodbye: .goodbye(try goodbye())
        case .ping: .ping(id: try identifier("id"))
        case .pong: .pong(id: try identifier("id"), health: try health())
        case .load: .load(try loadRequest())
        case .loadProgress: .loadProgress(try loadProgress())
        case .loaded: .loaded(try loadedReport())
        case .loadRefused: .loadRefused(load: try identifier("load"), try refusal())
        case .rangeRequest:
            .rangeRequest(
                RangeRequest(
                    load: try identifier("load"), fromOffset: try size("offset"),
                    byteCount: try size("byte count")))
        case .rangePiece:
            .rangePiece(
                RangePiece(
                    load: try identifier("load"), offset: try size("offset"), crc32: try integer("crc"),
                    bytes: rest()))
        case .open:
            .open(
                job: try identifier("job"), firstBlock: try count("first block"),
                blockCount: try count("block count"))
        case .opened: .opened(job: try identifier("job"), unitsFree: try count("units free"))
        case .openRefused: .openRefused(job: try identifier("job"), try refusal())
        case .step: .step(try stepPiece())
        case .stepResult: .stepResult(try stepPiece())
        case .stepFailed:
            .stepFailed(job: try identifier("job"), step: try identifier("step"), try refusal())
        case .close: .close(job: try identifier("job"))
        case .closed: .closed(job: try identifier("job"), unitsFree: try count("units free"))
        }
    }

    func expectEnd() throws(WireError) {
        guard buffer.readableBytes == 0 else {
            throw .malformed(type, "\(buffer.readableBytes) bytes too many")
        }
    }

    // MARK: Payloads

    private mutating func hello() throws(WireError) -> Hello {
        let version: UInt16 = try integer("version")
        guard version == wireProtocolVersion else {
            _ = rest()
            return Hello(version: version, name: "")
        }
        return Hello(version: version, name: try text("name"))
    }

    private mutating func helloReply() throws(WireError) -> HelloReply {
        let version: UInt16 = try integer("version")
        guard version == wireProtocolVersion else {
            _ = rest()
            return HelloReply(
                version: version, name: "", memory: .zero, isEmulated: false, processID: 0, stepTokens: 0)
        }
        return HelloReply(
            version: version, name: try text("name"), memory: ByteCount(try size("memory")),
            isEmulated: try flag("emulated"), processID: try integer("process id"),
            stepTokens: try count("step tokens"))
    }

    private mutating func goodbye() throws(WireError) -> Goodbye {
        let version: UInt16 = try integer("version")
        let code: UInt16 = try integer("code")
        return Goodbye(Goodbye.Code(rawValue: code) ?? .other, try text("text"), version: version)
    }

    private mutating func health() throws(WireError) -> NodeHealth {
        var health = NodeHealth()
        let state: UInt8 = try integer("state")
        guard let known = NodeHealth.State(rawValue: state) else { throw .malformed(type, "state \(state)") }
        health.state = known
        health.unitsUsed = try count("units used")
        health.unitsTotal = try count("units total")
        health.openJobs = try count("open jobs")
        health.queueDepth = try count("queue depth")
        health.stepsRun = try identifier("steps run")
        return health
    }

    private mutating func loadRequest() throws(WireError) -> LoadRequest {
        LoadRequest(
            load: try identifier("load"), unitCount: try count("unit count"),
            sequenceLength: try count("sequence length"), stepTokens: try count("step tokens"),
            computeSize: ByteCount(try size("compute size")), threads: try count("threads"), manifest: rest())
    }

    private mutating func loadProgress() throws(WireError) -> LoadProgress {
        let load = try identifier("load")
        let stage: UInt8 = try integer("stage")
        guard let known = LoadProgress.Stage(rawValue: stage) else {
            throw .malformed(type, "stage \(stage)")
        }
        return LoadProgress(
            load: load, stage: known, bytesDone: try size("bytes done"), bytesTotal: try size("bytes total"))
    }

    private mutating func loadedReport() throws(WireError) -> LoadedReport {
        LoadedReport(
            load: try identifier("load"), firstBlock: try count("first block"),
            blockCount: try count("block count"),
            width: try count("width"), unitCount: try count("unit count"),
            sequenceLength: try count("sequence length"), stepTokens: try count("step tokens"),
            memoryUsed: ByteCount(try size("memory used")), isEmulated: try flag("emulated"),
            wasLoaded: try flag("was loaded"), checksum: try identifier("checksum"))
    }

    private mutating func refusal() throws(WireError) -> Refusal {
        let code: UInt16 = try integer("code")
        return Refusal(Refusal.Code(rawValue: code) ?? .other, try text("text"))
    }

    private mutating func stepPiece() throws(WireError) -> StepPiece {
        let piece = StepPiece(
            job: try identifier("job"), step: try identifier("step"), position: try count("position"),
            tokenCount: try count("token count"), offset: try size("offset"), hidden: rest())
        let byteCount = piece.hidden.readableBytes
        guard byteCount > 0, byteCount % MemoryLayout<Float>.size == 0 else {
            throw .malformed(type, "\(byteCount) bytes are not whole values")
        }
        guard piece.offset % MemoryLayout<Float>.size == 0 else {
            throw .malformed(type, "offset \(piece.offset) is not at a whole value")
        }
        guard piece.tokenCount > 0 else { throw .malformed(type, "no tokens") }
        return piece
    }

    // MARK: Fields

    private mutating func integer<Value: FixedWidthInteger>(_ field: String) throws(WireError) -> Value {
        guard let value: Value = buffer.readInteger(endianness: .little) else {
            throw .malformed(type, "ends before its \(field)")
        }
        return value
    }

    private mutating func identifier(_ field: String) throws(WireError) -> UInt64 { try integer(field) }

    private mutating func count(_ field: String) throws(WireError) -> Int {
        let value: UInt32 = try integer(field)
        guard value <= Int32.max else { throw .malformed(type, "\(field) is \(value)") }
        return Int(value)
    }

    /// Largest size or offset accepted, so that sums of a few of them do not overflow.
    private static let maximumSize: UInt64 = 1 << 56

    private mutating func size(_ field: String) throws(WireError) -> Int {
        let value: UInt64 = try integer(field)
        guard value <= Self.maximumSize else { throw .malformed(type, "\(field) is \(value)") }
        return Int(value)
    }

    private mutating func flag(_ field: String) throws(WireError) -> Bool {
        let value: UInt8 = try integer(field)
        guard value <= 1 else { throw .malformed(type, "\(field) is \(value)") }
        return value == 1
    }

    private mutating func text(_ field: String) throws(WireError) -> String {
        let length = Int(try integer(field) as UInt16)
        guard length <= WireLimits.maximumTextSize else {
            throw .malformed(type, "\(field) has \(length) bytes")
        }
        guard let bytes = buffer.readSlice(length: length) else {
            throw .malformed(type, "ends before its \(field)")
        }
        guard let text = String(validating: bytes.readableBytesView, as: UTF8.self) else {
            throw .malformed(type, "\(field) is not UTF-8")
        }
        return text
    }

    private mutating func rest() -> ByteBuffer {
        buffer.readSlice(length: buffer.readableBytes) ?? ByteBuffer()
    }
}
