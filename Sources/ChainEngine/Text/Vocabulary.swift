import CLlama

/// A model's tokenizer and chat template, as libllama has them: loaded from the GGUF without any weights.
///
/// `@unchecked Sendable`: both pointers are set once; libllama's vocabulary is constant after loading and
/// every call here takes it by const pointer; `deinit` runs when no other reference is left.
public final class Vocabulary: @unchecked Sendable {
    /// `llama_model *`, vocabulary only.
    private let model: OpaquePointer
    /// `const llama_vocab *`.
    private let vocabulary: OpaquePointer
    public let size: Int
    public let chatTemplate: String?

    /// Longest text of one token, in bytes, before it is taken for damage.
    private static let pieceBytes = 1 << 16

    private static let prepared: Void = {
        llama_log_set({ _, _, _ in }, nil)
        llama_backend_init()
    }()

    /// - Throws: `EngineError.modelFile` when libllama cannot use the file's tokenizer.
    public init(path: String) throws(EngineError) {
        _ = Self.prepared
        var parameters = llama_model_default_params()
        parameters.vocab_only = true
        guard let model = llama_model_load_from_file(path, parameters) else {
            throw .modelFile(
                "\(path): libllama cannot load its tokenizer; convert the model with a current converter")
        }
        guard let vocabulary = llama_model_get_vocab(model) else {
            llama_model_free(model)
            throw .modelFile("\(path): has no tokenizer")
        }
        self.model = model
        self.vocabulary = vocabulary
        size = Int(llama_vocab_n_tokens(vocabulary))
        chatTemplate = llama_model_chat_template(model, nil).map { String(cString: $0) }
    }

    deinit { llama_model_free(model) }

    /// - Parameters:
    ///   - addSpecial: put the beginning-of-sequence token where the model wants one.
    ///   - parseSpecial: read `<|…|>` and the like as control tokens, not as text.
    public func tokenize(_ text: String, addSpecial: Bool, parseSpecial: Bool) -> [Int32] {
        let characters = text.utf8.map { CChar(bitPattern: $0) }
        var tokens = [Int32](repeating: 0, count: characters.count / 2 + 16)
        for _ in 0..<2 {
            let count = llama_tokenize(
                vocabulary, characters, Int32(characters.count), &tokens, Int32(tokens.count), addSpecial,
                parseSpecial)
            if count >= 0 { return Array(tokens.prefix(Int(count))) }
            tokens = [Int32](repeating: 0, count: Int(-count))
        }
        return []
    }

    /// The bytes a token stands for; control tokens stand for none unless `special`.
    public func bytes(of token: Int32, special: Bool = false) -> [UInt8] {
        guard token >= 0, Int(token) < size else { return [] }
        var buffer = [CChar](repeating: 0, count: 64)
        var count = llama_token_to_piece(vocabulary, token, &buffer, Int32(buffer.count), 0, special)
        if count < 0, Int(-count) <= Self.pieceBytes {
            buffer = [CChar](repeating: 0, count: Int(-count))
            count = llama_token_to_piece(vocabulary, token, &buffer, Int32(buffer.count), 0, special)
        }
        return buffer.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) }
    }

    public func text(of tokens: [Int32], special: Bool = false) -> String {
        String(decoding: tokens.flatMap { bytes(of: $0, special: special) }, as: UTF8.self)
    }

    /// Whether generation ends with this token.
    public func endsGeneration(_ token: Int32) -> Bool { llama_vocab_is_eog(vocabulary, token) }

    /// The prompt that the model's chat template makes of a conversation, ready for the assistant's answer.
    /// - Returns: `nil` when the model has no template, or one that libllama does not know.
    public func applyChatTemplate(_ messages: [(role: String, content: String)]) -> String? {
        guard let chatTemplate else { return nil }
        var strings: [UnsafeMutablePointer<CChar>] = []
        defer { for string in strings { string.deallocate() } }
        func copy(_ text: String) -> UnsafePointer<CChar> {
            let bytes = text.utf8CString
            let pointer = UnsafeMutablePointer<CChar>.allocate(capacity: bytes.count)
            for (index, byte) in bytes.enumerated() { pointer[index] = byte }
            strings.append(pointer)
            return UnsafePointer(pointer)
        }
        let chat = messages.map { llama_chat_message(role: copy($0.role), content: copy($0.content)) }
        var buffer = [CChar](
            repeating: 0,
            count: messages.reduce(1024) { $0 + 2 * ($1.role.utf8.count + $1.content.utf8.count) })
        var count = llama_chat_apply_template(
            chatTemplate, chat, chat.count, true, &buffer, Int32(buffer.count))
        if count > buffer.count {
            buffer = [CChar](repeating: 0, count: Int(count))
            count = llama_chat_apply_template(
                chatTemplate, chat, chat.count, true, &buffer, Int32(buffer.count))
        }
        guard count >= 0 else { return nil }
        return String(decoding: buffer.prefix(Int(count)).map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// Puts the bytes of successive tokens together into text, holding back a character that is not complete
/// yet.
public struct TextAssembler: Sendable {
    private var pending: [UInt8] = []

    public init() {}

    /// The text that is complete after these bytes; bytes that can never become a character turn into
    /// U+FFFD.
    public mutating func append(_ bytes: [UInt8]) -> String {
        pending += bytes
        let complete = pending.count - Self.incompleteSuffix(pending)
        let text = String(decoding: pending.prefix(complete), as: UTF8.self)
        pending.removeFirst(complete)
        return text
    }

    /// What is left at the end of generation.
    public mutating func finish() -> String {
        defer { pending = [] }
        return String(decoding: pending, as: UTF8.self)
    }

    /// How many bytes at the end may be the beginning of a character: at most 3.
    private static func incompleteSuffix(_ bytes: [UInt8]) -> Int {
        for back in 1...4 where back <= bytes.count {
            let byte = bytes[bytes.count - back]
            if byte & 0b1100_0000 == 0b1000_0000 { continue }
            let needed = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1
            return needed > back ? back : 0
        }
        return 0
    }
}
