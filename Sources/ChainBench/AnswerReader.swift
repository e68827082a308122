import Foundation

/// Reads the answers of an OpenAI-compatible service, whole or in chunks.
enum AnswerReader {
    /// What a load generator wants to know of one chunk or one whole answer.
    struct Piece: Decodable {
        struct Choice: Decodable {}
        struct Usage: Decodable {
            var promptTokens: Int?
            var completionTokens: Int?
        }
        struct Problem: Decodable {
            var message: String?
            var code: String?
        }
        struct Vendor: Decodable {
            var chain: String?
            var attempts: Int?
            var waitMs: Double?
            var serviceMs: Double?
        }
        var choices: [Choice]?
        var usage: Usage?
        var error: Problem?
        var chainserve: Vendor?
    }

    private static func decode(_ text: some StringProtocol) -> Piece? {
        let decoder = JSONDecoder()
        decoder.keyDecodingStrategy = .convertFromSnakeCase
        return try? decoder.decode(Piece.self, from: Data(text.utf8))
    }

    /// Fills in what the events of a stream say.
    static func read(_ events: [(time: Double, data: String)], into record: inout LoadRecord) {
        var isDone = false
        var chunks = 0
        for event in events {
            if event.data == "[DONE]" {
                isDone = true
                continue
            }
            guard let piece = decode(event.data) else {
                record.error = record.error ?? "an event of the stream is not JSON"
                continue
            }
            if let problem = piece.error {
                record.error =
                    problem.message ?? problem.code ?? "the stream reports an error without a message"
            }
            if piece.choices?.isEmpty == false {
                record.pieces.append(event.time)
                chunks += 1
            }
            note(piece, in: &record)
        }
        if record.completionTokens == 0 { record.completionTokens = chunks }
        if !isDone { record.error = record.error ?? "the stream ended without [DONE]" }
    }

    /// Fills in what a whole answer, or an error, says.
    static func read(body: String, into record: inout LoadRecord) {
        let piece = decode(body)
        if record.status != 200 {
            let reason = piece?.error?.message ?? String(body.prefix(200))
            record.error = "HTTP \(record.status.map(String.init) ?? "?"): \(reason)"
            return
        }
        guard let piece, piece.choices?.isEmpty == false else {
            record.error = "the answer has no choices"
            return
        }
        record.pieces = [record.end]
        note(piece, in: &record)
    }

    private static func note(_ piece: Piece, in record: inout LoadRecord) {
        if let usage = piece.usage {
            record.promptTokens = usage.promptTokens ?? record.promptTokens
            record.completionTokens = usage.completionTokens ?? record.completionTokens
        }
        if let vendor = piece.chainserve {
            record.chain = vendor.chain ?? record.chain
            record.attempts = vendor.attempts ?? record.attempts
            record.waitMilliseconds = vendor.waitMs ?? record.waitMilliseconds
            record.serviceMilliseconds = vendor.serviceMs ?? record.serviceMilliseconds
        }
    }

    /// The first name of a list of models.
    static func firstModel(_ body: String) -> String? {
        struct List: Decodable {
            struct Entry: Decodable { var id: String }
            var data: [Entry]
        }
        return (try? JSONDecoder().decode(List.self, from: Data(body.utf8)))?.data.first?.id
    }
}
