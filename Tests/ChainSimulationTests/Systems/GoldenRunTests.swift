import ChainModel
import ChainPlanning
import Foundation
import Testing

@testable import ChainSimulation

/// Complete runs of the published programs: every path, wait and response time of 300 requests.
@Suite(.enabled(if: GoldenRuns.isPresent, "complete runs are not at ../shared/data/golden: skipped"))
struct GoldenRunTests {
    @Test func petals() throws {
        let golden = try GoldenRuns.load()
        #expect(golden.cases.count >= 2)
        for run in golden.cases {
            let pool = run.pool(golden.meta)
            let petals = golden.meta.petals
            let parameters = PetalsParameters(
                selection: .sum, blockSize: ByteCount(Int(petals.block_bytes)),
                cacheSize: ByteCount(petals.cache_bytes_per_block),
                reserve: ByteCount(petals.reserve_bytes),
                blockLimits: run.in.high.map { $0 == 1 ? golden.meta.L : petals.cap_low_type },
                joinOrder: run.in.petals_join_order.map { ServerIndex($0) })
            let system = PetalsSystem(pool, .init(placement: parameters))
            #expect(system.placement.ranges.map { $0?.first } == run.petals.a, "\(run.file)")
            #expect(system.placement.ranges.map { $0?.count } == run.petals.m, "\(run.file)")
            #expect(system.slots == run.petals.slots, "\(run.file)")
            #expect(run.petals.session_cap?.allSatisfy { $0 == system.sessions } == true, "\(run.file)")
            try #require(system.firstMissingBlock == nil)
            let outcomes = system.run(run.requests).outcomes
            compare(outcomes, run.petals, run.file)
            // Without the wait a response would be shorter: the runs do wait.
            #expect(outcomes.contains { $0.wait > 0 }, "\(run.file)")
        }
    }

    @Test func bprr() throws {
        let golden = try GoldenRuns.load()
        for run in golden.cases {
            let parameters = BPRRSystem.Parameters(
                designLoad: .coded(isHigh: run.in.high.map { $0 == 1 }), waitEstimate: .loadShare)
            let system = BPRRSystem(run.pool(golden.meta), parameters)
            #expect(system.designLoad == run.bprr.R, "\(run.file)")
            #expect(system.placement.ranges.map { $0?.first } == run.bprr.a, "\(run.file)")
            #expect(system.placement.ranges.map { $0?.count } == run.bprr.m, "\(run.file)")
            #expect(system.slots == run.bprr.slots, "\(run.file)")
            let outcomes = system.run(run.requests).outcomes
            compare(outcomes, run.bprr, run.file)
            for (number, outcome) in outcomes.enumerated() {
                let planned = (run.bprr.planned_wait?[number] ?? .nan) / 1000
                let surprise = (run.bprr.surprise_wait?[number] ?? .nan) / 1000
                #expect(close(outcome.plannedWait, planned), "\(run.file), request \(number)")
                #expect(close(outcome.surpriseWait, surprise), "\(run.file), request \(number)")
            }
        }
    }

    /// The authors' own system, for the `c` that their program chose: chains, capacities and mean.
    @Test func proposalAsCoded() throws {
        let golden = try GoldenRuns.load()
        for run in golden.cases {
            let expected = run.proposed_as_coded
            let pool = run.pool(golden.meta)
            let system = try #require(ProposalAsCoded(pool, capacity: expected.c))
            let placement = system.composition.placement
            #expect(placement.ranges.map { $0?.first ?? 0 } == expected.a, "\(run.file)")
            #expect(placement.ranges.map { $0?.count ?? 0 } == expected.m, "\(run.file)")
            let chains = system.composition.chains
            #expect(chains.map { $0.hops.map(\.server.rawValue) } == expected.chains, "\(run.file)")
            #expect(chains.map(\.capacity) == expected.capacity, "\(run.file)")
            #expect(zip(chains, expected.T).allSatisfy { close($0.serviceTimeSeconds, $1 / 1000) })
            let times = system.run(run.requests).times(run.requests)
            #expect(close(times.meanResponse, expected.mean / 1000), "\(run.file)")
            // The choice of `c` is known in outline only; on these it is the program's.
            #expect(ProposalAsCoded(pool)?.composition.capacityParameter == expected.c, "\(run.file)")
        }
    }

    private func compare(_ outcomes: [RoutedOutcome], _ expected: GoldenRuns.System, _ file: String) {
        #expect(outcomes.count == expected.paths.count)
        for (number, outcome) in outcomes.enumerated() {
            let place: Comment = "\(file), request \(number)"
            #expect(outcome.hops.map(\.server.rawValue) == expected.paths[number], place)
            #expect(close(outcome.response, expected.response[number] / 1000), place)
            #expect(close(outcome.meanService, expected.path_mean_service[number] / 1000), place)
        }
        let mean = outcomes.map(\.response).reduce(0, +) / Double(outcomes.count)
        #expect(close(mean, expected.mean / 1000), "\(file)")
    }

    private func close(_ value: Double, _ expected: Double) -> Bool {
        (value - expected).magnitude <= 1e-9 * max(expected.magnitude, 1e-3)
    }
}

/// The data's own names of fields; times in milliseconds, sizes in GB.
// swift-format-ignore: AlwaysUseLowerCamelCase
enum GoldenRuns {
    static let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appending(
            path: "../shared/data/golden/baselines.json"
        ).standardizedFileURL
    static let isPresent = FileManager.default.fileExists(atPath: file.path)

    static func load() throws -> Data { try JSONDecoder().decode(Data.self, from: .init(contentsOf: file)) }

    struct Data: Decodable {
        var meta: Meta
        var cases: [Run]
    }

    struct Meta: Decodable {
        struct Petals: Decodable {
            var block_bytes: Double
            var cache_bytes_per_block: Int
            var reserve_bytes: Int
            var cap_low_type: Int
            var throughput_high: [Double]
            var throughput_low: [Double]
        }
        var L: Int
        var s_m: Double
        var s_c: Double
        var lc: Double
        var initial_delay: Double
        var petals: Petals
    }

    struct System: Decodable {
        var a: [Int]
        var m: [Int]
        var slots: [Int]
        var session_cap: [Int]?
        var R: Int?
        var paths: [[Int]]
        var response: [Double]
        var path_mean_service: [Double]
        var planned_wait: [Double]?
        var surprise_wait: [Double]?
        var mean: Double
    }

    struct Proposal: Decodable {
        var c: Int
        var a: [Int]
        var m: [Int]
        var chains: [[Int]]
        var capacity: [Int]
        var T: [Double]
        var mean: Double
    }

    struct Run: Decodable {
        struct Input: Decodable {
            var M: [Double]
            var tau_p: [Double]
            var RTT: [Double]
            var RTT_raw: [[Double]]
            var high: [Int]
            var arrival_times: [Double]
            var job_sizes: [Double]
            var petals_join_order: [Int]
        }
        var file: String
        var lambda_per_ms: Double
        var `in`: Input
        var petals: System
        var bprr: System
        var proposed_as_coded: Proposal

        var requests: [RoutedRequest] {
            zip(`in`.arrival_times, `in`.job_sizes).map {
                RoutedRequest(arrival: $0 / 1000, size: .multiple($1))
            }
        }

        /// `τc = 50 ms + l_out·RTT`.
        func pool(_ meta: Meta) -> RoutedPool {
            func bytes(_ gigabytes: Double) -> ByteCount { ByteCount(Int((gigabytes * 1e9).rounded())) }
            let servers = `in`.M.indices.map { number in
                let rates = `in`.high[number] == 1 ? meta.petals.throughput_high : meta.petals.throughput_low
                return Server(
                    name: "s\(number)", memory: bytes(`in`.M[number]),
                    communicationTimeSeconds: (50 + meta.lc * `in`.RTT[number]) / 1000,
                    blockTimeSeconds: `in`.tau_p[number] / 1000,
                    advertisedRates: .init(forward: rates[0], network: rates[1]))
            }
            let model = ModelShape(
                name: "bloom", blockCount: meta.L, blockSize: bytes(meta.s_m), cacheSize: bytes(meta.s_c))
            let cluster = Cluster(
                model: model, demand: Demand(arrivalRate: lambda_per_ms * 1000), servers: servers)
            return RoutedPool(
                cluster, roundTrips: `in`.RTT_raw.flatMap { $0.map { $0 / 1000 } }, outputTokens: meta.lc,
                initialDelay: meta.initial_delay / 1000)
        }
    }
}
