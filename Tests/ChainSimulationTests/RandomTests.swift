import RealModule
import Testing

@testable import ChainSimulation

@Suite struct RandomTests {
    /// The first numbers of the authors' xoshiro256++ from the state 1, 2, 3, 4, as other implementations test them.
    @Test func generator() {
        var stream = RandomStream(words: (1, 2, 3, 4))
        let expected: [UInt64] = [
            41_943_041, 58_720_359, 3_588_806_011_781_223, 3_591_011_842_654_386,
            9_228_616_714_210_784_205, 9_973_669_472_204_895_162,
        ]
        #expect(expected.map { _ in stream.next() } == expected)
    }

    @Test func streamsDiffer() {
        var seen = Set<UInt64>()
        for purpose in RandomStream.Purpose.allCases {
            for replication in 0..<20 {
                for seed in 0..<20 {
                    var stream = RandomStream(
                        seed: UInt64(seed), purpose: purpose, replication: replication)
                    seen.insert(stream.next())
                }
            }
        }
        #expect(seen.count == RandomStream.Purpose.allCases.count * 400)
    }

    @Test func elementaryFunctions() {
        var stream = RandomStream(state: 1)
        for _ in 0..<5000 {
            let x = stream.uniform() * (stream.next() & 1 == 0 ? 1 : 1e6)
            let error = (Elementary.log(x) - Double.log(x)).magnitude
            #expect(error <= 2e-16 + 4e-16 * Double.log(x).magnitude, "log \(x)")
            let y = (stream.uniform() - 0.5) * 200
            #expect((Elementary.exp(y) / Double.exp(y) - 1).magnitude < 1e-14, "exp \(y)")
        }
        #expect(Elementary.log(1) == 0 && Elementary.exp(0) == 1)
        #expect((NormalLaw.probability(below: 1.959963984540054) - 0.975).magnitude < 1e-14)
        #expect((NormalLaw.probability(below: -3) - 0.0013498980316301).magnitude < 1e-14)
    }

    /// Mean 1 and the variation asked for.
    @Test(arguments: [
        (JobSizes.exponential, 1.0), (.lognormal(cv: 0.8), 0.8), (.gamma(cv: 0.5), 0.5), (.gamma(cv: 2), 2),
        (.hyperexponential(cv: 2), 2), (.deterministic, 0),
    ])
    func sizes(law: JobSizes, cv: Double) {
        var source = SizeSource(law, seed: 9, replication: 0)
        let count = 20_000
        var (sum, squares) = (0.0, 0.0)
        for _ in 0..<count {
            let size = source.size()
            sum += size
            squares += size * size
        }
        let mean = sum / Double(count)
        let variation = max(0, squares / Double(count) - mean * mean).squareRoot() / mean
        #expect((mean - 1).magnitude <= 4.5 * cv / Double(count).squareRoot())
        #expect((variation - cv).magnitude <= 0.12 * cv + 1e-9)
    }

    /// Entries come out in order of time, those of the same time in the order they were entered.
    @Test func calendar() {
        var stream = RandomStream(state: 3)
        var calendar = EventCalendar()
        var expected: [(time: Int64, number: UInt64)] = []
        for _ in 0..<3000 {
            if stream.next() % 5 < 3 || expected.isEmpty {
                let time = Int64(stream.next() % 50)
                expected.append((time, calendar.insert(at: time, payload: stream.next() % 100)))
            } else {
                let first = expected.min { ($0.time, $0.number) < ($1.time, $1.number) }
                #expect(calendar.firstTime == first?.time)
                let taken = calendar.takeFirst()
                #expect(taken.number == first?.number)
                expected.removeAll { $0.number == taken.number }
            }
            #expect(calendar.count == expected.count)
        }
        while calendar.firstTime != .max { _ = calendar.takeFirst() }
        #expect(calendar.count == 0)
    }

    /// Quantiles within 0.4 %, moments exact.
    @Test func histogram() {
        var stream = RandomStream(state: 5)
        var counter = HistogramCounter()
        var values: [Int64] = []
        for _ in 0..<4000 {
            let value = Int64(Elementary.exp(stream.normal() * 4 + 12))
            values.append(value)
            counter.add(value)
        }
        values.sort()
        let histogram = LogHistogram(counter)
        for probability in [0.1, 0.5, 0.9, 0.99, 0.999] {
            let exact = Double(values[Int((probability * 4000).rounded(.up)) - 1]) / 1e9
            #expect((histogram.quantile(probability) / exact - 1).magnitude <= LogHistogram.relativeError)
        }
        let mean = values.reduce(0.0) { $0 + Double($1) } / 4000 / 1e9
        #expect((histogram.mean / mean - 1).magnitude < 1e-12)
        #expect(histogram.quantile(1) <= Double(histogram.largest) / 1e9)
    }

    /// Tables of Student's t.
    @Test(arguments: [(0.95, 1, 12.7062), (0.95, 10, 2.22814), (0.99, 5, 4.03214), (0.999, 30, 3.64596)])
    func student(confidence: Double, degrees: Int, expected: Double) {
        let value = StudentT.quantile(confidence: confidence, degrees: degrees)
        #expect((value - expected).magnitude < 5e-5 * expected)
    }
}
