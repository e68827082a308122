import ChainDispatch
import ChainModel

/// One request of a client, from its first try to its end, and what its stream brought.
struct ModelledClient: Sendable {
    enum State: Hashable, Sendable {
        /// It has not come yet, or was refused and may come again.
        case away
        case attached(JobID)
        /// The service went away under it; it may come back.
        case cut(JobID)
        case ended(End)
    }

    enum End: Hashable, Sendable {
        case finished
        case failed(ControlPlane.Failure)
        case cancelled
        /// It was refused and does not come again.
        case turnedAway
        /// Its stream was cut and it did not come back.
        case left
    }

    enum Manner: Hashable, Sendable { case waitsAsTold, comesEarly, givesUp }

    let client: ClientID
    let prompt: [UInt64]
    let tokenLimit: Int
    let timeout: Duration?
    let manner: Manner
    /// Whether it comes back after its stream was cut.
    let returns: Bool
    /// What it must get.
    let answer: [UInt64]

    var state = State.away
    var received: [UInt64] = []
    var tries = 0
    var wasAccepted = false

    init(request: Int, blocks: Int, random: inout SeededGenerator) {
        client = ClientID(UInt64(random.integer(0...3)))
        prompt = ModelledModel.prompt(of: request, length: random.integer(1...4))
        tokenLimit = random.integer(1...12)
        timeout = random.happens(0.2) ? .seconds(Double(random.integer(1...30))) : nil
        switch random.integer(0...9) {
        case ..<7: manner = .waitsAsTold
        case 7: manner = .comesEarly
        default: manner = .givesUp
        }
        returns = random.happens(0.8)
        answer = ModelledModel.answer(to: prompt, tokens: tokenLimit, blocks: blocks)
    }
}
