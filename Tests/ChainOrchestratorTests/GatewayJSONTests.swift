import Foundation
import Testing

@testable import ChainOrchestrator

@Suite("Gateway: JSON")
struct GatewayJSONTests {
    private func parse(_ text: String) throws -> JSONValue { try JSONParser.parse(Array(text.utf8)) }

    @Test("values, kept apart")
    func values() throws {
        #expect(try parse(" null ") == .null)
        #expect(try parse("true") == .bool(true))
        #expect(try parse("1") == .integer(1))
        #expect(try parse("-0") == .integer(0))
        #expect(try parse("1.0") == .number(1))
        #expect(try parse("1e2") == .number(100))
        #expect(try parse("100000000000000") == .integer(100_000_000_000_000))
        #expect(try parse("-99999999999999") == .integer(-99_999_999_999_999))
        #expect(try parse("1234567890123456") == .integer(1_234_567_890_123_456))
        #expect(try parse("-9223372036854775808") == .integer(.min))
        #expect(try parse("9223372036854775807") == .integer(.max))
        #expect(try parse(#""plain""#) == "plain" && parse(#""""#) == "" && parse(#""é""#) == "é")
        #expect(try parse("9223372036854775808") == .number(9_223_372_036_854_775_808))
        #expect(try parse(#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00é""#) == "\"\\/\u{8}\u{C}\n\r\té😀é")
        #expect(try parse("[1, [], {}]") == .array([.integer(1), .array([]), .object([:])]))
        #expect(try parse(#"{"a": {"b": null}}"#) == .object(["a": .object(["b": .null])]))
    }

    @Test(
        "refused, with the place",
        arguments: [
            ("", 0), ("nul", 0), ("truth", 0), ("01", 1), ("1.", 2), (".5", 0), ("+1", 0), ("1e", 2),
            ("-", 1),
            ("NaN", 0), ("1e999", 0), ("'a'", 0), ("\"a", 0), ("\"\\x\"", 2), ("\"\\u12\"", 5),
            ("\"\\ud800\"", 1), ("\"\\ud800\\u0041\"", 1), ("\"\\udc00\"", 1), ("\"a\nb\"", 2), ("[1,]", 3),
            ("[1 2]", 3),
            ("{\"a\":1,}", 7), ("{a:1}", 1), ("{\"a\" 1}", 5), ("{\"a\":1,\"a\":2}", 7), ("1 2", 2),
            ("{}x", 2),
            ("// c\n1", 0),
        ])
    func refused(text: String, offset: Int) {
        let error = #expect(throws: JSONError.self) { try parse(text) }
        #expect(error?.offset == offset, "\(text)")
    }

    @Test("bytes that are not UTF-8, and nesting without end")
    func hostile() {
        #expect(throws: JSONError.self) { try JSONParser.parse([0x22, 0xFF, 0x22]) }
        #expect(throws: JSONError.self) { try JSONParser.parse([0x22, 0xED, 0xA0, 0x80, 0x22]) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
        #expect(throws: Never.self) {
            try parse(String(repeating: "[", count: 32) + String(repeating: "]", count: 32))
        }
    }

    @Test("random bytes and random damage never crash; seed 7")
    func fuzz() {
        var generator = SplitMix(state: 7)
        let seed = Array(#"{"a":[1,-2.5e3,"x\u00e9\n",null,true,{"b":{}}],"c":"€"}"#.utf8)
        for _ in 0..<20_000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                let index = Int.random(in: 0..<bytes.count, using: &generator)
                switch Int.random(in: 0..<3, using: &generator) {
                case 0: bytes[index] = UInt8.random(in: .min ... .max, using: &generator)
                case 1: bytes.remove(at: index)
                default: bytes.insert(bytes[Int.random(in: 0..<bytes.count, using: &generator)], at: index)
                }
            }
            let ours = try? JSONParser.parse(bytes)
            // What we take, Foundation takes: we are never the more lenient.
            if ours != nil {
                #expect(
                    (try? JSONSerialization.jsonObject(with: Data(bytes), options: .fragmentsAllowed)) != nil,
                    "\(String(decoding: bytes, as: UTF8.self))")
            }
        }
    }

    @Test(
        "An object of any number of fields has each once, and gives each once",
        arguments: [1, 15, 16, 17, 1000])
    func fields(count: Int) throws {
        let texts = (0..<count).map { "\"f\($0)\":\($0)" }
        guard case .object(var object) = try parse("{\(texts.joined(separator: ","))}") else {
            Issue.record("it is no object")
            return
        }
        #expect(object.fields.map(\.name) == (0..<count).map { "f\($0)" })
        for repeated in Set([0, count / 2, count - 1]) {
            let text = "{\(texts.joined(separator: ",")),\"f\(repeated)\":0}"
            #expect {
                try parse(text)
            } throws: {
                "\($0)".contains("'f\(repeated)' is given twice")
            }
        }
        let reversed = try parse("{\(texts.reversed().joined(separator: ","))}")
        #expect(reversed == .object(object), "the order is no difference")
        for number in 0..<count {
            #expect(object.remove("f\(number)") == .integer(number))
            #expect(object.remove("f\(number)") == nil)
        }
        #expect(object.fields.isEmpty && object.add("f0", .null))
    }

    @Test("what is written reads back, by our parser and by Foundation's")
    func roundTrip() throws {
        let nasty = "\u{0}\u{1F}\u{7F}\"\\/\n\r\t\u{2028}é😀"
        let bytes = JSONWriter.object { writer in
            writer.field(named: nasty, 0.5)
            writer.field("text", nasty)
            writer.field("seed", UInt64.max)
            writer.arrayField("numbers") { list in
                for number in [0, 9, 10, -1, 1234, Int.max, .min] { list.value(number) }
            }
            writer.arrayField("list") {
                $0.value(-1)
                $0.value(1e-7)
                $0.value(-Double.infinity)
                $0.null()
                $0.object { _ in }
            }
            writer.field("flag", true)
        }
        let list: JSONValue = .array([.integer(-1), .number(1e-7), .number(-9999), .null, .object([:])])
        let numbers: JSONValue = .array(
            [0, 9, 10, -1, 1234, Int.max, .min].map { .integer($0) })
        let expected: JSONObject = [
            nasty: .number(0.5), "text": .string(nasty), "seed": .number(Double(UInt64.max)),
            "numbers": numbers, "list": list, "flag": .bool(true),
        ]
        #expect(try JSONParser.parse(bytes) == .object(expected))
        #expect(String(decoding: bytes, as: UTF8.self).contains("\"seed\":18446744073709551615,"))
        let foundation = try JSONSerialization.jsonObject(with: Data(bytes)) as? [String: Any]
        #expect(foundation?["text"] as? String == nasty && foundation?[nasty] as? Double == 0.5)
    }
}
