import ChainModel
import Foundation

/// The page of the live experiment: what was run, on what, what came out, and how much to believe it.
package struct LivePage: Sendable {
    package var report: LiveReport
    package var command: String
    /// The picture, relative to the page; `nil` without one.
    package var figure: String?
    /// What else is to be known of the run, in the words of whoever made it.
    package var note: String?
    package var date: String

    package init(report: LiveReport, command: String, figure: String?, note: String?, date: String) {
        self.report = report
        self.command = command
        self.figure = figure
        self.note = note
        self.date = date
    }

    private var pool: LivePool { report.systems.pool }
    private var setting: LiveSetting { pool.setting }
    private var measured: [LiveWorkload] {
        setting.workloads.filter { !report.table.filtered("workload", .text($0.rawValue)).rows.isEmpty }
    }

    package var markdown: String {
        let picture = figure.map { "![\(report.plot.caption)](\($0))\n\n" } ?? ""
        let results =
            measured.map(section) + [
                "## \(Self.claimsTitle)\n\n\(picture)\(claims)",
                "## \(Self.attributionTitle)\n\n\(attribution)",
            ]
        return ([head, servers, order] + results + [machine, everyRun, limits]).joined(separator: "\n\n")
            + "\n"
    }

    /// The measured tables for the page of the reproduction, which has the simulated ones.
    /// - Parameter link: this page, relative to that one.
    package func summary(link: String) -> String {
        var text = """
            ## live: the systems side by side on running servers

            The comparison of Table 1 on real servers with emulated devices and network: stock PETALS, JFFC over whole models, and
            our plan on PETALS' engine and on our own; \(setting.requests) requests a run, \(setting.runs) repetitions, seed \
            \(setting.seed), made on \(date) by `\(command)`. Set-up, predictions, every run and what is emulated are on
            [a page of their own](\(link)).


            """
        for workload in measured {
            text += "### \(Self.heading(workload))\n\n\(measuredTable(workload))\n"
        }
        return text + "### \(Self.claimsTitle)\n\n\(claims)\n\n"
            + "### \(Self.attributionTitle)\n\n\(attribution)\n"
    }

    // MARK: Set-up

    private var head: String {
        """
        # The systems side by side, live

        Made by

            \(command)

        on \(date) and not edited by hand. The same requests go to the same emulated servers with the same model on the same
        machine, through

        1. **\(LiveSystem.petals.title)**: PETALS 2.2.0 with its own placement, its own client and its own routing;
        2. **\(LiveSystem.jffcOnly.title)**;
        3. **\(LiveSystem.proposedPetals.title)**, chains pinned;
        4. **\(LiveSystem.proposed.title)**, the same chains and capacities.

        Steps 1 to 2 change the dispatcher, 2 to 3 the placement, 3 to 4 the engine. The table that this is about is Table 1 of
        the paper; its simulation is on [the page of the reproduction](reproduction.md), the engine is described on
        [its own](petals.md).
        """
            + (note.map { "\n\n\($0)" } ?? "")
    }

    private var servers: String {
        let cluster = pool.cluster()
        let plan = report.systems.plan
        var text = """
            ## Servers and plans

            SmolLM2-135M-Instruct in float32, \(pool.petalsShape.blockCount) blocks of \
            \(Self.megabytes(pool.petalsShape.blockSize)), a cache of \(Self.megabytes(pool.petalsShape.cacheSize)) for each block \
            and session: every session reserves \(setting.sequenceLength) tokens, as users of PETALS do who cannot know how long an \
            answer will be.

            | server | memory | a token in a block | round trip | stock PETALS hosts | the plan hosts |
            | --- | ---: | ---: | ---: | --- | --- |

            """
        for (number, server) in pool.servers.enumerated() {
            let range = plan.placement[ServerIndex(number)]
            let hosted = range.map {
                "blocks \($0.first)–\($0.end - 1), \(cluster.cacheSlots(of: ServerIndex(number), hosting: $0.count)) caches"
            }
            text +=
                "| \(server.name) | \(Self.megabytes(server.memory)) | \(Self.milliseconds(server.blockTokenSeconds)) |"
                + " \(Self.milliseconds(server.roundTripSeconds)) | \(pool.petalsBlocks(server)) blocks of its choice,"
                + " \(setting.petalsSessions * pool.petalsBlocks(server)) caches | \(hosted ?? "nothing") |\n"
        }
        return text + "\n"
            + ([
                "Every further token of a prompt adds \(Wording.percent(setting.promptShare)) of a token's time.",
                "Stock PETALS fills a server's memory with blocks and sets the cache of \(setting.petalsSessions) sessions"
                    + " of the greatest length aside for each, the ratio of its own defaults.",
                chains(plan, "The plan"),
                chains(report.systems.wholePlan, "Over whole models"),
            ].joined(separator: "\n"))
    }

    private func chains(_ plan: Plan, _ name: String) -> String {
        let words = plan.chains.map { chain in
            chain.hops.map { pool.servers[$0.server.rawValue].name }.joined(separator: " > ")
                + " (\(chain.capacity) jobs, \(Wording.number(chain.serviceTimeSeconds)) s)"
        }
        return "\(name): \(Wording.list(words)); \(Wording.number(plan.totalServiceRate)) jobs/s in all, load"
            + " \(Wording.number(plan.load))."
    }

    private var order: String {
        let tokens = pool.meanTokens
        var text = """
            ## Requests

            \(setting.requests) requests a run at \(Wording.number(setting.arrivalRate)) a second, \(setting.runs) repetitions with \
            requests of their own, the systems in an order drawn anew in each. Lengths are those of the Azure LLM inference trace, \
            prompts times \(Wording.number(setting.inputFactor)) (1 to \(setting.mostInputTokens)), answers times \
            \(Wording.number(setting.outputFactor)) (1 to \(setting.mostOutputTokens)): \(Wording.number(tokens.input)) and \
            \(Wording.number(tokens.output)) tokens on average.
            """
        if let factors = report.gapFactors {
            text +=
                " The gaps of the trace's stretches are multiplied, to the same rate in every run, by"
                + " \(Wording.list(Set([factors.least, factors.most]).sorted().map(Wording.number)))"
                + (factors.least < factors.most ? " and numbers between." : ".")
        }
        return text
    }

    // MARK: Results

    private static func heading(_ workload: LiveWorkload) -> String {
        workload.title.prefix(1).uppercased() + workload.title.dropFirst()
    }

    private func rows(_ workload: LiveWorkload) -> [(system: LiveSystem, cells: Table)] {
        let rows = report.table.filtered("workload", .text(workload.rawValue))
        return setting.systems.map { ($0, rows.filtered("system", .text($0.rawValue))) }
            .filter { !$0.1.rows.isEmpty }
    }

    private func measuredTable(_ workload: LiveWorkload) -> String {
        var text = """
            Seconds, means over the requests of a run, then over repetitions, ± 95 % confidence over repetitions.

            | system | runs | response | waiting | service | 95 % below | served/s | failed |
            | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |

            """
        for (system, cells) in rows(workload) {
            let failed = Int(cells.numbers("failures").reduce(0, +))
            let all = Int(cells.numbers("requests").reduce(0, +))
            text +=
                "| \(system.title) | \(cells.rows.count) | \(Self.interval(cells, "mean_response")) |"
                + " \(Self.interval(cells, "mean_wait")) | \(Self.interval(cells, "mean_service")) |"
                + " \(Self.interval(cells, "p95_response")) | \(Self.mean(cells, "throughput")) | \(failed) of \(all) |\n"
        }
        return text
    }

    private func section(_ workload: LiveWorkload) -> String {
        var text = """
            ## \(Self.heading(workload))

            \(measuredTable(workload))
            Predicted by the simulator for the same requests, from measured times of the servers (its PETALS' client knows at
            once which servers are full; the real one learns it up to minutes later, and waits longer):

            | system | response | measured/predicted | waiting | service |
            | --- | ---: | ---: | ---: | ---: |

            """
        for (system, cells) in rows(workload) {
            let predicted = cells.numbers("predicted_response").reduce(0, +)
            let found = cells.numbers("mean_response").reduce(0, +)
            text +=
                "| \(system.title) | \(Self.mean(cells, "predicted_response")) |"
                + " \(predicted > 0 ? Wording.number(found / predicted) : "–") |"
                + " \(Self.mean(cells, "predicted_wait")) | \(Self.mean(cells, "predicted_service")) |\n"
        }
        return text.trimmingCharacters(in: .newlines)
    }

    private static let claimsTitle = "Beside the paper's claims"
    private static let attributionTitle = "What the gain comes from"

    private var claims: String {
        var text = """
            The paper measured, against PETALS, a mean response 76.8 % and a mean wait 97.5 % less (proposed), and 68.2 % and 93.8 %
            less (JFFC only), for LLaMA-2-7B on nine slices of GPUs. A claim holds here when
            there is no less than claimed, and in part when there is less.


            """
        for finding in report.findings { text += "* \(finding.text)\n" }
        return text.trimmingCharacters(in: .newlines)
    }

    private var attribution: String {
        var text = """
            Seconds of mean response that each step takes off, over the repetitions in which all four systems ran, ± 95 %
            confidence, and its share of the whole. A negative share is a loss.

            | workload | repetitions | \(LiveReport.steps.map(\.name).joined(separator: " | ")) | in all |
            | --- |\(String(repeating: " ---: |", count: LiveReport.steps.count + 2))

            """
        for workload in measured {
            let gains = report.gains(workload)
            guard let count = gains.first?.count, count > 0 else {
                text +=
                    "| \(workload.title) | 0 |\(String(repeating: " – |", count: LiveReport.steps.count + 1))\n"
                continue
            }
            let totals = (0..<count).map { run in gains.reduce(0) { $0 + $1[run] } }
            let whole = totals.reduce(0, +)
            let cells = gains.map { gain in
                "\(Self.interval(gain)) (\(Wording.percent(gain.reduce(0, +) / whole)))"
            }
            text +=
                "| \(workload.title) | \(count) | \((cells + [Self.interval(totals)]).joined(separator: " | ")) |\n"
        }
        return text.trimmingCharacters(in: .newlines)
    }

    private var machine: String {
        var text = """
            ## The machine, and what the emulation cost

            Processors in use, means over all runs of a system: by its servers, by what serves requests in front of them (PETALS'
            client; the orchestrator with the worker; the orchestrator), and by the relays that emulate the network; then the whole
            machine, whoever used it. A step is late when the machine took longer for it than the emulated device.

            | system | servers | in front | relays | sum of \(processorCount) | machine busy | steps | late | mean lateness |
            | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |

            """
        for system in setting.systems {
            let cells = report.table.filtered("system", .text(system.rawValue))
            guard !cells.rows.isEmpty else { continue }
            func sum(_ column: String) -> Double { cells.numbers(column).reduce(0, +) }
            let used = ["server_cpu", "front_cpu", "relay_cpu"].map { sum($0) / Double(cells.rows.count) }
            let (steps, late) = (sum("steps"), sum("late_steps"))
            let lateness = late > 0 ? Self.milliseconds(sum("late_seconds") / late) : "–"
            text +=
                "| \(system.title) | \(used.map { String(format: "%.2f", $0) }.joined(separator: " | ")) |"
                + " \(String(format: "%.2f", used.reduce(0, +)))"
                + " (\(Wording.percent(used.reduce(0, +) / Double(max(1, processorCount))))) |"
                + " \(Wording.percent(sum("machine_busy") / Double(cells.rows.count))) | \(Int(steps)) |"
                + " \(steps > 0 ? Wording.percent(late / steps) : "–") | \(lateness) |\n"
        }
        return text.trimmingCharacters(in: .newlines)
    }

    /// With few repetitions, what each was.
    private var everyRun: String {
        var text = """
            ## Every run

            Lateness is what the machine added to the emulated devices, as a share of the requests' time in service. Runs with more
            than \(Wording.percent(LiveRunResult.lateLimit)) of it say more of the machine than of the system: they are set aside, \
            left out of everything above, and made again when the command is called again.

            | workload | repetition | system | response | waiting | service | most attempts | machine busy | lateness |
            | --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |

            """
        for row in report.all.rows {
            let title = LiveSystem(rawValue: row.text("system"))?.title ?? row.text("system")
            let times = ["mean_response", "mean_wait", "mean_service"].map {
                row.number($0).map(Self.hundredths) ?? "–"
            }
            let isSetAside = row["set_aside"] == true
            text +=
                "| \(row.text("workload")) | \(row.text("run")) | \(title) | \(times.joined(separator: " | ")) |"
                + " \(row.text("most_attempts")) | \(Wording.percent(row.number("machine_busy") ?? 0)) |"
                + " \(Wording.percent(row.number("late_share") ?? 0))\(isSetAside ? ", set aside" : "") |\n"
        }
        return text.trimmingCharacters(in: .newlines)
    }

    private var processorCount: Int { Int(report.table.numbers("processors").first ?? 0) }

    private var limits: String {
        """
        ## What is emulated, and what to make of it

        * **Devices.** The blocks are computed, by PETALS' and by our own servers, with one thread each. The answer of a step is
          kept back until the emulated device would be done, counted from the request's arrival at the server: of PETALS servers
          in the launcher that starts them, alike for 1, 2 and 3 (PETALS' streams are encrypted), of our own in the relay. So
          engines differ by what they add between steps, not by how fast they multiply: both are held to the same device.
        * **Sessions do not slow each other down** on an emulated device, as the paper assumes; on a real one they do beyond some
          number.
        * **Network.** Every byte between a server and whoever calls it goes through a relay that delays it by half the server's
          round trip each way. The orchestrator's worker sits beside it. Bandwidth is not limited.
        * **Memory** is not enforced by the machine: it decides how many blocks and caches a server is started with. What a
          process needs beside them is not counted, for any system.
        * **Stock PETALS** has the patches that it takes to start (on the page of the engine), announces the emulated device's speed
          as its own measurement of it, runs 2 handler processes a server instead of 8, and its client's sessions are not closed
          by finalisers, which make it stand still for good after refusals. One client process holds all sessions, a thread each,
          fresh for every run. Its wait is from a request's arrival to the calls that lead to its first token: routes, refusals
          and pauses between attempts are waiting, opening sessions and computing is service.
        * **The wait of the others** is that in the central queue; opening sessions is service too.
        * A request that is not served within \(Wording.number(setting.requestLimit)) s of its arrival counts as failed and is not averaged; \
        PETALS' client goes on trying for it.
        * **Runs are short.** PETALS' client refreshes what it knows of its servers' free caches once in 60 s, so in a run of
          about a minute its sessions keep trying the server that they know as the nearest; longer runs may treat it better.
        * Repetitions are few and requests too: the intervals say how few. Means over other repetitions are means of other
          requests: systems with as many runs can be compared in the tables, all others in the list of every run.
        """
    }

    // MARK: Words

    private static func megabytes(_ size: ByteCount) -> String {
        Wording.number(Double(size.rawValue) / 1e6) + " MB"
    }

    private static func milliseconds(_ seconds: Double) -> String { Wording.number(seconds * 1000) + " ms" }

    private static func mean(_ cells: Table, _ column: String) -> String {
        Summary(cells.numbers(column)).map { hundredths($0.mean) } ?? "–"
    }

    private static func interval(_ cells: Table, _ column: String) -> String {
        interval(cells.numbers(column))
    }

    /// `12.34 ± 0.41`; without spread from a single value.
    static func interval(_ values: [Double]) -> String {
        guard let summary = Summary(values) else { return "–" }
        let mean = hundredths(summary.mean)
        return summary.count > 1 ? "\(mean) ± \(hundredths(summary.halfWidth))" : mean
    }

    private static func hundredths(_ value: Double) -> String { String(format: "%.2f", value) }
}
