/// How the times of a server follow from a request's tokens, seconds.
///
/// A request of `l_in` input and `l_out` output tokens needs `promptDelay + (l_out − 1)·tokenDelay` on the way
/// to the server and back, and `blockConstant + l_in·blockPromptToken + (l_out − 1)·blockOutputToken` for each
/// block. With mean token counts these are the `τc` and `τp` of the paper.
package struct ServerTokenTimes: Hashable, Sendable {
    /// Delay of the first token: round trip and overhead.
    package var promptDelay: Double
    /// Delay of every further token.
    package var tokenDelay: Double
    /// Time of a block that does not depend on tokens.
    package var blockConstant: Double
    /// Time of a block for a token of the input: `F/f`.
    package var blockPromptToken: Double
    /// Time of a block for a further token of the output: `s_m/b`.
    package var blockOutputToken: Double

    package init(
        promptDelay: Double, tokenDelay: Double, blockConstant: Double, blockPromptToken: Double,
        blockOutputToken: Double
    ) {
        self.promptDelay = promptDelay
        self.tokenDelay = tokenDelay
        self.blockConstant = blockConstant
        self.blockPromptToken = blockPromptToken
        self.blockOutputToken = blockOutputToken
    }

    /// `τc`, seconds. A request has at least one output token.
    package func communication(input: Double, output: Double) -> Double {
        promptDelay + max(0, output - 1) * tokenDelay
    }

    /// `τp`, seconds for one block.
    package func block(input: Double, output: Double) -> Double {
        blockConstant + input * blockPromptToken + max(0, output - 1) * blockOutputToken
    }

    /// All times longer by a factor.
    package func stretched(by factor: Double) -> ServerTokenTimes {
        ServerTokenTimes(
            promptDelay: promptDelay * factor, tokenDelay: tokenDelay * factor,
            blockConstant: blockConstant * factor, blockPromptToken: blockPromptToken * factor,
            blockOutputToken: blockOutputToken * factor)
    }
}
