import CoreMetrics
import Synchronization

/// A backend of swift-metrics that keeps every instrument in memory and writes them in Prometheus's text format.
///
/// What is known of a metric (its exposed name, help, buckets) comes from `MetricDescription`; one that is not
/// known is exposed under its own name with what swift-metrics tells of it. Series are kept until destroyed.
package final class PrometheusRegistry: MetricsFactory {
    /// Most series that are kept; an instrument beyond counts, but is not exposed.
    package static let seriesLimit = 10_000

    private struct Family {
        var description: MetricDescription
        var series: [String: any ExposedSeries] = [:]
    }

    private let descriptions: [String: MetricDescription]
    private let families = Mutex<[String: Family]>([:])
    private let seriesCount = Atomic(0)

    package init(_ descriptions: [MetricDescription] = MetricDescription.all) {
        self.descriptions = Dictionary(descriptions.map { ($0.label, $0) }) { first, _ in first }
    }

    // MARK: MetricsFactory

    package func makeCounter(label: String, dimensions: [(String, String)]) -> any CounterHandler {
        series(label, .counter, dimensions) { _ in CounterSeries() }
    }

    package func makeFloatingPointCounter(
        label: String, dimensions: [(String, String)]
    ) -> any FloatingPointCounterHandler {
        series(label, .counter, dimensions) { _ in CounterSeries() }
    }

    package func makeMeter(label: String, dimensions: [(String, String)]) -> any MeterHandler {
        series(label, .gauge, dimensions) { _ in GaugeSeries() }
    }

    package func makeRecorder(
        label: String, dimensions: [(String, String)], aggregate: Bool
    ) -> any RecorderHandler {
        if aggregate {
            series(label, .histogram, dimensions) { HistogramSeries(buckets: $0.buckets) }
        } else {
            series(label, .gauge, dimensions) { _ in GaugeSeries() }
        }
    }

    package func makeTimer(label: String, dimensions: [(String, String)]) -> any TimerHandler {
        series(label, .histogram, dimensions) { HistogramSeries(buckets: $0.buckets) }
    }

    package func destroyCounter(_ handler: any CounterHandler) { remove(handler) }
    package func destroyFloatingPointCounter(_ handler: any FloatingPointCounterHandler) { remove(handler) }
    package func destroyMeter(_ handler: any MeterHandler) { remove(handler) }
    package func destroyRecorder(_ handler: any RecorderHandler) { remove(handler) }
    package func destroyTimer(_ handler: any TimerHandler) { remove(handler) }

    /// The series with these labels: the same one whenever it is asked for.
    private func series<Series: ExposedSeries>(
        _ label: String, _ kind: MetricDescription.Kind, _ dimensions: [(String, String)],
        _ make: (MetricDescription) -> Series
    ) -> Series {
        let description = descriptions[label] ?? MetricDescription(unknown: label, kind)
        let labels = PrometheusText.labels(dimensions)
        return families.withLock { families in
            var family = families[description.name] ?? Family(description: description)
            if let known = family.series[labels] as? Series { return known }
            let made = make(description)
            guard seriesCount.load(ordering: .relaxed) < Self.seriesLimit, family.series[labels] == nil else {
                return made
            }
            family.series[labels] = made
            families[description.name] = family
            seriesCount.add(1, ordering: .relaxed)
            return made
        }
    }

    private func remove(_ handler: AnyObject) {
        families.withLock { families in
            for (name, family) in families {
                guard let labels = family.series.first(where: { $0.value === handler })?.key else { continue }
                families[name]?.series[labels] = nil
                seriesCount.subtract(1, ordering: .relaxed)
                return
            }
        }
    }

    // MARK: Exposition

    /// Everything in Prometheus's text format 0.0.4: metrics by name, series by labels.
    package func exposition() -> [UInt8] {
        let families = families.withLock { families in
            families.sorted { $0.key < $1.key }.map { ($0.value.description, $0.value.series) }
        }
        var text = PrometheusText()
        for (description, series) in families where !series.isEmpty {
            text.begin(description)
            for (labels, one) in series.sorted(by: { $0.key < $1.key }) {
                one.write(name: description.name, labels: labels, into: &text)
            }
        }
        return text.bytes
    }
}

/// A series that can write itself.
protocol ExposedSeries: AnyObject, Sendable {
    func write(name: String, labels: String, into text: inout PrometheusText)
}

/// Only ever grows.
final class CounterSeries: CounterHandler, FloatingPointCounterHandler, ExposedSeries {
    private let value = Mutex(0.0)

    func increment(by amount: Int64) { value.withLock { $0 += Double(max(0, amount)) } }
    func increment(by amount: Double) { value.withLock { $0 += max(0, amount) } }
    func reset() { value.withLock { $0 = 0 } }

    func write(name: String, labels: String, into text: inout PrometheusText) {
        text.sample(name, labels, value.withLock { $0 })
    }
}

final class GaugeSeries: MeterHandler, RecorderHandler, ExposedSeries {
    private let value = Mutex(0.0)

    func set(_ value: Int64) { self.value.withLock { $0 = Double(value) } }
    func set(_ value: Double) { self.value.withLock { $0 = value } }
    func increment(by amount: Double) { value.withLock { $0 += amount } }
    func decrement(by amount: Double) { value.withLock { $0 -= amount } }
    func record(_ value: Int64) { set(value) }
    func record(_ value: Double) { set(value) }

    func write(name: String, labels: String, into text: inout PrometheusText) {
        text.sample(name, labels, value.withLock { $0 })
    }
}

/// Counts of observations by their upper bounds, and their sum. A timer's nanoseconds are kept in seconds.
final class HistogramSeries: RecorderHandler, TimerHandler, ExposedSeries {
    private struct State {
        /// Observations in each bucket alone; the last is above all bounds.
        var counts: [UInt64]
        var sum = 0.0
    }

    private let buckets: [Double]
    private let state: Mutex<State>

    /// - Parameter buckets: upper bounds, ascending; `+Inf` is added.
    init(buckets: [Double]) {
        self.buckets = buckets
        state = Mutex(State(counts: [UInt64](repeating: 0, count: buckets.count + 1)))
    }

    func record(_ value: Int64) { record(Double(value)) }
    func recordNanoseconds(_ duration: Int64) { record(Double(duration) * 1e-9) }

    func record(_ value: Double) {
        guard !value.isNaN else { return }
        let index = buckets.firstIndex { value <= $0 } ?? buckets.count
        state.withLock {
            $0.counts[index] += 1
            $0.sum += value
        }
    }

    func write(name: String, labels: String, into text: inout PrometheusText) {
        let (counts, sum) = state.withLock { ($0.counts, $0.sum) }
        var cumulative: UInt64 = 0
        for (bound, count) in zip(buckets.map { PrometheusText.number($0) } + ["+Inf"], counts) {
            cumulative += count
            let bucket = (labels.isEmpty ? "" : labels + ",") + "le=\"\(bound)\""
            text.sample(name + "_bucket", bucket, Double(cumulative))
        }
        text.sample(name + "_sum", labels, sum)
        text.sample(name + "_count", labels, Double(cumulative))
    }
}
