import NIOCore
import NIOPosix

@testable import ChainOrchestrator

/// A client that speaks HTTP/1.1 by hand over a real socket, so that tests see the very bytes. One request
/// at a time; belongs to one task.
final class TestClient {
    struct Answer {
        var status: Int
        /// Names in lower case.
        var headers: [String: String]
        var body = ""

        /// The body as JSON; `null` when it is not JSON.
        var json: JSONValue { (try? JSONParser.parse(Array(body.utf8))) ?? .null }
        var error: JSONValue { json["error"] }
    }

    enum Failure: Error {
        case closed(after: String)
        case malformed(String)
    }

    private final class Receiver: ChannelInboundHandler, Sendable {
        typealias InboundIn = ByteBuffer
        private let continuation: AsyncStream<ByteBuffer>.Continuation

        init(_ continuation: AsyncStream<ByteBuffer>.Continuation) { self.continuation = continuation }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            continuation.yield(unwrapInboundIn(data))
        }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }

    let channel: any Channel
    private var incoming: AsyncStream<ByteBuffer>.AsyncIterator
    private var unread = ByteBuffer()

    /// - Parameter keepsItsSideOpen: when the server has said that it sends no more.
    init(port: Int, keepsItsSideOpen: Bool = false) async throws {
        let (stream, continuation) = AsyncStream.makeStream(of: ByteBuffer.self)
        channel = try await ClientBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .channelOption(.allowRemoteHalfClosure, value: keepsItsSideOpen)
            .channelInitializer { $0.pipeline.addHandler(Receiver(continuation)) }
            .connect(host: "127.0.0.1", port: port).get()
        incoming = stream.makeAsyncIterator()
    }

    func close() async throws { try await channel.close() }

    func send(_ text: String) async throws { try await channel.writeAndFlush(ByteBuffer(string: text)) }

    // MARK: Requests

    func send(
        _ method: String, _ path: String, headers: [String: String] = [:], body: String? = nil
    ) async throws {
        var text = "\(method) \(path) HTTP/1.1\r\nhost: test\r\n"
        for (name, value) in headers.sorted(by: { $0.key < $1.key }) { text += "\(name): \(value)\r\n" }
        if let body { text += "content-type: application/json\r\ncontent-length: \(body.utf8.count)\r\n" }
        try await send(text + "\r\n" + (body ?? ""))
    }

    func get(_ path: String, headers: [String: String] = [:]) async throws -> Answer {
        try await send("GET", path, headers: headers)
        return try await answer()
    }

    func post(_ path: String, _ body: String, headers: [String: String] = [:]) async throws -> Answer {
        try await send("POST", path, headers: headers, body: body)
        return try await answer()
    }

    // MARK: Answers

    /// A whole answer, its body of either framing.
    func answer() async throws -> Answer {
        var answer = try await head()
        if let length = answer.headers["content-length"].flatMap({ Int($0) }) {
            answer.body = try await read(length)
        } else {
            while let chunk = try await chunk() { answer.body += chunk }
        }
        return answer
    }

    func head() async throws -> Answer {
        let lines = try await read(through: "\r\n\r\n").split(separator: "\r\n").map(String.init)
        let parts = lines.first?.split(separator: " ") ?? []
        guard parts.count >= 2, parts[0] == "HTTP/1.1", let status = Int(parts[1]) else {
            throw Failure.malformed(lines.first ?? "")
        }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { throw Failure.malformed(line) }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            headers[line[..<colon].lowercased()] = String(value)
        }
        return Answer(status: status, headers: headers)
    }

    /// The next chunk of a chunked body; `nil` after the last.
    func chunk() async throws -> String? {
        let size = try await read(through: "\r\n").dropLast()
        guard let length = Int(size, radix: 16) else { throw Failure.malformed(String(size)) }
        let text = try await read(length)
        _ = try await read(through: "\r\n")
        return length == 0 ? nil : text
    }

    /// Waits until the server has closed the connection; what came until then.
    func rest() async -> String {
        while let buffer = await incoming.next() { unread.writeImmutableBuffer(buffer) }
        return String(buffer: unread)
    }

    private func read(_ count: Int) async throws -> String {
        while unread.readableBytes < count { try await receive() }
        return unread.readString(length: count) ?? ""
    }

    private func read(through mark: String) async throws -> String {
        let mark = Array(mark.utf8)
        while true {
            if let range = unread.readableBytesView.firstRange(of: mark) {
                return unread.readString(length: range.upperBound - unread.readerIndex) ?? ""
            }
            try await receive()
        }
    }

    private func receive() async throws {
        guard let buffer = await incoming.next() else { throw Failure.closed(after: String(buffer: unread)) }
        unread.writeImmutableBuffer(buffer)
    }
}

extension JSONValue {
    subscript(_ name: String) -> JSONValue {
        guard case .object(let fields) = self else { return .null }
        return fields.fields.first { $0.name == name }?.value ?? .null
    }

    subscript(_ index: Int) -> JSONValue {
        guard case .array(let elements) = self, elements.indices.contains(index) else { return .null }
        return elements[index]
    }

    var text: String? {
        guard case .string(let text) = self else { return nil }
        return text
    }

    var count: Int {
        guard case .array(let elements) = self else { return 0 }
        return elements.count
    }
}
