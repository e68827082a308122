import ChainModel
import Foundation

/// An entry as it is kept: texts encoded, once, and the moment at which it happened.
enum JournalRecord: Sendable {
    case step(JournalStep)
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

extension JournalRecord {
    init(_ entry: JournalEntry, run: Int64, keepsTexts: Bool, at time: Double) {
        switch entry {
        case .step(let step): self = .step(step)
        case .accepted(let job, let request, let seed, let promptTokens, let earlier):
            self = .accepted(
                AcceptedRecord(
                    key: JournalKey(run: run, job: job.rawValue), requestID: request.requestID, time: time,
                    request: keepsTexts ? JournalText.of(request) : nil, seed: seed,
                    promptTokens: promptTokens, resumes: earlier))
        case .ended(let job, let outcome):
            let result = outcome.result
            self = .ended(
                EndedRecord(
                    key: JournalKey(run: run, job: job.rawValue), time: time, kind: outcome.kind,
                    completionTokens: result?.completionTokens ?? outcome.tokens.count, chain: result?.chain,
                    attempts: result?.attempts, reason: outcome.reason,
                    result: keepsTexts ? result.map { JournalText.of($0) } : nil,
                    tokens: keepsTexts && outcome.kind == .finished
                        ? outcome.tokens.withUnsafeBytes { Array($0) } : nil))
        case .interrupted(let key): self = .interrupted(key, at: time)
        }
    }
}

/// A record of a request in the journal's log: all integers little-endian,
///
///     0  length    u32   bytes of the payload
///     4  checksum  u32   CRC-32 of the payload
///     8  payload         a kind and the record's fields, in order
extension JournalRecord {
    static let frameSize = 8
    /// No payload is longer: what a prompt may have, several times over.
    static let longestPayload = 256 << 20

    /// Bytes of the texts that are kept.
    private var textSize: Int {
        switch self {
        case .step, .interrupted: 0
        case .accepted(let record): record.request?.count ?? 0
        case .ended(let record): (record.result?.count ?? 0) + (record.tokens?.count ?? 0)
        }
    }

    /// `nil` for a step, which the log does not keep.
    var frame: [UInt8]? {
        var payload = FieldWriter(reserving: 256 + textSize)
        switch self {
        case .step: return nil
        case .accepted(let record):
            payload.byte(1)
            payload.key(record.key)
            payload.text(record.requestID)
            payload.number(record.time.bitPattern)
            payload.data(record.request)
            payload.number(record.seed)
            payload.number(UInt64(record.promptTokens))
            payload.optional(record.resumes) { $0.key($1) }
        case .ended(let record):
            payload.byte(2)
            payload.key(record.key)
            payload.number(record.time.bitPattern)
            payload.text(record.kind.rawValue)
            payload.number(UInt64(record.completionTokens))
            payload.optional(record.chain) { $0.text($1) }
            payload.optional(record.attempts) { $0.number(UInt64($1)) }
            payload.optional(record.reason) { $0.text($1) }
            payload.data(record.result)
            payload.data(record.tokens)
        case .interrupted(let key, let time):
            payload.byte(3)
            payload.key(key)
            payload.number(time.bitPattern)
        }
        return payload.framed()
    }

    /// The whole records at the beginning of `log`; what a killed process left half-written ends them.
    static func records(in log: [UInt8]) -> [JournalRecord] {
        var records: [JournalRecord] = []
        var reader = FieldReader(bytes: log[...])
        while let payload = reader.payload(), let record = record(payload) { records.append(record) }
        return records
    }

    private static func record(_ payload: ArraySlice<UInt8>) -> JournalRecord? {
        var fields = FieldReader(bytes: payload)
        let record: JournalRecord?
        switch fields.byte() {
        case 1: record = fields.accepted().map { .accepted($0) }
        case 2: record = fields.ended().map { .ended($0) }
        case 3:
            let (key, time) = (fields.key(), fields.number())
            record = fields.isWhole ? .interrupted(key, at: Double(bitPattern: time)) : nil
        default: record = nil
        }
        return record
    }
}

private struct FieldWriter {
    private var bytes: [UInt8]

    /// - Parameter size: about how much is to be written.
    init(reserving size: Int) {
        bytes = []
        bytes.reserveCapacity(size)
        bytes.append(contentsOf: repeatElement(0, count: JournalRecord.frameSize))
    }

    mutating func byte(_ value: UInt8) { bytes.append(value) }
    mutating func number(_ value: UInt64) {
        withUnsafeBytes(of: value.littleEndian) { bytes.append(contentsOf: $0) }
    }
    mutating func key(_ key: JournalKey) {
        number(UInt64(bitPattern: key.run))
        number(key.job)
    }
    mutating func text(_ text: String) {
        number(UInt64(text.utf8.count))
        bytes.append(contentsOf: text.utf8)
    }
    mutating func optional<Value>(_ value: Value?, _ write: (inout FieldWriter, Value) -> Void) {
        byte(value == nil ? 0 : 1)
        if let value { write(&self, value) }
    }
    mutating func data(_ data: [UInt8]?) {
        optional(data) { writer, data in
            writer.number(UInt64(data.count))
            writer.bytes.append(contentsOf: data)
        }
    }

    /// Length and checksum before the payload.
    consuming func framed() -> [UInt8] {
        var bytes = bytes
        let length = UInt32(bytes.count - JournalRecord.frameSize)
        let checksum = Deflate.checksum(bytes[JournalRecord.frameSize...])
        withUnsafeBytes(of: length.littleEndian) { bytes.replaceSubrange(0..<4, with: $0) }
        withUnsafeBytes(of: checksum.littleEndian) { bytes.replaceSubrange(4..<8, with: $0) }
        return bytes
    }
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
    mutating func number() -> UInt64 { take(8).reversed().reduce(0) { $0 << 8 | UInt64($1) } }
    private mutating func shortNumber() -> UInt32 {
        take(4).reversed().reduce(0) { $0 << 8 | UInt32($1) }
    }
    mutating func key() -> JournalKey { JournalKey(run: Int64(bitPattern: number()), job: number()) }
    mutating func text() -> String { String(decoding: take(Int(clamping: number())), as: UTF8.self) }
    mutating func count() -> Int { Int(clamping: number()) }
    mutating func optional<Value>(_ read: (inout FieldReader) -> Value) -> Value? {
        byte() == 1 ? read(&self) : nil
    }
    mutating func data() -> [UInt8]? { optional { Array($0.take(Int(clamping: $0.number()))) } }

    /// The next payload whose length and checksum are right.
    mutating func payload() -> ArraySlice<UInt8>? {
        let (length, checksum) = (shortNumber(), shortNumber())
        guard isWhole, length > 0, length <= JournalRecord.longestPayload else { return nil }
        let payload = take(Int(length))
        return isWhole && Deflate.checksum(payload) == checksum ? payload : nil
    }

    mutating func accepted() -> AcceptedRecord? {
        let record = AcceptedRecord(
            key: key(), requestID: text(), time: Double(bitPattern: number()), request: data(),
            seed: number(), promptTokens: count(), resumes: optional { $0.key() })
        return isWhole ? record : nil
    }

    mutating func ended() -> EndedRecord? {
        let (key, time, kind) = (key(), Double(bitPattern: number()), JournalOutcome.Kind(rawValue: text()))
        let record = EndedRecord(
            key: key, time: time, kind: kind ?? .failed, completionTokens: count(),
            chain: optional { $0.text() }, attempts: optional { $0.count() }, reason: optional { $0.text() },
            result: data(), tokens: data())
        return isWhole && kind != nil ? record : nil
    }
}
