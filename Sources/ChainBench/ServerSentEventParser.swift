/// Splits bytes into server-sent events (WHATWG HTML, section 9.2) as they arrive, in pieces of any size.
///
/// Lines end in LF, CR or CR LF; a byte order mark at the start and comments are skipped; an event without data is
/// none. The time of reconnection (`retry`) is not kept: nothing here reconnects.
public struct ServerSentEventParser: Sendable {
    public struct Event: Hashable, Sendable {
        /// `message` unless the stream names another.
        public var type: String
        /// Lines of data, joined by line feeds.
        public var data: String
        /// The last identifier sent so far; empty when there was none.
        public var lastEventID: String
    }

    public enum Failure: Error, Hashable, Sendable, CustomStringConvertible {
        case eventTooLarge(limit: Int)

        public var description: String {
            switch self {
            case .eventTooLarge(let limit):
                "a server-sent event is larger than \(limit) bytes: raise the limit, or mend the server"
            }
        }
    }

    /// Bytes of one event, its field names included.
    public let largestEvent: Int
    private var line: [UInt8] = []
    private var data: [UInt8] = []
    private var hasData = false
    private var type = ""
    private var lastEventID = ""
    private var eventSize = 0
    private var isAfterCarriageReturn = false
    private var isAtStart = true

    public init(largestEvent: Int = 4 << 20) { self.largestEvent = largestEvent }

    /// Takes the next bytes; complete events are appended to `events`. O(bytes).
    /// - Throws: `Failure`, after which the parser must not be used again.
    public mutating func append(_ bytes: some Sequence<UInt8>, into events: inout [Event]) throws(Failure) {
        for byte in bytes {
            let isSecondOfPair = isAfterCarriageReturn && byte == 0x0A
            isAfterCarriageReturn = byte == 0x0D
            if isSecondOfPair { continue }
            if byte == 0x0A || byte == 0x0D {
                endLine(into: &events)
            } else {
                line.append(byte)
                eventSize += 1
                if eventSize > largestEvent { throw .eventTooLarge(limit: largestEvent) }
            }
        }
    }

    private mutating func endLine(into events: inout [Event]) {
        if isAtStart {
            isAtStart = false
            if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        }
        defer { line.removeAll(keepingCapacity: true) }
        if line.isEmpty { return dispatch(into: &events) }
        let colon = line.firstIndex(of: UInt8(ascii: ":")) ?? line.endIndex
        var value = line[colon...].dropFirst()
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        switch String(decoding: line[..<colon], as: UTF8.self) {
        case "data":
            data.append(contentsOf: value)
            data.append(0x0A)
            hasData = true
        case "event": type = String(decoding: value, as: UTF8.self)
        case "id": if !value.contains(0) { lastEventID = String(decoding: value, as: UTF8.self) }
        default: break
        }
    }

    private mutating func dispatch(into events: inout [Event]) {
        if hasData {
            events.append(
                Event(
                    type: type.isEmpty ? "message" : type,
                    data: String(decoding: data.dropLast(), as: UTF8.self), lastEventID: lastEventID))
        }
        data.removeAll(keepingCapacity: true)
        hasData = false
        type = ""
        eventSize = 0
    }
}
