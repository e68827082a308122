import ChainDispatch
import ChainModel
import Foundation

/// What the journal keeps of every request, as the JSON that Foundation makes of it, for it is read with Foundation: but
/// written straight into bytes. `JSONEncoder` takes ten times as long, and `Codable` alone half of that.
enum JournalText {
    /// The fields of its object.
    static func write(_ request: GenerationRequest, into writer: inout JSONWriter) {
        writer.field("requestID", request.requestID)
        writer.field("model", request.model)
        writer.objectField("input") { write(request.input, into: &$0) }
        if let count = request.maximumTokens { writer.field("maximumTokens", count) }
        writer.objectField("sampling") { write(request.sampling, into: &$0) }
        writer.arrayField("stop") { writer in for text in request.stop { writer.value(text) } }
        writer.field("ignoreEndOfSequence", request.ignoreEndOfSequence)
        writer.field("client", request.client)
        if let timeout = request.timeout { writer.field("timeout", Int(timeout.nanoseconds)) }
        if let ticket = request.ticket { writer.field("ticket", ticket) }
        if let presentation = request.presentation {
            writer.objectField("presentation") { write(presentation, into: &$0) }
        }
    }

    private static func write(_ input: GenerationInput, into writer: inout JSONWriter) {
        switch input {
        case .text(let text): writer.objectField("text") { $0.field("_0", text) }
        case .tokens(let tokens):
            writer.objectField("tokens") { writer in
                writer.arrayField("_0") { writer in for token in tokens { writer.value(Int(token)) } }
            }
        case .chat(let messages):
            writer.objectField("chat") { writer in
                writer.arrayField("_0") { writer in
                    for message in messages {
                        writer.object { writer in
                            writer.field("role", message.role.rawValue)
                            writer.field("content", message.content)
                        }
                    }
                }
            }
        }
    }

    private static func write(_ sampling: SamplingParameters, into writer: inout JSONWriter) {
        writer.field("temperature", sampling.temperature)
        writer.field("topP", sampling.topP)
        if let topK = sampling.topK { writer.field("topK", topK) }
        if let seed = sampling.seed { writer.field("seed", seed) }
        writer.field("frequencyPenalty", sampling.frequencyPenalty)
        writer.field("presencePenalty", sampling.presencePenalty)
        if let logprobs = sampling.logprobs { writer.field("logprobs", logprobs) }
    }

    private static func write(_ presentation: AnswerPresentation, into writer: inout JSONWriter) {
        writer.field("shape", presentation.shape.rawValue)
        writer.objectField("options") { writer in
            writer.field("isStreamed", presentation.options.isStreamed)
            writer.field("includesUsage", presentation.options.includesUsage)
            writer.field("includesContinuousUsage", presentation.options.includesContinuousUsage)
        }
        writer.field("created", presentation.created)
    }

    static func write(_ result: GenerationResult, into writer: inout JSONWriter) {
        writer.field("reason", result.reason.rawValue)
        writer.field("promptTokens", result.promptTokens)
        writer.field("completionTokens", result.completionTokens)
        if let count = result.clampedFrom { writer.field("clampedFrom", count) }
        writer.field("chain", result.chain)
        writer.field("attempts", result.attempts)
        writer.field("trailingText", result.trailingText)
    }

    // MARK: Steps

    /// There are as many such steps as requests and signs of life.
    static func isFrequent(_ step: JournalStep) -> Bool {
        step.event.isFrequent && step.actions.allSatisfy(\.isFrequent)
    }

    /// A frequent step, by hand.
    static func write(_ step: JournalStep, into writer: inout JSONWriter) {
        writer.field("at", Int(step.at.nanoseconds))
        writer.name("event")
        write(step.event, into: &writer)
        writer.name("actions")
        write(step.actions, into: &writer)
    }

    /// Any other, of servers and plans. The same step is the same bytes.
    /// - Throws: `EncodingError`; never for steps of a control plane.
    static func of(_ step: JournalStep) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = .sortedKeys
        return Array(try encoder.encode(step))
    }

    private static func write(_ event: ControlPlane.Event, into writer: inout JSONWriter) {
        switch event {
        case .tick: writer.raw("{\"tick\":{}}")
        case .jobArrived(let arrival):
            writer.object { writer in
                writer.objectField("jobArrived") { writer in
                    writer.objectField("_0") { writer in
                        writer.field("job", arrival.job.rawValue)
                        writer.field("client", arrival.client.rawValue)
                        writer.field("holder", arrival.holder.rawValue)
                        if let timeout = arrival.timeout {
                            writer.field("timeout", Int(timeout.nanoseconds))
                        }
                    }
                }
            }
        case .jobCompleted(let job, let attempt):
            writer.object { writer in
                writer.objectField("jobCompleted") { writer in
                    writer.field("_0", job.rawValue)
                    writer.field("attempt", attempt)
                }
            }
        case .jobCancelled(let job):
            writer.object { writer in
                writer.objectField("jobCancelled") { $0.field("_0", job.rawValue) }
            }
        case .serverHeard(let server, let incarnation):
            writer.object { writer in
                writer.objectField("serverHeard") { write(server, incarnation, into: &$0) }
            }
        default: preconditionFailure("\(event) is not frequent.")
        }
    }

    private static func write(_ actions: [ControlPlane.Action], into writer: inout JSONWriter) {
        writer.array(actions) { writer, action in
            switch action {
            case .start(let job, let attempt, let chain):
                writer.object { writer in
                    writer.objectField("start") { writer in
                        writer.field("_0", job.rawValue)
                        writer.field("attempt", attempt)
                        writer.field("_2", chain.rawValue)
                    }
                }
            case .queue(let job, let ahead):
                writer.object { writer in
                    writer.objectField("queue") { writer in
                        writer.field("_0", job.rawValue)
                        writer.field("ahead", ahead)
                    }
                }
            case .ping(let server, let incarnation):
                writer.object { writer in
                    writer.objectField("ping") { write(server, incarnation, into: &$0) }
                }
            default: preconditionFailure("\(action) is not frequent.")
            }
        }
    }

    private static func write(
        _ server: ServerIndex, _ incarnation: Incarnation, into writer: inout JSONWriter
    ) {
        writer.field("_0", server.rawValue)
        writer.field("_1", UInt64(incarnation.rawValue))
    }
}

extension ControlPlane.Event {
    fileprivate var isFrequent: Bool {
        switch self {
        case .tick, .jobArrived, .jobCompleted, .jobCancelled, .serverHeard: true
        default: false
        }
    }
}

extension ControlPlane.Action {
    fileprivate var isFrequent: Bool {
        switch self {
        case .start, .queue, .ping: true
        default: false
        }
    }
}
