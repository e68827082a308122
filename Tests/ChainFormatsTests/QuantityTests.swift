import ChainModel
import Testing

@testable import ChainFormats

@Suite struct QuantityTests {
    @Test(arguments: [
        ("1.32 GB", 1_320_000_000), ("0.11GB", 110_000_000), ("40 GB", 40_000_000_000),
        ("1 GiB", 1_073_741_824),
        ("0.5 KiB", 512), ("1 B", 1), ("2.5e2 kB", 250_000), ("0.000000001 GB", 1), ("1e-3 kB", 1),
        ("007 MB", 7_000_000),
        ("1.50 kB", 1500), ("+3 TB", 3_000_000_000_000), ("1 TiB", 1_099_511_627_776), (" 5 MiB ", 5_242_880),
    ])
    func sizes(text: String, bytes: Int) throws {
        #expect(try Quantity.size(text) == ByteCount(bytes))
    }

    @Test(arguments: ["1.0000000001 GB", "0.3 B", "0.1 KiB", "1e-10 GB"])
    func fractionsOfBytes(text: String) {
        let error = #expect(throws: QuantityError.self) { try Quantity.size(text) }
        #expect(error?.problem.contains("whole number of bytes") == true)
    }

    @Test(arguments: [
        "1", "GB", "1 gb", "1 G", "1 kb", "1 mB", "1,5 GB", "1_000 B", "0x10 B", "1 GB x", "--1 B", "1. 5 B",
        "é GB", ". B", "e5 B", "1e B",
    ])
    func notSizes(text: String) {
        #expect(throws: QuantityError.self) { try Quantity.size(text) }
    }

    @Test(arguments: [
        ("0.343724", 0.343724), ("14.7 ms", 0.0147), ("109ms", 0.109), ("3 us", 3e-6), ("2 min", 120),
        ("5 s", 5),
        ("0", 0), ("1e-05", 1e-5), (".5", 0.5),
    ])
    func times(text: String, seconds: Double) throws {
        #expect(try Quantity.time(text) == seconds)
    }

    @Test(arguments: [("0.2", 0.2), ("12/min", 0.2), ("720 / h", 0.2), ("5/s", 5), ("1e3", 1000)])
    func rates(text: String, perSecond: Double) throws {
        #expect(abs(try Quantity.rate(text) - perSecond) < 1e-15)
    }

    /// Written in the shortest unit, read back as the same bytes.
    @Test func exactTextReadsBack() throws {
        #expect(ByteCount(1_320_000_000).exactText == "1.32 GB")
        #expect(ByteCount(64 << 20).exactText == "64 MiB")
        #expect(ByteCount(1).exactText == "1 B")
        var generator = SplitMix(state: 11)
        for _ in 0..<2000 {
            let bytes = Int.random(
                in: 1...(1 << Int.random(in: 1...47, using: &generator)), using: &generator)
            #expect(try Quantity.size(ByteCount(bytes).exactText) == ByteCount(bytes))
        }
    }

    @Test func nearestKeys() {
        #expect(nearest(to: "bock_size", among: ["cache_size", "block_size", "block_count"]) == "block_size")
        #expect(nearest(to: "x", among: []) == nil)
    }

    @Test func demandOfACommandLine() throws {
        #expect(try DemandText.arrivalRate("6/min") == 0.1)
        #expect(try DemandText.loadTarget("0.9") == 0.9)
        for text in ["0", "1", "-0.5", "x", "1.5"] {
            #expect(throws: DemandText.Invalid.self) { try DemandText.loadTarget(text) }
        }
        for text in ["0", "-1", "nan", ""] {
            #expect(throws: DemandText.Invalid.self) { try DemandText.arrivalRate(text) }
        }
    }
}
