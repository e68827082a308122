import Testing

@testable import ChainSimulation

@Suite struct TokenTimesTests {
    @Test func firstTokenIsThePrompts() {
        let times = ServerTokenTimes(
            promptDelay: 1, tokenDelay: 0.5, blockConstant: 0.25, blockPromptToken: 0.125,
            blockOutputToken: 2)
        #expect(times.communication(input: 8, output: 3) == 2)
        #expect(times.block(input: 8, output: 3) == 5.25)
        #expect(times.communication(input: 8, output: 0) == 1)
        #expect(times.block(input: 8, output: 1) == 1.25)
    }
}
