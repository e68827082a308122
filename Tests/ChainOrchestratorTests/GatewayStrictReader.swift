@testable import ChainOrchestrator

/// Requests in many spellings, some damaged, the same for a seed.
struct RandomClient {
    private var generator: SplitMix

    init(seed: UInt64) { generator = SplitMix(state: seed) }

    /// - Returns: up to six requests, and how many of them an answer must come to.
    mutating func requests() -> (text: String, whole: Int) {
        var (text, whole, isSound) = ("", 0, true)
        for _ in 0..<Int.random(in: 1...6, using: &generator) {
            let (request, isLast) = request()
            if Int.random(in: 0..<4, using: &generator) == 0 {
                text += damaged(request)
                isSound = false
            } else {
                text += request
                if isSound { whole += 1 }
            }
            if isLast { isSound = false }
        }
        return (text, whole)
    }

    private mutating func pick<Element>(_ some: [Element]) -> Element {
        some[Int.random(in: some.indices, using: &generator)]
    }

    private mutating func request() -> (text: String, isLast: Bool) {
        let path = pick([
            "/v1/chat/completions", "/v1/chat/completions", "/v1/completions", "/tokenize", "/health",
            "/nothing",
            "/v1/requests/x/stream",
        ])
        let method = path == "/health" ? "GET" : pick(["POST", "POST", "POST", "GET", "DELETE"])
        let body =
            method == "GET"
            ? ""
            : pick([
                chatBody(), chatBody(stream: true), #"{"prompt":"ab"}"#, "{", "[]",
                chatBody() + String(repeating: " ", count: 5000),
            ])
        let version = pick(["1.1", "1.1", "1.1", "1.1", "1.1", "1.0"])
        let connection = pick(["", "", "", "", "Connection: keep-alive\r\n", "Connection: TE, Close\r\n"])
        let others = pick([
            "", "", "Expect: 100-continue\r\n", "X-Request-ID: a b\r\n", "Content-Encoding: gzip\r\n",
        ])
        let (framing, framed) =
            !body.isEmpty && Bool.random(using: &generator)
            ? ("Transfer-Encoding: chunked", chunked(body)) : ("Content-Length: \(body.utf8.count)", body)
        return (
            "\(method) \(path) HTTP/\(version)\r\nHost: x\r\n\(connection)\(others)\(framing)\r\n\r\n\(framed)",
            version == "1.0" || connection.contains("Close")
        )
    }

    private mutating func chunked(_ body: String) -> String {
        var (text, rest) = ("", Substring(body))
        while !rest.isEmpty {
            let piece = rest.prefix(Int.random(in: 1...900, using: &generator))
            text += String(piece.utf8.count, radix: 16) + "\r\n" + piece + "\r\n"
            rest = rest.dropFirst(piece.count)
        }
        return text + "0\r\n\r\n"
    }

    private mutating func damaged(_ request: String) -> String {
        var bytes = Array(request.utf8)
        for _ in 0..<Int.random(in: 1...3, using: &generator) {
            let place = Int.random(in: bytes.indices, using: &generator)
            switch Int.random(in: 0..<4, using: &generator) {
            case 0: bytes[place] = UInt8.random(in: 0x20..<0x7F, using: &generator)
            case 1: bytes.removeSubrange(place..<min(bytes.count, place + 9))
            case 2:
                bytes.insert(
                    contentsOf: Array(pick(["\r\n", "\r\n\r\n", "0\r\n\r\n", ":", "z"]).utf8), at: place)
            default: bytes.removeSubrange(place...)
            }
            if bytes.isEmpty { break }
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Reads answers one behind the other, and takes nothing that is not one.
enum StrictReader {
    struct Malformed: Error { var rest: String }

    static func statuses(in bytes: [UInt8]) throws -> [Int] {
        var (rest, statuses, isLast) = (bytes[...], [Int](), false)
        while !rest.isEmpty {
            guard !isLast, let end = rest.firstRange(of: Array("\r\n\r\n".utf8)) else {
                throw malformed(rest)
            }
            let lines = String(decoding: rest[..<end.lowerBound], as: UTF8.self).split(separator: "\r\n")
            guard let first = lines.first, first.hasPrefix("HTTP/1."),
                let status = Int(first.dropFirst(9).prefix(3))
            else { throw malformed(rest) }
            statuses.append(status)
            rest = rest[end.upperBound...]
            let fields = Dictionary(
                lines.dropFirst().compactMap { line in
                    line.firstIndex(of: ":").map {
                        (line[..<$0].lowercased(), line[line.index($0, offsetBy: 2)...])
                    }
                }, uniquingKeysWith: { first, _ in first })
            isLast = fields["connection"] == "close"
            if status == 100 { continue }
            if let length = fields["content-length"].flatMap({ Int($0) }) {
                guard rest.count >= length else { throw malformed(rest) }
                rest = rest.dropFirst(length)
            } else if fields["transfer-encoding"] == "chunked" {
                try dropChunks(&rest)
            } else if isLast {
                rest = []
            } else {
                throw malformed(rest)
            }
        }
        return statuses
    }

    private static func dropChunks(_ rest: inout ArraySlice<UInt8>) throws {
        while true {
            guard let end = rest.firstRange(of: Array("\r\n".utf8)),
                let length = Int(String(decoding: rest[..<end.lowerBound], as: UTF8.self), radix: 16),
                rest.distance(from: end.upperBound, to: rest.endIndex) >= length + 2
            else { throw malformed(rest) }
            rest = rest[(end.upperBound + length + 2)...]
            if length == 0 { return }
        }
    }

    private static func malformed(_ rest: ArraySlice<UInt8>) -> Malformed {
        Malformed(rest: String(decoding: rest.prefix(300), as: UTF8.self))
    }
}
