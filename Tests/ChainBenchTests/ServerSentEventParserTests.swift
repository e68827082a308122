import Testing

@testable import ChainBench

@Suite("Server-sent events")
struct ServerSentEventParserTests {
    private func parse(_ text: String, pieces: [Int] = []) throws -> [ServerSentEventParser.Event] {
        var parser = ServerSentEventParser()
        var events: [ServerSentEventParser.Event] = []
        var rest = Array(text.utf8)[...]
        for size in pieces {
            try parser.append(rest.prefix(size), into: &events)
            rest = rest.dropFirst(size)
        }
        try parser.append(rest, into: &events)
        return events
    }

    /// The examples of the WHATWG HTML standard, section 9.2.6, in our words.
    @Test func standardExamples() throws {
        #expect(try parse("data: a\ndata: b\n\n").map(\.data) == ["a\nb"])
        // An event without its blank line is not one.
        #expect(try parse("data\n\ndata\ndata\n\ndata:").map(\.data) == ["", "\n"])
        // One space after the colon is dropped, not two.
        #expect(
            try parse("data:test\n\ndata: test\n\ndata:  test\n\n").map(\.data) == ["test", "test", " test"])
        let events = try parse(": comment\n\ndata: first\nid: 1\n\ndata: second\nid\n\ndata: third\n\n")
        #expect(events.map(\.data) == ["first", "second", "third"])
        #expect(events.map(\.lastEventID) == ["1", "", ""])
        #expect(
            try parse("event: add\ndata: 7\n\nevent: none\n\ndata: 8\n\n").map(\.type) == ["add", "message"])
    }

    @Test func lineEndings() throws {
        #expect(try parse("data: a\r\n\r\ndata: b\r\rdata: c\n\n").map(\.data) == ["a", "b", "c"])
        #expect(try parse("\u{FEFF}data: a\n\n").map(\.data) == ["a"])
        // An identifier with a null is ignored.
        #expect(try parse("id: a\u{0}b\ndata: x\n\n").map(\.lastEventID) == [""])
    }

    /// Wherever the bytes are cut, the same events come out, and never a trap.
    @Test func everyCutGivesTheSameEvents() throws {
        let text = "data: grüße\r\ndata: 2\r\n\r\n: ping\n\nevent: e\rid: 9\rdata\r\rdata: [DONE]\n\n"
        let whole = try parse(text)
        #expect(whole.count == 3)
        let count = text.utf8.count
        for first in 0...count {
            #expect(try parse(text, pieces: [first]) == whole)
            #expect(try parse(text, pieces: [first, 1]) == whole)
        }
        #expect(try parse(text, pieces: Array(repeating: 1, count: count)) == whole)
    }

    @Test func arbitraryBytesNeverTrap() throws {
        var state: UInt64 = 42
        let alphabet = Array("data:ievnt \r\n\u{0}x".utf8) + [0xFF, 0xEF, 0xBB, 0xBF]
        for _ in 0..<2_000 {
            var bytes: [UInt8] = []
            for _ in 0..<60 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                bytes.append(alphabet[Int(state >> 33) % alphabet.count])
            }
            var whole = ServerSentEventParser()
            var bytewise = ServerSentEventParser()
            var (a, b): ([ServerSentEventParser.Event], [ServerSentEventParser.Event]) = ([], [])
            try whole.append(bytes, into: &a)
            for byte in bytes { try bytewise.append([byte], into: &b) }
            #expect(a == b)
        }
    }

    @Test func largeEventsAreRefused() {
        var parser = ServerSentEventParser(largestEvent: 10)
        var events: [ServerSentEventParser.Event] = []
        #expect(throws: ServerSentEventParser.Failure.eventTooLarge(limit: 10)) {
            try parser.append("data: 12345".utf8, into: &events)
        }
        var second = ServerSentEventParser(largestEvent: 10)
        // The bound is an event's, not the stream's.
        #expect(throws: Never.self) {
            for _ in 0..<5 { try second.append("data: 1\n\n".utf8, into: &events) }
        }
        #expect(events.count == 5)
    }
}
