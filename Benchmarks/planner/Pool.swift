import ChainModel

/// SplitMix64: the pools of the benchmark, drawn as `reference.cpp` draws them.
struct Generator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func uniform() -> Double { Double(next() >> 11) * 0x1p-53 }
}

/// BLOOM-176B on servers of which about a fifth are large, with the times of the paper's section 4. Round trips are drawn like
/// those between European anchors: a part for both last miles and 0.01 ms for each kilometre.
func pool(of count: Int) -> Cluster {
    var generator = Generator(state: UInt64(count))
    var servers: [Server] = []
    for number in 0..<count {
        let isLarge = generator.uniform() < 0.2
        let lastMile = 2 + 28 * generator.uniform() * generator.uniform()
        let kilometres = 3500 * generator.uniform().squareRoot()
        let roundTrip = 0.3 * (lastMile + 6) + 0.01 * kilometres
        servers.append(
            Server(
                name: "s\(number)", memory: ByteCount(isLarge ? 40_000_000_000 : 20_000_000_000),
                communicationTimeSeconds: 0.05 + 20 * roundTrip / 1000,
                blockTimeSeconds: isLarge ? 0.109 : 0.175))
    }
    let model = ModelShape(
        name: "bloom-176b", blockCount: 70, blockSize: ByteCount(1_320_000_000),
        cacheSize: ByteCount(110_000_000))
    return Cluster(model: model, demand: Demand(arrivalRate: Double(count) / 20), servers: servers)
}
