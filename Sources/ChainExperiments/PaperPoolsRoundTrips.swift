import RealModule

/// Places and the round trips between them, by the formula of the published experiments:
/// `RTT_ij = 0.3·med_i + 0.3·med_j + 0.01 ms/km·d_ij` over measured medians and great-circle distances.
package struct RoundTripMap: Hashable, Sendable {
    package struct Place: Hashable, Sendable {
        /// Median latency, milliseconds.
        package var medianLatency: Double
        /// Degrees.
        package var latitude: Double
        package var longitude: Double
    }

    package private(set) var places: [Place]
    /// What the places come from, for the report.
    package let source: String

    /// Why a file of measurements cannot be used.
    package struct UnreadableMeasurements: Error, CustomStringConvertible, Hashable {
        package var description: String
    }

    /// Reads RIPE Atlas measurements: the median over all latencies of an anchor, at the place of its first row.
    ///
    /// - Parameter csv: columns `measure_id, anchor_id, dst_ip, init_time, latency_m1 … latency_m4, latitude,
    ///   longitude`, with a header.
    /// - Throws: `UnreadableMeasurements` naming the first line that is not so.
    package init(ripeAtlas csv: String) throws(UnreadableMeasurements) {
        var latencies: [[Double]] = []
        var positions: [Substring: Int] = [:]
        places = []
        for (number, line) in csv.split(whereSeparator: \.isNewline).enumerated().dropFirst() {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count >= 10, let latitude = Double(fields[8]), let longitude = Double(fields[9])
            else {
                throw UnreadableMeasurements(
                    description: "round trips, line \(number + 1): 10 columns with numbers in columns 9 and "
                        + "10 are expected (latitude, longitude)")
            }
            let position = positions[fields[1]] ?? places.count
            if position == places.count {
                positions[fields[1]] = position
                places.append(Place(medianLatency: 0, latitude: latitude, longitude: longitude))
                latencies.append([])
            }
            latencies[position] += fields[4..<8].compactMap { Double($0) }.filter { $0 > 0 && $0.isFinite }
        }
        for position in places.indices {
            let sorted = latencies[position].sorted()
            guard !sorted.isEmpty else {
                places[position].medianLatency = Self.latencyWithoutMeasurement
                continue
            }
            places[position].medianLatency = (sorted[sorted.count / 2] + sorted[(sorted.count - 1) / 2]) / 2
        }
        guard places.count >= 2 else {
            throw UnreadableMeasurements(description: "round trips: at least two anchors are needed")
        }
        source = "RIPE Atlas, \(places.count) anchors"
    }

    /// Taken for an anchor that was never reached, milliseconds.
    private static let latencyWithoutMeasurement = 30.0

    /// Round trip between two places, milliseconds; 0 from a place to itself.
    package func roundTrip(_ first: Int, _ second: Int) -> Double {
        guard first != second else { return 0 }
        let (one, other) = (places[first], places[second])
        return 0.3 * one.medianLatency + 0.3 * other.medianLatency + 0.01 * Self.kilometres(one, other)
    }

    /// Great-circle distance by the haversine formula on a sphere of 6371 km.
    private static func kilometres(_ one: Place, _ other: Place) -> Double {
        let radians = Double.pi / 180
        let latitude = Double.sin((other.latitude - one.latitude) * radians / 2)
        let longitude = Double.sin((other.longitude - one.longitude) * radians / 2)
        let chord =
            latitude * latitude
            + Double.cos(one.latitude * radians) * Double.cos(other.latitude * radians) * longitude
            * longitude
        return 2 * 6371 * Double.asin(min(1, chord).squareRoot())
    }

    /// The place with the least median: the client of the published programs. Ties: the first.
    package var leastLatency: Int {
        var best = 0
        for position in places.indices where places[position].medianLatency < places[best].medianLatency {
            best = position
        }
        return best
    }
}

extension RoundTripMap {
    /// Places like the anchors of RIPE Atlas in Europe, for when no measurements are given.
    ///
    /// A place lies near one of 36 cities, chosen by weight; its median latency grows with the distance from the
    /// middle of the network, with a normal error: `20.7 ms + 0.0159 ms/km·d + 6 ms·N(0, 1)`, where what falls
    /// below 17.2 ms is reflected there and shrunk. The line and its error are a least-squares fit to the 320
    /// European anchors (correlation 0.71). Against them the round trips between all places have mean 26.3 ms
    /// (25.6 measured) and standard deviation 7.6 ms (7.5); docs/reproduction.md says more.
    package static func synthetic(count: Int = 320, seed: UInt64 = 1) -> RoundTripMap {
        precondition(count >= 2)
        var generator = PaperStream(seed: seed, .places)
        let total = cities.reduce(0) { $0 + $1.weight }
        let middle = Place(medianLatency: 0, latitude: 50.1, longitude: 8.7)
        let places = (0..<count).map { _ in
            var ticket = generator.below(total)
            var city = 0
            while ticket >= cities[city].weight {
                ticket -= cities[city].weight
                city += 1
            }
            var place = Place(
                medianLatency: 0, latitude: cities[city].latitude + 0.35 * generator.normal(),
                longitude: cities[city].longitude + 0.55 * generator.normal())
            let fitted = 20.7 + 0.0159 * kilometres(middle, place) + 6 * generator.normal()
            place.medianLatency = fitted >= 17.2 ? fitted : 17.2 + 0.2 * (17.2 - fitted)
            return place
        }
        return RoundTripMap(places: places, source: "synthetic, \(count) places in Europe, seed \(seed)")
    }

    private init(places: [Place], source: String) {
        self.places = places
        self.source = source
    }

    private static let cities: [(latitude: Double, longitude: Double, weight: Int)] = [
        (52.4, 4.9, 30), (50.1, 8.7, 26), (48.9, 2.4, 24), (51.5, -0.1, 20), (47.4, 8.5, 16),
        (48.2, 16.4, 12), (52.5, 13.4, 9), (50.1, 14.4, 9), (53.6, 10, 8), (51.2, 6.8, 8), (48.1, 11.6, 14),
        (50.8, 4.4, 10), (59.3, 18.1, 9), (60.2, 24.9, 6), (45.5, 9.2, 8), (42.7, 23.3, 6), (45.8, 4.8, 7),
        (41.4, 2.2, 4), (40.4, -3.7, 3), (55.7, 12.6, 5), (59.9, 10.8, 3), (52.2, 21, 3), (47.5, 19, 5),
        (44.4, 26.1, 4), (44.8, 20.5, 3), (45.8, 16, 4), (53.3, -6.3, 4), (53.5, -2.2, 8), (41.9, 12.5, 4),
        (38.7, -9.1, 2), (38, 23.7, 2), (54.7, 25.3, 2), (56.9, 24.1, 2), (46.2, 6.1, 6), (43.6, 1.4, 3),
        (48.6, 7.8, 7),
    ]
}
