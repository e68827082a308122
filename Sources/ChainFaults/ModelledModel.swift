import ChainModel

/// A stand-in for a transformer whose every output depends on every input before it, on the blocks' order and on the
/// state that each block keeps for a job. Wrong, missing or repeated inputs change all later tokens; which servers
/// compute which blocks changes nothing.
enum ModelledModel {
    /// What enters the first block for a token at a position.
    static func embed(_ token: UInt64, position: Int) -> UInt64 { mix(token &+ UInt64(position) << 40) }

    /// One block: updates the state that it keeps for the job.
    static func apply(block: Int, to hidden: UInt64, state: inout UInt64) -> UInt64 {
        state = mix(state ^ hidden)
        return mix(hidden &+ state &+ UInt64(block) &* 0x9E37_79B9_7F4A_7C15)
    }

    /// The token that follows.
    static func token(after hidden: UInt64) -> UInt64 { mix(hidden) >> 32 }

    static func prompt(of request: Int, length: Int) -> [UInt64] {
        (0..<length).map { mix(UInt64(request) << 20 | UInt64($0)) >> 40 }
    }

    /// The whole answer, computed in one place: what a client must get.
    static func answer(to prompt: [UInt64], tokens: Int, blocks: Int) -> [UInt64] {
        var states = [UInt64](repeating: 0, count: blocks)
        var inputs = prompt
        var answer: [UInt64] = []
        var position = 0
        while answer.count < tokens {
            var hidden: UInt64 = 0
            while position < inputs.count {
                hidden = embed(inputs[position], position: position)
                for block in 0..<blocks {
                    hidden = apply(block: block + 1, to: hidden, state: &states[block])
                }
                position += 1
            }
            answer.append(token(after: hidden))
            inputs.append(answer[answer.count - 1])
        }
        return answer
    }
}
