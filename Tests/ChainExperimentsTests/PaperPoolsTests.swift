import ChainModel
import Foundation
import Testing

@testable import ChainExperiments

@Suite struct PaperPoolsTests {
    private func pool(
        _ count: Int, _ share: Double, _ profile: PaperProfile = .code, _ draw: ServerDraw = .coded,
        seed: UInt64 = 1
    ) -> PaperPool {
        var generator = PaperStream(seed: seed, .servers)
        return PaperPool(
            .bloom176B(profile), count: count, highShare: share, arrivalRate: 0.2, profile: profile,
            draw: draw,
            on: .synthetic(), using: &generator)
    }

    /// The block times that the paper prints (109 and 175 ms) and that its program computes.
    @Test func blockTimes() {
        let printed = pool(2, 0.5, .paper).cluster.servers.map(\.blockTimeSeconds)
        #expect(abs(printed[0] - 0.1089) < 5e-5)
        #expect(abs(printed[1] - 0.1752) < 5e-5)
        let coded = pool(2, 0.5, .code).cluster.servers.map(\.blockTimeSeconds)
        // Values of ../shared/data/golden/baselines.json, by the authors' program.
        #expect(abs(coded[0] - 0.08969079939668175) < 1e-15)
        #expect(abs(coded[1] - 0.1783815987933635) < 1e-15)
    }

    /// `τc = 50 ms + 20·RTT` for BLOOM; 18 ms more a token for LLaMA.
    @Test func communicationTimes() {
        let bloom = pool(3, 0.4)
        for (number, server) in bloom.cluster.servers.enumerated() {
            #expect(abs(server.communicationTimeSeconds - 0.05 - 20 * bloom.roundTrips[number + 1]) < 1e-12)
        }
        let trips = [0, 0.01, 0.01, 0]
        let llama = PaperPool(
            .llama2x7B(.paper), isHigh: [true], roundTrips: trips, arrivalRate: 1, profile: .paper)
        let expected = 0.05 + 27.88 * 0.01 + 26.88 * 0.018
        #expect(abs(llama.cluster.servers[0].communicationTimeSeconds - expected) < 1e-12)
    }

    /// `⌊η·J⌋`: 2 of 9 at a third, and 3 of 30 though 0.1·30 is not exactly 3 in binary.
    @Test(arguments: [(9, 0.33, 2), (30, 0.1, 3), (10, 0.3, 3), (40, 0.4, 16), (20, 0, 0), (10, 0.7, 7)])
    func largeServers(count: Int, share: Double, expected: Int) {
        for draw in ServerDraw.allCases {
            #expect(pool(count, share, .code, draw).isHigh.filter { $0 }.count == expected)
        }
        #expect(pool(count, share).isHigh.prefix(expected).allSatisfy { $0 })
    }

    @Test func codedServersAreSortedByRoundTrip() {
        let drawn = pool(30, 0.2)
        let trips = Array(drawn.roundTrips[1...30])
        #expect(trips == trips.sorted())
        #expect(Set(trips).count == 30)
        let map = RoundTripMap.synthetic()
        let least = map.places.map(\.medianLatency).min()
        #expect(map.places[map.leastLatency].medianLatency == least)
        // As published neither the order nor the large servers follow the round trips.
        let published = (1...20).map { pool(10, 0.3, .paper, .published, seed: $0) }
        #expect(published.contains { $0.isHigh != $0.isHigh.sorted { $0 && !$1 } })
        #expect(Set(published.map { $0.roundTrips[1] }).count == 20)
    }

    @Test func roundTripsAreSymmetricWithZeroDiagonal() {
        let drawn = pool(12, 0.2, .paper, .published)
        for row in 0...12 {
            #expect(drawn.roundTrips[row * 13 + row] == 0)
            for column in 0..<row {
                #expect(drawn.roundTrips[row * 13 + column] == drawn.roundTrips[column * 13 + row])
                #expect(drawn.roundTrips[row * 13 + column] > 0)
            }
        }
    }

    /// One degree of latitude is 111.19 km: 1.1119 ms; medians count 0.3 each.
    @Test func roundTripFormula() throws {
        let csv = """
            measure_id,anchor_id,dst_ip,init_time,latency_m1,latency_m2,latency_m3,latency_m4,latitude,longitude
            a,1,x,t,10,20,30,40,50,8
            b,2,x,t,5,5,5,5,51,8
            c,1,x,t,100,1,2,3,0,0
            """
        let map = try RoundTripMap(ripeAtlas: csv)
        #expect(map.places.count == 2)
        // Median of 1, 2, 3, 10, 20, 30, 40, 100, at the place of the first row.
        #expect(map.places[0].medianLatency == 15)
        #expect(map.places[0].latitude == 50)
        #expect(abs(map.roundTrip(0, 1) - (4.5 + 1.5 + 1.11195)) < 1e-4)
        #expect(throws: RoundTripMap.UnreadableMeasurements.self) {
            try RoundTripMap(ripeAtlas: "header\na,b,c")
        }
        #expect(throws: RoundTripMap.UnreadableMeasurements.self) { try RoundTripMap(ripeAtlas: "header") }
    }

    /// The synthetic places against facts of the measured ones: mean 25.57 and deviation 7.49 ms of all round
    /// trips; quartiles 16.2, 18.9 and 24.3 ms from the place of least latency.
    @Test func syntheticPlacesResembleTheMeasuredOnes() {
        let map = RoundTripMap.synthetic()
        var trips: [Double] = []
        for first in map.places.indices {
            for second in 0..<first { trips.append(map.roundTrip(first, second)) }
        }
        let mean = trips.reduce(0, +) / Double(trips.count)
        let variance = trips.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(trips.count)
        #expect(abs(mean - 25.57) < 1.5)
        #expect(abs(variance.squareRoot() - 7.49) < 1)
        let client = map.leastLatency
        let near = map.places.indices.filter { $0 != client }.map { map.roundTrip(client, $0) }.sorted()
        #expect(abs(near[80] - 16.2) < 2.5)
        #expect(abs(near[160] - 18.9) < 2.5)
        #expect(abs(near[240] - 24.3) < 2.5)
        #expect(RoundTripMap.synthetic(seed: 2) != map)
        #expect(RoundTripMap.synthetic() == map)
    }

    @Test(.enabled(if: RipeAtlas.text != nil, "the measured round trips are not at ../shared/data: skipped"))
    func measuredPlaces() throws {
        let map = try RoundTripMap(ripeAtlas: try #require(RipeAtlas.text))
        #expect(map.places.count == 320)
        let client = map.leastLatency
        #expect(abs(map.places[client].medianLatency - 17.199) < 1e-3)
        let near = map.places.indices.filter { $0 != client }.map { map.roundTrip(client, $0) }.sorted()
        #expect(abs(near[0] - 10.3) < 0.05)
        #expect(abs(near[159] - 18.9) < 0.05)
        #expect(abs(near[318] - 42.2) < 0.05)
    }
}

/// Measurements that live beside the repository, never in it.
enum RipeAtlas {
    static let text: String? = {
        let file = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().appending(
                path: "../shared/data/LearningDataset_RTT_RipeAtlasEU.csv")
        return try? String(contentsOf: file.standardizedFileURL, encoding: .utf8)
    }()
}
