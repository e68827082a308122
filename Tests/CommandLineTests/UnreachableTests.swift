import Foundation
import Testing

/// Nothing answers where somebody looks. Mostly waits, so that it runs beside the tests that compute.
@Suite("Unreachable")
struct UnreachableTests {
    @Test func nothingAnswers() async throws {
        try await Place.with { place in
            let status = try await place.run("status", "--url", "http://127.0.0.1:1", "--json")
            #expect(status.status == 1 && status.output.isEmpty)
            #expect(status.errors.contains("http://127.0.0.1:1") && status.errors.contains("--url"))
            #expect(status.errors.contains("connection refused") && !status.errors.contains("errno"))

            _ = try place.write("pool.yaml", EmulatedPool.text(place, address: "127.0.0.1:1"))
            for command in ["serve", "profile"] {
                let outcome = try await place.run(command, "pool.yaml", within: 60)
                #expect(outcome.status == 2)
                for word in ["\(place.token)-1", "127.0.0.1:1", "chainserve node"] {
                    #expect(outcome.errors.contains(word), "\(command): \(outcome.errors)")
                }
                #expect(!outcome.errors.contains("errno"), "\(outcome.errors)")
                // Nobody is left waiting without a word.
                if outcome.seconds > 5 {
                    #expect(outcome.errors.contains("not ready yet"), "\(outcome.errors)")
                }
            }
        }
    }
}
