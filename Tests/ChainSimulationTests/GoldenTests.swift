import Foundation
import Testing

@testable import ChainSimulation

private let goldenFile = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().appending(path: "../shared/data/golden/exact.json").standardizedFileURL

/// Exact means of an independent implementation, checked by a sparse solver and by others' simulations; they live
/// beside the repository, never in it.
@Suite(
    .enabled(
        if: FileManager.default.fileExists(atPath: goldenFile.path),
        "golden values are not at ../shared/data/golden: skipped"))
struct GoldenTests {
    // swift-format-ignore: AlwaysUseLowerCamelCase
    struct Values: Decodable {
        struct System: Decodable {
            var mu: [Double]
            var c: [Int]
            var arrival_rate: Double
            var mean_response_time: Double
        }
        var systems: [System]
    }

    @Test func means() throws {
        let systems = try JSONDecoder().decode(Values.self, from: Data(contentsOf: goldenFile)).systems
        #expect(systems.count >= 13)
        for (number, system) in systems.enumerated() where system.c.reduce(0, +) <= 150 {
            let estimate = SlotQueue(rates: system.mu, capacities: system.c)
                .meanResponse(jobs: 40_000, arrivalRate: system.arrival_rate, seed: 8)
            #expect(estimate.covers(system.mean_response_time), "system \(number): \(estimate)")
            #expect((estimate.relativeHalfWidth ?? 1) < 0.15, "system \(number): \(estimate)")
        }
    }
}
