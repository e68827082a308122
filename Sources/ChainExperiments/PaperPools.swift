import ChainModel
import ChainSimulation

/// How the servers of a run are drawn.
package enum ServerDraw: String, CaseIterable, Hashable, Sendable {
    /// A random place for the orchestrator, and random servers among the others are the large ones.
    case published = "as-published"
    /// The orchestrator sits where latency is least, the servers are sorted by their round trip to it, and the
    /// closest are the large ones.
    case coded = "as-coded"
}

/// A pool of the published experiments: `J` slices of A100s at places of a network.
///
/// `⌊η·J⌋` servers are large (40 GB), the others small (20 GB). Every server's delay for a whole request is
/// `τc = (RTT + o_in) + (l_out − 1)·(RTT + o_tok)`: a round trip for every token of the answer.
package struct PaperPool: Sendable {
    /// Servers in the order drawn (`published`), or by round trip (`coded`).
    package var cluster: Cluster
    package var model: PaperModel
    /// Whether each server is a large one.
    package var isHigh: [Bool]
    /// Round trips in seconds, `(J + 1) × (J + 1)` row by row; row and column 0 are the orchestrator's.
    package var roundTrips: [Double]
    /// By server, how its times follow from a request's tokens.
    package var tokenTimes: [ServerTokenTimes]

    /// Draws a pool.
    ///
    /// - Parameters:
    ///   - count: `J`, fewer than there are places.
    ///   - highShare: `η`; `⌊η·J⌋` servers are large.
    ///   - arrivalRate: `λ` in requests per second, for planning.
    ///   - cacheSize: Instead of the model's: figures 1 to 5 as coded take 118,600,000 bytes.
    package init(
        _ model: PaperModel, count: Int, highShare: Double, arrivalRate: Double, loadTarget: Double = 0.7,
        profile: PaperProfile, draw: ServerDraw, cacheSize: ByteCount? = nil, on map: RoundTripMap,
        using generator: inout some RandomNumberGenerator
    ) {
        precondition(count >= 1 && count < map.places.count)
        // Products such as 0.1·30 must not fall below their integer.
        let highCount = min(count, max(0, Int((highShare * Double(count) + 1e-9).rounded(.down))))
        let chosen = Self.choose(count, draw, on: map, using: &generator)
        var isHigh = (0..<count).map { $0 < highCount }
        if draw == .published {
            for number in generator.sample(count, below: count).enumerated() {
                isHigh[number.element] = number.offset < highCount
            }
        }
        self.init(
            model, isHigh: isHigh, places: chosen, arrivalRate: arrivalRate, loadTarget: loadTarget,
            profile: profile, cacheSize: cacheSize, on: map)
    }

    /// The orchestrator's place, then the servers'.
    private static func choose(
        _ count: Int, _ draw: ServerDraw, on map: RoundTripMap,
        using generator: inout some RandomNumberGenerator
    ) -> [Int] {
        switch draw {
        case .published:
            return generator.sample(count + 1, below: map.places.count)
        case .coded:
            let client = map.leastLatency
            let others = generator.sample(count, below: map.places.count - 1).map {
                $0 < client ? $0 : $0 + 1
            }
            let sorted = others.sorted {
                let (left, right) = (map.roundTrip(client, $0), map.roundTrip(client, $1))
                return left != right ? left < right : $0 < $1
            }
            return [client] + sorted
        }
    }

    /// A pool at given places.
    ///
    /// - Parameter places: Of the orchestrator, then of every server.
    package init(
        _ model: PaperModel, isHigh: [Bool], places: [Int], arrivalRate: Double, loadTarget: Double = 0.7,
        profile: PaperProfile, cacheSize: ByteCount? = nil, on map: RoundTripMap
    ) {
        precondition(places.count == isHigh.count + 1)
        var roundTrips: [Double] = []
        roundTrips.reserveCapacity(places.count * places.count)
        for from in places {
            for to in places { roundTrips.append(map.roundTrip(from, to) / 1000) }
        }
        self.init(
            model, isHigh: isHigh, roundTrips: roundTrips, arrivalRate: arrivalRate, loadTarget: loadTarget,
            profile: profile, cacheSize: cacheSize)
    }

    /// A pool with given round trips, seconds.
    package init(
        _ model: PaperModel, isHigh: [Bool], roundTrips: [Double], arrivalRate: Double,
        loadTarget: Double = 0.7, profile: PaperProfile, cacheSize: ByteCount? = nil
    ) {
        var model = model
        if let cacheSize { model.shape.cacheSize = cacheSize }
        self.model = model
        self.isHigh = isHigh
        self.roundTrips = roundTrips
        let devices = isHigh.map { $0 ? PaperDevice.high(profile) : PaperDevice.low(profile) }
        let times = devices.enumerated().map { number, device in
            device.times(model, roundTrip: roundTrips[number + 1])
        }
        tokenTimes = times
        let servers = devices.enumerated().map { number, device in
            Server(
                name: "s\(number + 1)", memory: device.memory,
                communicationTimeSeconds: times[number].communication(
                    input: model.inputTokens, output: model.outputTokens),
                blockTimeSeconds: times[number].block(input: model.inputTokens, output: model.outputTokens),
                advertisedRates: device.advertisedRates)
        }
        cluster = Cluster(
            model: model.shape, demand: Demand(arrivalRate: arrivalRate, loadTarget: loadTarget),
            servers: servers)
    }

    /// The same pool with all times of its servers longer by a factor.
    package func stretched(by factor: Double) -> PaperPool {
        var pool = self
        for server in isHigh.indices {
            pool.tokenTimes[server] = tokenTimes[server].stretched(by: factor)
            pool.cluster.servers[server].communicationTimeSeconds *= factor
            pool.cluster.servers[server].blockTimeSeconds *= factor
        }
        return pool
    }
}
