import ChainFormats
import ChainModel
import ChainPlanning
import Foundation
import Testing

@testable import ChainExperiments

/// The live experiment's parts that need no servers: requests, plans, specification, predictions, report.
@Suite struct LiveTests {
    /// SmolLM2-135M's sizes on PETALS, and about those of our own engine.
    private static func systems(_ change: (inout LiveSetting) -> Void = { _ in }) throws -> (
        systems: LiveSystems, requests: LiveRequests
    ) {
        var setting = LiveSetting()
        change(&setting)
        let requests = try LiveRequests(setting, sources: DataSources())
        func shape(cache: Int, compute: Int) -> ModelShape {
            ModelShape(
                name: "live", blockCount: 30, blockSize: ByteCount(14_160_384), cacheSize: ByteCount(cache),
                computeSize: ByteCount(compute), hiddenSize: 576)
        }
        let pool = try LivePool(
            setting, petalsShape: shape(cache: 3_145_728, compute: 0),
            ownShape: shape(cache: 1_572_864, compute: 25_000_000), meanTokens: requests.meanTokens,
            sources: DataSources())
        return (try LiveSystems(pool), requests)
    }

    @Test func requestsAreScaledToTheRateAndTheLimits() throws {
        let (systems, requests) = try Self.systems()
        let setting = systems.pool.setting
        for number in 0..<5 {
            for workload in LiveWorkload.allCases {
                let (drawn, factor) = requests.run(workload, number)
                #expect(drawn.count == setting.requests)
                #expect(zip(drawn, drawn.dropFirst()).allSatisfy { $0.arrival <= $1.arrival })
                #expect(
                    drawn.allSatisfy {
                        (1...setting.mostInputTokens).contains($0.inputTokens)
                            && (1...setting.mostOutputTokens).contains($0.outputTokens)
                    })
                #expect(drawn == requests.run(workload, number).requests)
                #expect(drawn != requests.run(workload, number + 1).requests)
                #expect((factor != nil) == (workload == .trace))
                guard workload == .trace else { continue }
                let gaps = Double(setting.requests - 1)
                #expect(abs(drawn[drawn.count - 1].arrival / gaps * setting.arrivalRate - 1) < 1e-9)
            }
        }
        #expect(LiveRequests.scaled(2048, by: 1.0 / 64, most: 128) == 32)
        #expect(LiveRequests.scaled(3, by: 1.0 / 64, most: 128) == 1)
        #expect(LiveRequests.scaled(20_000, by: 1.0 / 64, most: 128) == 128)
    }

    /// Memory for the whole model and two jobs, and for a third of it; PETALS keeps two sessions' caches.
    @Test func serversHoldWhatTheyAreMeantFor() throws {
        let (systems, _) = try Self.systems()
        let pool = systems.pool
        #expect(pool.servers.map(\.name) == ["large-1", "large-2", "small-1", "small-2", "small-3"])
        #expect(pool.servers.map(\.memory.rawValue) == [620, 620, 210, 210, 210].map { $0 * 1_000_000 })
        #expect(pool.servers.map { pool.petalsBlocks($0) } == [30, 30, 10, 10, 10])
        let cluster = pool.cluster()
        for chain in systems.wholePlan.chains {
            #expect(chain.hops.count == 1 && chain.hops[0].blockCount == 30 && chain.capacity == 2)
        }
        #expect(systems.wholePlan.chains.count == 2)
        #expect(systems.plan.chains.reduce(0) { $0 + $1.capacity } > 4)
        for number in pool.servers.indices {
            let server = ServerIndex(number)
            guard let range = systems.plan.placement[server] else { continue }
            #expect(
                systems.plan.reservedSlots(of: server) <= cluster.cacheSlots(of: server, hosting: range.count)
            )
        }
    }

    /// Every system once with every workload in each repetition, in another order.
    @Test func theOrderIsDrawn() throws {
        let (systems, _) = try Self.systems()
        let runs = systems.runs
        #expect(runs.count == 36 && Set(runs).count == 36)
        #expect(runs.map(\.number) == (0..<3).flatMap { [Int](repeating: $0, count: 12) })
        let orders = (0..<3).map { number in runs.filter { $0.number == number }.map(\.system) }
        #expect(Set(orders).count == 3)
        #expect(runs == (try Self.systems()).systems.runs)
        #expect(runs != (try Self.systems { $0.seed = 2 }).systems.runs)
    }

    /// The cluster files are ones that `serve` plans as here, with the same chains on either engine.
    @Test func clusterFilesGiveThePlanAgain() throws {
        let (systems, _) = try Self.systems()
        let places = LiveSystems.Places(
            chainserve: "c", model: "/m/hf", gguf: "/m/x.f32.gguf", state: "s", results: "r")
        for system in LiveSystem.allCases where system != .petals {
            var text = systems.clusterFile(system, places)
            let key = system == .proposed ? "127.0.0.1:7" : "/ip4/127.0.0.1/tcp/7/p2p/Qm"
            for server in systems.pool.servers {
                text = text.replacingOccurrences(of: "{\(server.name)}", with: key)
            }
            let file = try ClusterFile.parse(text, file: "x.yaml")
            let shape = system == .proposed ? systems.pool.ownShape : systems.pool.petalsShape
            let cluster = try file.resolve { _ in shape }
            let plan = try Planner.plan(cluster)
            let expected = try #require(systems.plan(of: system))
            #expect(plan.chains.map(\.capacity) == expected.chains.map(\.capacity))
            #expect(
                plan.chains.map { $0.hops.map { cluster[$0.server].name } }
                    == expected.chains.map { $0.hops.map { systems.pool.servers[$0.server.rawValue].name } })
        }
    }

    // MARK: Results

    private static func line(_ id: String, _ responses: [Double], wait: Double, error: String = "") -> String
    {
        let records = responses.enumerated().map { number, response in
            "{\"arrival\": \(number), \"sent\": \(number), \"wait\": \(wait), \"end\": \(Double(number) + response),"
                + " \"tokens\": 10, \"attempts\": 1, \"chain\": \"a\", \"error\": \"\(number == 0 ? error : "")\"}"
        }
        return
            "{\"id\": \"\(id)\", \"system\": \"x\", \"wall\": 10, \"records\": [\(records.joined(separator: ", "))],"
            + " \"processor_seconds\": {\"servers\": 5, \"front\": 1, \"relay\": 0.5},"
            + " \"machine\": {\"busy\": 12, \"total\": 20},"
            + " \"emulation\": {\"bytes\": 1, \"steps\": 100, \"late\": 1, \"late_seconds\": 0.01}}\n"
    }

    private static func report(proposed: Double, wait: Double) throws -> LiveReport {
        let (systems, requests) = try Self.systems {
            $0.workloads = [.poisson]
            $0.runs = 2
        }
        var text = ""
        for run in 1...2 {
            text += line("poisson/\(run)/petals", [10, 30], wait: 8)
            text += line("poisson/\(run)/jffc-only", [6, 6], wait: 1)
            text += line("poisson/\(run)/proposed-petals", [proposed, proposed], wait: wait)
            text += line("poisson/\(run)/proposed", [3, 3], wait: 0.1)
        }
        let fit =
            "{\"step\": 0.03, \"step_block\": 0.022, \"prompt\": 0.03, \"prompt_block\": 0.022,"
            + " \"prompt_block_token\": 0.0004}"
        let fits = systems.pool.servers.map { "\"\($0.name)\": \(fit)" }.joined(separator: ", ")
        text += "{\"id\": \"profile/proposed-petals\", \"servers\": {\(fits)}}\n{\"id\": \"cut"
        return LiveReport(
            systems, requests: requests, results: try LiveResults(text, path: "live.jsonl"))
    }

    @Test func gainsAddUpAndClaimsAreJudged() throws {
        let report = try Self.report(proposed: 4, wait: 0.2)
        #expect(report.table.rows.count == 8)
        let first = report.table.rows[0]
        #expect(first.number("mean_response") == 20 && first.number("mean_service") == 12)
        #expect(first.number("failures") == 0 && first.number("server_cpu") == 0.5)
        #expect(first.number("machine_busy") == 0.6)
        // 20 → 6 → 4 → 3.
        #expect(report.gains(.poisson) == [[14, 14], [2, 2], [1, 1]])
        let verdicts = report.findings.map(\.verdict)
        // 80 % and 97.5 % (proposed), 70 % and 87.5 % (JFFC only).
        #expect(verdicts == [.holds, .holds, .holds, .holdsInPart])
        let worse = try Self.report(proposed: 25, wait: 4).findings
        #expect(worse[0].verdict == .fails && worse[0].statement.contains("25 % above"))
        #expect(worse[1].verdict == .holdsInPart)
    }

    /// 0.01 s of lateness in 4 s of service is little; a run with much of it counts for nothing but the list.
    @Test func runsThatTheMachineWasLateInAreSetAside() throws {
        let (systems, requests) = try Self.systems {
            $0.workloads = [.poisson]
            $0.runs = 1
        }
        let fine = Self.line("poisson/1/petals", [3, 3], wait: 1)
        let late = Self.line("poisson/1/proposed", [3, 3], wait: 1)
            .replacingOccurrences(of: "\"late_seconds\": 0.01", with: "\"late_seconds\": 0.9")
        let results = try LiveResults(fine + late, path: "x")
        #expect(results.runs.values.filter(\.isSetAside).map(\.id) == ["poisson/1/proposed"])
        let report = LiveReport(systems, requests: requests, results: results)
        #expect(report.gains(.poisson).isEmpty)
        #expect(report.all.rows.count == 2 && report.table.rows.map { $0.text("system") } == ["petals"])
        // Made again: the last line counts.
        let again = try LiveResults(
            late + fine + Self.line("poisson/1/proposed", [3, 3], wait: 1), path: "x")
        #expect(again.runs.values.allSatisfy { !$0.isSetAside })
    }

    @Test func failedRequestsAreCountedAndNotAveraged() throws {
        let text = Self.line("poisson/1/petals", [100, 2], wait: 1, error: "no")
        let run = try #require(try LiveResults(text, path: "x").runs["poisson/1/petals"])
        let row = Row(run.fields)
        #expect(row.number("failures") == 1 && row.number("requests") == 2)
        #expect(row.number("mean_response") == 2 && row.number("throughput") == 0.1)
        #expect(throws: ExperimentError.damagedStore("x", line: 1)) {
            _ = try LiveResults("{\"id\": \n" + text, path: "x")
        }
    }

    /// The simulator's service time is that of the fitted steps.
    @Test func predictionsComeFromMeasuredTimes() throws {
        let (systems, requests) = try Self.systems()
        let fit = LiveStepFitText(step: 0.03, block: 0.02).text
        let fits = systems.pool.servers.map { "\"\($0.name)\": \(fit)" }.joined(separator: ", ")
        let results = try LiveResults(
            "{\"id\": \"profile/jffc-only\", \"servers\": {\(fits)}}\n", path: "x")
        let prediction = LivePrediction(systems, results: results)
        // Alone in the system: no wait, and the fastest chain, one whole server.
        let request = LiveRequest(arrival: 0, inputTokens: 1, outputTokens: 11)
        let means = try #require(prediction.means(.jffcOnly, [request]))
        let opening = systems.pool.servers[systems.wholePlan.chains[0].hops[0].server.rawValue]
            .roundTripSeconds
        #expect(abs(means.service - (opening + 11 * (0.03 + 30 * 0.02))) < 1e-6)
        #expect(means.wait == 0)
        #expect(prediction.means(.proposed, [request]) == nil)
        let crowd = (0..<40).map { _ in request }
        let petals = try #require(prediction.means(.petals, crowd))
        let jffc = try #require(prediction.means(.jffcOnly, crowd))
        #expect(petals.wait > jffc.wait && jffc.wait > 0)
        _ = requests
    }

    private struct LiveStepFitText {
        var step: Double
        var block: Double
        var text: String {
            "{\"step\": \(step), \"step_block\": \(block), \"prompt\": \(step), \"prompt_block\": \(block),"
                + " \"prompt_block_token\": 0}"
        }
    }

    @Test func thePageSaysWhatWasMeasured() throws {
        let report = try Self.report(proposed: 4, wait: 0.2)
        let page = LivePage(
            report: report, command: "the command", figure: nil, note: "A note.", date: "2026-01-02"
        ).markdown
        #expect(page.contains("the command") && page.contains("A note.") && page.contains("2026-01-02"))
        #expect(page.contains("| PETALS, as it is | 2 | 20.00 ± 0.00 | 8.00 ± 0.00 | 12.00 ± 0.00 |"))
        #expect(
            page.contains(
                "| Poisson arrivals | 2 | 14.00 ± 0.00 (82 %) | 2.00 ± 0.00 (12 %) | 1.00 ± 0.00 (5.9 %) | 17.00 ± 0.00 |"
            ))
        #expect(page.contains("| 0.50 | 0.10 | 0.05 | 0.65 (32 %) | 60 % | 200 | 1.0 % | 10 ms |"))
        #expect(!page.contains(" nan") && !page.contains(" inf "))
    }

    /// Either command writes its part of the page and keeps the other's.
    @Test func theReproductionPageKeepsItsLiveSection() throws {
        let report = try Self.report(proposed: 4, wait: 0.2)
        let summary = LivePage(
            report: report, command: "the command", figure: nil, note: nil, date: "2026-01-02"
        ).summary(link: "live.md")
        #expect(summary.contains("## live: ") && summary.contains("(live.md)"))
        #expect(summary.contains("| PETALS, as it is | 2 | 20.00 ± 0.00 | 8.00 ± 0.00 | 12.00 ± 0.00 |"))
        #expect(summary.contains("### Beside the paper's claims"))
        #expect(summary.contains("### What the gain comes from"))
        #expect(!summary.contains("\n## What"))
        let section = MarkedSection.live
        let page = section.replacing(with: summary, in: "# Page\n\nText.\n")
        #expect(page.hasPrefix("# Page\n\nText.\n\n<!-- begin live -->\n## live: "))
        #expect(section.content(in: page) == summary)
        let anew = section.replacing(with: "other\n", in: page)
        #expect(anew == "# Page\n\nText.\n\n<!-- begin live -->\nother\n<!-- end live -->\n")
        // Half a mark is no section, and nothing of the page is lost.
        let broken = "a\n<!-- begin live -->\nb\n"
        #expect(section.content(in: broken) == nil)
        #expect(section.replacing(with: "c", in: broken).hasPrefix(broken))
    }

    @Test func wrongOptionsAreRefused() {
        for change: (inout LiveSetting) -> Void in [
            { $0.requests = 0 }, { $0.runs = 0 }, { $0.arrivalRate = -1 }, { $0.smallServers = 40 },
            { $0.systems = [] }, { $0.largeBlockSeconds = .nan },
        ] {
            var setting = LiveSetting()
            change(&setting)
            #expect(throws: ExperimentError.self) { try setting.check() }
        }
        #expect(throws: ExperimentError.self) {
            var setting = LiveSetting()
            setting.requests = 100_000
            _ = try LiveRequests(setting, sources: DataSources())
        }
    }
}
