import Foundation

/// Round trips between RIPE Atlas anchors, as the paper derives them from measured latencies.
struct RoundTrips {
    struct Anchor {
        /// Median latency, milliseconds.
        var median: Double
        var latitude: Double
        var longitude: Double
    }

    private(set) var anchors: [Anchor] = []

    /// - Parameter csv: columns `measure_id, anchor_id, dst_ip, init_time, latency_m1 … latency_m4, latitude, longitude`.
    init?(csv: String) {
        guard let text = try? String(contentsOfFile: csv, encoding: .utf8) else { return nil }
        var latencies: [[Double]] = []
        var positions: [Substring: Int] = [:]
        for line in text.split(whereSeparator: \.isNewline).dropFirst() {
            let fields = line.split(separator: ",", omittingEmptySubsequences: false)
            guard fields.count >= 10, let latitude = Double(fields[8]), let longitude = Double(fields[9])
            else { continue }
            let position = positions[fields[1]] ?? anchors.count
            if position == anchors.count {
                positions[fields[1]] = position
                anchors.append(Anchor(median: 0, latitude: latitude, longitude: longitude))
                latencies.append([])
            }
            latencies[position] += fields[4..<8].compactMap { Double($0) }.filter { $0 > 0 }
        }
        for position in anchors.indices {
            let sorted = latencies[position].sorted()
            let middle = sorted.count / 2
            anchors[position].median =
                sorted.isEmpty ? 30 : (sorted[middle] + sorted[(sorted.count - 1) / 2]) / 2
        }
        guard anchors.count > 50 else { return nil }
    }

    /// `0.3·med_i + 0.3·med_j + 0.01 ms/km·distance`, milliseconds.
    func roundTrip(_ first: Int, _ second: Int) -> Double {
        let (one, other) = (anchors[first], anchors[second])
        let radians = Double.pi / 180
        let latitude = (other.latitude - one.latitude) * radians / 2
        let longitude = (other.longitude - one.longitude) * radians / 2
        let chord =
            pow(sin(latitude), 2)
            + cos(one.latitude * radians) * cos(other.latitude * radians) * pow(sin(longitude), 2)
        let distance = 2 * 6371 * asin(chord.squareRoot())
        return 0.3 * one.median + 0.3 * other.median + 0.01 * distance
    }
}
