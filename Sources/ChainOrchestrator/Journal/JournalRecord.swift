import ChainModel
import Foundation

/// An entry as it is kept: texts encoded, once, and the moment at which it happened.
enum JournalRecord: Hashable, Sendable {
    /// As JSON.
    case step([UInt8])
    case accepted(AcceptedRecord)
    case ended(EndedRecord)
    case interrupted(JournalKey, at: Double)

    /// What happened to a request: the service's word to its client rests on it.
    var isOfRequest: Bool {
        if case .step = self { false } else { true }
    }
}

struct AcceptedRecord: Hashable, Sendable {
    var key: JournalKey
    var requestID: String
    /// Seconds since 1970.
    var time: Double
    /// The request as JSON; `nil` when texts are not kept.
    var request: [UInt8]?
    var seed: UInt64
    var promptTokens: Int
    var resumes: JournalKey?
}

struct EndedRecord: Hashable, Sendable {
    var key: JournalKey
    /// Seconds since 1970.
    var time: Double
    var kind: JournalOutcome.Kind
    var completionTokens: Int
    var chain: String?
    var attempts: Int?
    var reason: String?
    /// The result as JSON, and the tokens, 32 bits each; `nil` when texts are not kept.
    var result: [UInt8]?
    var tokens: [UInt8]?
}

/// Records one after another, as bytes: the thread that writes the tables gets them in one piece, so that it shares no
/// objects with those that serve requests, and the memory is used again and again.
///
/// A record of a request stands as it does in the journal's log (`RequestLog`): all integers little-endian,
///
///     0  length    u32   bytes of the payload
///     4  checksum  u32   CRC-32 of the payload; 0 for what the log does not get
///     8  payload         a kind and the record's fields, in order
struct RecordBuffer: Sendable {
    /// Pieces of about `pieceSize`, in order, the last one in `writer`: a single one that grew would be copied in the
    /// middle of a request.
    private var full: [[UInt8]] = []
    private var writer = FieldWriter()
    /// Empty ones.
    private var spare: [[UInt8]] = []
    /// Steps that are rare and may be long, such as a new plan: turned into text by whoever reads them.
    private var rareSteps: [JournalStep] = []
    /// Records in it.
    private(set) var count = 0
    private var lastStart = 0

    static let pieceSize = 64 << 10
    /// Room in a piece for the record that fills it.
    private static let margin = 4 << 10
    /// Most pieces that are kept for what comes next.
    private static let spareLimit = 32

    /// In order.
    var pieces: [[UInt8]] { full + [writer.bytes] }

    /// The record last added, as it stands in the log.
    var lastFrame: ArraySlice<UInt8> { writer.bytes[lastStart...] }

    /// - Parameter isLogged: it goes into the log, too.
    mutating func append(
        _ entry: JournalEntry, run: Int64, keepsTexts: Bool, isLogged: Bool, at time: Double
    ) {
        if writer.bytes.count >= Self.pieceSize || writer.bytes.capacity == 0 { beginPiece() }
        count += 1
        lastStart = writer.beginFrame()
        switch entry {
        case .step(let step):
            if JournalText.isFrequent(step) {
                writer.kind(.step)
                writer.object { JournalText.write(step, into: &$0) }
            } else {
                writer.kind(.rareStep)
                rareSteps.append(step)
            }
        case .accepted(let job, let request, let seed, let promptTokens, let earlier):
            writer.kind(.accepted)
            writer.key(JournalKey(run: run, job: job.rawValue))
            writer.text(request.requestID)
            writer.number(time.bitPattern)
            writer.optional(keepsTexts ? request : nil) { writer, request in
                writer.object { JournalText.write(request, into: &$0) }
            }
            writer.number(seed)
            writer.number(UInt64(promptTokens))
            writer.optional(earlier) { $0.key($1) }
        case .ended(let job, let outcome):
            let result = outcome.result
            writer.kind(.ended)
            writer.key(JournalKey(run: run, job: job.rawValue))
            writer.number(time.bitPattern)
            writer.text(outcome.kind.rawValue)
            writer.number(UInt64(result?.completionTokens ?? outcome.tokens.count))
            writer.optional(result?.chain) { $0.text($1) }
            writer.optional(result?.attempts) { $0.number(UInt64($1)) }
            writer.optional(outcome.reason) { $0.text($1) }
            writer.optional(keepsTexts ? result : nil) { writer, result in
                writer.object { JournalText.write(result, into: &$0) }
            }
            writer.optional(keepsTexts && outcome.kind == .finished ? outcome.tokens : nil) {
                writer, tokens in
                writer.numbers(tokens)
            }
        case .interrupted(let key):
            writer.kind(.interrupted)
            writer.key(key)
            writer.number(time.bitPattern)
        }
        writer.endFrame(from: lastStart, isChecked: isLogged)
    }

    private mutating func beginPiece() {
        var next = spare.popLast() ?? []
        if next.capacity == 0 { next.reserveCapacity(Self.pieceSize + Self.margin) }
        writer.swap(with: &next)
        if !next.isEmpty { full.append(next) }
    }

    /// Reads the records in order, some at a time.
    struct Reader {
        private var fields: FieldReader
        private var left: ArraySlice<[UInt8]>
        private var rareSteps: ArraySlice<JournalStep>

        init(_ buffer: RecordBuffer) {
            fields = FieldReader(bytes: [])
            left = buffer.pieces[...]
            rareSteps = buffer.rareSteps[...]
        }

        /// - Returns: none at the end.
        /// - Throws: `EncodingError`, and reads the same again next time; never for steps of a control plane.
        mutating func next(_ most: Int) throws -> [JournalRecord] {
            var (ahead, records) = (self, [JournalRecord]())
            while records.count < most, let payload = ahead.payload() {
                if payload.first == PayloadKind.rareStep.rawValue, let step = ahead.rareSteps.popFirst() {
                    records.append(.step(try JournalText.of(step)))
                } else if let record = JournalRecord(payload) {
                    records.append(record)
                } else {
                    preconditionFailure("A record in memory cannot be read.")
                }
            }
            self = ahead
            return records
        }

        private mutating func payload() -> ArraySlice<UInt8>? {
            while fields.bytes.isEmpty {
                guard let piece = left.popFirst() else { return nil }
                fields = FieldReader(bytes: piece[...])
            }
            guard let payload = fields.payload(isChecked: false) else {
                preconditionFailure("A record in memory has no end.")
            }
            return payload
        }
    }

    /// Keeps some of its memory.
    mutating func removeAll() {
        var last: [UInt8] = []
        writer.swap(with: &last)
        full.append(last)
        last = []
        for piece in full where spare.count < Self.spareLimit && piece.capacity <= 2 * Self.pieceSize {
            spare.append(piece)
        }
        full.removeAll(keepingCapacity: true)
        for place in spare.indices { spare[place].removeAll(keepingCapacity: true) }
        rareSteps = []
        (count, lastStart) = (0, 0)
    }
}

extension JournalEntry {
    /// What happened to a request: the service's word to its client rests on it.
    var isOfRequest: Bool {
        if case .step = self { false } else { true }
    }
}

extension JournalRecord {
    static let frameSize = 8
    /// No payload is longer: what a prompt may have, several times over.
    static let longestPayload = 256 << 20

    /// The whole records at the beginning of `log`; what a killed process left half-written ends them.
    static func records(in log: [UInt8]) -> [JournalRecord] {
        var records: [JournalRecord] = []
        var reader = FieldReader(bytes: log[...])
        while let payload = reader.payload(isChecked: true), let record = JournalRecord(payload) {
            records.append(record)
        }
        return records
    }

    fileprivate init?(_ payload: ArraySlice<UInt8>) {
        var fields = FieldReader(bytes: payload)
        let record: JournalRecord?
        switch PayloadKind(rawValue: fields.byte()) {
        case .accepted: record = fields.accepted().map { .accepted($0) }
        case .ended: record = fields.ended().map { .ended($0) }
        case .interrupted:
            let (key, time) = (fields.key(), fields.number())
            record = fields.isWhole ? .interrupted(key, at: Double(bitPattern: time)) : nil
        case .step:
            let text = fields.data()
            record = fields.isWhole ? .step(text) : nil
        case .rareStep, nil: record = nil
        }
        guard let record else { return nil }
        self = record
    }
}

/// The first byte of a payload.
private enum PayloadKind: UInt8 {
    case accepted = 1
    case ended, interrupted
    /// In memory only: a step as JSON, and one that lies beside the bytes.
    case step, rareStep
}

private struct FieldWriter {
    private(set) var bytes: [UInt8] = []

    mutating func kind(_ kind: PayloadKind) { byte(kind.rawValue) }
    mutating func byte(_ value: UInt8) { bytes.append(value) }
    mutating func number(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    mutating func key(_ key: JournalKey) {
        number(UInt64(bitPattern: key.run))
        number(key.job)
    }
    mutating func text(_ text: String) {
        var text = text
        text.withUTF8 { characters in
            number(UInt64(characters.count))
            bytes.append(contentsOf: characters)
        }
    }
    mutating func optional<Value>(_ value: Value?, _ write: (inout FieldWriter, Value) -> Void) {
        byte(value == nil ? 0 : 1)
        if let value { write(&self, value) }
    }
    mutating func numbers(_ values: [Int32]) {
        values.withUnsafeBytes { values in
            number(UInt64(values.count))
            bytes.append(contentsOf: values)
        }
    }
    /// A JSON object.
    mutating func object(_ body: (inout JSONWriter) -> Void) {
        let start = bytes.count
        number(0)
        JSONWriter.appendObject(to: &bytes, body)
        set(UInt64(bytes.count - start - 8), at: start)
    }

    private mutating func set<Value: FixedWidthInteger>(_ value: Value, at place: Int) {
        bytes.withUnsafeMutableBytes {
            $0.storeBytes(of: value.littleEndian, toByteOffset: place, as: Value.self)
        }
    }

    private func checksum(from start: Int) -> UInt32 { Deflate.checksum(bytes[start...]) }

    /// - Returns: where it begins.
    mutating func beginFrame() -> Int {
        defer { number(0) }
        return bytes.count
    }

    /// Puts length and checksum before the payload.
    mutating func endFrame(from start: Int, isChecked: Bool) {
        set(UInt32(bytes.count - start - JournalRecord.frameSize), at: start)
        set(isChecked ? checksum(from: start + JournalRecord.frameSize) : 0, at: start + 4)
    }

    mutating func swap(with other: inout [UInt8]) { Swift.swap(&bytes, &other) }
}

/// Reads fields; once something is missing, all that follows is 0 or `nil`, and `isWhole` is false.
private struct FieldReader {
    var bytes: ArraySlice<UInt8>
    private(set) var isWhole = true

    init(bytes: ArraySlice<UInt8>) { self.bytes = bytes }

    private mutating func take(_ count: Int) -> ArraySlice<UInt8> {
        guard isWhole, count >= 0, count <= bytes.count else {
            isWhole = false
            return []
        }
        defer { bytes = bytes.dropFirst(count) }
        return bytes.prefix(count)
    }

    mutating func byte() -> UInt8 { take(1).first ?? 0 }
    mutating func number() -> UInt64 { integer() }
    private mutating func integer<Value: FixedWidthInteger>() -> Value {
        let bytes = take(MemoryLayout<Value>.size)
        guard isWhole else { return 0 }
        return Value(littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(as: Value.self) })
    }
    mutating func key() -> JournalKey { JournalKey(run: Int64(bitPattern: number()), job: number()) }
    mutating func text() -> String { String(decoding: take(Int(clamping: number())), as: UTF8.self) }
    mutating func count() -> Int { Int(clamping: number()) }
    mutating func optional<Value>(_ read: (inout FieldReader) -> Value) -> Value? {
        byte() == 1 ? read(&self) : nil
    }
    mutating func data() -> [UInt8] { Array(take(count())) }

    /// The next payload whose length and checksum are right.
    mutating func payload(isChecked: Bool) -> ArraySlice<UInt8>? {
        let (length, checksum): (UInt32, UInt32) = (integer(), integer())
        guard isWhole, length > 0, !isChecked || length <= JournalRecord.longestPayload else { return nil }
        let payload = take(Int(length))
        return isWhole && (!isChecked || Deflate.checksum(payload) == checksum) ? payload : nil
    }

    mutating func accepted() -> AcceptedRecord? {
        let record = AcceptedRecord(
            key: key(), requestID: text(), time: Double(bitPattern: number()),
            request: optional { $0.data() },
            seed: number(), promptTokens: count(), resumes: optional { $0.key() })
        return isWhole ? record : nil
    }

    mutating func ended() -> EndedRecord? {
        let (key, time, kind) = (key(), Double(bitPattern: number()), JournalOutcome.Kind(rawValue: text()))
        let record = EndedRecord(
            key: key, time: time, kind: kind ?? .failed, completionTokens: count(),
            chain: optional { $0.text() }, attempts: optional { $0.count() }, reason: optional { $0.text() },
            result: optional { $0.data() }, tokens: optional { $0.data() })
        return isWhole && kind != nil ? record : nil
    }
}
