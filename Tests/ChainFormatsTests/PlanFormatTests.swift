import ChainModel
import Foundation
import Testing

@testable import ChainFormats

#if canImport(FoundationXML)
    import FoundationXML
#endif

/// A small plan over two servers that share the work of a third.
private let cluster: Cluster = {
    let servers = ["s1", "s2", "s\"3", "idle"].map {
        Server(
            name: $0, memory: ByteCount($0 == "idle" ? 1 : 40), communicationTimeSeconds: 0.1,
            blockTimeSeconds: 0.1)
    }
    return Cluster(
        model: ModelShape(name: "m", blockCount: 4, blockSize: ByteCount(10), cacheSize: ByteCount(2)),
        demand: Demand(arrivalRate: 0.3), servers: servers)
}()

private let plan: Plan = {
    let first = ServerChain(
        hops: [
            ChainHop(server: ServerIndex(0), firstBlock: 1, blockCount: 2),
            ChainHop(server: ServerIndex(1), firstBlock: 3, blockCount: 2),
        ], capacity: 3, serviceTimeSeconds: 0.1 + 0.2 + (0.1 + 0.2))
    let second = ServerChain(
        hops: [
            ChainHop(server: ServerIndex(0), firstBlock: 1, blockCount: 2),
            ChainHop(server: ServerIndex(2), firstBlock: 3, blockCount: 2),
        ], capacity: 2, serviceTimeSeconds: 0.1 + 0.2 + (0.1 + 0.2))
    let rate = 5 / first.serviceTimeSeconds
    return Plan(
        modelName: "m", demand: cluster.demand, placementMethod: .gbpCR, capacityParameter: 3,
        tunedBy: .lowerBound,
        placement: Placement(ranges: [
            BlockRange(first: 1, count: 2), BlockRange(first: 3, count: 2), BlockRange(first: 2, count: 3),
            nil,
        ]), spareServers: [ServerIndex(3)], chains: [first, second], disjointChains: 1, totalCapacity: 5,
        totalServiceRate: rate, load: 0.3 / rate, loadTargetMet: true,
        meanResponseTime: MeanResponse(lower: 0.6, upper: 0.6000001, exact: 0.60000001, exactError: 1e-12),
        meanWaitingTime: 1e-17,
        waitProbability: 2.7e-11,
        spread: ResponseSpread(responseVariance: 0.36, jobsVariance: 0.18, waitDecayRate: 8), unstable: nil,
        dispatch: DispatchPlan(
            rule: .jffcWait, thresholds: [1, 2], meanResponseTime: 1 / 3, meanWaitingTime: 0.1,
            waitProbability: 0.25),
        improvement: PlanImprovement(meanResponseTimeBefore: 0.7, changes: 2, evaluations: 31))
}()

@Suite struct PlanJSONTests {
    @Test func roundTrip() throws {
        let reading = try PlanJSON.decode(PlanJSON.encode(plan, cluster: cluster), cluster: cluster)
        #expect(reading.plan == plan)
        #expect(reading.violations.isEmpty)
    }

    @Test func roundTripWithoutASteadyState() throws {
        var unstable = plan
        unstable.unstable = "too \"much\"\nto do"
        unstable.meanResponseTime = MeanResponse()
        unstable.meanWaitingTime = nil
        unstable.waitProbability = nil
        unstable.capacityParameter = nil
        unstable.tunedBy = nil
        unstable.dispatch = DispatchPlan(rule: .jffc, thresholds: [1, 1])
        let text = PlanJSON.encode(unstable, cluster: cluster)
        #expect(try PlanJSON.decode(text, cluster: cluster).plan == unstable)
    }

    /// What other programs see: read with another JSON reader, by the names of the format's description.
    @Test func fields() throws {
        let data = Data(PlanJSON.encode(plan, cluster: cluster).utf8)
        let object = try #require(try JSONSerialization.jsonObject(with: data) as? [String: Any])
        #expect(object["capacity_parameter"] as? Int == 3)
        #expect(object["tuned_by"] as? String == "lower-bound")
        #expect(object["spare_servers"] as? [String] == ["idle"])
        #expect(object["disjoint_chains"] as? Int == 1)
        #expect(object["total_capacity"] as? Int == 5)
        #expect(Self.isNear(object["total_service_rate"], plan.totalServiceRate))
        #expect(Self.isNear(object["load"], plan.load))
        #expect(object["load_target_met"] as? Bool == true)
        let placement = try #require(object["placement"] as? [[String: Any]])
        #expect(placement.map { $0["server"] as? String } == ["s1", "s2", "s\"3"])
        #expect(placement.map { $0["first_block"] as? Int } == [1, 3, 2])
        #expect(placement.map { $0["block_count"] as? Int } == [2, 2, 3])
        let chains = try #require(object["chains"] as? [[String: Any]])
        #expect(chains[1]["servers"] as? [String] == ["s1", "s\"3"])
        #expect(chains[1]["blocks"] as? [Int] == [2, 2])
        #expect(chains[1]["capacity"] as? Int == 2)
        #expect(Self.isNear(chains[1]["service_time"], plan.chains[1].serviceTimeSeconds))
        let means = try #require(object["mean_response_time"] as? [String: Double])
        #expect(means == ["lower": 0.6, "upper": 0.6000001, "exact": 0.60000001, "exact_error": 1e-12])
        #expect(object["variance"] as? [String: Double] == ["response_time": 0.36, "jobs": 0.18])
        #expect(object["wait_tail"] as? [String: Double] == ["decay_rate": 8])
        #expect((object["wait_probability"] as? [String: Double])?["exact"] == 2.7e-11)
        let dispatch = try #require(object["dispatch"] as? [String: Any])
        #expect(dispatch["thresholds"] as? [Int] == [1, 2])
        #expect(dispatch["rule"] as? String == "jffc-wait")
        #expect(Self.isNear(dispatch["mean_response_time"], 1.0 / 3))
        #expect(object["unstable"] == nil)
    }

    /// The other reader rounds the last digits.
    private static func isNear(_ value: Any?, _ expected: Double) -> Bool {
        ((value as? Double ?? .nan) - expected).magnitude <= 1e-14 * expected
    }

    private static func corrupted(_ original: String, _ replacement: String) throws -> PlanJSON.Reading {
        let text = PlanJSON.encode(plan, cluster: cluster)
        let changed = text.replacing(original, with: replacement, maxReplacements: 1)
        #expect(changed != text)
        return try PlanJSON.decode(changed, cluster: cluster)
    }

    @Test(arguments: [
        ("{\"server\": \"s2\"", "{\"server\": \"s9\"", PlanViolation.Constraint.unknownServer),
        ("\"spare_servers\": [\"idle\"", "\"spare_servers\": [\"lazy\"", .unknownServer),
        ("\"servers\": [\"s1\", \"s2\"]", "\"servers\": [\"s1\", \"s9\"]", .unknownServer),
        ("{\"server\": \"s2\"", "{\"server\": \"s1\"", .duplicateServer),
    ])
    func namesThatBreakThePlan(original: String, replacement: String, constraint: PlanViolation.Constraint)
        throws
    {
        let reading = try Self.corrupted(original, replacement)
        #expect(reading.violations.contains { $0.constraint == constraint }, "\(reading.violations)")
    }

    @Test func placementOutOfOrder() throws {
        let text = PlanJSON.encode(plan, cluster: cluster).replacing(
            "\"server\": \"s1\"", with: "\"server\": \"X\""
        )
        .replacing("\"server\": \"s2\"", with: "\"server\": \"s1\"").replacing(
            "\"server\": \"X\"", with: "\"server\": \"s2\"")
        let reading = try PlanJSON.decode(text, cluster: cluster)
        #expect(reading.violations.map(\.constraint) == [.placementOrder])
    }

    @Test(arguments: [
        ("\"load\": ", "\"weight\": ", "`load`"), ("\"capacity\": 3", "\"capacity\": 3.5", "whole number"),
        ("\"blocks\": [2, 2]", "\"blocks\": [2]", "block counts"),
        ("\"jffc-wait\"", "\"fastest\"", "jffc, jffc-wait"),
        ("\"load_target_met\": true", "\"load_target_met\": 1", "true or false"),
        ("\"load\": 0.", "\"load\": 1e999, \"more\": 0.", "write a number"),
    ])
    func notAPlan(original: String, replacement: String, says: String) {
        let error = #expect(throws: FormatError.self) { try Self.corrupted(original, replacement) }
        #expect("\(error!)".contains(says) && "\(error!)".hasPrefix("plan.json:"), "\(error!)")
    }
}

@Suite struct PlanReportTests {
    @Test func bars() {
        #expect(PlanReport.bar(BlockRange(first: 2, count: 2), of: 4, width: 4) == "·██·")
        #expect(PlanReport.bar(BlockRange(first: 1, count: 4), of: 4, width: 2) == "██")
        #expect(
            PlanReport.bar(BlockRange(first: 70, count: 1), of: 70, width: 20) == String(
                repeating: "·", count: 19) + "█")
        #expect(PlanReport.bar(BlockRange(first: 2, count: 1), of: 100, width: 10).contains("█"))
    }

    @Test func serversAndChains() {
        let text = PlanReport.text(plan, cluster: cluster, width: 80)
        let lines = text.split(separator: "\n").map(String.init)
        #expect(
            lines.contains {
                $0.hasPrefix("s2 ") && $0.contains("··██") && $0.contains("3–4") && $0.contains("6/10")
            })
        #expect(text.contains("spare (1): idle"))
        #expect(text.contains("s1 [1–2] → s\"3 [3–4]"))
        #expect(text.contains("600 ms"))
        #expect(text.contains("mean response"))
        #expect(text.contains("chosen by the lower bound"))
    }

    @Test(arguments: [60, 80, 132])
    func widthIsKept(width: Int) {
        var long = plan
        long.chains = (0..<80).map { _ in plan.chains[0] }
        long.dispatch.thresholds = long.chains.map { _ in 1 }
        for chain in long.chains.indices {
            long.chains[chain].hops = (0..<20).map {
                ChainHop(server: ServerIndex($0 % 3), firstBlock: 1, blockCount: 1)
            }
        }
        let text =
            PlanReport.servers(long, cluster: cluster, width: width)
            + PlanReport.chains(long, cluster: cluster, width: width)
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= width })
        #expect(text.contains("… and 20 more chains"))
    }

    @Test func warnings() {
        #expect(PlanReport.warnings(plan).isEmpty)
        var missed = plan
        missed.loadTargetMet = false
        #expect(PlanReport.warnings(missed).first?.contains("above the target") == true)
        missed.unstable = "no end"
        #expect(PlanReport.warnings(missed) == ["no steady state: no end"])
    }

    /// Well-formed, with every server, and names escaped.
    @Test func picture() throws {
        let svg = PlanPicture.svg(plan, cluster: cluster)
        final class Elements: NSObject, XMLParserDelegate {
            var names: [String] = []
            func parser(
                _ parser: XMLParser, didStartElement name: String, namespaceURI: String?,
                qualifiedName: String?,
                attributes: [String: String]
            ) { names.append(name) }
        }
        let elements = Elements()
        let parser = XMLParser(data: Data(svg.utf8))
        parser.delegate = elements
        #expect(parser.parse())
        // Two chains, each with its strokes, the links between its hops and its line in the legend.
        #expect(elements.names.filter { $0 == "path" }.count == 6)
        // The page, three in the legend, four for each server (its range, blocks, cache and memory), every other row's stripe.
        let placed = plan.placement.ranges.filter { $0 != nil }.count
        #expect(elements.names.filter { $0 == "rect" }.count == 4 + 4 * placed + (placed + 1) / 2)
        for name in ["s1", "s2", "s&quot;3"] { #expect(svg.contains(">\(name)<")) }
        #expect(svg.contains("spare: idle"))
        #expect(svg.contains("prefers-color-scheme:dark"))
        var odd = cluster
        odd.servers[0].name = "<a&b>"
        odd.servers[1].name = "\"it's\"\u{1}"
        let oddPicture = PlanPicture.svg(plan, cluster: odd)
        #expect(oddPicture.contains("&lt;a&amp;b&gt;"))
        #expect(oddPicture.contains("&quot;it&#39;s&quot;\u{FFFD}"))
        #expect(XMLParser(data: Data(oddPicture.utf8)).parse())
    }
}
