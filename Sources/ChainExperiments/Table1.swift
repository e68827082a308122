import ChainModel
import ChainPlanning
import ChainSimulation

/// Table 1: LLaMA-2-7B on nine slices of A100s and requests of the Azure trace, under PETALS, BPRR, JFFC over whole
/// models, and the proposed system.
///
/// The published table was measured on machines; its programs are not public. What is computed here is the model of
/// that set-up: the same memory, devices, round trips and requests, with every request's prompt and answer lengths
/// turned into time by the paper's formulas.
package enum Table1 {
    /// Where requests come from.
    package enum Workload: Hashable, Sendable {
        /// The given trace: its arrivals and lengths.
        case trace
        /// Poisson arrivals and exponential sizes, as in the programs for LLaMA.
        case poisson(rate: Double, count: Int)
    }

    /// What a setting takes from where.
    package struct Setting: Hashable, Sendable {
        package var name: String
        package var profile: PaperProfile
        package var draw: ServerDraw
        /// Large servers among the nine are `⌊9·share⌋`.
        package var highShare: Double
        package var workload: Workload
        /// `λ` that is planned for, requests per second.
        package var plannedRate: Double
        package var systems: [ComparedSystem]
        /// Factor on all times of the servers.
        package var stretch = 1.0
        /// Those that the claims are about.
        package var petals: ComparedSystem
        package var proposed: ComparedSystem

        package init(
            name: String, profile: PaperProfile, draw: ServerDraw, highShare: Double, workload: Workload,
            plannedRate: Double, systems: [ComparedSystem], petals: ComparedSystem, proposed: ComparedSystem
        ) {
            precondition(systems.contains(petals) && systems.contains(proposed))
            self.name = name
            self.profile = profile
            self.draw = draw
            self.highShare = highShare
            self.workload = workload
            self.plannedRate = plannedRate
            self.systems = systems
            self.petals = petals
            self.proposed = proposed
        }

        package init(_ setting: PaperSetting) {
            let client = ComparedSystem.petals(.lexicographic, retry: .client)
            switch setting {
            case .published:
                // PETALS itself was run, so its own client is the one to compare with.
                let proposed = ComparedSystem.proposed(.fixed(Table1.publishedCapacity))
                self.init(
                    name: setting.rawValue, profile: .paper, draw: .published, highShare: 1.0 / 3,
                    workload: .trace, plannedRate: Table1.publishedRate,
                    systems: [
                        client, .petals(.lexicographic), .bprr(codedLoad: false, .release), .jffcOnly,
                        proposed,
                        .proposed(.tuned(by: .lowerBound)),
                    ], petals: client, proposed: proposed)
            case .asCoded:
                let petals = ComparedSystem.petals(.sum, smallServerLimit: Figure6.codedBlockLimit)
                self.init(
                    name: setting.rawValue, profile: .code, draw: .coded, highShare: 0.33,
                    workload: .poisson(rate: Table1.codedRate, count: 300), plannedRate: Table1.codedRate,
                    systems: [petals, .bprr(codedLoad: true, .loadShare), .jffcOnly, .proposedAsCoded],
                    petals: petals, proposed: .proposedAsCoded)
            case .fair:
                // The client is the better PETALS here: who does not reroute waits behind a burst.
                self.init(
                    name: setting.rawValue, profile: .paper, draw: .published, highShare: 1.0 / 3,
                    workload: .trace, plannedRate: Table1.publishedRate,
                    systems: [
                        client, .petals(.lexicographic, asap: true),
                        .bprr(codedLoad: false, .release, asap: true), .jffcOnly,
                        .proposed(.tuned(by: .exact)), .improved(search: false),
                    ], petals: client, proposed: .proposed(.tuned(by: .exact)))
            }
        }

        /// A setting with service times about as long as the paper measured them, on the same requests.
        package static func stretched(_ setting: PaperSetting) -> Setting {
            var result = Setting(setting)
            result.name += ", service as measured"
            result.stretch = Table1.publishedStretch
            return result
        }

        /// The programs' parameters at the rate of the trace, which a comment there says was meant.
        package static var codedAtTraceRate: Setting {
            var setting = Setting(.asCoded)
            setting.name = "as-coded at \(Table1.publishedRate)/s"
            setting.workload = .poisson(rate: Table1.publishedRate, count: 300)
            setting.plannedRate = Table1.publishedRate
            return setting
        }
    }

    /// Stretches the mean service time of the set-up as published, 2.0 s under JFFC only, to the 7.2 s that the
    /// paper measured under PETALS and BPRR.
    package static let publishedStretch = 3.5

    /// A request of a trace.
    package struct TraceRequest: Hashable, Sendable {
        /// Seconds since the first.
        package var arrival: Double
        package var inputTokens: Int
        package var outputTokens: Int

        package init(arrival: Double, inputTokens: Int, outputTokens: Int) {
            self.arrival = arrival
            self.inputTokens = inputTokens
            self.outputTokens = outputTokens
        }
    }

    package static let serverCount = 9
    package static let requestCount = 1000
    /// `c` as the paper states it. Neither Theorem 4 nor the authors' own search gives it.
    package static let publishedCapacity = 35
    /// Mean rate of the trace, requests per second.
    package static let publishedRate = 2.57
    /// Rate in the programs for LLaMA, requests per second.
    package static let codedRate = 20.57
    package static let publishedRuns = 20

    /// One run: what every system of the setting made of the same pool and requests.
    ///
    /// - Parameter trace: requests in order of arrival; the first 1,000 are used. A measured trace is the same in
    ///   every run, where only the pool changes; a drawn one should be drawn anew.
    package static func run(
        _ setting: Setting, run: Int, seed: UInt64 = 42, trace: [TraceRequest], on map: RoundTripMap
    ) -> [ComparedRun] {
        let runSeed = seed &* 1_000_003 &+ UInt64(run)
        var generator = PaperStream(seed: runSeed, .servers)
        let pool = PaperPool(
            .llama2x7B(setting.profile), count: serverCount, highShare: setting.highShare,
            arrivalRate: setting.plannedRate, profile: setting.profile, draw: setting.draw, on: map,
            using: &generator
        ).stretched(by: setting.stretch)
        let requests: [RoutedRequest] =
            switch setting.workload {
            case .trace:
                trace.prefix(requestCount).map {
                    RoutedRequest(
                        arrival: $0.arrival, size: .tokens(input: $0.inputTokens, output: $0.outputTokens))
                }
            case .poisson(let rate, let count):
                Figure6.requests(count, rate: rate, seed: runSeed)
            }
        return setting.systems.map { pool.serve(requests, by: $0, joinSeed: runSeed) }
    }

    /// A row of the table.
    package struct Row: Sendable {
        package var system: ComparedSystem
        package var runs: Int
        package var infeasibleRuns: Int
        package var unstableRuns: Int
        /// Means over the runs served of the columns of `ComparedRow` that are numbers.
        package var means: [(name: String, value: Double)]
        /// `1 − this/PETALS` of the mean response and the mean wait, over the runs that both served.
        package var responseReduction: Double
        package var waitReduction: Double

        package var columns: [(name: String, value: PaperValue)] {
            [
                ("system", .text(system.name)), ("family", .text(system.family)),
                ("title", .text(system.title)), ("runs", .number(Double(runs))),
                ("infeasible_runs", .number(Double(infeasibleRuns))),
                ("unstable_runs", .number(Double(unstableRuns))),
                ("response_reduction", .number(responseReduction)),
                ("wait_reduction", .number(waitReduction)),
            ] + means.map { ($0.name, .number($0.value)) }
        }
    }

    /// - Parameter runs: by run, then by system, as `run` gives them.
    package static func summarise(_ runs: [[ComparedRun]], petals: ComparedSystem) -> [Row] {
        guard let first = runs.first else { return [] }
        let base = first.firstIndex { $0.system == petals }
        return first.indices.map { position in
            let served = runs.map { $0[position] }.filter { $0.infeasible == nil }
            var (response, wait) = ((this: 0.0, petals: 0.0), (this: 0.0, petals: 0.0))
            for run in runs {
                guard let base, run[base].infeasible == nil, run[position].infeasible == nil else { continue }
                response.this += run[position].times.meanResponse
                response.petals += run[base].times.meanResponse
                wait.this += run[position].times.meanWait
                wait.petals += run[base].times.meanWait
            }
            return Row(
                system: first[position].system, runs: runs.count,
                infeasibleRuns: runs.count - served.count, unstableRuns: served.count { $0.isUnstable },
                means: means(served), responseReduction: 1 - response.this / response.petals,
                waitReduction: 1 - wait.this / wait.petals)
        }
    }

    private static func means(_ runs: [ComparedRun]) -> [(name: String, value: Double)] {
        let rows = runs.map { ComparedRow($0).columns }
        guard let first = rows.first else { return [] }
        return first.indices.compactMap { column in
            let values = rows.compactMap { row -> Double? in
                if case .number(let value) = row[column].value { return value }
                return nil
            }
            // Texts are left out, and so is what `Row` says itself.
            guard values.count == rows.count, first[column].name != "unstable" else { return nil }
            return (first[column].name, RequestTimes.mean(values))
        }
    }
}
