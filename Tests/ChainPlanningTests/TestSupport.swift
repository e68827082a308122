import ChainModel
import Foundation

/// xoshiro256**: a small generator with a seed, so that a failing case can be run again.
struct Xoshiro: RandomNumberGenerator {
    private var state: (UInt64, UInt64, UInt64, UInt64)

    init(seed: UInt64) {
        // SplitMix64 fills the state, as its authors advise.
        var value = seed
        func next() -> UInt64 {
            value &+= 0x9E37_79B9_7F4A_7C15
            var mixed = value
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
        state = (next(), next(), next(), next())
    }

    mutating func next() -> UInt64 {
        func rotated(_ value: UInt64, _ count: UInt64) -> UInt64 {
            (value << count) | (value >> (64 - count))
        }
        let result = rotated(state.1 &* 5, 7) &* 9
        let shifted = state.1 << 17
        state.2 ^= state.0
        state.3 ^= state.1
        state.1 ^= state.2
        state.0 ^= state.3
        state.2 ^= shifted
        state.3 = rotated(state.3, 45)
        return result
    }
}

/// Runs `body` on many seeded cases; the seed of a case is handed to it for messages. `CHAINSERVE_TEST_SEED` sets the
/// first.
func forEachSeed(_ count: Int, _ body: (_ seed: UInt64, inout Xoshiro) throws -> Void) rethrows {
    let first =
        ProcessInfo.processInfo.environment["CHAINSERVE_TEST_SEED"].flatMap { UInt64($0) } ?? 20_260_414
    for offset in 0..<UInt64(count) {
        var generator = Xoshiro(seed: first + offset)
        try body(first + offset, &generator)
    }
}

extension Cluster {
    /// A small unequal pool that can hold its model. Times are continuous, so no two chains cost the same.
    static func random(
        servers: ClosedRange<Int>, blocks: ClosedRange<Int>, using generator: inout Xoshiro
    ) -> Cluster {
        let serverCount = Int.random(in: servers, using: &generator)
        let blockCount = Int.random(in: blocks, using: &generator)
        let blockSize = Int.random(in: 5...20, using: &generator)
        let cacheSize = Int.random(in: 1...8, using: &generator)
        let each = blockSize + cacheSize
        let spread = Double.random(in: 1...3, using: &generator)
        let share = Double(blockCount) / Double(serverCount)
        var pool: [Server] = []
        for number in 0..<serverCount {
            let blocks = Double.random(in: 0.3...spread, using: &generator) * max(1, share)
            let memory = Int(blocks * Double(each)) + Int.random(in: 0...(2 * each), using: &generator)
            pool.append(
                Server(
                    name: "s\(number)", memory: ByteCount(max(1, memory)),
                    communicationTimeSeconds: Double.random(in: 0.05...1, using: &generator),
                    blockTimeSeconds: Double.random(in: 0.01...0.5, using: &generator)))
        }
        // The last server makes up for what is missing.
        let placeable = pool.dropLast().reduce(0) { $0 + min($1.memory.rawValue / each, blockCount) }
        let missing = max(1, blockCount - placeable)
        pool[serverCount - 1].memory = max(pool[serverCount - 1].memory, ByteCount(missing * each))
        let model = ModelShape(
            name: "m", blockCount: blockCount, blockSize: ByteCount(blockSize),
            cacheSize: ByteCount(cacheSize))
        let rate = Double.random(in: 0.02...1, using: &generator)
        return Cluster(model: model, demand: Demand(arrivalRate: rate), servers: pool)
    }

    /// The worked example of the paper (section 3.1.4), with `ε = 0.01`; sizes in units of 0.1 GB.
    static var paperExample: Cluster {
        let speeds = [(20, 1.0), (30, 2.0), (20, 1.0), (20, 1.0), (20, 1.0)]
        let servers = speeds.enumerated().map { number, entry in
            Server(
                name: "s\(number + 1)", memory: ByteCount(entry.0), communicationTimeSeconds: entry.1,
                blockTimeSeconds: 0.01 * Double(number + 1))
        }
        return Cluster(
            model: ModelShape(
                name: "example", blockCount: 3, blockSize: ByteCount(10), cacheSize: ByteCount(1)),
            demand: Demand(arrivalRate: 0.45), servers: servers)
    }
}

/// Relative difference; infinite when there is nothing to compare.
func difference(_ left: Double?, _ right: Double) -> Double {
    guard let left else { return .infinity }
    let scale = max(left.magnitude, right.magnitude)
    return scale == 0 ? 0 : (left - right).magnitude / scale
}
