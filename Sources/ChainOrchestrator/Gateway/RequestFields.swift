/// Reads the fields of one JSON object strictly: each is asked for by name and checked for type and range,
/// and what was never asked for is an error. A field whose value is `null` counts as absent, as OpenAI's
/// clients expect.
///
/// Every error names the field (`param`), says what it must be and what was found.
struct RequestFields {
    private var values: JSONObject
    /// Where the object is: empty at the top, `messages[2]` within.
    private let path: String
    private var known: [String] = []

    init(_ value: JSONValue, path: String = "") throws(GenerationRefusal) {
        guard case .object(let values) = value else {
            throw .invalid(
                message:
                    "\(path.isEmpty ? "the body" : "'\(path)'") must be a JSON object; got \(value.kind)",
                parameter: path.isEmpty ? nil : path, code: "invalid_type")
        }
        self.values = values
        self.path = path
        // As many as a request may have; the objects within it have few.
        if path.isEmpty { known.reserveCapacity(32) }
    }

    /// The field's full name, as `param` shows it.
    func parameter(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }

    func problem(_ name: String, _ text: String, code: String = "invalid_value") -> GenerationRefusal {
        let parameter = parameter(name)
        return .invalid(message: "'\(parameter)' \(text)", parameter: parameter, code: code)
    }

    private func wrongType(_ name: String, _ wanted: String, _ got: JSONValue) -> GenerationRefusal {
        problem(name, "must be \(wanted); got \(got.kind)", code: "invalid_type")
    }

    /// The field's value, whatever it is; `nil` when absent or `null`. The field counts as known from now on.
    mutating func take(_ name: String) -> JSONValue? {
        known.append(name)
        guard let value = values.remove(name) else { return nil }
        if case .null = value { return nil }
        return value
    }

    mutating func string(_ name: String) throws(GenerationRefusal) -> String? {
        guard let value = take(name) else { return nil }
        guard case .string(let text) = value else { throw wrongType(name, "a string", value) }
        return text
    }

    mutating func bool(_ name: String) throws(GenerationRefusal) -> Bool? {
        guard let value = take(name) else { return nil }
        guard case .bool(let flag) = value else { throw wrongType(name, "true or false", value) }
        return flag
    }

    /// - Parameter meaning: what the bounds are, in words: "from 0 to 20".
    mutating func integer(
        _ name: String, in range: ClosedRange<Int>, _ meaning: String
    ) throws(GenerationRefusal) -> Int? {
        guard let value = take(name) else { return nil }
        let number: Int
        switch value {
        case .integer(let whole): number = whole
        case .number(let fraction):
            guard let whole = Int(exactly: fraction) else {
                throw wrongType(name, "a whole number \(meaning)", value)
            }
            number = whole
        default: throw wrongType(name, "a whole number \(meaning)", value)
        }
        guard range.contains(number) else { throw problem(name, "must be \(meaning); got \(number)") }
        return number
    }

    /// - Parameter excludingLower: whether `range`'s lower bound itself is out.
    mutating func number(
        _ name: String, in range: ClosedRange<Double>, excludingLower: Bool = false
    ) throws(GenerationRefusal) -> Double? {
        guard let value = take(name) else { return nil }
        // Only errors say them.
        var bounds: String {
            excludingLower
                ? "above \(range.lowerBound) and at most \(range.upperBound)"
                : "from \(range.lowerBound) to \(range.upperBound)"
        }
        let number: Double
        switch value {
        case .integer(let whole): number = Double(whole)
        case .number(let fraction): number = fraction
        default: throw wrongType(name, "a number \(bounds)", value)
        }
        guard range.contains(number), !(excludingLower && number == range.lowerBound) else {
            throw problem(name, "must be \(bounds); got \(value.kind)")
        }
        return number
    }

    mutating func object(_ name: String) throws(GenerationRefusal) -> RequestFields? {
        guard let value = take(name) else { return nil }
        return try RequestFields(value, path: parameter(name))
    }

    /// Accepts fields that are known but not supported, as long as they say what is done anyway.
    mutating func acceptOnlyNeutral(_ fields: [UnsupportedField]) throws(GenerationRefusal) {
        // As a rule nothing is left, and the fields are many.
        guard !values.fields.isEmpty else { return }
        for field in fields {
            guard let value = take(field.name), !field.isNeutral(value) else { continue }
            throw problem(field.name, "is not supported: \(field.advice)", code: "unsupported_parameter")
        }
    }

    /// Call last: what has not been asked for is unknown.
    func finish() throws(GenerationRefusal) {
        guard let name = values.fields.map(\.name).min() else { return }
        let shown = String(name.prefix(64))
        let hint = nearest(to: shown).map { "did you mean '\(parameter($0))'?" } ?? "remove it"
        throw problem(shown, "is not a known field; \(hint)", code: "unknown_parameter")
    }

    /// The known field at the smallest edit distance, at most 2; the earliest asked for of several.
    private func nearest(to name: String) -> String? {
        var best: (name: String, distance: Int)?
        for candidate in known {
            let distance = editDistance(Array(name.utf8), Array(candidate.utf8))
            if distance <= 2, distance < (best?.distance ?? .max) { best = (candidate, distance) }
        }
        return best?.name
    }

    private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
        var row = Array(0...right.count)
        for (index, byte) in left.enumerated() {
            var diagonal = row[0]
            row[0] = index + 1
            for column in right.indices {
                let substituted = diagonal + (byte == right[column] ? 0 : 1)
                diagonal = row[column + 1]
                row[column + 1] = min(substituted, diagonal + 1, row[column] + 1)
            }
        }
        return row[right.count]
    }
}

/// A field that clients may send although we do not have what it is for: accepted while it asks for nothing.
struct UnsupportedField: Sendable {
    var name: String
    /// What to do instead.
    var advice: String
    var isNeutral: @Sendable (JSONValue) -> Bool

    init(_ name: String, _ advice: String, neutral: @escaping @Sendable (JSONValue) -> Bool = { _ in false })
    {
        self.name = name
        self.advice = advice
        isNeutral = neutral
    }

    init(_ name: String, _ advice: String, neutral values: JSONValue...) {
        self.init(name, advice, neutral: { values.contains($0) })
    }

    /// Fields of OpenAI's and vLLM's generation requests.
    static let generation: [UnsupportedField] = [
        // OpenAI's.
        UnsupportedField("tools", "remove it, there is no tool calling", neutral: .array([])),
        UnsupportedField("tool_choice", "remove it, there is no tool calling", neutral: .string("none")),
        UnsupportedField("parallel_tool_calls", "remove it", neutral: .bool(true), .bool(false)),
        UnsupportedField("functions", "remove it, there is no function calling", neutral: .array([])),
        UnsupportedField(
            "function_call", "remove it, there is no function calling", neutral: .string("none")),
        UnsupportedField(
            "response_format", "only {\"type\": \"text\"} is possible",
            neutral: .object(["type": .string("text")])),
        UnsupportedField("logit_bias", "remove it", neutral: .object([:])),
        UnsupportedField("best_of", "only 1 is possible", neutral: .integer(1)),
        UnsupportedField("echo", "put the prompt before the answer yourself", neutral: .bool(false)),
        UnsupportedField("suffix", "remove it", neutral: .string("")),
        UnsupportedField("audio", "remove it, only text is generated"),
        UnsupportedField("modalities", "only [\"text\"] is possible", neutral: .array([.string("text")])),
        UnsupportedField("prediction", "remove it"),
        UnsupportedField("reasoning_effort", "remove it"),
        UnsupportedField("verbosity", "remove it"),
        UnsupportedField("web_search_options", "remove it"),
        UnsupportedField(
            "service_tier", "only \"auto\" and \"default\" are possible", neutral: .string("auto"),
            .string("default")),
        UnsupportedField("store", "nothing is stored; remove it", neutral: .bool(false)),
        UnsupportedField("metadata", "remove it", neutral: .object([:])),
        // vLLM's and its benchmarks'.
        UnsupportedField(
            "repetition_penalty", "use frequency_penalty or presence_penalty", neutral: .integer(1),
            .number(1)),
        UnsupportedField("length_penalty", "only 1 is possible", neutral: .integer(1), .number(1)),
        UnsupportedField("min_p", "use top_p", neutral: .integer(0), .number(0)),
        UnsupportedField("use_beam_search", "remove it", neutral: .bool(false)),
        UnsupportedField("skip_special_tokens", "only true is possible", neutral: .bool(true)),
        UnsupportedField("spaces_between_special_tokens", "only true is possible", neutral: .bool(true)),
        UnsupportedField("include_stop_str_in_output", "only false is possible", neutral: .bool(false)),
        UnsupportedField("stop_token_ids", "use stop", neutral: .array([])),
        UnsupportedField("bad_words", "remove it", neutral: .array([])),
        UnsupportedField("prompt_logprobs", "remove it"),
        UnsupportedField("allowed_token_ids", "remove it"),
        UnsupportedField("truncate_prompt_tokens", "shorten the prompt yourself"),
        UnsupportedField("add_special_tokens", "remove it: they are added where the model wants them"),
        UnsupportedField("add_generation_prompt", "only true is possible", neutral: .bool(true)),
        UnsupportedField("continue_final_message", "only false is possible", neutral: .bool(false)),
        UnsupportedField("chat_template", "the model's own template is used"),
        UnsupportedField("chat_template_kwargs", "the model's own template is used", neutral: .object([:])),
        UnsupportedField("priority", "requests are served in their order of arrival", neutral: .integer(0)),
    ]
}
