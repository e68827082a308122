import ChainModel
import Foundation

/// SplitMix64: pools that can be drawn again.
struct Generator: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}

/// The pools that the tables are over.
enum Pools {
    /// The paper's setting: BLOOM-176B on `count` servers of which `⌊share·count⌋` are large, at random
    /// anchors, one more the orchestrator's. Times of its section 4: 109 and 175 ms for a block of a job, 50
    /// ms and 20 round trips a job.
    static func paper(
        _ network: RoundTrips, count: Int, share: Double, rate: Double, using generator: inout Generator
    ) -> Cluster {
        var anchors = Array(network.anchors.indices)
        anchors.shuffle(using: &generator)
        var large = [Bool](repeating: false, count: count)
        for position in 0..<Int(share * Double(count) + 1e-9) { large[position] = true }
        large.shuffle(using: &generator)
        let servers = (0..<count).map { number in
            Server(
                name: "s\(number)",
                memory: ByteCount(large[number] ? 40_000_000_000 : 20_000_000_000),
                communicationTimeSeconds: 0.05
                    + 20 * network.roundTrip(anchors[0], anchors[number + 1]) / 1000,
                blockTimeSeconds: large[number] ? 0.109 : 0.175)
        }
        let model = ModelShape(
            name: "bloom-176b", blockCount: 70, blockSize: ByteCount(1_320_000_000),
            cacheSize: ByteCount(110_000_000))
        return Cluster(model: model, demand: Demand(arrivalRate: rate), servers: servers)
    }

    /// Strongly unequal servers: memory over a factor of 8, block times and delays over a factor of 20.
    static func unequal(using generator: inout Generator) -> Cluster {
        let count = Int.random(in: 6...20, using: &generator)
        let blockCount = Int.random(in: 6...24, using: &generator)
        let servers = (0..<count).map { number in
            let blocks = exp(Double.random(in: 0...log(8), using: &generator)) * Double(blockCount) / 6
            return Server(
                name: "s\(number)", memory: ByteCount(Int(blocks * 1.3e9)),
                communicationTimeSeconds: 0.1 * exp(Double.random(in: 0...log(20), using: &generator)),
                blockTimeSeconds: 0.02 * exp(Double.random(in: 0...log(20), using: &generator)))
        }
        let model = ModelShape(
            name: "unequal", blockCount: blockCount, blockSize: ByteCount(1_000_000_000),
            cacheSize: ByteCount(100_000_000))
        return Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
    }

    /// Pools small enough for every placement to be tried.
    static func small(using generator: inout Generator) -> Cluster {
        let count = Int.random(in: 3...4, using: &generator)
        let blockCount = Int.random(in: 3...(count == 3 ? 5 : 4), using: &generator)
        let servers = (0..<count).map { number in
            Server(
                name: "s\(number)",
                memory: ByteCount(Int.random(in: 13...(13 * blockCount), using: &generator)),
                communicationTimeSeconds: Double.random(in: 0.1...1, using: &generator),
                blockTimeSeconds: Double.random(in: 0.05...0.5, using: &generator))
        }
        let model = ModelShape(
            name: "small", blockCount: blockCount, blockSize: ByteCount(10), cacheSize: ByteCount(2))
        return Cluster(model: model, demand: Demand(arrivalRate: 1), servers: servers)
    }
}

/// Summary of relative differences.
struct Summary {
    private var values: [Double] = []

    mutating func add(_ value: Double) { values.append(value) }

    var count: Int { values.count }
    /// How many are above rounding.
    var positive: Int { values.filter { $0 > 1e-6 }.count }
    var mean: Double { values.isEmpty ? 0 : values.reduce(0, +) / Double(values.count) }
    var largest: Double { values.max() ?? 0 }
    var median: Double { values.isEmpty ? 0 : values.sorted()[values.count / 2] }

    /// Cells of a table: how many, how many above zero, mean, median and largest in per cent.
    var cells: String {
        "\(count) | \(positive) | \(Self.percent(mean)) | \(Self.percent(median)) | \(Self.percent(largest))"
    }

    static func percent(_ value: Double) -> String { String(format: "%.3f %%", value * 100) }
    static let header = "pools | differ | mean | median | largest"
}
