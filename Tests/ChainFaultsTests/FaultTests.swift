import ChainDispatch
import Foundation
import Testing

@testable import ChainFaults

/// Seeds of the fault simulation. `chainserve-soak --seed N --transcript` shows what happens in one.
@Suite struct FaultTests {
    @Test(arguments: 0..<10)
    func everyPromiseIsKept(decade: UInt64) {
        var summary = SoakSummary()
        for seed in decade * 10 + 1...decade * 10 + 10 {
            var world = FaultWorld(FaultScenario(seed: seed))
            let report = world.run()
            #expect(report.violations.isEmpty, "seed \(seed): \(report.violations)")
            #expect(report.drainSeconds <= FaultWorld.drainLimit.seconds)
            summary.add(report)
        }
        #expect(summary.total.finished > 0 && summary.total.furtherAttempts > 0)
    }

    /// Seeds that do not contain what they are meant to try prove nothing.
    @Test func seedsContainEveryTroubleAndEveryEnd() {
        var summary = SoakSummary()
        for seed in UInt64(101)...130 {
            var world = FaultWorld(FaultScenario(seed: seed))
            summary.add(world.run())
        }
        print(summary.text)
        for (kind, count) in zip(FaultKind.allCases, summary.total.troubles) where kind != .cancel {
            #expect(count >= 3, "\(kind)")
        }
        #expect(summary.total.cancelled >= 3)
        #expect(summary.total.restarts >= 10)
        #expect(summary.total.interrupted >= 1)
        #expect(summary.total.plans >= 10)
        #expect(summary.total.reconsiderations >= 10)
        #expect(summary.total.failed >= 5)
    }

    @Test(arguments: UInt64(1)...8)
    func nothingFailsWithoutTrouble(seed: UInt64) {
        var world = FaultWorld(FaultScenario(seed: seed, faults: []))
        let report = world.run()
        #expect(report.violations.isEmpty, "\(report.violations)")
        #expect(report.furtherAttempts == 0)
        #expect(report.failures[ControlPlane.Failure.allCases.firstIndex(of: .attemptsExhausted)!] == 0)
        #expect(report.interrupted == 0)
    }

    /// Rolling restarts, and nothing else: every server is restarted, no request fails.
    @Test(arguments: UInt64(1)...12)
    func rolloutsFailNoRequest(seed: UInt64) {
        var world = FaultWorld(FaultScenario(seed: seed, faults: [.rollout]))
        let report = world.run()
        #expect(report.violations.isEmpty, "\(report.violations)")
        #expect(report.failures[ControlPlane.Failure.allCases.firstIndex(of: .attemptsExhausted)!] == 0)
    }

    @Test(arguments: UInt64(1)...3)
    func everySeedIsReproduced(seed: UInt64) {
        var first = FaultWorld(FaultScenario(seed: seed), keepsLines: true)
        var second = FaultWorld(FaultScenario(seed: seed))
        #expect(first.run() == second.run())
        #expect(!first.lines.isEmpty)
    }

    /// Another process, another hash seed: the same transcripts.
    @Test func anotherProcessReproducesTheTranscripts() throws {
        let tool = Bundle.main.bundleURL.deletingLastPathComponent().appending(path: "chainserve-soak")
        let candidates = [tool, URL(fileURLWithPath: ".build/debug/chainserve-soak")]
        let path = try #require(
            candidates.first { FileManager.default.isExecutableFile(atPath: $0.path) },
            "build chainserve-soak first")
        let process = Process()
        process.executableURL = path
        process.arguments = ["--seeds", "1..2", "--digests"]
        let pipe = Pipe()
        process.standardOutput = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationStatus == 0)
        for seed in UInt64(1)...2 {
            var world = FaultWorld(FaultScenario(seed: seed))
            let digest = String(world.run().digest, radix: 16)
            let line = output.split(separator: "\n").first { $0.hasPrefix("seed \(seed) digest ") }
            #expect(line?.hasSuffix(digest) == true, "\(output)")
        }
    }
}

@Suite struct OverloadTests {
    static let chains = [
        (capacity: 4, seconds: 1.0), (capacity: 4, seconds: 2.0), (capacity: 8, seconds: 4.0),
    ]

    private func run(_ load: OverloadSimulation.Load, queueLimit: Int = 64) -> OverloadSimulation.Outcome {
        var configuration = ControlConfiguration()
        configuration.queueLimit = queueLimit
        var simulation = OverloadSimulation(chains: Self.chains, configuration: configuration, load: load)
        return simulation.run()
    }

    /// Ten times what the pool can carry, whether clients come again or not: the bounds of the service.
    @Test(arguments: [0.0, 0.5, 1.0])
    func tenTimesTheLoadChangesLittle(patience: Double) {
        let rate = 8.0
        let calm = run(.init(factor: 1, patience: patience, span: 60, seed: 3))
        let flooded = run(.init(factor: 10, patience: patience, span: 60, seed: 3))
        #expect(flooded.meanResponse <= 2 * (64 / rate + 16 / rate))
        #expect(flooded.throughput >= 0.9 * max(calm.throughput, rate))
        #expect(flooded.longestQueue <= 64)
        #expect(flooded.mostJobs <= 64 + 16)
        // What is served in the longest wait that clients are told.
        #expect(flooded.mostTickets <= Int(120 * rate))
        #expect(flooded.longestRetry <= 120)
        #expect(flooded.outright > 0)
        #expect(flooded.accepted == flooded.completed)
    }

    /// A burst over a load below capacity: at least nine in ten of those who wait as told are accepted then.
    @Test(arguments: [4, 16, 64, 256], [0.3, 0.6, 0.9])
    func ticketsAreHonouredAfterABurst(queueLimit: Int, factor: Double) {
        var came = 0
        var honoured = 0
        for seed in UInt64(1)...2 {
            var load = OverloadSimulation.Load(factor: factor, patience: 1, span: 60, seed: seed)
            load.burst = 400
            let outcome = run(load, queueLimit: queueLimit)
            came += outcome.returned
            honoured += outcome.honoured
        }
        #expect(came >= 200)
        #expect(Double(honoured) >= 0.9 * Double(came), "\(honoured) of \(came)")
    }
}
