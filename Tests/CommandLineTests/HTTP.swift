import Foundation

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#endif

/// A TCP connection to this machine that never blocks a thread: what is not there yet is polled for.
final class Connection {
    private let descriptor: Int32
    private(set) var received = Data()
    private(set) var isAtEnd = false

    init(port: Int) throws {
        #if os(Linux)
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = Connection.loopback(port: port)
        let status = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
        guard status == 0 else {
            close(descriptor)
            throw Failure("nothing listens at port \(port)")
        }
        _ = fcntl(descriptor, F_SETFL, O_NONBLOCK)
    }

    deinit { close(descriptor) }

    static func loopback(port: Int) -> sockaddr_in {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = in_port_t(port).bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        return address
    }

    /// Requests here are short: they fit into the socket's buffer.
    func send(_ text: String) throws {
        let bytes = Array(text.utf8)
        var sent = 0
        while sent < bytes.count {
            let count = bytes[sent...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count > 0 || errno == EAGAIN else {
                throw Failure("the connection was closed while sending")
            }
            sent += max(0, count)
        }
    }

    /// Takes in what has come so far.
    func poll() {
        var buffer = [UInt8](repeating: 0, count: 65536)
        while !isAtEnd {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count > 0 {
                received.append(contentsOf: buffer[..<count])
            } else if count == 0 || (errno != EAGAIN && errno != EINTR) {
                isAtEnd = true
            } else {
                return
            }
        }
    }

    func wait(within seconds: Double = 30, until isEnough: (Connection) -> Bool) async throws {
        let end = Date().addingTimeInterval(seconds)
        while true {
            poll()
            if isEnough(self) { return }
            guard !isAtEnd, Date() < end else {
                throw Failure("the answer stayed incomplete: \(String(decoding: received, as: UTF8.self))")
            }
            try await pause(5)
        }
    }
}

/// A socket that listens at a port of its own until it is let go.
final class TakenPort {
    let port: Int
    private let descriptor: Int32

    init() throws {
        #if os(Linux)
            descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        #else
            descriptor = socket(AF_INET, SOCK_STREAM, 0)
        #endif
        var address = Connection.loopback(port: 0)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let status = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                guard bind(descriptor, pointer, length) == 0, listen(descriptor, 8) == 0 else {
                    return Int32(-1)
                }
                return getsockname(descriptor, pointer, &length)
            }
        }
        guard status == 0 else { throw Failure("no port could be taken") }
        port = Int(in_port_t(bigEndian: address.sin_port))
    }

    deinit { close(descriptor) }
}

/// An answer over HTTP.
struct Answer {
    var status: Int
    /// Names in lower case.
    var headers: [String: String]
    var body: Data

    var text: String { String(decoding: body, as: UTF8.self) }
    var json: JSON { get throws { try JSON.parse(body) } }

    /// The data of each server-sent event.
    var events: [String] {
        text.components(separatedBy: "\n\n").filter { $0.hasPrefix("data: ") }.map { String($0.dropFirst(6)) }
    }
}

/// The service at a port of this machine.
struct Service {
    let port: Int

    func get(_ path: String) async throws -> Answer {
        try await finish(try Connection(port: port), sending: "GET \(path) HTTP/1.1", body: nil)
    }

    func post(
        _ path: String, _ body: String, headers: [String: String] = [:]
    ) async throws -> Answer {
        let fields = headers.map { "\r\n\($0.key): \($0.value)" }.sorted().joined()
        return try await finish(
            try Connection(port: port), sending: "POST \(path) HTTP/1.1" + fields, body: body)
    }

    /// Sends a request whose answer the caller reads as it comes.
    func begin(_ path: String, _ body: String) throws -> Connection {
        let connection = try Connection(port: port)
        try connection.send(request("POST \(path) HTTP/1.1", body))
        return connection
    }

    private func finish(_ connection: Connection, sending line: String, body: String?) async throws -> Answer
    {
        try connection.send(request(line, body))
        return try await answer(connection)
    }

    private func request(_ line: String, _ body: String?) -> String {
        var text = "\(line)\r\nHost: 127.0.0.1:\(port)\r\nConnection: close\r\n"
        if let body { text += "Content-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n" }
        return text + "\r\n" + (body ?? "")
    }

    /// The rest of the answer, to the end of the connection.
    func answer(_ connection: Connection, within seconds: Double = 60) async throws -> Answer {
        try await connection.wait(within: seconds) { $0.isAtEnd }
        let data = connection.received
        guard let split = data.range(of: Data("\r\n\r\n".utf8)) else { throw Failure("no answer came") }
        let lines = String(decoding: data[..<split.lowerBound], as: UTF8.self).components(separatedBy: "\r\n")
        let status = lines[0].split(separator: " ").dropFirst().first.flatMap { Int($0) }
        guard let status else { throw Failure("not HTTP: \(lines[0])") }
        var headers: [String: String] = [:]
        for line in lines.dropFirst() {
            guard let colon = line.firstIndex(of: ":") else { continue }
            headers[line[..<colon].lowercased()] = line[line.index(after: colon)...]
                .trimmingCharacters(in: .whitespaces)
        }
        var body = Data(data[split.upperBound...])
        if headers["transfer-encoding"] == "chunked" { body = try Service.unchunked(body) }
        return Answer(status: status, headers: headers, body: body)
    }

    private static func unchunked(_ data: Data) throws -> Data {
        var result = Data()
        var rest = data[...]
        while let end = rest.range(of: Data("\r\n".utf8)) {
            let line = String(decoding: rest[..<end.lowerBound], as: UTF8.self)
            guard let size = Int(line, radix: 16),
                rest.distance(from: end.upperBound, to: rest.endIndex) >= size
            else { throw Failure("the chunks of the answer are broken") }
            if size == 0 { return result }
            result.append(rest[end.upperBound..<end.upperBound + size])
            rest = rest[(end.upperBound + size + 2)...]
        }
        throw Failure("the answer was cut off")
    }
}
