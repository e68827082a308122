import Logging

extension GatewayResponder {
    /// Only when asked for aloud: prompts are their clients' own.
    func logPrompt(of request: GenerationRequest) {
        guard configuration.logsPrompts else { return }
        let prompt: String
        switch request.input {
        case .chat(let messages):
            prompt = messages.map { "\($0.role.rawValue): \($0.content)" }.joined(separator: "\n")
        case .text(let text): prompt = text
        case .tokens(let tokens): prompt = "\(tokens.count) tokens"
        }
        logger.notice(
            "request",
            metadata: [
                "request_id": "\(request.requestID)", "client": "\(request.client)",
                "prompt": "\(prompt)",
            ])
    }
}
