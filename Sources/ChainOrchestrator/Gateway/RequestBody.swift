/// Bodies of generation requests, as the gateway reads them, for those who have bytes and no connection.
package enum RequestBody {
    /// Reads a body as `/v1/chat/completions` or `/v1/completions` would.
    /// - Returns: why it is refused; `nil` when it is taken.
    /// - Complexity: O(length).
    package static func problem(_ bytes: [UInt8], isChat: Bool) -> String? {
        do {
            let value = try JSONParser.parse(bytes)
            let shape = isChat ? AnswerShape.chat : .completion
            _ = try GenerationRequestReader.read(value, shape: shape, requestID: "body")
            return nil
        } catch {
            return "\(error)"
        }
    }
}
